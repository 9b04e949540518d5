// Elements in few words, times as people write them, canvases as sharp as the screen.

/** An element: make("button.primary", { onclick, aria-label... }, child, "text", ...). Text is never read as HTML. */
export function make(kind, attributes = {}, ...children) {
  const [tag, ...classes] = kind.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** 3725.5 -> "1:02:05.50"; below an hour "02:05.50". */
export function clockText(seconds, digits = 2) {
  const whole = Math.max(0, Math.round(seconds * 10 ** digits) / 10 ** digits);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const rest = (whole % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  return (hours ? `${hours}:` : "") + `${String(minutes).padStart(2, "0")}:${rest}`;
}

/** Makes a canvas as fine as the screen for its size in the page; the context, scaled to CSS px, cleared. */
export function fresh(canvas) {
  const ratio = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

const colors = new Map();
document.addEventListener("theme", () => colors.clear(), { capture: true });

/** A colour of the page's style sheet, by the name of its variable, as it is in the theme of now. */
export function styleColor(name) {
  if (!colors.has(name)) {
    const probe = make("i");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    colors.set(name, getComputedStyle(probe).color);
    probe.remove();
  }
  return colors.get(name);
}
