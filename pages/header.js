// The head of a page about one recording: its title and facts, the way home, the theme.

import { make } from "./dom.js";
import { themeButton } from "./theme.js";

export function pageHeader({ title, facts, home }) {
  return make("header", {}, home ? make("a.home", { href: home, "aria-label": "All results" }, "☰") : null,
    make("h1", {}, title), make("dl", {}, ...facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)))),
    themeButton());
}
