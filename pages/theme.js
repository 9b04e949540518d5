// Dark and light: as the system says, until somebody chooses. Event "theme" of the document.

import { make } from "./dom.js";

export function themeButton() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const button = make("button.theme", { type: "button", "aria-label": "Dark or light", title: "Dark or light", onclick: () => {
    const { style } = document.documentElement;
    const now = style.colorScheme || (dark.matches ? "dark" : "light");
    style.colorScheme = now === "dark" ? "light" : "dark";
    tell();
  } }, "◐");
  const tell = () => document.dispatchEvent(new Event("theme"));
  dark.addEventListener("change", tell);
  return button;
}
