// The comparison: every model on the same frames in players that move together, or two laid over each other; their
// figures, how far they agree over time, and a click on a dip leads to its frame.

import { Clock } from "./clock.js";
import { Controls, clockKeys, listenToKeys } from "./controls.js";
import { make } from "./dom.js";
import { LOOK } from "./look.js";
import { openMedium } from "./medium.js";
import { Options } from "./options.js";
import { Plot } from "./plots.js";
import { unpack } from "./recording.js";
import { Span } from "./span.js";
import { Stage } from "./stage.js";
import { themeButton } from "./theme.js";

const MODELS = ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2"];
const MOST_PICTURE_PX = 1280;
const block = (name) => document.getElementById(name).textContent;
const percent = (share, digits = 1) => (share === null ? "–" : `${(100 * share).toFixed(digits)} %`);

/** One source in players, one a model, that share a clock, a picture, zoom and the choice of a person. */
class Show {
  static async open(page, number, look) {
    const source = page.sources[number];
    const recordings = await Promise.all(source.recordings.map((head, model) => unpack(head, block(`people-${number}-${model}`))));
    return new Show(page, source, recordings, look);
  }

  constructor(page, source, recordings, look) {
    Object.assign(this, { page, source, recordings, look, chosen: recordings.map(() => null), pair: [0, Math.min(1, recordings.length - 1)] });
    this.medium = openMedium(source.medium, () => this.stages.forEach((stage) => stage.say(`${source.title} cannot be shown`)));
    const video = this.medium instanceof HTMLVideoElement ? this.medium : null;
    this.clock = new Clock(recordings[0], video);
    this.span = new Span(recordings[0].duration + recordings[0].step, 10 * recordings[0].step);
    this.stages = recordings.map((recording, model) => this.#stage(recording, model));
    this.over = this.#stage(recordings[0], null);
    this.captions = recordings.map((_, model) => make("figcaption", {}, make("i.dot"), make("b", {}, page.models[model].name), make("span.now")));
    this.captions.forEach((caption, model) => caption.firstChild.style.setProperty("--person", MODELS[model % MODELS.length]));
    this.grid = make("div.players", {}, ...this.stages.map(({ element }, model) => make("figure.player", {}, this.captions[model], element)));
    this.#choosePair();
    this.plot = new Plot("agreement (OKS) of", { factor: 0.01, digits: 2, sign: "", least: 0 }, 100, recordings[0], this.span, (time) => this.clock.seekTime(time));
    this.controls = new Controls(this.clock);
    const moving = recordings[0].count > 1;
    this.element = make("section.show", {}, this.medium ? make("div.hidden", { "aria-hidden": "true" }, this.medium) : null,
      this.overlaid, this.grid, moving ? this.controls.element : null, make("div.plots", {}, this.#matrix(), moving ? this.plot.element : null));
    this.clock.addEventListener("frame", () => this.draw());
    for (const name of ["seeked", "loadeddata", "load"]) this.medium?.addEventListener(name, () => this.#paint());
    if (video?.requestVideoFrameCallback) {
      const painted = () => {
        this.#paint();
        video.requestVideoFrameCallback(painted);
      };
      video.requestVideoFrameCallback(painted);
    }
    this.showPair(...this.pair);
  }

  #stage(recording, model) {
    const small = Math.min(1, MOST_PICTURE_PX / recording.size[0]);
    const picture = make("canvas.picture", { width: Math.round(recording.size[0] * small), height: Math.round(recording.size[1] * small) });
    return new Stage(recording.size, this.medium ? picture : null, (person, layer) => this.choose(person, layer ? layer.model : model),
      (moved) => [...this.stages, this.over].forEach((stage) => stage !== moved && stage.follow(moved)));
  }

  #choosePair() {
    const names = this.page.models.map(({ name }) => name);
    this.selects = [0, 1].map((side) => make("select", { "aria-label": side ? "The other model" : "One model", onchange: () => {
      this.showPair(+this.selects[0].value, +this.selects[1].value);
    } }, ...names.map((name, model) => make("option", { value: model }, name))));
    this.both = make("input", { type: "checkbox", onchange: () => this.draw() });
    this.overlaid = make("div.overlaid", {}, make("label", {}, this.both, "Lay over each other:"), ...this.selects, this.over.element);
  }

  #matrix() {
    const { models } = this.page;
    this.cells = [];
    const rows = models.map((one, a) => make("tr", {}, make("th", { scope: "row" }, one.name), ...models.map((other, b) => {
      if (a === b) return make("td", {}, "");
      const mean = this.source.agreement[Math.min(a, b)][Math.max(a, b)].mean;
      const cell = make("button", { type: "button", "aria-label": `${one.name} and ${other.name} agree ${mean.toFixed(2)}`, onclick: () => this.showPair(a, b) }, mean.toFixed(2));
      cell.style.setProperty("--share", percent(mean, 0).replace(" ", ""));
      this.cells.push({ cell, a, b });
      return make("td", {}, cell);
    })));
    return make("div.matrix", {}, make("h2", {}, "Agreement (OKS), the mean over all frames"),
      make("table", {}, make("thead", {}, make("tr", {}, make("td"), ...models.map(({ name }) => make("th", { scope: "col" }, name)))), make("tbody", {}, ...rows)));
  }

  /** Shows how far two models agree, and lays them over each other if that is wanted. */
  showPair(a, b) {
    this.pair = [a, b];
    this.selects.forEach((select, side) => (select.value = String(this.pair[side])));
    for (const { cell, a: row, b: column } of this.cells) cell.setAttribute("aria-pressed", row === a && column === b);
    if (a !== b && this.recordings[0].count > 1) {
      const { frames } = this.source.agreement[Math.min(a, b)][Math.max(a, b)];
      const whole = { begin: 0, end: frames.length, from: (position) => Math.min(frames.length, Math.max(0, position)), rowAt: (position) => position };
      const everywhere = Int32Array.from(frames, (_, position) => position);
      const { times, step } = this.recordings[0];
      this.plot.recording = { times, step, columns: { position: everywhere }, positionAt: (time) => this.recordings[0].positionAt(time) };
      const names = `${this.page.models[a].name} and ${this.page.models[b].name}`;
      this.plot.show(whole, [{ name: names, color: "#cc79a7", dash: [], values: Int16Array.from(frames) }]);
    }
    this.draw();
  }

  /** Chooses a person of one model, and with the others whoever is at the same place. */
  choose(person, model) {
    this.chosen = this.recordings.map((recording, other) => {
      if (!person) return null;
      if (other === model) return person.track;
      const near = recording.people(this.clock.position).map((one) => ({ track: one.track, share: overlap(one.box, person.box) }));
      const best = near.reduce((a, b) => (b.share > a.share ? b : a), { track: null, share: 0.2 });
      return best.track;
    });
    this.draw();
  }

  draw() {
    const { position } = this.clock;
    const both = this.both.checked;
    const layer = (model, more = {}) => ({
      model, people: this.recordings[model].people(position), skeleton: this.recordings[model].skeleton, look: { ...this.look, ...more },
    });
    this.over.element.hidden = !both;
    this.grid.hidden = both;
    if (both) {
      const [a, b] = this.pair;
      this.over.show([layer(a, { color: MODELS[a % MODELS.length] }), layer(b, { color: MODELS[b % MODELS.length], dash: [4, 4] })]);
    }
    this.stages.forEach((stage, model) => {
      if (!both) stage.show([layer(model)], this.chosen[model]);
      stage.canvas.dataset.frame = this.recordings[model].frames[position];
      const people = this.recordings[model].peopleAt(position);
      this.captions[model].lastChild.textContent = `${people} ${people === 1 ? "person" : "people"}, ${this.source.ms[model].toFixed(1)} ms a frame`;
    });
    this.#paint();
    if (this.recordings[0].count > 1) this.plot.at(position);
  }

  #paint() {
    if (!this.medium) return;
    for (const stage of this.both.checked ? [this.over] : this.stages) {
      const { width, height } = stage.medium;
      stage.medium.getContext("2d").drawImage(this.medium, 0, 0, width, height);
    }
  }

  close() {
    this.clock.pause();
    this.element.remove();
  }
}

function overlap(one, other) {
  const side = (low, high) => Math.max(0, Math.min(one[high], other[high]) - Math.max(one[low], other[low]));
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  const inner = side(0, 2) * side(1, 3);
  return inner / (area(one) + area(other) - inner || 1);
}

function figures({ models }) {
  const steps = [...new Set(models.flatMap(({ figures: found }) => Object.keys(found.steps_ms)))];
  const scored = models.some(({ ap }) => ap !== null);
  const columns = [
    ["model", (m) => m.name], ["people a frame", (m) => m.figures.people.toFixed(2)], ["keypoints missing", (m) => percent(m.figures.missing)],
    ["jitter, of the height", (m) => percent(m.figures.jitter, 2)], ...steps.map((step) => [`${step}, ms`, (m) => (m.figures.steps_ms[step] ?? 0).toFixed(1)]),
    ["frames a second", (m) => m.figures.frames_a_second.toFixed(1)], ["size", (m) => `${(m.bytes / 1e6).toFixed(1)} MB`], ["licence", (m) => m.licence || "not stated"],
    ...(scored ? [["AP", (m) => (m.ap === null ? "–" : m.ap.toFixed(3))]] : []),
  ];
  return make("section.figures", { "aria-label": "Figures" }, make("table", {},
    make("thead", {}, make("tr", {}, ...columns.map(([name]) => make("th", { scope: "col" }, name)))),
    make("tbody", {}, ...models.map((model) => make("tr", {}, ...columns.map(([, value], i) => make(i ? "td" : "th", i ? {} : { scope: "row" }, value(model))))))));
}

async function startComparison() {
  const page = JSON.parse(block("page"));
  const look = { ...LOOK, hidden: new Set() };
  let show = null;
  const place = make("div");
  const names = [...new Set(page.sources[0].recordings.flatMap(({ skeleton }) => skeleton.names))];
  const options = new Options(look, { names }, () => show?.draw());
  const open = async (number) => {
    show?.close();
    show = await Show.open(page, number, look);
    place.replaceChildren(show.element);
    show.draw();
    show.clock.seek(0);
    sources.value = String(number);
    document.documentElement.dataset.ready = "all";
  };
  const sources = make("select", { "aria-label": "Source", onchange: () => open(+sources.value) },
    ...page.sources.map(({ title }, number) => make("option", { value: number }, title)));
  const next = (by) => open((+sources.value + by + page.sources.length) % page.sources.length);
  const button = (text, label, by) => make("button", { type: "button", "aria-label": label, onclick: () => next(by) }, text);
  document.body.append(
    make("header", {}, make("h1", {}, page.title), make("div.sources", {}, button("‹", "Source before", -1), sources, button("›", "Next source", 1)), themeButton()),
    make("main", {}, place, make("div.below", {}, figures(page), options.element)));
  const keys = (command) => (...given) => show && command(...given);
  const clocked = Object.fromEntries(Object.keys(clockKeys(null)).map((key) => [key, keys(() => clockKeys(show.clock)[key]())]));
  listenToKeys({
    ...clocked, ...options.keys, PageUp: () => next(-1), PageDown: () => next(1), o: keys(() => show.both.click()),
    z: keys(() => show.stages[0].zoom(1.5)), x: keys(() => show.stages[0].zoom(1 / 1.5)),
    Escape: keys(() => {
      show.choose(null);
      show.stages[0].unzoom();
    }),
  });
  document.addEventListener("theme", () => show?.showPair(...show.pair));
  await open(0);
}

startComparison().catch((error) => {
  document.body.append(make("p.broken", { role: "alert" }, `This page cannot be shown: ${error.message}`));
  throw error;
});
