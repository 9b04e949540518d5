// A recording: the people of every frame, unpacked from what pages/pack.py made, as typed arrays.
// Rows are one person in one frame, ordered by track and then by frame; column k of a table has `rows` values.

const ARRAYS = { i16: Int16Array, u8: Uint8Array, i32: Int32Array, f32: Float32Array, f64: Float64Array };

/** The recording behind a head (JSON) and its packed people. */
export async function unpack(head, base64) {
  return new Recording(head, await columnsOf(head.blocks.people, base64));
}

/** Columns by their names, of what a block holds and its text: base64 of a zlib stream. */
async function columnsOf(block, base64) {
  const stream = new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const columns = {};
  let at = 0;
  for (const { name, type, length, columns: count } of block) {
    const size = length * ARRAYS[type].BYTES_PER_ELEMENT;
    const part = bytes.subarray(at, at + size);
    columns[name] = type === "i16" ? differences(part, length, count) : copied(part, ARRAYS[type]);
    at += size;
  }
  return columns;
}

export function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

function copied(part, type) {
  return new type(part.buffer.slice(part.byteOffset, part.byteOffset + part.byteLength));
}

// All low bytes, then all high bytes, of differences within a column: the sign is the lowest bit.
function differences(part, length, columns) {
  const values = new Int16Array(length);
  const rows = columns ? length / columns : 0;
  for (let column = 0, i = 0; column < columns; column++) {
    let value = 0;
    for (const end = i + rows; i < end; i++) {
      const code = part[i] | (part[length + i] << 8);
      value += (code >>> 1) ^ -(code & 1);
      values[i] = value;
      value = values[i]; // as 16 bits wrap
    }
  }
  return values;
}

export class Recording {
  constructor(head, columns) {
    Object.assign(this, head);
    this.times = columns.times;
    this.frames = columns.frames; // position -> the frame's number in its source
    this.count = this.times.length;
    this.rows = columns.position.length;
    this.columns = columns;
    this.keypoints = head.skeleton.names.length;
    this.step = medianStep(this.times);
    this.duration = this.count ? this.times[this.count - 1] : 0;
    this.tracks = head.tracks.map(({ id, begin, end }) => new Track(this, id, begin, end));
    this.trackOf = new Int32Array(this.rows);
    this.tracks.forEach((track, number) => this.trackOf.fill(number, track.begin, track.end));
    this.#sortByFrame();
  }

  #sortByFrame() {
    const { position } = this.columns;
    this.first = new Int32Array(this.count + 1);
    for (const at of position) this.first[at + 1]++;
    for (let i = 0; i < this.count; i++) this.first[i + 1] += this.first[i];
    const next = this.first.slice();
    this.order = new Int32Array(this.rows);
    for (let row = 0; row < this.rows; row++) this.order[next[position[row]]++] = row;
  }

  /** Adds the columns that only curves need, `angle` and `speed`; they come later, so that people are there sooner. */
  async unpackCurves(base64) {
    Object.assign(this.columns, await columnsOf(this.blocks.curves, base64));
  }

  /** How many people the frame at a position has. */
  peopleAt(position) {
    return this.first[position + 1] - this.first[position];
  }

  /** The people at a position: { row, track, id, score, box: [4], points: x, y, score of each keypoint }. */
  people(position) {
    const found = [];
    for (let i = this.first[position]; i < this.first[position + 1]; i++) found.push(this.person(this.order[i]));
    return found;
  }

  person(row) {
    const { x, y, seen, box, score } = this.columns;
    const points = new Float32Array(3 * this.keypoints);
    for (let k = 0, at = row; k < this.keypoints; k++, at += this.rows) {
      points[3 * k] = x[at] / this.scale;
      points[3 * k + 1] = y[at] / this.scale;
      points[3 * k + 2] = (seen[at] / 255) * this.most_seen;
    }
    const corners = [0, 1, 2, 3].map((side) => box[side * this.rows + row] / this.scale);
    const track = this.trackOf[row];
    return { row, track, id: this.tracks[track].id, score: score[row], box: corners, points };
  }

  /** The position whose frame is shown at a time, the first one before it begins. */
  positionAt(time) {
    const target = time + Math.min(this.step / 2, 0.008);
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.times[middle] <= target) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }
}

/** One person's rows; without ids, everybody's. */
class Track {
  constructor(recording, id, begin, end) {
    Object.assign(this, { recording, id, begin, end });
  }

  /** The first row whose position is not before this one. */
  from(position) {
    const at = this.recording.columns.position;
    let low = this.begin;
    let high = this.end;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (at[middle] < position) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The row at a position, or -1. */
  rowAt(position) {
    const row = this.from(position);
    return row < this.end && this.recording.columns.position[row] === position ? row : -1;
  }

  /** Runs of frames without a gap: [first position, last position] of each. */
  get runs() {
    const at = this.recording.columns.position;
    const found = [];
    for (let row = this.begin; row < this.end; row++) {
      if (row > this.begin && at[row] <= at[row - 1] + 1) found[found.length - 1][1] = at[row];
      else found.push([at[row], at[row]]);
    }
    Object.defineProperty(this, "runs", { value: found });
    return found;
  }
}

function medianStep(times) {
  const steps = Array.from({ length: Math.min(times.length - 1, 1000) }, (_, i) => times[i + 1] - times[i]);
  steps.sort((a, b) => a - b);
  return steps.length ? Math.max(steps[steps.length >> 1], 0.001) : 1 / 30;
}
