// The page of `posert web`: a picture, a video or the camera with its people, found on this machine; results to download.

import { make } from "./dom.js";
import { LOOK, colorOf } from "./look.js";
import { commaSeparated, jsonLines } from "./lines.mjs";
import { Options } from "./options.js";
import { readFile } from "./onnx.mjs";
import { openModel } from "./posert.mjs";
import { readSpec } from "./spec.mjs";
import { Stage } from "./stage.js";
import { themeButton } from "./theme.js";
import { Tracker } from "./track.mjs";

const CAMERA = { video: { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: "user" } };
const SLOWEST = 0.1; // times the video's own speed, for every frame of it
const MOST_KEPT = 100_000; // pictures whose people are kept for download

class Page {
  #turn = 0; // of what is shown; an older one ends by itself
  #stop = () => {};

  constructor({ models, version }) {
    Object.assign(this, { models, model: null, results: [], source: "", look: { ...LOOK, hidden: new Set() }, chosen: null });
    const option = ({ file, name }) => make("option", { value: file }, name);
    this.choice = make("select", { "aria-label": "Model", onchange: () => this.open(this.choice.value) }, ...models.map(option));
    this.file = make("input.hidden", { type: "file", multiple: true, accept: "image/*,video/*,.onnx", "aria-label": "Picture, video or model", tabindex: "-1", onchange: () => this.take([...this.file.files]) });
    this.camera = make("button", { type: "button", onclick: () => this.watch() }, "Camera");
    this.pause = make("button.primary", { type: "button", hidden: true, onclick: () => this.toggle() }, "Pause");
    this.every = make("input", { type: "checkbox", checked: true });
    this.everyFrame = make("label", { hidden: true, title: "The video plays as slowly as that takes" }, this.every, "every frame");
    this.view = make("p.waiting", {}, "Drop a picture or a video here, or choose one below.");
    this.said = make("p", { role: "status" });
    this.facts = Object.fromEntries(["People", "Frames/s", "Found in", "Network"].map((name) => [name, make("dd", {}, "–")]));
    this.people = make("div.list");
    this.saves = [["JSON lines", "jsonl", jsonLines], ["CSV", "csv", commaSeparated]].map(([name, ending, write]) =>
      make("button", { type: "button", disabled: true, onclick: () => this.save(ending, write) }, name));
    this.shown = make("div");
    this.head = make("header", {}, make("h1", {}, "People in pictures"), this.choice,
      make("dl", {}, ...Object.entries(this.facts).map(([name, value]) => make("div", {}, make("dt", {}, name), value))), themeButton());
    this.about = make("p", {}, `posert ${version}: everything happens on this machine, nothing is sent anywhere.`);
  }

  get element() {
    const bar = make("div.controls", { role: "toolbar", "aria-label": "Source" }, this.pause,
      make("button", { type: "button", onclick: () => this.file.click() }, "Picture or video"), this.file, this.camera, this.everyFrame);
    return make("main.live", {}, make("div.theatre", {}, make("div.front", {}, make("div.screen", {}, this.view, bar)),
      make("aside", {}, make("section", { "aria-label": "People" }, make("h2", {}, "People"), this.people, this.said),
        make("section.recording", { "aria-label": "Results" }, make("h2", {}, "Download"), make("div.checks", {}, ...this.saves), this.about), this.shown)));
  }

  say(text) {
    this.said.textContent = text;
  }

  #failed(error) {
    const { what = error.message ?? String(error), hint = "" } = error;
    this.say(hint ? `${what} – ${hint}` : what);
  }

  /** Opens a model by its address, or a file. */
  async open(source, options = {}) {
    const turn = this.#end();
    this.model?.close();
    this.model = null;
    this.say("The model is being opened.");
    try {
      const given = this.models.find(({ file }) => file === source)?.options ?? {};
      const model = await openModel(source, { ...pageOptions(), ...given, ...options });
      if (turn !== this.#turn) return model.close();
      this.model = model;
      this.shown.replaceChildren(new Options(this.look, model.skeleton, () => this.#draw()).element);
      this.say(`${model.name}: ${model.backend}, ${model.threads} thread${model.threads > 1 ? "s" : ""}.`);
      await this.again?.();
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Files that were picked or dropped: models, a picture, a video. */
  async take(files) {
    const networks = files.filter(({ name }) => name.endsWith(".onnx"));
    const medium = files.find(({ type }) => /^(image|video)\//.test(type));
    if (networks.length) await this.open(await mainOf(networks), { files: Object.fromEntries(networks.map((file) => [file.name, file])) });
    if (medium) await this.show(medium, medium.name, medium.type.startsWith("video/"));
    else if (!networks.length && files.length) this.say("That is neither a picture nor a video – choose a .jpg, .png, .mp4 or .webm");
    this.file.value = "";
  }

  #end() {
    this.#stop();
    this.#stop = () => {};
    this.pause.hidden = this.everyFrame.hidden = true;
    return ++this.#turn;
  }

  /** A picture or a video: a Blob, or an address of this origin. */
  async show(source, name, isVideo) {
    const turn = this.#end();
    this.again = () => this.show(source, name, isVideo);
    this.#begin(name);
    if (!this.model) return; // whoever opens one shows it again
    const address = typeof source === "string" ? source : URL.createObjectURL(source);
    const release = () => typeof source !== "string" && URL.revokeObjectURL(address);
    try {
      if (isVideo) {
        const video = make("video", { src: address, playsinline: true, preload: "auto" });
        video.muted = true;
        this.#stop = () => { video.pause(); video.removeAttribute("src"); release(); };
        await event(video, "loadeddata", "this browser does not play the video");
        await this.#play(video, turn, name, this.every);
      } else {
        const image = make("img", { src: address });
        await image.decode().catch(() => { throw new Error("the browser cannot read the picture"); });
        await this.model.reset();
        await this.#picture(image, [image.naturalWidth, image.naturalHeight], 0, 0, turn, null);
        release();
      }
    } catch (error) {
      if (turn === this.#turn) this.#failed(error);
    }
  }

  async watch() {
    const turn = this.#end();
    this.again = () => this.watch();
    this.#begin("camera");
    if (!this.model) return;
    try {
      if (!navigator.mediaDevices) throw new Error("the browser gives cameras to pages of https or localhost alone");
      const stream = await navigator.mediaDevices.getUserMedia(CAMERA);
      const video = make("video", { playsinline: true });
      Object.assign(video, { muted: true, srcObject: stream });
      this.#stop = () => { video.pause(); stream.getTracks().forEach((track) => track.stop()); };
      if (turn !== this.#turn) return this.#stop();
      await event(video, "loadeddata", "the camera gives no pictures");
      await this.#play(video, turn, "camera", { checked: false });
    } catch (error) {
      if (turn === this.#turn) this.#failed(error);
    }
  }

  #begin(name) {
    Object.assign(this, { source: name, results: [], shownPeople: [], chosen: null });
    for (const button of this.saves) button.disabled = true;
    if (this.model) this.say("");
  }

  toggle() {
    if (this.video.paused) this.video.play();
    else this.video.pause();
    this.pause.textContent = this.video.paused ? "Play" : "Pause";
  }

  /** The newest frame whenever the model is free; with `every`, the video waits as long as that takes. */
  async #play(video, turn, name, every) {
    Object.assign(this, { video });
    this.pause.hidden = false;
    this.pause.textContent = "Pause";
    this.everyFrame.hidden = name === "camera";
    await this.model.reset();
    const tracker = new Tracker();
    let [frame, before, gap, ended] = [0, null, 1 / 25, false];
    video.addEventListener("ended", () => (ended = true));
    if (every.checked) video.playbackRate = SLOWEST; // until it is known how long a picture takes
    for (let seen = { mediaTime: video.currentTime }; seen && turn === this.#turn; ) {
      const following = nextFrame(video);
      if (seen.mediaTime !== before) {
        if (before !== null && seen.mediaTime > before) gap = Math.min(gap, seen.mediaTime - before);
        before = seen.mediaTime;
        const ms = await this.#picture(video, [video.videoWidth, video.videoHeight], frame++, seen.mediaTime, turn, tracker);
        if (ms !== null) video.playbackRate = every.checked ? Math.min(1, Math.max(SLOWEST, (0.7 * 1000 * gap) / ms)) : 1;
      }
      if (frame === 1) await video.play();
      seen = ended ? null : await following;
    }
    if (turn === this.#turn) this.pause.textContent = "Play";
  }

  /** Finds and shows the people of a picture; how long that took, ms, or null if nobody waits for it any more. */
  async #picture(picture, size, frame, time, turn, tracker) {
    const model = this.model;
    if (!model) return null;
    const began = performance.now();
    const back = new OffscreenCanvas(...size);
    back.getContext("2d", { alpha: false }).drawImage(picture, 0, 0, ...size);
    const people = await model.estimate(back);
    if (turn !== this.#turn || model !== this.model) return null;
    const ids = tracker ? tracker.ids(people, time) : null;
    if (this.results.length < MOST_KEPT) this.results.push({ frame, time, size, people, ids });
    const ms = performance.now() - began;
    this.#tell(people, ms, tracker);
    this.#stageOf(size).getContext("2d", { alpha: false }).drawImage(back, 0, 0);
    this.shownPeople = people.map(({ score, box, keypoints }, n) => ({ id: ids ? ids[n] : null, track: ids ? ids[n] : n, score, box, points: keypoints }));
    this.#draw();
    return ms;
  }

  #stageOf([width, height]) {
    if (!this.stage || this.stage.size[0] !== width || this.stage.size[1] !== height) {
      this.picture = make("canvas.picture", { width, height });
      this.stage = new Stage([width, height], this.picture, (person) => { this.chosen = person ? person.track : null; this.#draw(); });
    }
    if (this.view !== this.stage.element) {
      this.view.replaceWith(this.stage.element);
      this.view = this.stage.element;
    }
    return this.picture;
  }

  #draw() {
    if (!this.stage || !this.model) return;
    const people = this.shownPeople ?? [];
    this.stage.show([{ people, skeleton: this.model.skeleton, look: this.look }], this.chosen);
    const listed = people.map((person, place) => {
      const chip = make("i.chip", {}, person.id === null ? String(place + 1) : String(person.id));
      chip.style.setProperty("--person", colorOf(person.id, place));
      const found = person.points.filter((score, i) => i % 3 === 2 && score > 0).length;
      return make("button.person", { type: "button", "aria-pressed": String(this.chosen === person.track), onclick: () => {
        this.chosen = this.chosen === person.track ? null : person.track;
        this.#draw();
      } }, chip, make("span", {}, `score ${person.score.toFixed(2)}`), make("small", {}, `${found} of ${this.model.skeleton.names.length} keypoints`));
    });
    this.people.replaceChildren(...listed);
  }

  #tell(people, ms, moving) {
    this.recent = moving ? [...(this.recent ?? []).slice(-19), performance.now()] : [];
    const rate = this.recent.length > 1 ? (1000 * (this.recent.length - 1)) / (this.recent.at(-1) - this.recent[0]) : null;
    const values = { People: people.length, "Frames/s": rate?.toFixed(1) ?? "–", "Found in": `${ms.toFixed(0)} ms`, Network: `${people.ms.network.toFixed(0)} ms` };
    for (const [name, value] of Object.entries(values)) this.facts[name].textContent = value;
    for (const button of this.saves) button.disabled = false;
  }

  save(ending, write) {
    const text = write({ model: this.model.name, skeleton: this.model.skeleton, source: this.source, results: this.results });
    const link = make("a", { href: URL.createObjectURL(new Blob([text])), download: `${this.source.replace(/\.\w+$/, "") || "people"}.${ending}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }
}

/** Of several model files the one that is nobody's companion. */
async function mainOf(files) {
  const companions = new Set();
  for (const file of files.length > 1 ? files : []) {
    const bytes = new Uint8Array(await file.arrayBuffer());
    try {
      for (const stage of readSpec(readFile(bytes, file.name), file.name).stages) companions.add(stage.file);
    } catch {
      // whoever opens it says so
    }
  }
  return files.find(({ name }) => !companions.has(name)) ?? files[0];
}

/** Options of `openModel` in the page's address: ?threads=2&backend=wasm. */
function pageOptions() {
  const asked = new URLSearchParams(location.search);
  return { backend: asked.get("backend") ?? "auto", threads: Number(asked.get("threads") ?? 0) };
}

function event(element, name, failed) {
  return new Promise((done, fail) => {
    element.addEventListener(name, done, { once: true });
    element.addEventListener("error", () => fail(new Error(failed)), { once: true });
    if (element.srcObject) element.play();
  });
}

/** What is shown next, {mediaTime}; null where the video ends. */
function nextFrame(video) {
  return new Promise((done) => {
    video.addEventListener("ended", () => done(null), { once: true });
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback((_, seen) => done(seen));
    else video.addEventListener("timeupdate", () => done({ mediaTime: video.currentTime }), { once: true });
  });
}

/** Offline from now on, and with threads: one load more, the first time. */
async function keep() {
  if (!navigator.serviceWorker) return;
  await navigator.serviceWorker.register("./sw.js");
  await navigator.serviceWorker.ready;
  if (!navigator.serviceWorker.controller) await new Promise((done) => navigator.serviceWorker.addEventListener("controllerchange", done, { once: true }));
  if (!crossOriginIsolated && !sessionStorage.getItem("posert")) {
    sessionStorage.setItem("posert", "loaded again");
    location.reload();
    await new Promise(() => {});
  }
}

const page = new Page(JSON.parse(document.getElementById("page").textContent));
document.body.append(page.head, page.element);
document.addEventListener("dragover", (dragged) => dragged.preventDefault());
document.addEventListener("drop", (dropped) => {
  dropped.preventDefault();
  page.take([...dropped.dataTransfer.files]);
});
window.posert = page;
await keep().catch(() => page.say("This browser keeps nothing for later visits."));
await page.open(page.models[0].file);
document.body.dataset.ready = "";
