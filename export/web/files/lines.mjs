// Results as files: JSON lines and CSV, in the layouts of `posert infer` (posert/runtime/files). Numbers are rounded alike.

const [PX, SCORE] = [2, 4]; // decimals

const rounded = (value, decimals) => Number(value.toFixed(decimals));

/** results: [{frame, time, size, people, ids}]; ids may be null. */
export function jsonLines({ model, skeleton, source, results }) {
  const { names, edges } = skeleton;
  const lines = [{ posert: 1, model, skeleton: { names, edges }, source }];
  for (const { frame, time, size, people, ids } of results) {
    lines.push({ frame, time_s: rounded(time, 6), size_wh: size, people: people.map(({ score, box, keypoints }, n) => ({
      ...(ids ? { id: ids[n] } : {}), score: rounded(score, SCORE), box_xyxy: [...box].map((side) => rounded(side, PX)),
      keypoints: names.map((_, k) => [rounded(keypoints[3 * k], PX), rounded(keypoints[3 * k + 1], PX), rounded(keypoints[3 * k + 2], SCORE)]),
    })) });
  }
  return lines.map((line) => `${JSON.stringify(line)}\n`).join("");
}

export function commaSeparated({ skeleton, source, results }) {
  const sides = ["left", "top", "right", "bottom"].map((side) => `box_${side}`);
  const rows = [["source", "frame", "time_s", "width", "height", "person", "id", "score", ...sides,
    ...skeleton.names.flatMap((name) => [`${name}_x`, `${name}_y`, `${name}_score`])]];
  for (const { frame, time, size, people, ids } of results) {
    people.forEach(({ score, box, keypoints }, n) => rows.push([source, frame, rounded(time, 6), ...size, n, ids ? ids[n] : "", rounded(score, SCORE),
      ...[...box].map((side) => rounded(side, PX)), ...[...keypoints].map((value, i) => rounded(value, i % 3 === 2 ? SCORE : PX))]));
  }
  return rows.map((row) => `${row.map(quoted).join(",")}\n`).join("");
}

function quoted(field) {
  const text = String(field);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
