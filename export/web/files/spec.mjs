// A model's metadata: read, checked, joined to a detector and to networks for parts, with other parameters.
// The twin of posert/runtime/{spec,options,joining,parameters}.py; decoders and rules are what the schema says of them.

import { PosertError } from "./errors.mjs";
import { schema } from "./schema.mjs";
import { Misfit, paramsOf, read } from "./typed.mjs";

const AGAIN = "export the model again (posert export), or give it its metadata with: posert tag FILE NAME";
const TORSO = ["left_hip", "right_hip", "left_shoulder", "right_shoulder"];

/** The metadata in a file (`onnx.mjs`), every field checked. */
export function readSpec(file, name) {
  const text = file.metadata[schema.key];
  if (text === undefined) throw new PosertError(`${name} carries no posert metadata, so nobody knows what its tensors mean`, AGAIN);
  if (text.length > schema.limit) throw new PosertError(`the model's metadata has ${text.length} characters; at most ${schema.limit} are read`, AGAIN);
  let data;
  try {
    data = JSON.parse(text);
  } catch (error) {
    throw new PosertError(`the model's metadata is not JSON: ${error.message}`, AGAIN);
  }
  if (data?.format > schema.newest_format) {
    throw new PosertError(`the model's metadata has format ${data.format}; this posert reads up to ${schema.newest_format}`, "update posert: pip install -U posert");
  }
  try {
    const spec = read({ record: "ModelSpec" }, data, "posert");
    check(spec);
    return spec;
  } catch (error) {
    throw error instanceof Misfit ? new PosertError(`the model's metadata is wrong: ${error.what}`, AGAIN) : error;
  }
}

/** What would be a place outside of an array if it were wrong; the other rules a file of posert's has passed already. */
function check({ skeleton, stages }) {
  const count = skeleton.names.length;
  const inside = (k) => Number.isInteger(k) && k >= 0 && k < count;
  if (![...skeleton.edges.flat(), ...skeleton.flip].every(inside)) throw new Misfit("posert.skeleton", `keypoint indices 0..${count - 1}`, skeleton.edges);
  for (const name of ["sigmas", "flip"]) {
    if (![0, count].includes(skeleton[name].length)) throw new Misfit(`posert.skeleton.${name}`, `${count} values or none`, skeleton[name]);
  }
  if (!stages.length) throw new Misfit("posert.stages", "at least one stage", stages);
  stages.forEach((stage, i) => {
    const place = `posert.stages.${stage.name}`;
    if (!(stage.decoder in schema.decoders)) throw unknown("decoder", stage.decoder, schema.decoders);
    if (stage.suppress !== null && !(stage.suppress in schema.rules)) throw unknown("suppression rule", stage.suppress, schema.rules);
    if (stage.region === "follow" && !stage.turn && !TORSO.every((name) => skeleton.names.includes(name))) {
      throw new Misfit(`${place}.region`, `frame or boxes, to follow takes ${TORSO.join(", ")}`, stage.region);
    }
    if (stage.region === "parts" || (i > 0 && stage.region === "frame")) throw new Misfit(`${place}.region`, "boxes or follow", stage.region);
    const found = stage.region === "boxes" && i > 0 ? stages[i - 1].keypoint_count : stage.region === "boxes" ? Infinity : count;
    if (stage.turn && !stage.turn.keypoints.every((k) => k < found)) throw new Misfit(`${place}.turn.keypoints`, `two of ${found} keypoints`, stage.turn.keypoints);
  });
}

function unknown(what, name, known) {
  return new PosertError(`the model asks for the ${what} ${shownName(name)}; this posert has ${Object.keys(known).sort().join(", ")}`,
    "update posert (pip install -U posert), or export the model again with this version");
}

const shownName = (name) => `'${String(name).slice(0, 80)}'`;

/** The stages that find people, without those that look at parts of them. */
export const bodyStages = (spec) => spec.stages.filter((stage) => stage.region !== "parts");

/** What the stage's decoder finds. */
export function skeletonOf(spec, stage) {
  const body = bodyStages(spec);
  const { skeleton } = spec;
  if (stage !== body.at(-1) && stage.keypoint_count) {
    return { names: Array.from({ length: stage.keypoint_count }, (_, k) => String(k)), edges: [], sigmas: [], flip: [] };
  }
  const added = spec.stages.slice(body.length).reduce((sum, { parts }) => sum + (parts ? parts.each.reduce((all, part) => all + part.names.length, 0) : 0), 0);
  const count = skeleton.names.length - added;
  const first = (list) => list.slice(0, count);
  return { names: first(skeleton.names), edges: added ? skeleton.edges.filter((edge) => Math.max(...edge) < count) : skeleton.edges, sigmas: first(skeleton.sigmas), flip: first(skeleton.flip) };
}

/** The places of the torso's keypoints; -1 each if one is not there. */
export function torsoOf({ names }) {
  return TORSO.every((name) => names.includes(name)) ? TORSO.map((name) => names.indexOf(name)) : [-1, -1, -1, -1];
}

/** Each keypoint's mirror image and its limb; see `sides_of` in posert/postprocess/steady.py. */
export function sidesOf({ names, edges, flip }) {
  const limbs = flip.map((mirrored, k) => new Set([k, mirrored]));
  for (const [one, other] of limbs.length ? edges : []) {
    if (TORSO.includes(names[one]) || TORSO.includes(names[other])) continue;
    const joined = new Set([...limbs[one], ...limbs[other]]);
    for (const k of joined) limbs[k] = joined;
  }
  return flip.map((mirrored, k) => [mirrored, Math.min(...limbs[k])]);
}

/** `spec` with the single stage of `other` in place of its own detector. */
export function withDetector(spec, other, file) {
  const looking = spec.stages.filter(({ region }) => region !== "frame").map(forPeople);
  if (!looking.length) throw new PosertError(`${spec.model} finds people without a detector`, "leave `detector` away");
  const turns = spec.stages.map(({ turn }) => turn).filter(Boolean);
  const found = other.skeleton.names.length;
  const wanted = 1 + Math.max(-1, ...turns.flatMap(({ keypoints }) => keypoints));
  if (other.stages.length !== 1 || other.stages[0].region !== "frame" || found < wanted || (found > 0 && !turns.length)) {
    throw new PosertError(`${file} is no detector for ${spec.model}: ${other.model} finds ${found} keypoints`, "give a file that finds boxes, tagged with: posert tag FILE NAME");
  }
  return { ...spec, stages: [{ ...other.stages[0], name: "detector", keypoint_count: found, file: null, sha256: null }, ...looking] };
}

function forPeople(stage) {
  if (stage.region !== "follow" || stage.suppress !== null) return stage;
  return { ...stage, input: { ...stage.input, margin: stage.input.margin || schema.detected }, suppress: "oks" };
}

/** `spec` with networks for parts behind its own: [[their spec, file], ...]. */
export function withParts(spec, others) {
  for (const [other, file] of others) {
    const [stage] = other.stages;
    if (!stage.parts) throw new PosertError(`${file} cannot be joined to ${spec.model}: ${other.model} does not say which parts it looks at`, "give a network for hands or faces, exported by this posert");
    for (const part of stage.parts.each) spec = { ...spec, skeleton: joined(checkedFor(part, spec, other), part, other.skeleton) };
    const taken = new Set(spec.stages.map(({ name }) => name));
    let name = stage.name;
    for (let i = 2; taken.has(name); i++) name = `${stage.name}${i}`;
    const keypoint_count = other.skeleton.names.length;
    spec = { ...spec, stages: [...spec.stages, { ...stage, name, region: "parts", keypoint_count, file }] };
  }
  return spec;
}

function checkedFor(part, spec, other) {
  const known = spec.skeleton.names;
  const both = part.names.find((name) => known.includes(name));
  if (both) throw new PosertError(`${spec.model} finds ${both} itself, ${other.model} would find it again`, "leave one of `parts` away");
  if (!usablePlaces(part, known).length || !(part.up ?? []).every((name) => known.includes(name))) {
    throw new PosertError(`${spec.model} does not say where to look for ${part.names[0]}`, "take a model that finds what it goes by, or leave `parts` away");
  }
  return spec.skeleton;
}

/** The places that speak of nothing but these keypoints, each with the number of its group. */
export function usablePlaces(part, names) {
  let group = 0;
  const found = [];
  for (const place of part.places) {
    if (!place.otherwise) group++;
    const named = [...Object.keys(place.centre), ...place.lines.flatMap(([a, b]) => [a, b])];
    if (named.every((name) => names.includes(name))) found.push([group, place]);
  }
  return found;
}

function joined(base, part, own) {
  const first = base.names.length;
  const names = [...base.names, ...part.names];
  const shifted = (edges) => edges.map(([a, b]) => [first + a, first + b]);
  const flip = mirrored(names);
  [...base.flip, ...own.flip.map((k) => first + k)].forEach((other, k) => {
    if (flip[k] === k) flip[k] = other;
  });
  return {
    names, edges: [...base.edges, ...shifted(part.edges.length ? part.edges : own.edges)],
    sigmas: base.sigmas.length && own.sigmas.length ? [...base.sigmas, ...own.sigmas] : [], flip: base.flip.length ? flip : [],
  };
}

function mirrored(names) {
  const swapped = (name) => name.replaceAll("left", "\0").replaceAll("right", "left").replaceAll("\0", "right");
  return names.map((name, k) => (names.includes(swapped(name)) ? names.indexOf(swapped(name)) : k));
}

/** `spec` with other parameters, GROUP.NAME -> value, and how it follows people. */
export function withParams(spec, params) {
  const bare = bodyStages(spec).at(-1).name;
  const last = spec.stages.findLast(({ suppress }) => suppress !== null);
  const stages = spec.stages.map((stage) => ({ ...stage, params: { ...stage.params }, suppress_params: { ...stage.suppress_params } }));
  const follow = {};
  const groups = Object.fromEntries(stages.map((stage) => [stage.name, stage.params]));
  for (const stage of stages) if (stage.suppress !== null) groups[stage.name === last.name ? "suppress" : `${stage.name}.suppress`] = stage.suppress_params;
  if (stages.some(({ region }) => region === "follow")) groups.follow = follow;
  for (const [text, value] of Object.entries(params)) {
    const at = text.lastIndexOf(".");
    const [group, name] = [at < 0 ? bare : text.slice(0, at), text.slice(at + 1)];
    if (!(group in groups)) throw new PosertError(`${spec.model} has no ${group}.${name}; it has parameters of ${Object.keys(groups).join(", ")}`, "posert info MODEL shows the parameters");
    groups[group][name] = value;
  }
  return [{ ...spec, stages }, paramsOf(schema.follow, "follow", follow)];
}
