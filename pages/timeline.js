// The time line: how many people there are, a lane for every id with its gaps, and what happened to ids.
// Draws only what lies in its span; one mark a pixel, however long the video is.

import { clockText, fresh, make, styleColor } from "./dom.js";
import { colorOf } from "./look.js";
import { scrubs } from "./span.js";

const RULER = 18;
const CROWD = 26;
const TOP = RULER + CROWD;
const LANE = 18;
const MOST_LANES_SEEN = 8;

export class Timeline {
  /** seek(time), choose(track): called for clicks. */
  constructor(recording, span, { seek, choose }) {
    Object.assign(this, { recording, span, chosen: null });
    this.lanes = recording.tracks.map((track, number) => ({ track, number })).filter(({ track }) => track.id !== null);
    this.names = make("div.names", { "aria-hidden": "true" });
    this.canvas = make("canvas");
    this.cursor = make("div.cursor");
    this.body = make("div.lanes", {}, this.canvas, this.cursor);
    const seen = make("div.seen", {}, this.names, this.body);
    this.scroller = make("div.scroller", { onscroll: () => this.draw() }, make("div.spacer", {}, seen));
    this.element = make("div.timeline", {
      role: "slider", tabindex: "0", "aria-label": "Time", "aria-valuemin": "0", "aria-valuemax": recording.duration,
    }, this.scroller);
    const height = (lanes) => `${TOP + LANE * lanes + 4}px`;
    this.scroller.firstChild.style.height = height(this.lanes.length);
    seen.style.height = this.scroller.style.maxHeight = height(Math.min(this.lanes.length, MOST_LANES_SEEN));
    scrubs(this.body, span, (time, event) => {
      const lane = event ? this.#laneAt(event.offsetY) : null;
      if (lane) choose(lane.number);
      seek(time);
    });
    this.names.addEventListener("click", ({ target }) => target.dataset.track && choose(+target.dataset.track));
    span.addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.body);
  }

  #laneAt(y) {
    return y < TOP ? null : (this.lanes[Math.floor((y - TOP + this.scroller.scrollTop) / LANE)] ?? null);
  }

  /** Marks the time of a position. */
  at(position) {
    const time = this.recording.times[position];
    this.span.follow(time);
    this.cursor.style.transform = `translateX(${this.span.x(time, this.body.clientWidth)}px)`;
    this.element.setAttribute("aria-valuenow", time.toFixed(2));
    this.element.setAttribute("aria-valuetext", `${clockText(time)}, ${this.recording.peopleAt(position)} people`);
    this.position = position;
  }

  choose(track) {
    this.chosen = track;
    const lane = this.lanes.findIndex(({ number }) => number === track);
    const { scrollTop } = this.scroller;
    if (lane >= 0) this.scroller.scrollTop = Math.min(lane * LANE, Math.max(scrollTop, (lane + 1 - MOST_LANES_SEEN) * LANE));
    this.draw();
  }

  draw() {
    const context = fresh(this.canvas);
    const width = this.canvas.clientWidth;
    const first = Math.floor(this.scroller.scrollTop / LANE);
    const seen = this.lanes.slice(first, first + MOST_LANES_SEEN + 1);
    const top = (place) => TOP + (first + place) * LANE - this.scroller.scrollTop;
    context.fillStyle = styleColor("line");
    for (const time of this.span.marks(width)) context.fillRect(Math.round(this.span.x(time, width)), TOP, 1, 9999);
    seen.forEach((lane, place) => this.#lane(context, width, lane, top(place)));
    context.clearRect(0, 0, width, TOP);
    this.#ruler(context, width);
    this.#crowd(context, width);
    this.#events(context, width);
    this.#name(seen, top);
    if (this.position !== undefined) this.at(this.position);
  }

  #name(seen, top) {
    const names = seen.map(({ track, number }, place) => {
      const name = make("span", { "data-track": number }, `id ${track.id}`);
      name.style.top = `${top(place)}px`;
      name.style.setProperty("--person", colorOf(track.id));
      name.classList.toggle("chosen", number === this.chosen);
      return name;
    });
    this.names.replaceChildren(...names, make("span.crowd", {}, "people"));
  }

  #ruler(context, width) {
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    const digits = this.span.end - this.span.begin < 5 ? 2 : 0;
    for (const time of this.span.marks(width)) {
      const x = this.span.x(time, width);
      context.fillStyle = styleColor("line");
      context.fillRect(Math.round(x), 0, 1, TOP);
      context.fillStyle = styleColor("soft");
      context.fillText(clockText(time, digits), x + 4, RULER / 2);
    }
  }

  // As many columns as there are pixels: each the most and the fewest people of its frames.
  #crowd(context, width) {
    const { recording, span } = this;
    this.most ??= Array.from({ length: recording.count }, (_, i) => recording.peopleAt(i)).reduce((a, b) => Math.max(a, b), 1);
    const unit = (CROWD - 6) / this.most;
    const bottom = RULER + CROWD - 3;
    const [light, strong] = [styleColor("muted-fill"), styleColor("muted")];
    for (let x = 0, position = recording.positionAt(span.begin); x < width; x++) {
      const last = recording.positionAt(span.time(x + 1, width));
      let [low, high] = [Infinity, 0];
      for (; position <= last; position++) {
        const people = recording.peopleAt(position);
        low = Math.min(low, people);
        high = Math.max(high, people);
      }
      position = last;
      context.fillStyle = light;
      context.fillRect(x, bottom - high * unit, 1, high * unit);
      context.fillStyle = strong;
      context.fillRect(x, bottom - low * unit, 1, low * unit);
    }
  }

  #lane(context, width, { track, number }, top) {
    const { times, step } = this.recording;
    context.globalAlpha = this.chosen === null || this.chosen === number ? 1 : 0.55;
    context.fillStyle = styleColor("faint");
    context.fillRect(0, top + LANE - 1, width, 1);
    context.fillStyle = colorOf(track.id);
    context.strokeStyle = "rgb(0 0 0 / 45%)";
    context.lineWidth = 1;
    let done = -1; // px up to which the lane is filled
    for (const [first, last] of track.runs) {
      if (times[last] + step < this.span.begin) continue;
      if (times[first] > this.span.end) break;
      const from = Math.max(done, this.span.x(times[first], width));
      const to = Math.max(this.span.x(times[last] + step, width), from + 1);
      if (to <= done) continue;
      context.fillRect(from, top + 4, to - from, LANE - 8);
      context.strokeRect(from + 0.5, top + 4.5, to - from - 1, LANE - 9);
      done = to;
    }
    context.globalAlpha = 1;
  }

  #events(context, width) {
    context.fillStyle = styleColor("accent");
    let last = -9;
    for (const { position } of this.recording.events) {
      const x = this.span.x(this.recording.times[position], width);
      if (x - last < 3 || x < 0 || x > width) continue;
      context.beginPath();
      context.moveTo(x - 4, RULER - 7);
      context.lineTo(x + 4, RULER - 7);
      context.lineTo(x, RULER);
      context.fill();
      last = x;
    }
  }
}
