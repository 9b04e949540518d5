// Curves of one person over time: the angle of each joint on both sides, and the speed of chosen keypoints.
// Each pixel shows the least and the greatest value of its frames, so an hour costs as much as a second.

import { fresh, make, styleColor } from "./dom.js";
import { sideOf } from "./look.js";
import { scrubs } from "./span.js";


/** One plot: curves [{ name, color, dash, values }] of a track, `values` being a column of all rows, below 0 = none. */
export class Plot {
  constructor(title, unit, most, recording, span, seek) {
    Object.assign(this, { unit, most, recording, span, curves: [], track: null });
    this.canvas = make("canvas", { role: "img", "aria-label": `${title} over time` });
    this.cursor = make("div.cursor");
    this.area = make("div.area", {}, this.canvas, this.cursor);
    this.legend = make("div.legend");
    this.scale = make("div.scale", { "aria-hidden": "true" });
    this.element = make("figure.plot", {}, make("figcaption", {}, make("span", {}, title), this.legend), this.scale, this.area);
    scrubs(this.area, span, seek);
    span.addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.area);
  }

  show(track, curves) {
    Object.assign(this, { track, curves });
    this.values = curves.map(() => make("b"));
    this.legend.replaceChildren(...curves.map(({ name, color, dash }, i) => {
      const line = make("i");
      line.style.borderTop = `3px ${dash.length ? "dashed" : "solid"} ${color}`;
      return make("span", {}, line, name, this.values[i]);
    }));
    this.draw();
  }

  draw() {
    const context = fresh(this.canvas);
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    const most = this.most ?? this.#greatest();
    this.#grid(context, width, height, most);
    for (const curve of this.curves) this.#curve(context, width, height, most, curve);
    if (this.position !== undefined) this.at(this.position);
  }

  // The track's rows in view, and one more at each side.
  #rows() {
    const { recording, span, track } = this;
    const begin = track.from(recording.positionAt(span.begin)) - 1;
    const end = track.from(recording.positionAt(span.end) + 1) + 1;
    return [Math.max(track.begin, begin), Math.min(track.end, end)];
  }

  // A round number that 99 of 100 values in view do not exceed.
  #greatest() {
    const found = [];
    if (this.track) {
      const [begin, end] = this.#rows();
      const stride = Math.max(1, (end - begin) >> 12);
      for (const { values } of this.curves) {
        for (let row = begin; row < end; row += stride) if (values[row] >= 0) found.push(values[row]);
      }
    }
    found.sort((a, b) => a - b);
    const most = Math.max(found[Math.floor(0.99 * found.length)] ?? 0, this.unit.least) * this.unit.factor;
    const power = 10 ** Math.floor(Math.log10(most));
    return ([1, 2, 5, 10].find((one) => one * power >= most) * power) / this.unit.factor;
  }

  #grid(context, width, height, most) {
    context.fillStyle = styleColor("faint");
    for (const time of this.span.marks(width)) context.fillRect(Math.round(this.span.x(time, width)), 0, 1, height);
    const shares = [0, 0.5, 1];
    for (const share of shares) context.fillRect(0, Math.round((height - 1) * (1 - share)), width, 1);
    const numbers = shares.map((share) => +(share * most * this.unit.factor).toPrecision(3));
    this.scale.replaceChildren(...numbers.reverse().map((number) => make("span", {}, String(number))));
  }

  #curve(context, width, height, most, { values, color, dash }) {
    if (!this.track) return;
    const { times, columns: { position }, step } = this.recording;
    const [begin, end] = this.#rows();
    const y = (value) => (height - 2) * (1 - Math.min(1, value / most)) + 1;
    context.strokeStyle = color;
    context.lineWidth = 1.5;
    context.lineCap = context.lineJoin = "round"; // a single frame is a dot
    const dense = end - begin > 2 * width;
    context.setLineDash(dense ? [] : dash);
    context.beginPath();
    let [pen, lastTime, pixel, low, high, lastValue] = [false, -Infinity, null, 0, 0, 0];
    const flush = () => {
      if (pixel === null) return;
      context.lineTo(pixel, y(low));
      if (high > low) context.lineTo(pixel, y(high));
      context.lineTo(pixel, y(lastValue));
    };
    for (let row = begin; row < end; row++) {
      const value = values[row];
      const time = times[position[row]];
      if (value < 0 || time - lastTime > 1.5 * step) {
        flush();
        [pen, pixel] = [false, null];
      }
      lastTime = time;
      if (value < 0) continue;
      const exact = this.span.x(time, width);
      const x = dense ? Math.round(exact) : exact;
      if (x !== pixel) {
        flush();
        if (!pen) context.moveTo(x, y(value));
        [pen, pixel, low, high] = [true, x, value, value];
      } else [low, high] = [Math.min(low, value), Math.max(high, value)];
      lastValue = value;
    }
    flush();
    context.stroke();
    context.setLineDash([]);
  }

  at(position) {
    this.position = position;
    const x = this.span.x(this.recording.times[position], this.area.clientWidth);
    this.cursor.style.transform = `translateX(${x}px)`;
    const row = this.track ? this.track.rowAt(position) : -1;
    this.curves.forEach(({ values }, i) => {
      const value = row < 0 ? -1 : values[row];
      this.values[i].textContent = value < 0 ? "–" : `${(value * this.unit.factor).toFixed(this.unit.digits)}${this.unit.sign}`;
    });
  }
}

const DEGREES = { factor: 0.1, digits: 0, sign: "°", least: 0 };
const SPEED = { factor: 0.01, digits: 1, sign: "", least: 20 };
const DASHES = [[], [6, 4], [2, 3], [9, 3, 2, 3]];

export class Plots {
  constructor(recording, span, seek) {
    Object.assign(this, { recording, track: null });
    this.title = make("h2", {}, "Angles and speeds");
    this.joints = new Map();
    recording.joints.forEach((name, column) => {
      const joint = name.replace(/^(left|right)_/, "");
      if (!this.joints.has(joint)) this.joints.set(joint, { columns: [], plot: new Plot(joint, DEGREES, 1800, recording, span, seek) });
      this.joints.get(joint).columns.push({ name, column });
    });
    this.speed = new Plot("speed, torso lengths a second", SPEED, null, recording, span, seek);
    this.moving = new Set(recording.skeleton.names.flatMap((name, k) => (/^(left|right)_wrist$/.test(name) ? [k] : [])));
    this.all = [...[...this.joints.values()].map(({ plot }) => plot), this.speed];
    this.element = make("section.plots", { "aria-label": "Angles and speeds" }, this.title,
      make("div.grid", {}, ...this.all.map(({ element }) => element), this.#chooser()));
  }

  #chooser() {
    const { names } = this.recording.skeleton;
    const boxes = names.map((name, k) => {
      const box = make("input", { type: "checkbox", checked: this.moving.has(k), onchange: () => {
        if (box.checked) this.moving.add(k);
        else this.moving.delete(k);
        this.#showSpeed();
      } });
      return make("label", {}, box, name.replaceAll("_", " "));
    });
    return make("details.chooser", {}, make("summary", {}, "Keypoints of the speed plot"), make("div.checks", {}, ...boxes));
  }

  #column(name, number) {
    const { columns, rows } = this.recording;
    return columns[name] === undefined ? new Int16Array(rows).fill(-1) : columns[name].subarray(number * rows, (number + 1) * rows);
  }

  /** Shows the curves of a track; of null nobody's. */
  show(track) {
    this.track = track;
    const whose = track?.id == null ? "" : ` of id ${track.id}`;
    this.title.textContent = track ? `Angles and speeds${whose}` : "Angles and speeds: choose a person";
    for (const { plot, columns } of this.joints.values()) {
      plot.show(track, columns.map(({ name, column }) => ({
        name: sideOf(name), color: this.#colors(sideOf(name)), dash: sideOf(name) === "right" ? DASHES[1] : [],
        values: this.#column("angle", column),
      })));
    }
    this.#showSpeed();
  }

  #showSpeed() {
    const { names } = this.recording.skeleton;
    const count = { left: 0, right: 0, middle: 0 };
    this.speed.show(this.track, [...this.moving].sort((a, b) => a - b).map((k) => {
      const side = sideOf(names[k]);
      return {
        name: names[k].replaceAll("_", " "), color: this.#colors(side), values: this.#column("speed", k),
        dash: DASHES[(count[side]++ + (side === "right")) % DASHES.length],
      };
    }));
  }

  #colors(side) {
    return styleColor(side);
  }

  at(position) {
    for (const plot of this.all) plot.at(position);
  }

  draw() {
    if (this.track) this.show(this.track);
    else this.all.forEach((plot) => plot.draw());
  }
}
