// How people look: colours that colour-blind people can tell apart, and one picture of people on a canvas.
// Knows people as { id, score, box, points } and a skeleton, nothing of where they come from.

// Okabe and Ito's palette without black, "Color Universal Design", 2008; drawn on a dark edge on any picture.
const PALETTE = ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2"];
export const SIDES = { left: "#56b4e9", right: "#e69f00", middle: "#f7f7f7" };
const EDGE = "rgb(0 0 0 / 65%)";

/** The colour of a person; of one without an id by the place in the frame. */
export function colorOf(id, place = 0) {
  return PALETTE[(id === null ? place : id - 1 + PALETTE.length) % PALETTE.length];
}

export function sideOf(name) {
  return name.startsWith("left") ? "left" : name.startsWith("right") ? "right" : "middle";
}

export const LOOK = {
  limbs: true, points: true, boxes: false, ids: true, scores: false, least: 0, colors: "people", hidden: new Set(),
  width: 1, dash: [], color: null,
};

/**
 * Draws people. look.hidden: the names of keypoints that are not shown.
 * view: { scale, x, y } from px of the frame to px of the canvas; unit: px of the canvas that look thin.
 * look: as LOOK; chosen: the track that stands out, or null.
 */
export function drawPeople(context, people, skeleton, view, unit, look, chosen = null) {
  context.lineCap = "round";
  people.forEach((person, place) => {
    const color = look.color ?? colorOf(person.id, place);
    context.globalAlpha = chosen === null || person.track === chosen ? 1 : 0.35;
    const pen = { context, view, unit: unit * look.width, look, skeleton, color };
    if (look.limbs) limbs(pen, person);
    if (look.points) points(pen, person);
    if (look.boxes || (chosen !== null && person.track === chosen)) box(pen, person);
    if (look.ids || look.scores) label(pen, person);
  });
  context.globalAlpha = 1;
}

const at = (view, x, y) => [view.x + x * view.scale, view.y + y * view.scale];

function shown(look, { names }, points, k) {
  return points[3 * k + 2] > 0 && points[3 * k + 2] >= look.least && !look.hidden.has(names[k]);
}

function limbs({ context, view, unit, look, skeleton, color }, { points }) {
  context.setLineDash(look.dash.map((length) => length * unit));
  for (const [strokeStyle, width] of [[EDGE, 5], [null, 3]]) {
    context.lineWidth = width * unit;
    for (const [a, b] of skeleton.edges) {
      if (!shown(look, skeleton, points, a) || !shown(look, skeleton, points, b)) continue;
      context.strokeStyle = strokeStyle ?? limbColor(look, skeleton, points, a, b, color);
      context.beginPath();
      context.moveTo(...at(view, points[3 * a], points[3 * a + 1]));
      context.lineTo(...at(view, points[3 * b], points[3 * b + 1]));
      context.stroke();
    }
  }
  context.setLineDash([]);
}

function limbColor(look, { names }, points, a, b, color) {
  if (look.colors === "scores") return scoreColor(Math.min(points[3 * a + 2], points[3 * b + 2]));
  if (look.colors !== "sides") return color;
  const [one, other] = [sideOf(names[a]), sideOf(names[b])];
  return SIDES[one === other ? one : "middle"];
}

// From dark blue (0) to yellow (1), as the map "cividis" does.
function scoreColor(score) {
  const share = Math.min(1, Math.max(0, score));
  const mixed = [[0, 255], [45, 230], [110, 70]].map(([low, high]) => Math.round(low + (high - low) * share));
  return `rgb(${mixed.join(" ")})`;
}

function points({ context, view, unit, look, skeleton, color }, person) {
  const found = person.points;
  for (let k = 0; k < skeleton.names.length; k++) {
    if (!shown(look, skeleton, found, k)) continue;
    const [x, y] = at(view, found[3 * k], found[3 * k + 1]);
    context.beginPath();
    context.arc(x, y, 3 * unit, 0, 2 * Math.PI);
    context.lineWidth = 1.5 * unit;
    context.strokeStyle = EDGE;
    context.fillStyle = { scores: scoreColor(found[3 * k + 2]), sides: SIDES[sideOf(skeleton.names[k])] }[look.colors] ?? color;
    context.fill();
    context.stroke();
  }
}

function box({ context, view, unit, color }, person) {
  const [left, top] = at(view, person.box[0], person.box[1]);
  const [right, bottom] = at(view, person.box[2], person.box[3]);
  for (const [strokeStyle, width] of [[EDGE, 3], [color, 1.5]]) {
    context.lineWidth = width * unit;
    context.strokeStyle = strokeStyle;
    context.strokeRect(left, top, right - left, bottom - top);
  }
}

function label({ context, view, unit, look, color }, person) {
  const words = [look.ids && person.id !== null ? String(person.id) : "", look.scores ? person.score.toFixed(2) : ""];
  const text = words.filter(Boolean).join("  ");
  if (!text) return;
  context.font = `600 ${13 * unit}px system-ui, sans-serif`;
  const [x, y] = at(view, person.box[0], person.box[1]);
  const [width, height] = [context.measureText(text).width + 10 * unit, 18 * unit];
  const top = Math.max(0, y - height);
  context.fillStyle = color;
  context.beginPath();
  context.roundRect(x, top, width, height, 4 * unit);
  context.fill();
  context.fillStyle = "#111";
  context.textBaseline = "middle";
  context.fillText(text, x + 5 * unit, top + height / 2 + unit);
}
