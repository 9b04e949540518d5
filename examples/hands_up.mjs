// Who raises a hand, as it happens:  posert infer nano walk.mp4 --track | node hands_up.mjs
import { createInterface } from "node:readline";

let names = [];
const up = new Set();
for await (const line of createInterface({ input: process.stdin })) {
  const row = JSON.parse(line);
  if (row.skeleton) {
    names = row.skeleton.names;
    continue;
  }
  for (const person of row.people) {
    const point = (name) => person.keypoints[names.indexOf(name)];
    const nose = point("nose");
    const raised = ["left_wrist", "right_wrist"].map(point).some((wrist) => wrist[2] > 0 && nose[2] > 0 && wrist[1] < nose[1]);
    if (raised && !up.has(person.id)) console.log(`${row.time_s.toFixed(2)} s: person ${person.id} raises a hand`);
    if (raised) up.add(person.id);
    else up.delete(person.id);
  }
}
