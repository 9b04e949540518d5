// A model's metadata as the table that posert.wasm opens. The twin of posert/export/web/table.py, byte for byte.

import { PosertError } from "./errors.mjs";
import { schema } from "./schema.mjs";
import { bodyStages, sidesOf, skeletonOf, torsoOf, usablePlaces } from "./spec.mjs";
import { listsOf, numbersOf, paramsOf, tableOf } from "./typed.mjs";

const REGIONS = ["frame", "boxes", "follow", "parts"];
export const TYPES = ["float32", "uint8", "int32", "float16", "int64", "float64"];
const WHOLE = { uint8: [0, 255], int32: [-(2 ** 31), 2 ** 31 - 1], int64: [-(2 ** 53), 2 ** 53] };
const LONGEST = 16384; // px, of an input's side
const [MOST_CONSTANTS, MOST_AXES] = [8, 5];

/** files: stage name -> {name, inputs} of its file (`onnx.mjs`). Float64Array. */
export function modelTable(spec, follow, files) {
  const out = new Writer();
  const found = skeletonOf(spec, bodyStages(spec).at(-1));
  const most = Math.max(spec.skeleton.names.length, ...spec.stages.map((stage) => skeletonOf(spec, stage).names.length));
  out.text(spec.model).texts(spec.skeleton.names).plain(most);
  out.numbers(torsoOf(spec.skeleton)).numbers(sidesOf(found).flat()).numbers(numbersOf(schema.follow, follow));
  const [base, each] = schema.memory;
  out.plain(base + each * found.names.length, bodyStages(spec).length, spec.stages.length);
  for (const stage of spec.stages) writeStage(out, spec, stage, files[stage.name]);
  return out.table;
}

/** Output tensors that a stage's decoder reads, in its order: [[role, tensor name], ...]. */
export function wantedOutputs(stage) {
  return schema.decoders[stage.decoder].roles.filter((role) => role in stage.outputs).map((role) => [role, stage.outputs[role]]);
}

/** Whether the network takes one row at a time: its batch axis is fixed to 1. */
export const singleRow = (stage, file) => file.inputs.some(({ name, shape }) => name === stage.input.name && shape[0] === 1);

function writeStage(out, spec, stage, file) {
  const { input } = stage;
  const { params, roles } = schema.decoders[stage.decoder];
  const values = paramsOf(params, `decoder '${stage.decoder}'`, stage.params);
  const skeleton = skeletonOf(spec, stage);
  const outputs = wantedOutputs(stage);
  out.plain(REGIONS.indexOf(stage.region)).text(file.name).text(input.name);
  out.plain(TYPES.indexOf(input.dtype), input.layout === "NHWC", singleRow(stage, file) ? 1 : schema.pose_batch, ...input.size_wh);
  out.numbers(numbersOf(schema.records.InputSpec, input)).plain(stage.max_iou).texts(outputs.map(([, name]) => name));
  out.numbers(outputs.map(([role]) => roles.indexOf(role))).plain(skeleton.names.length);
  out.text(stage.decoder).numbers(numbersOf(params, values));
  out.numbers(tableOf([skeleton.edges, skeleton.flip, ...listsOf(params, values)]));
  out.numbers(stage.turn ? numbersOf(schema.records.Turn, stage.turn) : []);
  writeParts(out, stage, spec.skeleton.names);
  const constants = constantsOf(stage, file);
  out.plain(constants.length);
  for (const one of constants) writeConstant(out, one);
  const rule = schema.rules[stage.suppress];
  out.text(stage.suppress ?? "").numbers(rule ? numbersOf(rule, paramsOf(rule, `suppression rule '${stage.suppress}'`, stage.suppress_params)) : []);
}

function writeParts(out, stage, names) {
  const { each = [], again = null, apart = 0 } = stage.region === "parts" ? stage.parts : {};
  out.plain(each.length);
  for (const part of each) out.numbers(partNumbers(part, stage.parts, names));
  out.numbers(each.map((part) => names.indexOf(part.names[0]))).plain(apart).numbers(again ? numbersOf(schema.records.Turn, again) : []);
}

/** See `_numbers` in posert/runtime/parts.py. */
function partNumbers(part, parts, names) {
  const index = (name) => names.indexOf(name);
  const places = usablePlaces(part, names);
  const head = [index(part.names[0]), part.names.length, parts.min_score, parts.near, Number(part.mirrored), Number(part.up !== null), ...(part.up ?? []).map(index)];
  if (!part.up) head.push(0, 0);
  return [...head, places.length, ...places.flatMap(([group, place]) => {
    const absent = place.without.filter((name) => names.includes(name)).map(index);
    const centre = Object.entries(place.centre);
    return [group, Number(place.side === "sum"), centre.length, place.lines.length, absent.length,
      ...centre.flatMap(([name, share]) => [index(name), share]), ...place.lines.flatMap(([a, b, factor]) => [index(a), index(b), factor]), ...absent];
  })];
}

/** Inputs of the graph besides the picture, with the numbers that the metadata name; see posert/runtime/constants.py. */
function constantsOf(stage, file) {
  const wanted = file.inputs.filter(({ name }) => name !== stage.input.name);
  const unfed = wanted.find(({ name }) => !(name in stage.constants));
  if (unfed) throw new PosertError(`nothing feeds the input '${unfed.name}' of the network of stage '${stage.name}'`, "name its numbers in the metadata's constants, or export it without");
  const given = Object.entries(stage.constants);
  if (given.length > MOST_CONSTANTS) throw new PosertError(`${given.length} tensors besides the picture; at most ${MOST_CONSTANTS} are given here`, "use it from Python");
  return given.map(([name, numbers]) => {
    const tensor = wanted.find((one) => one.name === name);
    if (!tensor) throw new PosertError(`the network of stage '${stage.name}' has no input '${name}' for its constants`, "export or tag it again");
    const { type, shape: sides } = tensor;
    const per_row = sides.length > 0 && typeof sides[0] !== "number";
    const shape = per_row ? sides.slice(1) : sides;
    const count = shape.reduce((product, side) => product * side, 1);
    const fixed = shape.every((side) => typeof side === "number") && shape.length + per_row <= MOST_AXES;
    if (!TYPES.includes(type) || !fixed || ![1, count].includes(numbers.length) || !holds(type, numbers)) {
      throw new PosertError(`the constants [${numbers}] do not fit the input '${name}' of stage '${stage.name}': ${type} [${sides}]`, "give as many numbers as a row has, or one for all");
    }
    return { name, type, per_row, shape, numbers };
  });
}

function holds(type, numbers) {
  const [least, most] = WHOLE[type] ?? [-Infinity, Infinity];
  return numbers.map((number) => (typeof number === "string" ? LONGEST : number)).every((number) => !(type in WHOLE) || (Number.isInteger(number) && least <= number && number <= most));
}

function writeConstant(out, { name, type, per_row, shape, numbers }) {
  out.text(name).plain(TYPES.indexOf(type), per_row).numbers(shape);
  out.numbers(numbers.map((number) => (typeof number === "string" ? 0 : rounded(type, number))));
  out.numbers(numbers.map((number) => ["", "width", "height"].indexOf(typeof number === "string" ? number : "")));
}

/** As the tensor's type has it. A float16 is rounded where it is written; here it passes through float32, as there. */
function rounded(type, number) {
  return type === "float32" ? Math.fround(number) : type === "float16" ? half(number) : number;
}

/** The nearest float16, half way the even one. */
function half(number) {
  const size = Math.abs(number);
  if (!(size < 65520)) return number < 0 ? -Infinity : number > 0 ? Infinity : NaN;
  const step = 2 ** Math.max(-24, Math.floor(Math.log2(size || 1)) - 10);
  const [low, rest] = [Math.floor(size / step), size / step - Math.floor(size / step)];
  const whole = rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? low + 1 : low;
  return Math.sign(number) * whole * step;
}

class Writer {
  #words = [];

  plain(...values) {
    for (const value of values) this.#words.push(Number(value));
    return this;
  }

  numbers(values) {
    this.plain(values.length);
    return this.plain(...values);
  }

  text(value) {
    const bytes = new TextEncoder().encode(value);
    const padded = new Uint8Array(Math.ceil(bytes.length / 8) * 8);
    padded.set(bytes);
    this.plain(bytes.length);
    this.#words.push(padded);
    return this;
  }

  texts(values) {
    this.plain(values.length);
    for (const value of values) this.text(value);
    return this;
  }

  get table() {
    const size = this.#words.reduce((sum, word) => sum + (typeof word === "number" ? 8 : word.length), 0);
    const bytes = new Uint8Array(size);
    const view = new DataView(bytes.buffer);
    let at = 0;
    for (const word of this.#words) {
      if (typeof word === "number") view.setFloat64(at, word, true);
      else bytes.set(word, at);
      at += typeof word === "number" ? 8 : word.length;
    }
    return new Float64Array(bytes.buffer);
  }
}
