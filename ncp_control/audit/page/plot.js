// A line over time with a certified band, a playhead, and the value under it.

const MARGIN = { left: 46, right: 8, top: 5, bottom: 16 };

class Plot {
  // axis: the times that are shown; its `seek` is called when the reader points into the plot.
  // isHeld: every value holds until the next frame. choices: names of the values 0, 1, …, or null.
  constructor(parent, { title, axis, isLog = false, isHeld = false, choices = null, format = formatNumber }) {
    Object.assign(this, { axis, isLog, isHeld, choices, left: MARGIN.left });
    this.format = (value) => choices?.[Math.round(value)] ?? format(value);
    this.value = element("b");
    this.overlays = element("span", { class: "overlays" });
    this.title = element("span", {}, title);
    const head = element("header", {}, this.title, this.overlays, this.value);
    this.canvas = element("canvas", { role: "img", "aria-label": `${title} over time` });
    const field = element("div", { class: "field" }, this.canvas);
    this.box = element("div", { class: "plot" }, head, field);
    parent.append(this.box);
    this.lines = [];
    this.background = document.createElement("canvas");
    this.surface = new Surface(this.canvas, (context) => this.paint(context));
    this.surface.onResize = () => this.drawBackground();
    this.now_s = axis.range[0];
    this.hover_s = null;
    axis.onChange(() => this.redraw());
    this.listen();
  }

  listen() {
    const go = (event) => this.axis.seek(this.timeAt(event));
    // A finger may be about to scroll the page: it seeks by a tap or by moving sideways.
    this.canvas.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch") return;
      this.canvas.setPointerCapture(event.pointerId);
      go(event);
    });
    this.canvas.addEventListener("click", go);
    this.canvas.addEventListener("pointermove", (event) => {
      if (event.buttons) go(event);
      if (event.pointerType !== "touch") this.hover(event);
    });
    this.canvas.addEventListener("pointerleave", () => this.leave());
    this.axis.listen(this.canvas, (event) => this.timeAt(event));
  }

  get innerWidth() {
    return this.surface.width - this.left - MARGIN.right;
  }

  timeAt(event) {
    const [from_s, to_s] = this.axis.range;
    const share = Math.min(Math.max((event.offsetX - this.left) / this.innerWidth, 0), 1);
    return from_s + share * (to_s - from_s);
  }

  // The values of all lines at the time under the pointer.
  hover(event) {
    if (!this.lines.length) return;
    this.hover_s = this.timeAt(event);
    const frameAt = this.isHeld ? lastFrame : nearestFrame;
    const rows = this.lines.map((line) => {
      const label = line.title ?? (line.isPeer ? "the other policy" : line.name ?? "");
      return [label, this.format(line.values[frameAt(line.time_s, this.hover_s)]), this.colourOf(line)];
    });
    tip.show(event.clientX, event.clientY, `${this.hover_s.toFixed(2)} s`, rows);
    this.surface.repaint();
  }

  leave() {
    this.hover_s = null;
    tip.hide();
    this.surface.repaint();
  }

  redraw() {
    this.drawBackground();
    this.surface.repaint();
  }

  // lines: [{time_s, values, name, isPeer, title, colour, isDashed}]; the first is read out at the
  // right. One with a title is read out before it. band: [low, high] or null.
  show(lines, band) {
    this.lines = lines;
    this.band = band;
    this.limits = this.findLimits();
    this.redraw();
  }

  findLimits() {
    if (this.choices) return [-0.3, this.choices.length - 0.7];
    let [low, high] = this.band ?? [Infinity, -Infinity];
    for (const { values } of this.lines) {
      for (const value of values) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    if (this.isLog) return [low / 1.25, high * 1.25];
    const margin = 0.06 * (high - low) || 0.5 * Math.abs(high) || 0.5;
    return [low - margin, high + margin];
  }

  x(time_s) {
    const [from_s, to_s] = this.axis.range;
    return this.left + this.innerWidth * (time_s - from_s) / (to_s - from_s || 1);
  }

  y(value) {
    const scale = this.isLog ? Math.log : (v) => v;
    const [low, high] = this.limits.map(scale);
    const inner = this.surface.height - MARGIN.top - MARGIN.bottom;
    return MARGIN.top + inner * (1 - (scale(value) - low) / (high - low));
  }

  // All that does not move is drawn once and kept.
  drawBackground() {
    const { canvas } = this.surface;
    if (!this.lines.length || !canvas.width || !canvas.height) return;
    this.background.width = canvas.width;
    this.background.height = canvas.height;
    const context = this.background.getContext("2d");
    context.setTransform(this.surface.context.getTransform());
    context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    this.left = this.leftMargin(context);
    this.drawBand(context);
    this.drawAxes(context);
    this.clip(context);
    for (const line of [...this.lines].reverse()) this.drawLine(context, line);
  }

  // Wide enough for the longest name of a choice, but not for most of the plot.
  leftMargin(context) {
    const widest = Math.max(0, ...(this.choices ?? []).map((name) => context.measureText(name).width));
    return Math.max(MARGIN.left, Math.min(widest + 10, 0.4 * this.surface.width));
  }

  drawBand(context) {
    if (!this.band) return;
    const [top, bottom] = [this.y(this.band[1]), this.y(this.band[0])];
    context.fillStyle = colours.band;
    context.fillRect(this.left, top, this.innerWidth, bottom - top);
    context.strokeStyle = colours.peer;
    context.lineWidth = 1;
    context.setLineDash([3, 3]);
    for (const y of [top, bottom]) strokePath(context, [[this.left, y], [this.left + this.innerWidth, y]]);
    context.setLineDash([]);
  }

  drawAxes(context) {
    context.fillStyle = colours.muted;
    context.textBaseline = "middle";
    context.textAlign = "right";
    const baseline = this.surface.height - MARGIN.bottom;
    for (const [text, y] of this.valueTicks()) {
      context.strokeStyle = colours.line;
      strokePath(context, [[this.left, y], [this.left + this.innerWidth, y]]);
      context.fillText(text, this.left - 5, y, this.left - 8);
    }
    context.textAlign = "center";
    const ticks = timeTicks(...this.axis.range);
    ticks.forEach((time_s, i) => {
      const unit = i === ticks.length - 1 ? " s" : "";
      const x = Math.min(this.x(time_s), this.surface.width - MARGIN.right - 8);
      context.fillText(`${timeText(time_s)}${unit}`, x, baseline + 9);
    });
  }

  valueTicks() {
    if (this.choices) return this.placeTicks([...this.choices.keys()]);
    const ticks = this.isLog ? this.placeTicks(logTicks(...this.limits)) : [];
    return ticks.length > 1 ? ticks : this.placeTicks(roundTicks(...this.limits));
  }

  // Labels and heights, leaving out those that would touch.
  placeTicks(ticks) {
    const placed = [];
    for (const tick of ticks) {
      const y = this.y(tick);
      const isFree = placed.every(([, other]) => Math.abs(other - y) >= 13);
      if (isFree && y > MARGIN.top && y < this.surface.height - MARGIN.bottom + 1) {
        const isFormatted = this.isLog || this.choices;
        placed.push([isFormatted ? this.format(tick) : String(Number(tick.toPrecision(6))).replace("-", "−"), y]);
      }
    }
    return placed;
  }

  // What is outside of the times that are shown is cut off.
  clip(context) {
    context.beginPath();
    context.rect(this.left - 1, 0, this.innerWidth + 2, this.surface.height);
    context.clip();
  }

  colourOf({ isPeer, title, colour }) {
    return isPeer ? colours.peer : colours[colour] ?? (title ? colours.overlay : colours.ink);
  }

  drawLine(context, line) {
    context.strokeStyle = this.colourOf(line);
    context.lineWidth = line.isPeer ? 1 : 1.5;
    context.lineJoin = "round";
    context.setLineDash(line.isDashed ? [5, 3] : []);
    strokePath(context, line.time_s.flatMap((t, i) => {
      const point = [this.x(t), this.y(line.values[i])];
      return this.isHeld && i ? [[point[0], this.y(line.values[i - 1])], point] : [point];
    }));
    context.setLineDash([]);
  }

  moveTo(time_s, frame) {
    this.now_s = time_s;
    const own = this.lines.find((line) => !line.isPeer);
    this.current = own ? own.values[frame] : null;
    this.value.textContent = own ? this.format(this.current) : "";
    this.overlays.replaceChildren(...this.lines.filter(({ title }) => title).map((line) =>
      element("span", { style: `color: ${this.colourOf(line)}` }, `${line.title} `,
        element("b", {}, this.format(line.values[frame])))));
    this.surface.repaint();
  }

  paint(context) {
    const { width, height } = this.surface;
    context.clearRect(0, 0, width, height);
    if (!this.lines.length) return;
    context.drawImage(this.background, 0, 0, width, height);
    context.lineWidth = 1;
    if (this.hover_s !== null) {
      context.strokeStyle = colours.peer;
      strokePath(context, [[this.x(this.hover_s), MARGIN.top], [this.x(this.hover_s), height - MARGIN.bottom]]);
    }
    const x = this.x(this.now_s);
    if (x < this.left - 1 || x > width - MARGIN.right + 1) return;
    context.strokeStyle = colours.accent;
    strokePath(context, [[x, MARGIN.top], [x, height - MARGIN.bottom]]);
    if (this.current === null || this.current === undefined) return;
    context.fillStyle = colours.accent;
    fillCircle(context, x, this.y(this.current), 3);
  }
}

// Powers of ten, or their halves and fifths where the range is short.
function logTicks(low, high) {
  const steps = high / low > 300 ? [1] : [1, 5, 2];
  const powers = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    powers.push(power);
  }
  // The powers of ten come first, so that they are not the ones left out for want of room.
  const ticks = steps.flatMap((step) => powers.map((power) => step * 10 ** power));
  return ticks.filter((tick) => tick >= low && tick <= high);
}

function strokePath(context, points) {
  context.beginPath();
  points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
}

function fillCircle(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}
