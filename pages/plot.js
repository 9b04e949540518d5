// The plots of one recording without its pictures: a person's joints and speeds over a shared span of time.

import { Clock } from "./clock.js";
import { Controls, clockKeys, listenToKeys } from "./controls.js";
import { make } from "./dom.js";
import { pageHeader } from "./header.js";
import { PeopleList } from "./people_list.js";
import { Plots } from "./plots.js";
import { unpack } from "./recording.js";
import { Span } from "./span.js";
import { Timeline } from "./timeline.js";

const textIn = (name) => document.getElementById(name).textContent;

async function startPlots() {
  const page = JSON.parse(textIn("page"));
  const recording = await unpack(page.recording, textIn("people"));
  await recording.unpackCurves(textIn("curves"));
  const clock = new Clock(recording, null);
  const span = new Span(recording.duration + recording.step, 10 * recording.step);
  const seek = (time) => clock.seekTime(time);
  const choose = (track) => {
    people.choose(track);
    timeline.choose(track);
    plots.show(recording.tracks[track] ?? null);
    plots.at(clock.position);
  };
  const timeline = new Timeline(recording, span, { seek, choose });
  const plots = new Plots(recording, span, seek);
  const people = new PeopleList(recording, choose);
  clock.addEventListener("frame", () => {
    timeline.at(clock.position);
    plots.at(clock.position);
  });
  listenToKeys(clockKeys(clock));
  document.addEventListener("theme", () => {
    timeline.draw();
    plots.draw();
  });
  document.body.append(pageHeader(page), make("main", {},
    make("div.theatre", {}, make("div.front", {}, make("div.screen", {}, new Controls(clock).element), timeline.element), make("aside", {}, people.element)),
    plots.element));
  clock.seek(0);
  timeline.at(0);
  choose(page.longest);
  document.documentElement.dataset.ready = "all";
}

startPlots().catch((error) => {
  document.body.append(make("p.broken", { role: "alert" }, `This page cannot be shown: ${error.message}`));
  throw error;
});
