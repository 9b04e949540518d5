/** An .onnx file that posert wrote: its address, the file itself, or its bytes. */
export type Source = string | URL | Blob | ArrayBuffer | ArrayBufferView;

export interface OpenOptions {
  /** A file that finds boxes, instead of the model's own detector. */
  detector?: Source;
  /** Networks for hands, faces and the like, which look at the people that the model finds. */
  parts?: Source[];
  /** Companions of a model that is no address, by the names that it has for them. */
  files?: Record<string, Source>;
  /** GROUP.NAME -> value over the file's, as `posert info MODEL` shows them: { "follow.rule": "tutorial" }. */
  params?: Record<string, unknown>;
  /** The detector runs on every n-th picture of a video only; 1 = on each. */
  detectEvery?: number;
  /** "auto": WebGPU where the browser offers an adapter, else WebAssembly. */
  backend?: "auto" | "wasm" | "webgpu";
  /** Threads of the network; 0 = up to 4. More than one needs a cross-origin isolated page (COOP and COEP headers). */
  threads?: number;
  /** Where ONNX Runtime's files lie; else beside this module. */
  runtime?: string | URL;
}

/** Names and topology of K keypoints; indices from 0 on. */
export interface Skeleton {
  names: string[];
  edges: [number, number][];
  sigmas: number[];
  flip: number[];
}

export interface Person {
  /** Higher is better; each decoder has a range of its own. */
  score: number;
  /** Left, top, right, bottom, px of the picture. */
  box: Float32Array;
  /** [K*3]: x px, y px, score of each keypoint; 0, 0, 0 = not found. */
  keypoints: Float32Array;
}

export interface People extends Array<Person> {
  /** Of the worker, in milliseconds: reading pixels, the networks, all of it. */
  ms: { pixels: number; network: number; total: number };
  /** Width and height of the picture, px. */
  size: [number, number];
}

export interface EstimateOptions {
  /**
   * Where to look in this picture, instead of where a detector says or the last people were: left, top, right, bottom, px
   * of the picture, and a score (1 if there is none). Whoever was followed is forgotten; who is found is followed from here.
   */
  boxes?: ArrayLike<number>[];
}

export type Picture = HTMLVideoElement | HTMLImageElement | HTMLCanvasElement | OffscreenCanvas | ImageBitmap | ImageData | VideoFrame;

export interface Model {
  readonly name: string;
  /** Of the weights. */
  readonly licence: string;
  readonly skeleton: Skeleton;
  /** Whether it looks near where the last picture had people: call `reset` where another video begins. */
  readonly follows: boolean;
  readonly backend: "wasm" | "webgpu";
  readonly threads: number;
  /** The people of a picture, found in a worker: the page does not wait. Calls are answered in order. */
  estimate(picture: Picture, options?: EstimateOptions): Promise<People>;
  /** Forgets the last picture. */
  reset(): Promise<void>;
  /** Frees everything; the model cannot be used any more. */
  close(): void;
}

/** Opens a model. Rejects with a `PosertError` that says what is wrong and what to do about it. */
export function openModel(source: Source, options?: OpenOptions): Promise<Model>;

/** What whoever uses a model can mend. */
export class PosertError extends Error {
  /** What is wrong. */
  readonly what: string;
  /** What to do about it; may be empty. */
  readonly hint: string;
}
