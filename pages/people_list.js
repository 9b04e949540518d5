// The people of a recording as a list to choose from, and what happened to their ids, to jump to.

import { clockText, make } from "./dom.js";
import { colorOf } from "./look.js";

const MOST_LISTED = 300;

export class PeopleList {
  /** choose(track): called for a click. */
  constructor(recording, choose) {
    const known = recording.tracks.map((track, number) => ({ track, number })).filter(({ track }) => track.id !== null);
    const length = ({ track }) => track.end - track.begin;
    const listed = known.toSorted((a, b) => length(b) - length(a)).slice(0, MOST_LISTED).sort((a, b) => a.number - b.number);
    this.buttons = listed.map(({ track, number }) => {
      const { position } = recording.columns;
      const begin = recording.times[position[track.begin]];
      const end = recording.times[position[track.end - 1]];
      const chip = make("i.chip", {}, String(track.id));
      chip.style.setProperty("--person", colorOf(track.id));
      const text = `${clockText(begin, 1)} – ${clockText(end, 1)}`;
      return make("button.person", {
        type: "button", "data-track": number, "aria-pressed": "false", "aria-label": `Person ${track.id}, ${text}`,
        onclick: () => choose(number),
      }, chip, make("span", {}, text), make("small", {}, `${track.end - track.begin} frames`));
    });
    const more = known.length - this.buttons.length;
    const word = known.length ? "" : "No ids: run infer with --track to follow people.";
    this.element = make("section.people-list", { "aria-label": "People" }, make("h2", {}, "People"),
      make("div.list", {}, ...this.buttons), word ? make("p", {}, word) : null, more > 0 ? make("p", {}, `and ${more} more`) : null);
  }

  choose(track) {
    for (const button of this.buttons) {
      const chosen = button.dataset.track === String(track);
      button.setAttribute("aria-pressed", chosen);
      if (chosen) button.scrollIntoView({ block: "nearest", container: "nearest" });
    }
  }
}

const WORDS = {
  brief: ({ id, frames }) => `id ${id} is there for ${frames} frame${frames > 1 ? "s" : ""}`,
  begins: ({ id }) => `id ${id} comes`,
  ends: ({ id }) => `id ${id} goes`,
  gap: ({ id, seconds }) => `id ${id} is back after ${seconds.toFixed(2)} s`,
  change: ({ id, before }) => `id ${before} becomes ${id}?`,
};

export class EventList {
  /** jump(event): called for a click. */
  constructor(recording, jump) {
    this.recording = recording;
    this.jump = jump;
    this.list = make("ol.list", {}, ...recording.events.slice(0, MOST_LISTED).map((event) =>
      make("li", {}, make("button.event", { type: "button", "data-kind": event.kind, onclick: () => jump(event) },
        make("span", {}, clockText(recording.times[event.position], 2)), WORDS[event.kind](event)))));
    const more = recording.events.length - MOST_LISTED;
    this.element = make("section.events", { "aria-label": "What happened to ids", hidden: !recording.events.length },
      make("h2", {}, `Events (${recording.events.length})`), this.list, more > 0 ? make("p", {}, `and ${more} more on the time line`) : null);
  }

  /** Jumps to the next event, or with -1 to the one before. */
  go(direction, position) {
    const { events } = this.recording;
    const next = direction > 0 ? events.find((event) => event.position > position) : events.findLast((event) => event.position < position);
    if (next) this.jump(next);
  }
}
