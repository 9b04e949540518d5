// The live page: frames with their people as a server finds them, newest first. One socket at a time, for the source that
// is looked at. Says which frames are drawn; the server counts the time.

import { listenToKeys } from "./controls.js";
import { clockText, make } from "./dom.js";
import { LOOK, colorOf } from "./look.js";
import { Options } from "./options.js";
import { Stage } from "./stage.js";
import { themeButton } from "./theme.js";

const AGAIN_MS = 1000;
const PER_SECOND_OVER = 30; // frames
const STATES = { opens: "is being opened", ended: "has ended", failed: "cannot be shown" };

class Live {
  #number = 0;
  #socket = null;
  #chosen = null;
  #people = [];
  #drawn = [];

  constructor(page) {
    this.page = page;
    this.look = { ...LOOK, hidden: new Set() };
    this.picture = make("canvas.picture");
    this.stage = null;
    this.screen = make("div.screen", {}, make("p.waiting", { role: "status" }, "Waiting for the first picture"));
    this.facts = Object.fromEntries(["Delay", "Shown", "Found", "People"].map((name) => [name, make("dd", {}, "–")]));
    this.sources = page.sources.map((name, number) => make("button.person", {
      type: "button", "aria-pressed": "false", onclick: () => this.open(number),
    }, make("span", {}, name), make("small")));
    this.options = new Options(this.look, page.skeleton, () => this.show());
    this.person = make("section.person-chosen", { "aria-label": "Chosen person" });
    this.#describe();
    this.recording = this.#recordingSection();
  }

  get element() {
    const several = make("section", { "aria-label": "Sources", hidden: this.sources.length < 2 }, make("h2", {}, "Sources"), make("div.list", {}, ...this.sources));
    return make("main.live", {}, make("div.theatre", {}, make("div.front", {}, this.screen),
      make("aside", {}, several, this.recording, this.person, this.options.element)));
  }

  #recordingSection() {
    const { records } = this.page;
    this.button = make("button.record", { type: "button", disabled: !records, "aria-pressed": "false", "aria-keyshortcuts": "r",
      title: "r", onclick: () => this.record() }, "Record");
    this.overlay = make("input", { type: "checkbox", checked: true, disabled: !records });
    this.said = make("p", { role: "status" }, records ? "" : "Start posert live with -o FOLDER to record.");
    return make("section.recording", { "aria-label": "Recording" }, make("h2", {}, "Recording"),
      make("div.checks", {}, this.button, make("label", {}, this.overlay, "with the drawn video")), this.said);
  }

  record() {
    if (this.button.disabled) return;
    const record = this.button.getAttribute("aria-pressed") !== "true";
    this.#say({ record, overlay: this.overlay.checked });
  }

  #say(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  open(number) {
    if (this.#socket) this.#socket.onclose = null;
    this.#socket?.close();
    this.#number = number;
    this.#drawn = [];
    this.sources.forEach((button, place) => button.setAttribute("aria-pressed", String(place === number)));
    this.choose(null);
    const socket = new WebSocket(new URL(`live/${number}`, location.href.replace(/^http/, "ws")));
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => typeof data === "string" ? this.#told(JSON.parse(data)) : this.#draw(data, socket);
    socket.onclose = () => {
      this.stage?.say("The server is gone; looking for it again.");
      setTimeout(() => socket === this.#socket && this.open(this.#number), AGAIN_MS);
    };
    this.#socket = socket;
  }

  async #draw(data, socket) {
    const length = new DataView(data).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    const bitmap = await createImageBitmap(new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }));
    if (socket === this.#socket) {
      this.#fit(head.size_wh);
      this.picture.getContext("2d").drawImage(bitmap, 0, 0);
      this.#people = head.people.map(plain);
      this.#count();
      this.show();
      this.stage.canvas.dataset.frame = head.frame;
      this.stage.canvas.setAttribute("aria-label", `${clockText(head.time_s, 1)}: ${this.#people.length} people`);
      this.#say({ drawn: head.number });
      document.dispatchEvent(new CustomEvent("drawn", { detail: head }));
    }
    bitmap.close();
  }

  /** A stage for pictures of this size. */
  #fit(size) {
    if (this.stage && String(this.stage.size) === String(size)) return;
    [this.picture.width, this.picture.height] = size;
    this.stage = new Stage(size, this.picture, (person) => this.choose(person?.id ?? null));
    this.screen.replaceChildren(this.stage.element);
    document.documentElement.dataset.ready = "all";
  }

  #count() {
    this.#drawn = [...this.#drawn, performance.now()].slice(-PER_SECOND_OVER);
    const [first, last] = [this.#drawn[0], this.#drawn.at(-1)];
    if (last > first) this.facts.Shown.textContent = `${((1000 * (this.#drawn.length - 1)) / (last - first)).toFixed(1)} frames/s`;
  }

  show() {
    this.stage?.show([{ people: this.#people, skeleton: this.page.skeleton, look: this.look }], this.#chosen);
    this.#describe();
  }

  choose(id) {
    this.#chosen = id;
    this.show();
  }

  #describe() {
    const person = this.#people.find(({ id }) => id !== null && id === this.#chosen);
    const heading = make("h2", {}, this.#chosen === null ? "Person" : `Person ${this.#chosen}`);
    if (!person) {
      const known = this.#people.every(({ id }) => id !== null);
      const words = this.#chosen !== null ? "not in the picture" : known ? "Click on a person to choose him." : "No ids: choose nobody, or pip install 'posert[track]'.";
      this.person.replaceChildren(heading, make("p", {}, words));
      return;
    }
    const { names } = this.page.skeleton;
    const found = names.filter((_, k) => person.points[3 * k + 2] > 0);
    const [left, top, right, bottom] = person.box.map(Math.round);
    const rows = [["Score", person.score.toFixed(2)], ["Keypoints", `${found.length} of ${names.length}`],
      ["Place", `${left}, ${top}, ${right - left} × ${bottom - top} px`]];
    this.person.style.setProperty("--person", colorOf(person.id));
    this.person.replaceChildren(heading, make("dl", {}, ...rows.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)))));
  }

  #told({ recording, sources, delay_ms: delay }) {
    sources.forEach(({ state, said, fps, people }, number) => {
      const words = state === "runs" ? `${people} people, ${fps} frames/s` : STATES[state];
      this.sources[number].querySelector("small").textContent = words;
      this.sources[number].title = said;
    });
    const { state, said, fps, people } = sources[this.#number];
    const word = state === "runs" ? "" : `${this.page.sources[this.#number]} ${STATES[state]}${said ? `: ${said}` : ""}.`;
    if (this.stage) this.stage.say(word);
    else if (word) this.screen.firstChild.textContent = word;
    this.facts.Delay.textContent = delay.median ? `${delay.median.toFixed(0)} ms, at most ${delay.p95.toFixed(0)} for 19 of 20` : "–";
    this.facts.Found.textContent = `${fps} frames/s`;
    this.facts.People.textContent = String(people);
    this.button.setAttribute("aria-pressed", String(recording.runs));
    this.button.textContent = recording.runs ? "Stop" : "Record";
    this.button.disabled = !this.page.records || (state !== "runs" && state !== "opens");
    if (this.page.records) this.said.textContent = recording.runs ? `${recording.frames} frames` : recording.said;
  }
}

// A person of a frame's JSON as look.js draws him.
function plain({ id = null, score, box_xyxy: box, keypoints }) {
  return { id, track: id, score, box, points: keypoints.flat() };
}

function startLive() {
  const page = JSON.parse(document.getElementById("page").textContent);
  const live = new Live(page);
  const facts = Object.entries({ Model: make("dd", {}, page.model), ...live.facts });
  document.body.append(make("header", {}, make("h1", {}, "posert live"),
    make("dl", {}, ...facts.map(([name, value]) => make("div", {}, make("dt", {}, name), value))), themeButton()), live.element);
  listenToKeys({
    ...live.options.keys, r: () => live.record(), z: () => live.stage?.zoom(1.5), x: () => live.stage?.zoom(1 / 1.5),
    Escape: () => {
      live.choose(null);
      live.stage?.unzoom();
    },
  });
  live.open(0);
}

startLive();
