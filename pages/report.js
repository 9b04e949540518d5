// The report: one recording in the player, with its people, its events, its time line and its plots.

import { Clock } from "./clock.js";
import { Controls, clockKeys, listenToKeys } from "./controls.js";
import { make } from "./dom.js";
import { pageHeader } from "./header.js";
import { LOOK } from "./look.js";
import { openMedium } from "./medium.js";
import { Options } from "./options.js";
import { EventList, PeopleList } from "./people_list.js";
import { Plots } from "./plots.js";
import { unpack } from "./recording.js";
import { Span } from "./span.js";
import { Stage } from "./stage.js";
import { Timeline } from "./timeline.js";

const KEYS = [
  ["Space", "play, pause"], [", .", "frame before, after"], ["← →", "a second back, on"], ["Home End", "first, last frame"],
  ["+ -", "faster, slower"], ["[ ]", "event before, after"], ["n", "next person"], ["Esc", "nobody chosen, no zoom"],
  ["l p b i s", "limbs, keypoints, boxes, ids, scores"], ["z x", "zoom in, out"], ["Ctrl + wheel", "zoom; on the time line: time"],
];

const text = (block) => document.getElementById(block).textContent;

async function start() {
  const page = JSON.parse(text("page"));
  const recording = await unpack(page.recording, text("people"));
  const medium = openMedium(page.medium, () => {
    clock.forgetVideo();
    stage.say(`${page.medium.name} cannot be played by this browser, or is no longer beside this page.`);
  });
  const clock = new Clock(recording, medium instanceof HTMLVideoElement ? medium : null);
  const look = { ...LOOK, hidden: new Set() };
  const span = new Span(recording.duration + recording.step, 10 * recording.step);
  let chosen = null;

  const stage = new Stage(recording.size, medium, (person) => choose(person?.id == null ? null : person.track));
  const show = () => {
    const people = recording.people(clock.position);
    stage.show([{ people, skeleton: recording.skeleton, look }], chosen);
    stage.canvas.dataset.frame = recording.frames[clock.position];
    stage.canvas.setAttribute("aria-label", `Frame ${recording.frames[clock.position]}: ${people.length} people`);
  };
  const choose = (track) => {
    chosen = track;
    people.choose(track);
    timeline.choose(track);
    plots.show(track === null ? null : recording.tracks[track]);
    plots.at(clock.position);
    show();
  };
  const seek = (time) => clock.seekTime(time);
  const people = new PeopleList(recording, (track) => {
    const { position } = recording.columns;
    const { begin } = recording.tracks[track];
    choose(chosen === track ? null : track);
    if (chosen !== null && recording.tracks[track].rowAt(clock.position) < 0) clock.seek(position[begin]);
  });
  const events = new EventList(recording, ({ position, track }) => {
    choose(track);
    clock.seek(position);
  });
  const timeline = new Timeline(recording, span, { seek, choose });
  const plots = new Plots(recording, span, seek);
  const options = new Options(look, recording.skeleton, show);
  const zoomTime = (text, label, factor) => make("button", {
    type: "button", "aria-label": label, title: label, onclick: () => factor ? span.zoom(factor, clock.time) : span.show(0, span.whole),
  }, text);
  const spans = make("div.spans", { role: "group", "aria-label": "Span of time" },
    zoomTime("−", "More time", 2), zoomTime("+", "Less time", 0.5), zoomTime("whole", "The whole time", 0));
  const controls = new Controls(clock, spans);

  clock.addEventListener("frame", () => {
    show();
    timeline.at(clock.position);
    plots.at(clock.position);
  });
  const nextPerson = () => {
    const known = people.buttons.map(({ dataset }) => +dataset.track);
    if (known.length) people.buttons[(known.indexOf(chosen) + 1) % known.length].click();
  };
  listenToKeys({
    ...clockKeys(clock), ...options.keys, n: nextPerson,
    "[": () => events.go(-1, clock.position), "]": () => events.go(1, clock.position),
    z: () => stage.zoom(1.5), x: () => stage.zoom(1 / 1.5),
    Escape: () => {
      choose(null);
      stage.unzoom();
    },
  });

  const moving = recording.count > 1;
  const main = make("main", {},
    make("div.theatre", {},
      make("div.front", {}, make("div.screen", {}, stage.element, moving ? controls.element : null), moving ? timeline.element : null),
      make("aside", {}, people.element, options.element, events.element, help())),
    moving ? plots.element : null);
  document.body.append(pageHeader(page), main);
  document.addEventListener("theme", () => {
    timeline.draw();
    plots.draw();
  });
  clock.seek(0);
  timeline.at(0);
  show();
  const longest = recording.tracks.reduce((a, b, i, all) => (b.id !== null && (a < 0 || b.end - b.begin > all[a].end - all[a].begin) ? i : a), -1);
  if (longest >= 0) timeline.choose(longest);
  document.documentElement.dataset.ready = "people";
  await recording.unpackCurves(text("curves"));
  plots.show(recording.tracks[chosen ?? longest] ?? null);
  plots.at(clock.position);
  document.documentElement.dataset.ready = "all";
}

function help() {
  const rows = KEYS.map(([keys, text]) => make("div", {}, make("dt", {}, ...keys.split(" ").map((key) => make("kbd", {}, key))), make("dd", {}, text)));
  return make("details.help", {}, make("summary", {}, "Keys"), make("dl", {}, ...rows));
}

start().catch((error) => {
  document.body.append(make("p.broken", { role: "alert" }, `This page cannot be shown: ${error.message}`));
  throw error;
});
