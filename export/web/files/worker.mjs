// The worker behind a model of `posert.mjs`: opens the networks and posert.wasm, takes pictures, gives people.
// Everything that takes time happens here, so that the page never waits.

import { Engine, RGBA } from "./engine.mjs";
import { PosertError } from "./errors.mjs";
import { readFile } from "./onnx.mjs";
import { readSpec, withDetector, withParams, withParts } from "./spec.mjs";
import { modelTable } from "./table.mjs";

const KINDS = { float16: "Uint16Array" };
const MOST_THREADS = 4; // of a network; more help little in WebAssembly
let ort, sessions, engine, checkBoxes, canvas;
let queue = Promise.resolve();

self.onmessage = ({ data: { id, call, ...given } }) => {
  queue = queue.then(async () => {
    try {
      const [answer, moved = []] = await CALLS[call](given);
      self.postMessage({ id, answer }, moved);
    } catch (error) {
      const { what = `${error.message ?? error}`, hint = "", stack } = error;
      self.postMessage({ id, failed: { what, hint, stack } });
    }
  });
};

const CALLS = {
  async open({ source, detector, parts, files, params, detectEvery, backend, threads, runtime }) {
    const main = await fetched(source);
    const spec = readSpec(main.file, main.name);
    const beside = { ...Object.fromEntries(spec.stages.map(({ name }) => [name, main])) };
    for (const stage of spec.stages) if (stage.file && !(detector && stage.region === "frame")) beside[stage.name] = await companion(stage, source, files);
    let whole = spec;
    if (detector) {
      const other = await fetched(detector);
      whole = withDetector(spec, readSpec(other.file, other.name), other.name);
      beside.detector = other;
    }
    const others = await Promise.all(parts.map(fetched));
    const before = whole.stages.length;
    whole = withParts(whole, others.map((other) => [readSpec(other.file, other.name), other.name]));
    others.forEach((other, i) => (beside[whole.stages[before + i].name] = other));
    const [changed, follow] = withParams(whole, params);
    checkUse(changed, detectEvery);
    const opened = Object.fromEntries(changed.stages.map(({ name }) => [name, { name: beside[name].name, inputs: beside[name].file.inputs }]));
    const table = modelTable(changed, follow, opened);
    engine = new Engine(await compiled(), changed, table, detectEvery);
    checkBoxes = (boxes) => checkRegions(changed, boxes);
    const how = await openNetworks(changed, beside, { backend, threads, runtime });
    const { names, edges, sigmas, flip } = changed.skeleton;
    const follows = changed.stages.some(({ region }) => region === "follow");
    return [{ name: changed.model, licence: changed.licence, skeleton: { names, edges, sigmas, flip }, follows, ...how }];
  },

  async estimate({ picture, width, height, boxes }) {
    const began = performance.now();
    checkBoxes(boxes);
    const pixels = picture instanceof Uint8ClampedArray || picture instanceof Uint8Array ? picture : drawn(picture, width, height);
    const ms = { pixels: performance.now() - began, network: 0, total: 0 };
    const people = await engine.estimate(pixels, width, height, RGBA, async (feed) => {
      const asked = performance.now();
      const outputs = await run(feed);
      ms.network += performance.now() - asked;
      return outputs;
    }, boxes);
    ms.total = performance.now() - began;
    const moved = [people.keypoints.buffer, people.scores.buffer, people.boxes.buffer];
    return [{ ...people, ms, width, height }, moved];
  },

  async reset() {
    engine.reset();
    return [null];
  },
};

/** An ONNX file: {name, bytes, file}. */
async function fetched(source) {
  const name = source.name ?? String(source.url).split(/[?#]/)[0].split("/").at(-1);
  let bytes = source.bytes;
  if (!bytes) {
    let answer;
    try {
      answer = await fetch(source.url);
    } catch (error) {
      throw new PosertError(`${source.url} cannot be fetched: ${error.message}`, "is it there, and does its server allow this page to read it (CORS)?");
    }
    if (!answer.ok) throw new PosertError(`${source.url} answers ${answer.status}`, "give the address of an .onnx file that posert wrote");
    bytes = new Uint8Array(await answer.arrayBuffer());
  }
  return { name, bytes, file: readFile(bytes, name) };
}

/** The file beside the model that a stage names, its hash checked where the page may compute one. */
async function companion(stage, source, files) {
  const given = files[stage.file];
  if (!given && !source.url) throw new PosertError(`the model needs its companion ${stage.file}`, `give it too: openModel(file, { files: { "${stage.file}": other } })`);
  const other = await fetched(given ?? { url: new URL(stage.file, source.url).href, name: stage.file });
  if (self.crypto?.subtle) {
    const hash = [...new Uint8Array(await crypto.subtle.digest("SHA-256", other.bytes))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    if (hash !== stage.sha256) throw new PosertError(`${stage.file} is not the file that the model names: its sha256 is ${hash}, expected ${stage.sha256}`, "export both again");
  }
  return other;
}

function checkUse({ model, stages }, detectEvery) {
  const several = stages.find(({ scales }) => scales.length > 1);
  if (several) throw new PosertError(`${model} averages over several sizes, which a page cannot`, "make the model with one size, or use it from Python");
  if (!Number.isInteger(detectEvery) || detectEvery < 1) throw new PosertError(`detectEvery ${detectEvery} is not possible`, "use 1 or more");
}

/** Whether the model can be told where to look, or has to be. */
function checkRegions({ model, stages }, boxes) {
  if (!boxes && stages[0].region === "boxes") {
    throw new PosertError(`${model} looks at boxes and has no detector`, "give one: openModel(file, { detector: other }), or boxes: estimate(picture, { boxes })");
  }
  if (boxes && stages.every(({ region }) => region === "frame")) throw new PosertError(`${model} finds people without boxes`, "leave `boxes` away");
  if (boxes && stages.some(({ turn }) => turn)) throw new PosertError(`${model} turns its regions by keypoints that only it finds`, "leave `boxes` away");
}

async function compiled() {
  const address = new URL("./posert.wasm", import.meta.url);
  const answer = await fetch(address);
  if (!answer.ok) throw new PosertError(`${address} answers ${answer.status}`, "all files of the site must lie in one folder");
  try {
    return await WebAssembly.compile(await answer.arrayBuffer());
  } catch (error) {
    throw new PosertError(`this browser does not take posert.wasm: ${error.message}`, "use one with SIMD in WebAssembly: Chromium 91, Firefox 89, Safari 16.4 or newer");
  }
}

/** Fetches the one runtime that fits this browser and opens a session for every network. */
async function openNetworks(spec, beside, { backend, threads, runtime }) {
  const adapter = backend === "wasm" ? null : await self.navigator.gpu?.requestAdapter().catch(() => null);
  if (backend === "webgpu" && !adapter) throw new PosertError("this browser offers no WebGPU adapter", 'leave `backend` away, or take "wasm"');
  const used = adapter ? "webgpu" : "wasm";
  ort = await import(new URL(`ort.${used}.min.mjs`, runtime).href);
  const most = self.crossOriginIsolated ? Math.min(MOST_THREADS, self.navigator.hardwareConcurrency ?? 1) : 1;
  const chosen = threads ? Math.min(threads, self.crossOriginIsolated ? threads : 1) : most;
  Object.assign(ort.env.wasm, { wasmPaths: runtime, numThreads: chosen });
  ort.env.logLevel = "error";
  const opened = new Map();
  for (const { name } of spec.stages) {
    const { bytes, name: file } = beside[name];
    if (!opened.has(bytes)) opened.set(bytes, await openSession(bytes, file, used));
  }
  sessions = spec.stages.map(({ name }) => opened.get(beside[name].bytes));
  return { backend: used, threads: chosen };
}

async function openSession(bytes, file, used) {
  const executionProviders = used === "webgpu" ? ["webgpu", "wasm"] : ["wasm"];
  try {
    return await ort.InferenceSession.create(bytes, { executionProviders, graphOptimizationLevel: "all", logSeverityLevel: 3 });
  } catch (error) {
    throw new PosertError(`${file} cannot be opened as an ONNX model: ${firstLine(error)}`, "export it again with this posert");
  }
}

const firstLine = (error) => String(error.message ?? error).trim().split("\n")[0].slice(0, 300);

async function run({ stage, outputs, feeds }) {
  const tensors = Object.fromEntries(Object.entries(feeds).map(([name, { type, dims, data }]) => [name, new ort.Tensor(type, data, dims)]));
  let results;
  try {
    results = await sessions[stage].run(tensors, outputs);
  } catch (error) {
    const [picture] = Object.values(feeds);
    throw new PosertError(`the network failed on input [${picture.dims}]: ${firstLine(error)}`, "its input may be fixed to one size, or the browser has run out of memory");
  }
  return Object.fromEntries(outputs.map((name) => {
    const { type, dims, data } = results[name];
    return [name, { type, dims, data: type === "float16" && data.constructor.name !== KINDS.float16 ? Float32Array.from(data) : data }];
  }));
}

/** The pixels of a bitmap or a video's frame, which is closed. */
function drawn(picture, width, height) {
  if (!canvas || canvas.width !== width || canvas.height !== height) canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
  context.drawImage(picture, 0, 0, width, height);
  picture.close();
  return context.getImageData(0, 0, width, height).data;
}
