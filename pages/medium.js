// What lies under the people: a video beside the page or inside of it, a picture, or nothing.

import { make } from "./dom.js";
import { bytesOf } from "./recording.js";

/**
 * medium: { kind: "video" | "picture", name, address } or with `block`, the id of a block of base64, and `type`.
 * failed(): called if it cannot be shown. Returns an element or null.
 */
export function openMedium(medium, failed) {
  if (!medium) return null;
  const source = medium.address ?? blobAddress(medium);
  if (medium.kind === "picture") return make("img", { src: source, alt: medium.name, onerror: failed });
  return make("video", { src: source, playsinline: true, muted: true, preload: "auto", "aria-label": medium.name, onerror: failed });
}

function blobAddress({ block, type }) {
  const bytes = bytesOf(document.getElementById(block).textContent);
  return URL.createObjectURL(new Blob([bytes], { type }));
}
