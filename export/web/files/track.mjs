// Ids for people of a video: whoever is nearest to where somebody was keeps his id, for a second. Much simpler than
// `posert infer --track`, which also knows clothes; for what a page shows while it plays.

const MEMORY_S = 1;
const NEAR = 0.25; // of the box's longer side: how far keypoints may move between two pictures, on average

export class Tracker {
  #known = []; // {id, time, person}
  #last = 0;

  /** An id for each of the people of a picture at a time, s. */
  ids(people, time) {
    this.#known = this.#known.filter((one) => time - one.time <= MEMORY_S && time >= one.time);
    const pairs = people.flatMap((person, place) => this.#known.map((one) => ({ place, one, apart: apart(person, one.person) })));
    const ids = new Array(people.length).fill(null);
    const taken = new Set();
    for (const { place, one, apart: distance } of pairs.sort((a, b) => a.apart - b.apart)) {
      if (distance > NEAR || ids[place] !== null || taken.has(one)) continue;
      ids[place] = one.id;
      taken.add(one);
    }
    people.forEach((_, place) => (ids[place] ??= ++this.#last));
    this.#known = [...this.#known.filter((one) => !taken.has(one)), ...people.map((person, place) => ({ id: ids[place], time, person }))];
    return ids;
  }
}

/** The mean distance of keypoints that both have, in shares of the longer side. */
function apart(one, other) {
  const side = Math.max(one.box[2] - one.box[0], one.box[3] - one.box[1], other.box[2] - other.box[0], other.box[3] - other.box[1], 1);
  let [sum, count] = [0, 0];
  for (let k = 0; k < one.keypoints.length; k += 3) {
    if (!(one.keypoints[k + 2] > 0 && other.keypoints[k + 2] > 0)) continue;
    sum += Math.hypot(one.keypoints[k] - other.keypoints[k], one.keypoints[k + 1] - other.keypoints[k + 1]);
    count++;
  }
  return count ? sum / count / side : Infinity;
}
