// Which frame is shown, and when: follows a video where there is one, else the time itself.
// Events: "frame" (the position has changed), "state" (playing, rate). Knows times, nothing of people or drawing.

export const RATES = [0.1, 0.25, 0.5, 1, 2, 4];

export class Clock extends EventTarget {
  #began = 0;

  /** times: has `times`, `count`, `step`, `positionAt`; video: an element, or null. */
  constructor(times, video = null) {
    super();
    Object.assign(this, { times, video, position: 0, playing: false, rate: 1 });
    if (video) this.#follow(video);
  }

  get time() {
    return this.times.times[this.position] ?? 0;
  }

  /** Shows what would be there if the video were: it cannot be played. */
  forgetVideo() {
    this.video = null;
    this.pause();
  }

  #follow(video) {
    const seen = (_, { mediaTime }) => {
      if (this.video !== video) return;
      if (this.playing) this.#show(this.times.positionAt(mediaTime));
      if (this.playing && mediaTime > this.times.duration + this.times.step) this.pause(); // the video is longer
      video.requestVideoFrameCallback(seen);
    };
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(seen);
    else video.addEventListener("timeupdate", () => this.playing && this.#show(this.times.positionAt(video.currentTime)));
    video.addEventListener("ended", () => this.#stopped());
    video.addEventListener("pause", () => this.#stopped());
  }

  #stopped() {
    if (!this.playing) return;
    this.playing = false;
    this.#tell("state");
  }

  #tell(name) {
    this.dispatchEvent(new Event(name));
  }

  #show(position) {
    if (position === this.position) return;
    this.position = position;
    this.#tell("frame");
  }

  async play() {
    if (this.position >= this.times.count - 1) this.seek(0);
    this.playing = true;
    this.#tell("state");
    if (!this.video) {
      this.#began = performance.now() - (1000 * this.time) / this.rate;
      requestAnimationFrame(this.#tick);
      return;
    }
    this.video.playbackRate = this.rate;
    try {
      await this.video.play();
    } catch {
      this.#stopped();
    }
  }

  #tick = (now) => {
    if (!this.playing || this.video) return;
    this.#show(this.times.positionAt(((now - this.#began) / 1000) * this.rate));
    if (this.position >= this.times.count - 1) this.#stopped();
    else requestAnimationFrame(this.#tick);
  };

  pause() {
    this.#stopped();
    this.video?.pause();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  /** Shows the frame at a position: its people at once, its picture when the video has it. */
  seek(position) {
    position = Math.min(this.times.count - 1, Math.max(0, Math.round(position)));
    if (this.video) this.video.currentTime = this.times.times[position] + Math.min(this.times.step / 2, 0.008);
    this.#began = performance.now() - (1000 * this.times.times[position]) / this.rate;
    this.#show(position);
  }

  seekTime(time) {
    this.seek(this.times.positionAt(time));
  }

  step(frames) {
    this.pause();
    this.seek(this.position + frames);
  }

  setRate(rate) {
    this.rate = rate;
    if (this.video) this.video.playbackRate = rate;
    this.#began = performance.now() - (1000 * this.time) / rate;
    this.#tell("state");
  }

  faster(steps) {
    const place = RATES.findIndex((rate) => rate >= this.rate);
    this.setRate(RATES[Math.min(RATES.length - 1, Math.max(0, place + steps))]);
  }
}
