// The axis of time that all plots share: which part of the episode they show.

class TimeAxis {
  constructor(range, seek) {
    Object.assign(this, { whole: range, range, seek, listeners: [] });
  }

  onChange(listener) {
    this.listeners.push(listener);
  }

  get isWhole() {
    return this.range[0] === this.whole[0] && this.range[1] === this.whole[1];
  }

  // Show from one time to another, as far as the episode goes; never less than a twentieth of a second.
  set(from_s, to_s) {
    const [first_s, last_s] = this.whole;
    const length_s = Math.min(Math.max(to_s - from_s, 0.05), last_s - first_s);
    const start_s = Math.min(Math.max(from_s, first_s), last_s - length_s);
    this.range = length_s < last_s - first_s ? [start_s, start_s + length_s] : this.whole;
    for (const listener of this.listeners) listener();
  }

  // Show a part that is longer by a factor; a time keeps its place on the screen.
  zoom(factor, around_s) {
    const [from_s, to_s] = this.range;
    const centre_s = Math.min(Math.max(around_s, from_s), to_s);
    this.set(centre_s - factor * (centre_s - from_s), centre_s + factor * (to_s - centre_s));
  }

  showAll() {
    this.set(...this.whole);
  }

  // Move the part that is shown so that a time is in it.
  keepInView(time_s) {
    const [from_s, to_s] = this.range;
    if (time_s >= from_s && time_s <= to_s) return;
    const before_s = 0.1 * (to_s - from_s);
    this.set(time_s - before_s, time_s - before_s + to_s - from_s);
  }

  // Zoom with the wheel and Ctrl, or by a pinch on a trackpad, over a canvas; `timeAt(event)`.
  listen(canvas, timeAt) {
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.zoom(Math.exp(0.01 * Math.min(Math.max(event.deltaY, -40), 40)), timeAt(event));
    }, { passive: false });
  }
}
