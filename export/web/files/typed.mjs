// Values from outside as what the schema says of them: types, ranges, defaults. The twin of posert/typed.py.
// Also records as the numbers and lists that decoders take (posert/postprocess/kernels/records.py).

import { schema } from "./schema.mjs";
import { PosertError } from "./errors.mjs";

const NAMES = { int: "a whole number", float: "a finite number", str: "text", bool: "true or false" };

export class Misfit extends PosertError {
  constructor(path, expected, got) {
    super(`${path} = ${shown(got)}, expected ${expected}`);
  }
}

function shown(value) {
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= 80 ? text : `${text.slice(0, 77)}...`;
}

/** The value as the kind says, with defaults filled in. */
export function read(kind, value, path) {
  if (kind === "any") return value;
  if (typeof kind === "string") return plain(kind, value, path, NAMES[kind]);
  if (kind.number) return ranged(kind, value, path);
  if (kind.record) return record(schema.records[kind.record], value, path);
  if (kind.words) return kind.words.includes(value) ? value : fail(path, kind.words.join(" | "), value);
  if (kind.optional) return value === null ? null : read(kind.optional, value, path);
  if (kind.either) return read(kind.either.find((one) => (typeof value === "number") === (one === "float")) ?? kind.either[0], value, path);
  if (kind.map) {
    if (!isObject(value)) fail(path, "an object", value);
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, read(kind.map, item, `${path}.${key}`)]));
  }
  if (!Array.isArray(value)) fail(path, "a list", value);
  if (kind.tuple && kind.tuple.length !== value.length) fail(path, `${kind.tuple.length} values`, value);
  return value.map((item, i) => read(kind.list ?? kind.tuple[i], item, `${path}[${i}]`));
}

/** An object as a record: its fields, no others, those that are missing as they are if nobody says. */
export function record(fields, value, path) {
  if (!isObject(value)) fail(path, "an object", value);
  const unknown = Object.keys(value).sort().find((key) => !fields.some(({ name }) => name === key));
  if (unknown !== undefined) fail(`${path}.${unknown}`, `one of the keys ${fields.map(({ name }) => name).join(", ")}`, value[unknown]);
  const missing = fields.filter(({ name, ...rest }) => !(name in value) && !("default" in rest)).map(({ name }) => name);
  if (missing.length) fail(path, `the fields ${missing.join(", ")}`, value);
  const filled = fields.map(({ name, kind, default: usual }) => [name, name in value ? read(kind, value[name], `${path}.${name}`) : usual]);
  return Object.fromEntries(filled);
}

/** Values over a record's defaults, as `params_of` in Python does. */
export function paramsOf(fields, what, values) {
  const unknown = Object.keys(values).filter((key) => !fields.some(({ name }) => name === key)).sort();
  const known = fields.map(({ name }) => name).sort().join(", ");
  if (unknown.length) throw new PosertError(`${what} has no parameters ${unknown.join(", ")}; it knows ${known}`, "check the names after `params`");
  try {
    return Object.fromEntries(fields.map(({ name, kind, default: usual }) => [name, name in values ? read(kind, values[name], name) : usual]));
  } catch (error) {
    throw error instanceof Misfit ? new PosertError(`${what} cannot use ${error.what}`, "correct `params`, or export the model again") : error;
  }
}

function plain(kind, value, path, expected) {
  const type = { int: "number", float: "number", str: "string", bool: "boolean" }[kind];
  const good = typeof value === type && (type !== "number" || (kind === "int" ? Number.isSafeInteger(value) : Number.isFinite(value)));
  return good ? value : fail(path, expected, value);
}

function ranged({ number, range, said }, value, path) {
  const expected = `${NAMES[number]} ${said}`;
  plain(number, value, path, expected);
  const { least = -Infinity, most = Infinity, above = -Infinity, below = Infinity } = range;
  return least <= value && value <= most && above < value && value < below ? value : fail(path, expected, value);
}

function fail(path, expected, got) {
  throw new Misfit(path, expected, got);
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** The scalar fields of a record as numbers: words by their place, NaN for null, tuples one by one. */
export function numbersOf(fields, values) {
  const scalars = fields.filter(({ kind }) => kind !== "str" && kind.optional !== "str" && !kind.list);
  return scalars.flatMap(({ name, kind }) => {
    const value = values[name];
    if (kind.words) return [kind.words.indexOf(value)];
    return Array.isArray(value) ? value.map(Number) : [value === null ? NaN : Number(value)];
  });
}

/** The list fields of a record as one table: of each its length and its values. */
export function tableOf(lists) {
  return lists.map((list) => list.flat()).flatMap((list) => [list.length, ...list]);
}

/** The lists of a record, words by their place. */
export function listsOf(fields, values) {
  return fields.filter(({ kind }) => kind.list).map(({ name, kind }) => {
    const { words } = kind.list;
    return words ? values[name].map((word) => words.indexOf(word)) : values[name];
  });
}
