// The wiring in its layers: neurons lit by their potential, synapses by their current.

class WiringView {
  // choose(neuron, event) is called when the reader clicks a neuron.
  constructor(stage, episode, choose) {
    Object.assign(this, { episode, wiring: episode.wiring, choose, kept: [] });
    this.potentialScale = episode.states.largest();
    this.featureScale = episode.features?.largest() ?? 1;
    this.currentScale = episode.synaptic_currents?.largest() ?? 1;
    this.readout = episode.readout;
    this.columns = [...this.wiring.layers, ...(this.readout ? [this.readout.column] : [])];
    this.surface = new Surface(stage.querySelector("canvas"), (...args) => this.paint(...args));
    this.surface.onResize = () => this.place();
    const canvas = stage.querySelector("canvas");
    canvas.setAttribute("aria-label", this.describe());
    canvas.addEventListener("pointermove", (event) => this.hoverSensory(event));
    canvas.addEventListener("pointerleave", () => tip.hide());
    this.buttons = this.makeButtons(stage.querySelector(".nodes"));
    this.frame = 0;
    this.followed = null;
  }

  describe() {
    const sizes = this.wiring.layers.map((layer) => `${layer.nodes.length} ${layer.name}`);
    const read = this.readout ? `; the command reads ${this.readout.numOthers} other neurons, too` : "";
    return `Wiring: ${sizes.join(", ")}; ${this.wiring.synapses.length} synapses${read}`;
  }

  // A real button over every neuron: for the pointer, the keyboard and screen readers alike.
  makeButtons(parent) {
    parent.setAttribute("aria-label", "Neurons");
    return this.episode.neuron_names.map((name, neuron) => {
      const motors = this.wiring.motors ?? [];
      const what = motors[neuron - this.episode.neuron_names.length + motors.length];
      const title = what ? `${name}: ${what}` : name;
      const button = element("button", { type: "button", class: "node",
        "aria-label": `Follow ${title}`, "aria-pressed": "false", "data-neuron": name });
      button.addEventListener("click", (event) => this.choose(neuron, event));
      const point = () => this.showTip(button, title, neuron);
      button.addEventListener("pointerenter", (event) => event.pointerType === "touch" || point());
      button.addEventListener("focus", () => button.matches(":focus-visible") && point());
      for (const leave of ["pointerleave", "blur"]) button.addEventListener(leave, () => tip.hide());
      parent.append(button);
      return button;
    });
  }

  // What a click does is said to whoever cannot see it.
  setMode(isSilencing) {
    const { neuron_names: names, silent } = this.episode;
    this.buttons.forEach((button, neuron) => {
      const does = !isSilencing ? "Follow" : silent.includes(neuron) ? "Restore" : "Silence";
      button.setAttribute("aria-label", button.getAttribute("aria-label").replace(/^\w+/, does));
      button.classList.toggle("silent", silent.includes(neuron));
      if (silent.includes(neuron)) button.setAttribute("data-silent", names[neuron]);
      else button.removeAttribute("data-silent");
    });
  }

  showTip(button, title, neuron) {
    const { episode, frame } = this;
    const { right, top, height } = button.getBoundingClientRect();
    const rows = [["potential", formatNumber(episode.now("states").at(frame, neuron))]];
    if (episode.silent.includes(neuron)) rows.push(["silent, held at", formatNumber(episode.rerun.means[neuron])]);
    else if (episode.timescales_s) rows.push(["τ", formatSeconds(episode.now("timescales_s").at(frame, neuron))]);
    tip.show(right - 12, top + height / 2, title, [...rows, ...(this.readout?.tipRows(frame, neuron) ?? [])]);
  }

  hoverSensory(event) {
    const { wiring, episode } = this;
    const distance = (node) => Math.hypot(
      this.places[node].x - event.offsetX, this.places[node].y - event.offsetY);
    const nodes = Array.from({ length: wiring.numSensory }, (_, i) => i);
    const nearest = nodes.reduce((a, b) => (distance(a) <= distance(b) ? a : b), 0);
    const isNear = nodes.length && episode.features && event.pointerType !== "touch"
      && distance(nearest) < Math.max(this.places[nearest].radius + 3, 7);
    if (!isNear) return tip.hide();
    const value = formatNumber(episode.features.at(this.frame, nearest));
    return tip.show(event.clientX, event.clientY, wiring.names[nearest], [["input", value]]);
  }

  // Columns from left to right; circles as large as the gaps allow.
  place() {
    const { width, height } = this.surface;
    const { sensors, motors, numSensory } = this.wiring;
    // What the sensors and motors are called is written beside them where there is room.
    this.isLabelled = width >= 480;
    const left = 24 + Math.max(this.labelWidth(sensors), 20);
    const right = width - 28 - Math.max(this.labelWidth(motors), 24);
    const top = 34;
    this.places = [];
    this.columns.forEach(({ name, nodes }, column) => {
      const x = left + ((right - left) * column) / Math.max(this.columns.length - 1, 1);
      const gap = (height - top - 8) / nodes.length;
      const radius = Math.min(0.4 * gap, { sensory: 5.5, output: 8 }[name] ?? 17);
      nodes.forEach((node, i) => {
        this.places[node] = { x, y: top + gap * (i + 0.5), radius, gap };
      });
    });
    this.buttons.forEach((button, neuron) => {
      const { x, y, radius, gap } = this.places[numSensory + neuron];
      // Large enough for a finger, as far as the neighbours allow.
      const size = Math.max(2 * radius + 4, Math.min(gap, 44));
      Object.assign(button.style,
        { left: `${x}px`, top: `${y}px`, width: `${size}px`, height: `${size}px` });
    });
  }

  // Width of the longest name as it is written [px], 0 if none are.
  labelWidth(names) {
    if (!this.isLabelled || !names) return 0;
    const { context, width } = this.surface;
    context.font = `500 11px ${getComputedStyle(document.body).fontFamily}`;
    const longest = Math.max(...names.map((name) => context.measureText(withoutUnit(name)).width));
    return Math.min(longest, 0.22 * width);
  }

  show(frame, followed) {
    this.frame = frame;
    if (this.followed !== followed) {
      this.buttons.forEach((button, i) => button.setAttribute("aria-pressed", i === followed));
    }
    this.followed = followed;
    this.surface.repaint();
  }

  paint(context, width, height) {
    context.clearRect(0, 0, width, height);
    this.drawHeadings(context);
    const node = this.followed === null ? null : this.followed + this.wiring.numSensory;
    const isNear = ({ source, target }) => node === null || source === node || target === node;
    const order = this.wiring.synapses.map((synapse, i) => ({ ...synapse, i, isNear: isNear(synapse) }));
    for (const isInFront of [false, true]) {
      for (const synapse of order) if (synapse.isNear === isInFront) this.drawSynapse(context, synapse);
      this.drawReadout(context, isInFront);
    }
    context.globalAlpha = 1;
    this.places.forEach((_, i) => (
      i < this.wiring.names.length ? this.drawNode(context, i, i === node) : this.drawOutput(context, i)));
  }

  drawHeadings(context) {
    const family = getComputedStyle(document.body).fontFamily;
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const { name, nodes } of this.columns) {
      context.font = `600 12px ${family}`;
      context.fillStyle = colours.ink;
      context.fillText(name, this.places[nodes[0]].x, 12);
      context.font = `11px ${family}`;
      context.fillStyle = colours.muted;
      context.fillText(nodes.length, this.places[nodes[0]].x, 26);
    }
  }

  // Width and opacity grow with the current; without currents all synapses are alike.
  drawSynapse(context, { source, target, sign, i, isNear }) {
    const currents = this.episode.now("synaptic_currents");
    const current = currents ? Math.abs(currents.at(this.frame, i)) : 0.3 * this.currentScale;
    this.styleLine(context, Math.min(current / this.currentScale, 1), sign, isNear);
    this.traceSynapse(context, this.places[source], this.places[target],
      this.wiring.layerOf[target] - this.wiring.layerOf[source]);
    context.stroke();
  }

  // Dashed, for these are no synapses: width and opacity grow with what is added to the output.
  drawReadout(context, isInFront) {
    const { readout, followed, frame, places, wiring } = this;
    context.setLineDash([6, 4]);
    for (const line of readout?.lines ?? []) {
      const isNear = followed === null || followed === line.neuron;
      if (isNear !== isInFront) continue;
      const share = Math.min(Math.abs(readout.term(frame, line)) / readout.scale, 1);
      this.styleLine(context, share, line.weight, isNear);
      this.traceSynapse(context, places[wiring.numSensory + line.neuron],
        places[readout.column.nodes[line.output]], 1);
      context.stroke();
    }
    context.setLineDash([]);
  }

  styleLine(context, share, sign, isNear) {
    const isFollowing = this.followed !== null;
    const opacity = isNear ? (isFollowing ? 0.35 : 0.1) + 0.6 * share : 0.02 + 0.13 * share;
    context.globalAlpha = Math.min(opacity, 1);
    context.strokeStyle = sign > 0 ? colours.exciting : colours.inhibiting;
    context.lineWidth = 0.6 + 3.4 * share + (isFollowing && isNear ? 0.4 : 0);
  }

  // Onwards as a level curve; within a layer as an arc, downwards on the right; back to itself
  // as a loop.
  traceSynapse(context, from, to, layersOn) {
    context.beginPath();
    if (from === to) {
      context.arc(from.x + from.radius + 4, from.y, 7, 0, 2 * Math.PI);
    } else if (layersOn > 0) {
      const bend = 0.45 * (to.x - from.x);
      context.moveTo(from.x, from.y);
      context.bezierCurveTo(from.x + bend, from.y, to.x - bend, to.y, to.x, to.y);
    } else {
      const side = to.y > from.y ? 1 : -1;
      const bulge = side * Math.min(18 + 0.28 * Math.abs(to.y - from.y), 60);
      context.moveTo(from.x, from.y);
      context.bezierCurveTo(from.x + bulge, from.y, to.x + bulge, to.y, to.x, to.y);
    }
  }

  drawNode(context, node, isFollowed) {
    const { numSensory, names } = this.wiring;
    const { x, y, radius } = this.places[node];
    const isSensory = node < numSensory;
    const fill = diverging(this.activity(node));
    context.fillStyle = fill;
    fillCircle(context, x, y, radius);
    context.strokeStyle = isFollowed ? colours.accent : colours.muted;
    context.lineWidth = isFollowed ? 3 : 1;
    context.stroke();
    const neuron = node - numSensory;
    const kept = this.kept.find((one) => one.neuron === neuron);
    if (kept) this.drawRing(context, x, y, radius + 4, colours[kept.colour]);
    if (this.episode.silent.includes(neuron)) this.crossOut(context, x, y, radius);
    const size = isSensory ? Math.min(2.2 * radius, 11) : Math.min(0.95 * radius, 12);
    if (size < 7) return;
    context.font = `${isFollowed ? 700 : 500} ${size}px ${getComputedStyle(document.body).fontFamily}`;
    context.textAlign = isSensory ? "right" : "center";
    context.fillStyle = isSensory ? colours.muted : isDark(fill) ? "#fff" : "#111";
    const text = isSensory && this.isLabelled && this.wiring.sensors
      ? withoutUnit(names[node]) : this.number(node);
    const room = isSensory ? this.places[node].x - radius - 7 : 2 * radius;
    context.fillText(text, isSensory ? x - radius - 5 : x, y + 0.5, room);
    this.drawMotorLabel(context, node);
  }

  // A square, coloured by the command from −1 to 1 where there is one for each output.
  drawOutput(context, node) {
    const { episode, frame, wiring: { motors } } = this;
    const { x, y, radius } = this.places[node];
    const k = node - this.readout.column.nodes[0];
    context.fillStyle = motors ? diverging(episode.now("actions").at(frame, k)) : colours.card;
    context.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
    context.strokeStyle = colours.muted;
    context.lineWidth = 1;
    context.strokeRect(x - radius, y - radius, 2 * radius, 2 * radius);
    this.drawMotorLabel(context, node);
  }

  drawRing(context, x, y, radius, colour) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.strokeStyle = colour;
    context.lineWidth = 2.5;
    context.stroke();
  }

  crossOut(context, x, y, radius) {
    const reach = 0.95 * radius + 3;
    for (const [colour, width] of [[colours.card, 6], [colours.without, 3]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      strokePath(context, [[x - reach, y - reach], [x + reach, y + reach]]);
      strokePath(context, [[x - reach, y + reach], [x + reach, y - reach]]);
    }
  }

  // The number of a node within its layer.
  number(node) {
    const { layers, layerOf } = this.wiring;
    return node - layers[layerOf[node]].nodes[0];
  }

  drawMotorLabel(context, node) {
    const { motors } = this.wiring;
    const k = node - this.columns.at(-1).nodes[0];
    if (!this.isLabelled || !motors || k < 0) return;
    const { x, y, radius } = this.places[node];
    context.font = `500 11px ${getComputedStyle(document.body).fontFamily}`;
    context.textAlign = "left";
    context.fillStyle = colours.muted;
    context.fillText(withoutUnit(motors[k]), x + radius + 6, y, this.labelWidth(motors));
  }

  // A share from -1 to 1: of the largest potential, or of the largest feature.
  activity(node) {
    const { episode, frame, wiring: { numSensory } } = this;
    if (node >= numSensory) return episode.now("states").at(frame, node - numSensory) / this.potentialScale;
    return episode.features ? episode.features.at(frame, node) / this.featureScale : 0;
  }

  legend() {
    const scale = formatNumber(this.potentialScale);
    const rule = (name) => element("i", { class: "rule", style: `background: var(--${name})` });
    const features = `Sensory inputs are coloured from 0 to ${formatNumber(this.featureScale)}`;
    const ramp = element("span", { title: features }, `potential −${scale}`, element("i", { class: "ramp" }), scale);
    const current = element("span", { class: "extra" }, "width: current");
    return [
      element("span", {}, rule("exciting"), "excitatory"),
      element("span", {}, rule("inhibiting"), "inhibitory"),
      ...(this.episode.synaptic_currents ? [current] : []),
      ...(this.readout ? [element("span", {}, element("i", { class: "dashes" }), "read by the output")] : []),
      ramp,
    ];
  }
}

function withoutUnit(name) {
  return name.replace(/ \[[^\]]*\]$/, "");
}
