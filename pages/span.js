// The span of time that the time line and the plots show together. Events: "change".

export class Span extends EventTarget {
  constructor(duration, least) {
    super();
    this.whole = Math.max(duration, least);
    this.least = least;
    [this.begin, this.end] = [0, this.whole];
  }

  show(begin, end) {
    const length = Math.min(this.whole, Math.max(this.least, end - begin));
    this.begin = Math.min(this.whole - length, Math.max(0, begin));
    this.end = this.begin + length;
    this.dispatchEvent(new Event("change"));
  }

  zoom(factor, about) {
    this.show(about - (about - this.begin) * factor, about + (this.end - about) * factor);
  }

  /** Brings a time into view. */
  follow(time) {
    if (time >= this.begin && time <= this.end) return;
    const length = this.end - this.begin;
    this.show(time - 0.1 * length, time + 0.9 * length);
  }

  /** The place of a time in a width, px. */
  x(time, width) {
    return ((time - this.begin) / (this.end - this.begin)) * width;
  }

  time(x, width) {
    return this.begin + (x / width) * (this.end - this.begin);
  }

  /** Round times for marks, about one in so many px. */
  marks(width, apart = 90) {
    const wanted = ((this.end - this.begin) / width) * apart;
    const steps = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
    const step = steps.find((one) => one >= wanted) ?? 21600;
    const first = Math.ceil(this.begin / step);
    const count = Math.max(0, Math.floor(this.end / step) - first + 1);
    return Array.from({ length: count }, (_, i) => (first + i) * step);
  }
}

/** Pointer and wheel on an element of the time line or a plot: a drag seeks, a wheel with Ctrl or Shift zooms or moves. */
export function scrubs(element, span, seek) {
  const at = (event) => {
    const { left, width } = element.getBoundingClientRect();
    return span.time(event.clientX - left, width);
  };
  element.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    element.setPointerCapture(event.pointerId);
    seek(at(event), event);
  });
  element.addEventListener("pointermove", (event) => {
    if (element.hasPointerCapture(event.pointerId)) seek(at(event), null);
  });
  element.addEventListener("wheel", (event) => {
    const across = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
    if (!event.ctrlKey && Math.abs(across) < Math.abs(event.deltaY) / 2) return; // the page scrolls
    event.preventDefault();
    const length = span.end - span.begin;
    if (event.ctrlKey) span.zoom(Math.exp(event.deltaY / 300), at(event));
    else span.show(span.begin + (across / 1000) * length, span.end + (across / 1000) * length);
  }, { passive: false });
}
