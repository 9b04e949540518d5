// People of photos from a server (`posert serve nano`):  node photo.mjs http://127.0.0.1:8080 PHOTO...
import { readFile } from "node:fs/promises";

const [server, ...photos] = process.argv.slice(2);
const [model] = await (await fetch(`${server}/v1/models`)).json();
console.log(`keypoints: ${model.skeleton.names.join(", ")}`);
for (const photo of photos) {
  const answer = await fetch(`${server}/v1/people`, { method: "POST", body: await readFile(photo) });
  const found = await answer.json();
  if (!answer.ok) throw new Error(`${photo}: ${found.error}; ${found.hint}`);
  console.log(`${photo}: ${found.people.length} people, ${found.size_wh.join(" x ")} px`);
}
