// What an ONNX file says without being opened: its metadata, and the inputs and outputs of its graph.
// Knows a few of protobuf's fields and no more (onnx.proto: ModelProto, GraphProto, ValueInfoProto).

import { PosertError } from "./errors.mjs";

const FIXED = { 1: 8, 5: 4 }; // wire type -> bytes
const TYPES = { 1: "float32", 2: "uint8", 6: "int32", 7: "int64", 10: "float16", 11: "float64" };
const utf8 = new TextDecoder();

/** {metadata: {key: text}, inputs: [{name, type, shape}], outputs: [name]}; a side that is free is a text or null. */
export function readFile(bytes, name) {
  try {
    const found = { metadata: {}, inputs: [], outputs: [] };
    for (const [field, value] of fields(bytes)) {
      if (field === 14) {
        const entry = Object.fromEntries(fields(value));
        found.metadata[text(entry[1])] = text(entry[2]);
      } else if (field === 7) Object.assign(found, readGraph(value));
    }
    return found;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new PosertError(`${name} is no whole ONNX file`, "it is cut off, damaged, or something else; export or copy it again");
  }
}

function readGraph(bytes) {
  const [inputs, outputs, given] = [[], [], new Set()];
  for (const [field, value] of fields(bytes)) {
    if (field === 5) given.add(text(first(value, 8))); // an initializer is no input, whatever old files say
    else if (field === 11) inputs.push(readInput(value));
    else if (field === 12) outputs.push(text(first(value, 1)));
  }
  return { inputs: inputs.filter(({ name }) => !given.has(name)), outputs };
}

function readInput(bytes) {
  const tensor = first(first(bytes, 2), 1);
  const shape = [];
  for (const [field, side] of fields(first(tensor, 2))) {
    const one = field === 1 ? Object.fromEntries(fields(side)) : null;
    if (one) shape.push(one[1] ?? (one[2] ? text(one[2]) : null));
  }
  const type = first(tensor, 1);
  return { name: text(first(bytes, 1)), type: TYPES[type] ?? `type ${type}`, shape };
}

const text = (bytes) => utf8.decode(bytes ?? new Uint8Array(0));

function first(bytes, wanted) {
  for (const [field, value] of fields(bytes ?? new Uint8Array(0))) if (field === wanted) return value;
  return undefined;
}

/** Number and value of every field: bytes, or a whole number. */
function* fields(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const integer = () => {
    let value = 0;
    for (let place = 0; place < 10; place++) {
      const byte = view.getUint8(at++);
      value += (byte & 127) * 2 ** (7 * place);
      if (byte < 128) return value;
    }
    throw new RangeError("an integer without end");
  };
  while (at < bytes.length) {
    const tag = integer();
    const kind = tag % 8;
    if (kind === 0) yield [Math.floor(tag / 8), integer()];
    else if (kind === 2) {
      const length = integer();
      if (at + length > bytes.length) throw new RangeError("cut off");
      yield [Math.floor(tag / 8), bytes.subarray(at, at + length)];
      at += length;
    } else if (FIXED[kind]) at += FIXED[kind];
    else throw new RangeError("no such field");
  }
  if (at > bytes.length) throw new RangeError("cut off");
}
