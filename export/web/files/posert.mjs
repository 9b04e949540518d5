// People in pictures, in the page: `openModel(...)`, then `model.estimate(...)`. Everything runs on this machine, in a
// worker of its own; nothing is sent anywhere. Types and what they mean: posert.d.mts.

import { PosertError } from "./errors.mjs";

export { PosertError };

/** Opens a model file of posert's: an address, a File or Blob, or bytes. See `OpenOptions` in posert.d.mts. */
export async function openModel(source, options = {}) {
  const { detector = null, parts = [], files = {}, params = {}, detectEvery = 1, backend = "auto", threads = 0, runtime } = options;
  if (!["auto", "wasm", "webgpu"].includes(backend)) throw new PosertError(`there is no backend ${backend}`, "auto, wasm or webgpu");
  const worker = new Worker(new URL("./worker.mjs", import.meta.url), { type: "module", name: "posert" });
  const model = new Model(worker);
  try {
    const beside = Object.fromEntries(await Promise.all(Object.entries(files).map(async ([name, file]) => [name, await named(file, name)])));
    const about = await model.ask("open", {
      source: await named(source), detector: detector && (await named(detector)), parts: await Promise.all(parts.map((part) => named(part))),
      files: beside, params, detectEvery, backend, threads, runtime: new URL(runtime ?? "./", runtime ? document.baseURI : import.meta.url).href,
    });
    return Object.assign(model, about);
  } catch (error) {
    model.close();
    throw error;
  }
}

/** A model's file as the worker takes it: an address, or bytes. */
async function named(source, name) {
  if (typeof source === "string" || source instanceof URL) return { url: new URL(source, globalThis.document?.baseURI ?? import.meta.url).href };
  if (source instanceof Blob) return { name: name ?? source.name ?? "the model", bytes: new Uint8Array(await source.arrayBuffer()) };
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) {
    const bytes = source instanceof ArrayBuffer ? new Uint8Array(source) : new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
    return { name: name ?? "the model", bytes };
  }
  throw new PosertError("no model", "give an address, a File or Blob, or bytes of an .onnx file that posert wrote");
}

/** An open model; calls are answered in order. Made by `openModel`. */
class Model {
  #worker;
  #waiting = new Map();
  #last = 0;
  #closed = false;

  constructor(worker) {
    this.#worker = worker;
    worker.onmessage = ({ data: { id, answer, failed } }) => {
      const { done, fail } = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (failed) fail(Object.assign(new PosertError(failed.what, failed.hint), { stack: failed.stack }));
      else done(answer);
    };
    worker.onerror = (event) => {
      event.preventDefault?.();
      this.#fail(new PosertError(`the worker does not run: ${event.message ?? "it cannot be loaded"}`, "all files of the site must lie in one folder, served over HTTP"));
    };
  }

  /** For this file alone. */
  ask(call, given = {}, moved = []) {
    if (this.#closed) throw new PosertError("the model is closed", "open it again");
    const id = ++this.#last;
    return new Promise((done, fail) => {
      this.#waiting.set(id, { done, fail });
      this.#worker.postMessage({ id, call, ...given }, moved);
    });
  }

  /** The people of a video's frame of now, a picture, a canvas, a bitmap, or ImageData; see `EstimateOptions` and `People` in posert.d.mts. */
  async estimate(picture, { boxes = null } = {}) {
    const rows = boxes && rowsOf(boxes);
    const { given, moved } = await pixelsOf(picture);
    const found = await this.ask("estimate", { ...given, boxes: rows }, moved);
    return peopleOf(found);
  }

  /** Forgets the last picture: another video begins. */
  async reset() {
    await this.ask("reset");
  }

  /** Ends the worker; the model cannot be used any more. */
  close() {
    this.#closed = true;
    this.#worker.terminate();
    this.#fail(new PosertError("the model was closed", "wait for its answers before you close it"));
  }

  #fail(error) {
    for (const { fail } of this.#waiting.values()) fail(error);
    this.#waiting.clear();
  }
}

/** What the worker takes of a picture, without copies where the browser can. */
async function pixelsOf(picture) {
  if (typeof ImageData !== "undefined" && picture instanceof ImageData) {
    const { data, width, height } = picture;
    return { given: { picture: data, width, height }, moved: [] };
  }
  const [width, height] = sizeOf(picture);
  if (!width || !height) throw new PosertError("the picture has no pixels", "wait until it is loaded: await image.decode(), or the video's event loadeddata");
  const direct = typeof VideoFrame !== "undefined" && typeof HTMLVideoElement !== "undefined" && picture instanceof HTMLVideoElement;
  try {
    const moved = direct ? new VideoFrame(picture) : await createImageBitmap(picture, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    return { given: { picture: moved, width, height }, moved: [moved] };
  } catch (error) {
    throw new PosertError(`the picture cannot be read: ${error.message}`, "serve it from this page's own origin, or with CORS headers");
  }
}

/** Boxes as the worker takes them, f32 [N*5]: left, top, right, bottom px, score. */
function rowsOf(boxes) {
  return Float32Array.from(Array.from(boxes, (box, i) => {
    const row = Array.from(box ?? []);
    if (row.length < 4 || row.length > 5 || !row.every((value) => typeof value === "number")) {
      throw new PosertError(`boxes[${i}] is no box`, "give [left, top, right, bottom] in px of the picture, or [left, top, right, bottom, score]");
    }
    return row.length < 5 ? [...row, 1] : row;
  }).flat());
}

function sizeOf(picture) {
  return [picture?.videoWidth ?? picture?.naturalWidth ?? picture?.displayWidth ?? picture?.width, picture?.videoHeight ?? picture?.naturalHeight ?? picture?.displayHeight ?? picture?.height];
}

function peopleOf({ count, keypointCount: k, keypoints, scores, boxes, ms, width, height }) {
  const people = Array.from({ length: count }, (_, n) => ({
    score: scores[n], box: boxes.subarray(4 * n, 4 * n + 4), keypoints: keypoints.subarray(3 * k * n, 3 * k * (n + 1)),
  }));
  return Object.assign(people, { ms, size: [width, height] });
}
