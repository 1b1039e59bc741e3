// Units over time as rows of colour, for a circuit that has no wiring to draw.

class HeatMap {
  constructor(stage, episode, follow, axis) {
    Object.assign(this, { episode, axis });
    this.scale = episode.states.largest();
    this.image = this.makeImage();
    const canvas = stage.querySelector("canvas");
    canvas.setAttribute("aria-label", `Heat map of ${episode.neuron_names.length} units over time`);
    this.surface = new Surface(canvas, (...args) => this.paint(...args));
    canvas.addEventListener("click", (event) => {
      const unit = this.unitAt(event);
      if (unit !== null) follow(unit, event);
      axis.seek(this.timeAt(event));
    });
    canvas.addEventListener("pointermove", (event) => this.hover(event));
    canvas.addEventListener("pointerleave", () => tip.hide());
    axis.onChange(() => this.surface.repaint());
    axis.listen(canvas, (event) => this.timeAt(event));
    this.frame = 0;
    this.followed = null;
  }

  get innerWidth() { return this.surface.width - MARGIN.left - MARGIN.right; }

  get innerHeight() { return this.surface.height - MARGIN.top - MARGIN.bottom; }

  unitAt(event) {
    const units = this.episode.neuron_names.length;
    const row = Math.floor(((event.offsetY - MARGIN.top) / this.innerHeight) * units);
    return row >= 0 && row < units ? row : null;
  }

  timeAt(event) {
    const [from_s, to_s] = this.axis.range;
    const share = (event.offsetX - MARGIN.left) / this.innerWidth;
    return from_s + Math.min(Math.max(share, 0), 1) * (to_s - from_s);
  }

  hover(event) {
    const { episode } = this;
    const unit = this.unitAt(event);
    if (unit === null || event.pointerType === "touch") return;
    const time_s = this.timeAt(event);
    const activity = episode.now("states").at(episode.frameAt(time_s), unit);
    tip.show(event.clientX, event.clientY, episode.neuron_names[unit],
      [["at", `${time_s.toFixed(2)} s`], ["activity", formatNumber(activity)],
        ...(episode.silent.includes(unit) ? [["silent, held at", formatNumber(episode.rerun.means[unit])]] : [])]);
  }

  // One pixel a unit and frame.
  makeImage() {
    const states = this.episode.now("states");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [states.rows, states.columns];
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(states.rows, states.columns);
    for (let row = 0; row < states.rows; row += 1) {
      for (let unit = 0; unit < states.columns; unit += 1) {
        const colour = diverging(states.at(row, unit) / this.scale).match(/\d+/g).map(Number);
        pixels.data.set([...colour, 255], 4 * (unit * states.rows + row));
      }
    }
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  show(frame, followed) {
    [this.frame, this.followed] = [frame, followed];
    this.surface.repaint();
  }

  repaintColours() {
    this.image = this.makeImage();
  }

  // After units were silenced, or restored.
  setMode() {
    this.image = this.makeImage();
    this.surface.repaint();
  }

  x(time_s) {
    const [from_s, to_s] = this.axis.range;
    return MARGIN.left + (this.innerWidth * (time_s - from_s)) / (to_s - from_s || 1);
  }

  paint(context, width, height) {
    context.clearRect(0, 0, width, height);
    context.imageSmoothingEnabled = false;
    const { time_s } = this.episode;
    const right = this.x(time_s[time_s.length - 1]);
    const left = this.x(time_s[0]);
    context.save();
    context.beginPath();
    context.rect(MARGIN.left - 1, 0, this.innerWidth + 2, height);
    context.clip();
    context.drawImage(this.image, left, MARGIN.top, Math.max(right - left, 1), this.innerHeight);
    const x = this.x(time_s[this.frame]);
    context.strokeStyle = colours.accent;
    context.lineWidth = 1.5;
    strokePath(context, [[x, MARGIN.top], [x, height - MARGIN.bottom]]);
    for (const unit of this.episode.silent) this.crossOut(context, unit, left, right);
    if (this.followed !== null) this.markRow(context, left, right);
    context.restore();
    this.drawAxes(context, height);
  }

  drawAxes(context, height) {
    context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    context.fillStyle = colours.muted;
    context.textBaseline = "middle";
    context.textAlign = "right";
    const units = this.episode.neuron_names.length;
    for (const unit of [...new Set(roundTicks(0, units - 1).map(Math.round))]) {
      const y = MARGIN.top + ((unit + 0.5) / units) * this.innerHeight;
      context.fillText(unit, MARGIN.left - 5, y);
    }
    context.textAlign = "center";
    const ticks = timeTicks(...this.axis.range);
    ticks.forEach((time_s, i) => {
      const x = Math.min(this.x(time_s), this.surface.width - MARGIN.right - 8);
      context.fillText(`${timeText(time_s)}${i === ticks.length - 1 ? " s" : ""}`, x, height - 7);
    });
  }

  markRow(context, left, right) {
    const rowHeight = this.innerHeight / this.episode.neuron_names.length;
    const y = MARGIN.top + this.followed * rowHeight;
    context.strokeStyle = colours.accent;
    context.lineWidth = 1.5;
    context.strokeRect(left, y - 1, right - left, rowHeight + 2);
  }

  crossOut(context, unit, left, right) {
    const y = MARGIN.top + (unit + 0.5) * (this.innerHeight / this.episode.neuron_names.length);
    context.strokeStyle = colours.without;
    context.lineWidth = 2;
    strokePath(context, [[left, y], [right, y]]);
  }

  legend() {
    const scale = formatNumber(this.scale);
    return [
      element("span", {}, "one row per unit: choose one to follow it"),
      element("span", {}, `activity −${scale}`, element("i", { class: "ramp" }), scale),
    ];
  }
}
