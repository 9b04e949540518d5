// The bar below the stage, and the keys: the same commands for both. Knows a clock, and commands by name.

import { RATES } from "./clock.js";
import { clockText, make } from "./dom.js";

/** A bar of buttons that drive a clock; extra: further elements at its end. */
export class Controls {
  constructor(clock, ...extra) {
    this.clock = clock;
    const button = (label, text, keys, onclick) => make("button", {
      type: "button", "aria-label": label, title: `${label} (${keys})`, "aria-keyshortcuts": keys, onclick,
    }, text);
    this.play = button("Play", "▶", "Space", () => clock.toggle());
    this.play.classList.add("primary");
    this.time = make("output.time", { "aria-live": "off" });
    this.rate = make("select", { "aria-label": "Speed", title: "Speed (- and +)", onchange: () => clock.setRate(+this.rate.value) },
      ...RATES.map((rate) => make("option", { value: rate }, `${rate} ×`)));
    this.element = make("div.controls", { role: "toolbar", "aria-label": "Player" },
      button("Frame before", "‹", ",", () => clock.step(-1)), this.play,
      button("Frame after", "›", ".", () => clock.step(1)), this.time, this.rate, ...extra);
    clock.addEventListener("state", () => this.#state());
    clock.addEventListener("frame", () => this.#frame());
    this.#state();
    this.#frame();
  }

  #state() {
    const { playing, rate } = this.clock;
    this.play.textContent = playing ? "❚❚" : "▶";
    this.play.setAttribute("aria-label", playing ? "Pause" : "Play");
    this.rate.value = String(rate);
  }

  #frame() {
    const { times, position, time } = this.clock;
    this.time.textContent = `${clockText(time)} / ${clockText(times.duration)}  frame ${times.frames[position]}`;
  }
}

/** Keys of the whole page: a map from `event.key` to what it does; not while somebody types or moves a slider. */
export function listenToKeys(commands) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { target } = event;
    const arrows = event.key.startsWith("Arrow") || event.key === "Home" || event.key === "End";
    if (target.matches?.("input[type=text], textarea")) return;
    if (arrows && target.matches?.("select, input[type=range]")) return;
    if (event.key === " " && target.matches?.("button, summary, select, input")) return;
    const command = commands[event.key];
    if (!command) return;
    event.preventDefault();
    command();
  });
}

/** Commands of a clock by their keys. */
export function clockKeys(clock) {
  const second = (seconds) => clock.seekTime(clock.time + seconds);
  return {
    " ": () => clock.toggle(), k: () => clock.toggle(),
    ArrowLeft: () => second(-1), ArrowRight: () => second(1),
    ",": () => clock.step(-1), ".": () => clock.step(1),
    Home: () => clock.seek(0), End: () => clock.seek(Infinity),
    "+": () => clock.faster(1), "=": () => clock.faster(1), "-": () => clock.faster(-1),
  };
}
