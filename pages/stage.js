// The stage: a video, a picture or nothing, and above it a canvas with people, at the screen's own resolution.
// Owns zoom and the choice of a person by a click. Knows layers of people, nothing of time.

import { LOOK, drawPeople } from "./look.js";
import { fresh, make } from "./dom.js";

const MOST_ZOOM = 16;
const NEAR_PX = 24; // how far from a person a click still means him

export class Stage {
  #zoom = 1;
  #center = [0.5, 0.5];
  #pointers = new Map();
  #moved = 0;

  /**
   * size: width and height of the frames, px; medium: a video or img element, or null.
   * choose(person or null, layer): called for a click; moved(): after zoom and place have changed by hand.
   */
  constructor(size, medium, choose, moved = () => {}) {
    Object.assign(this, { size, medium, choose, moved, layers: [], chosen: null });
    this.canvas = make("canvas.people", { role: "img", tabindex: "0", "aria-label": "People" });
    this.note = make("p.note", { hidden: true, role: "status" });
    this.view = make("div.view", {}, medium ?? make("div.plain"), this.canvas);
    this.element = make("div.stage", {}, this.view, this.note);
    this.element.style.aspectRatio = `${size[0]} / ${size[1]}`;
    this.element.style.setProperty("--shape", size[0] / size[1]);
    this.#listen();
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  /** layers: [{ people, skeleton, look }], the last one on top; chosen: the track that stands out, or null. */
  show(layers, chosen = null) {
    Object.assign(this, { layers, chosen });
    this.draw();
  }

  say(text) {
    this.note.hidden = !text;
    this.note.textContent = text;
  }

  get #scale() {
    return (this.canvas.clientWidth / this.size[0]) * this.#zoom;
  }

  /** From px of the frame to CSS px of the canvas. */
  get place() {
    const scale = this.#scale;
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    return {
      scale,
      x: width / 2 - this.#center[0] * this.size[0] * scale,
      y: height / 2 - this.#center[1] * this.size[1] * scale,
    };
  }

  draw() {
    const place = this.place;
    if (this.view.firstChild !== this.canvas) {
      const moved = `translate(${place.x}px, ${place.y}px) scale(${this.#zoom})`;
      this.view.firstChild.style.transform = moved;
    }
    const context = fresh(this.canvas);
    const unit = Math.min(2, Math.max(0.7, this.canvas.clientWidth / 900));
    for (const { people, skeleton, look } of this.layers) {
      drawPeople(context, people, skeleton, place, unit, { ...LOOK, ...look }, this.chosen);
    }
  }

  /** Zooms by a factor about a point of the canvas, CSS px; without one about the middle. */
  zoom(factor, point = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2]) {
    const before = this.place;
    const under = [(point[0] - before.x) / before.scale, (point[1] - before.y) / before.scale];
    this.#zoom = Math.min(MOST_ZOOM, Math.max(1, this.#zoom * factor));
    const { scale } = this.place;
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    this.#look(
      (under[0] + (width / 2 - point[0]) / scale) / this.size[0],
      (under[1] + (height / 2 - point[1]) / scale) / this.size[1],
    );
  }

  unzoom() {
    this.#zoom = 1;
    this.#look(0.5, 0.5);
  }

  #look(x, y) {
    const least = 0.5 / this.#zoom;
    this.#center = [x, y].map((share) => Math.min(1 - least, Math.max(least, share)));
    this.draw();
    this.moved(this);
  }

  /** Takes over zoom and place of another stage. */
  follow(other) {
    [this.#zoom, this.#center] = [other.#zoom, other.#center];
    this.draw();
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && this.#zoom === 1 && event.deltaY > 0) return; // the page scrolls
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 300), [event.offsetX, event.offsetY]);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
      this.#moved = this.#pointers.size > 1 ? Infinity : 0;
    });
    canvas.addEventListener("pointermove", (event) => this.#drag(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => {
        if (!this.#pointers.delete(event.pointerId)) return;
        if (name === "pointerup" && this.#moved < 5) this.#pick(event.offsetX, event.offsetY);
      });
    }
    canvas.addEventListener("dblclick", () => this.unzoom());
  }

  #drag(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.offsetX, event.offsetY];
    this.#pointers.set(event.pointerId, now);
    const others = [...this.#pointers].filter(([id]) => id !== event.pointerId);
    if (others.length === 1) {
      const [[, other]] = others;
      const apart = (point) => Math.max(1, Math.hypot(point[0] - other[0], point[1] - other[1]));
      this.zoom(apart(now) / apart(before), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
      return;
    }
    this.#moved += Math.abs(now[0] - before[0]) + Math.abs(now[1] - before[1]);
    if (this.#zoom === 1) return;
    const [dx, dy] = [0, 1].map((axis) => (now[axis] - before[axis]) / this.#scale / this.size[axis]);
    this.#look(this.#center[0] - dx, this.#center[1] - dy);
  }

  #pick(x, y) {
    const { scale, x: left, y: top } = this.place;
    const point = [(x - left) / scale, (y - top) / scale];
    let best = { distance: NEAR_PX / scale, person: null, layer: null };
    for (const layer of this.layers) {
      for (const person of layer.people) {
        const distance = distanceTo(person, layer.skeleton, point);
        if (distance < best.distance) best = { distance, person, layer };
      }
    }
    this.choose(best.person, best.layer);
  }
}

// From a point to the nearest limb or keypoint, px of the frame; a little more than nothing inside of the box.
function distanceTo({ points, box }, { edges, names }, [x, y]) {
  const inside = x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3];
  let least = inside ? (box[2] - box[0] + box[3] - box[1]) / 1000 + 1 : Infinity;
  const found = (k) => points[3 * k + 2] > 0;
  for (let k = 0; k < names.length; k++) {
    if (found(k)) least = Math.min(least, Math.hypot(points[3 * k] - x, points[3 * k + 1] - y));
  }
  for (const [a, b] of edges) {
    if (!found(a) || !found(b)) continue;
    const [ax, ay] = [points[3 * a], points[3 * a + 1]];
    const [dx, dy] = [points[3 * b] - ax, points[3 * b + 1] - ay];
    const share = Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1)));
    least = Math.min(least, Math.hypot(ax + share * dx - x, ay + share * dy - y));
  }
  return least;
}
