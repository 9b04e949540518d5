// What is shown of people: switches, least score, colours, single keypoints. Changes a look (look.js), nothing else.

import { make } from "./dom.js";

const SWITCHES = [
  ["limbs", "Limbs", "l"], ["points", "Keypoints", "p"], ["boxes", "Boxes", "b"], ["ids", "Ids", "i"], ["scores", "Scores", "s"],
];

export class Options {
  /** changed(): called after each change of `look`. */
  constructor(look, skeleton, changed) {
    this.keys = {};
    const switches = SWITCHES.map(([name, text, key]) => {
      const box = make("input", { type: "checkbox", checked: look[name], "aria-keyshortcuts": key, onchange: () => {
        look[name] = box.checked;
        changed();
      } });
      this.keys[key] = () => box.click();
      return make("label", { title: `${text} (${key})` }, box, text);
    });
    const least = make("input", { type: "range", min: 0, max: 1, step: 0.05, value: look.least, "aria-label": "Least score of a keypoint",
      oninput: () => {
        look.least = +least.value;
        shown.textContent = look.least.toFixed(2);
        changed();
      } });
    const shown = make("output", {}, look.least.toFixed(2));
    const colors = make("select", { "aria-label": "Colours", onchange: () => {
      look.colors = colors.value;
      changed();
    } }, ...[["people", "one a person"], ["sides", "left and right"], ["scores", "by score"]].map(([value, text]) => make("option", { value }, text)));
    const parts = skeleton.names.map((name) => {
      const box = make("input", { type: "checkbox", checked: !look.hidden.has(name), onchange: () => {
        if (box.checked) look.hidden.delete(name);
        else look.hidden.add(name);
        changed();
      } });
      return make("label", {}, box, name.replaceAll("_", " "));
    });
    this.element = make("section.options", { "aria-label": "What is shown" }, make("h2", {}, "Show"),
      make("div.checks", {}, ...switches), make("label.row", {}, "Colours", colors), make("label.row", {}, "Score from", least, shown),
      make("details", {}, make("summary", {}, "Single keypoints"), make("div.checks", {}, ...parts)));
  }
}
