// One model in one instance of posert.wasm: pictures in, what the network is to run on out, its outputs in, people out.
// Knows nothing of ONNX Runtime: `run` is the caller's. The steps are those of posert.h (posert_begin and so on).

import { PosertError } from "./errors.mjs";
import { TYPES, wantedOutputs } from "./table.mjs";

const ARRAYS = { float32: Float32Array, uint8: Uint8Array, int32: Int32Array, float16: Uint16Array, int64: BigInt64Array, float64: Float64Array };
export const [BGR, RGB, BGRA, RGBA] = [0, 1, 2, 3];

export class Engine {
  #c;
  #stages;
  #buffers = new Map(); // what for -> {at, room}

  /** module: of posert.wasm; spec, table: of the model (`spec.mjs`, `table.mjs`). */
  constructor(module, spec, table, detectEvery = 1) {
    this.#c = new WebAssembly.Instance(module).exports;
    this.#c._initialize();
    this.#stages = spec.stages.map((stage) => ({ input: stage.input.name, outputs: wantedOutputs(stage).map(([, name]) => name), constants: Object.keys(stage.constants) }));
    const at = this.#put("table", new Uint8Array(table.buffer));
    this.#check(this.#c.open(at, table.length, detectEvery), "export the model again, or load the page and its files anew");
  }

  /**
   * The people of pixels (BGR, RGB, BGRA or RGBA, rows without gaps).
   * run({stage, outputs, feeds: {name: {type, dims, data}}}) gives {name: {type, dims, data}}; the feeds' data are valid until then.
   * boxes: f32 [N*5] (left, top, right, bottom px, score) to look in, and nowhere else.
   */
  async estimate(pixels, width, height, format, run, boxes = null) {
    if (boxes) this.#c.boxes(this.#put("boxes", new Uint8Array(boxes.length ? boxes.buffer : 4)), boxes.length / 5);
    this.#check(this.#c.begin(this.#put("pixels", pixels), width, height, format));
    for (let feed; (feed = this.#next()); ) {
      let outputs;
      try {
        outputs = await run(feed);
      } catch (error) {
        this.reset();
        throw error;
      }
      this.#give(feed.outputs.map((name) => outputs[name]));
    }
    return this.#people();
  }

  /** Forgets the last picture: another video begins. */
  reset() {
    this.#c.reset();
  }

  #check(status, hint = "") {
    if (status) throw new PosertError(this.#text(this.#c.error()), hint);
  }

  #text(at) {
    const bytes = new Uint8Array(this.#c.memory.buffer);
    return new TextDecoder().decode(bytes.slice(at, bytes.indexOf(0, at)));
  }

  #integers(at, count) {
    return new Int32Array(this.#c.memory.buffer, at, count);
  }

  /** Copies bytes into memory that is kept for them. */
  #put(what, bytes) {
    const kept = this.#buffers.get(what) ?? { at: 0, room: 0 };
    if (bytes.length > kept.room) {
      if (kept.at) this.#c.drop(kept.at);
      Object.assign(kept, { at: this.#c.take(bytes.length), room: bytes.length });
      if (!kept.at) throw new PosertError(`no memory for ${bytes.length} bytes of ${what}`, "take smaller pictures");
      this.#buffers.set(what, kept);
    }
    new Uint8Array(this.#c.memory.buffer).set(bytes, kept.at);
    return kept.at;
  }

  #tensor(type, dims, at) {
    const size = dims.reduce((product, side) => product * side, 1);
    return { type: TYPES[type], dims, data: new ARRAYS[TYPES[type]](this.#c.memory.buffer, at, size) };
  }

  #next() {
    const [stage, data, type, ...rest] = this.#integers(this.#c.next(), 8);
    this.#check(this.#c.status());
    if (!data) return null;
    const { input, outputs, constants } = this.#stages[stage];
    const feeds = { [input]: this.#tensor(type, rest.slice(0, 4), data) };
    constants.forEach((name, i) => {
      const [kind, at, axes, ...dims] = this.#integers(this.#c.constant(i), 8);
      feeds[name] = this.#tensor(kind, dims.slice(0, axes), at);
    });
    return { stage, outputs, feeds };
  }

  #give(outputs) {
    outputs.forEach((output, i) => {
      const data = floats(output);
      const at = this.#put(`output ${i}`, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      this.#c.output(i, at, output.dims.length, ...[0, 1, 2, 3, 4].map((axis) => output.dims[axis] ?? 0));
    });
    this.#check(this.#c.give(outputs.length), "export the model again");
  }

  #people() {
    const [count, keypoints, ...places] = this.#integers(this.#c.people(), 5);
    const sizes = [count * keypoints * 3, count, count * 4];
    const [points, scores, boxes] = sizes.map((size, i) => (size ? new Float32Array(this.#c.memory.buffer, places[i], size).slice() : new Float32Array(0)));
    return { count, keypointCount: keypoints, keypoints: points, scores, boxes };
  }
}

/** An output as float32: labels are whole numbers, a small network's outputs half as long. */
function floats({ type, data }) {
  if (data instanceof Float32Array) return data;
  if (type !== "float16" || !(data instanceof Uint16Array)) return Float32Array.from(data, Number);
  return Float32Array.from(data, halfValue);
}

function halfValue(bits) {
  const [sign, exponent, part] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return part ? NaN : sign * Infinity;
  return sign * (exponent ? (1 + part / 1024) * 2 ** (exponent - 15) : part * 2 ** -24);
}
