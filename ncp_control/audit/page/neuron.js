// The neuron that is followed: its potential, its time constant, its synapses; and beside its lines
// those of neurons that the reader keeps.

const KEPT_COLOURS = ["kept1", "kept2", "kept3", "kept4"];

class NeuronView {
  // actions: follow(neuron), keep(neuron) and silence(neuron), which take a neuron and change what
  // is shown of it.
  constructor(card, episode, peer, actions, axis) {
    const { follow } = actions;
    Object.assign(this, { card, episode, peer, follow, kept: [] });
    this.choice = card.querySelector(".follow");
    this.lists = card.querySelector(".synapses");
    this.choice.append(element("option", { value: "" }, "none"),
      ...episode.neuron_names.map((name, i) => element("option", { value: i }, name)));
    this.choice.addEventListener("change", () => {
      follow(this.choice.value === "" ? null : Number(this.choice.value));
    });
    this.keepButton = card.querySelector(".keep");
    this.silenceButton = card.querySelector(".silence");
    this.keepButton.addEventListener("click", () => actions.keep(this.neuron));
    this.silenceButton.addEventListener("click", () => actions.silence(this.neuron));
    this.silenceButton.hidden = !episode.canSilence;
    this.chips = card.querySelector(".kept");
    this.unkeep = actions.keep;
    const parent = card.querySelector(".neuron-plots");
    const what = episode.wiring ? "potential v" : "activity";
    const bounds = ", certified band";
    this.state = new Plot(parent, { axis, title: what + (episode.state_bounds ? bounds : "") });
    this.timescale = episode.timescales_s && new Plot(parent, { axis, isLog: true,
      format: formatSeconds, title: this.timescaleTitle() });
    this.lists.hidden = !episode.synaptic_currents;
    this.lists.querySelectorAll(".of-readout").forEach((part) => { part.hidden = !episode.readout; });
    this.rows = [];
  }

  setNeuron(neuron) {
    this.neuron = neuron;
    this.card.classList.toggle("idle", neuron === null);
    this.choice.value = neuron === null ? "" : String(neuron);
    this.keepButton.textContent = this.isKept(neuron) ? "Let go" : "Keep";
    this.silenceButton.textContent = this.episode.silent.includes(neuron) ? "Restore" : "Silence";
    this.showKept();
    this.showPlot(this.state, "states", "state_bounds");
    if (this.timescale) {
      this.showPlot(this.timescale, "timescales_s", "timescale_bounds_s");
      this.timescale.title.textContent = this.timescaleTitle();
    }
    if (this.episode.synaptic_currents) this.listSynapses();
  }

  isKept(neuron) {
    return this.kept.some((one) => one.neuron === neuron);
  }

  // Keep a neuron's lines, or let them go; the oldest goes where there are too many.
  toggleKept(neuron) {
    if (this.isKept(neuron)) {
      this.kept = this.kept.filter((one) => one.neuron !== neuron);
      return;
    }
    if (this.kept.length === KEPT_COLOURS.length) this.kept.shift();
    const colour = KEPT_COLOURS.find((name) => !this.kept.some((one) => one.colour === name));
    this.kept.push({ neuron, colour });
  }

  showKept() {
    const { neuron_names: names } = this.episode;
    this.chips.replaceChildren(...this.kept.map(({ neuron, colour }) => {
      const mark = element("i", { style: `background: ${colours[colour]}` });
      const chip = element("button", { type: "button", "aria-label": `Let go of ${names[neuron]}` },
        mark, `${names[neuron]} `, element("span", { "aria-hidden": "true" }, "×"));
      chip.addEventListener("click", () => this.unkeep(neuron));
      return chip;
    }));
    this.chips.hidden = !this.kept.length;
  }

  // With the mean τ of the neuron that is followed, in frames: how long it remembers.
  timescaleTitle() {
    const { timescales_s, timescale_bounds_s, frame_s } = this.episode;
    const bounds = timescale_bounds_s ? ", certified band" : "";
    if ((this.neuron ?? null) === null || !frame_s) return `time constant τ${bounds}`;
    const values = timescales_s.column(this.neuron);
    const mean_s = values.reduce((sum, v) => sum + v, 0) / values.length;
    return `τ (mean ${formatNumber(mean_s / frame_s)} frames)${bounds}`;
  }

  // The other policy's neuron of the same name is drawn behind.
  showPlot(plot, table, bounds) {
    const { episode, peer, neuron } = this;
    const { time_s, neuron_names: names } = episode;
    const others = this.kept.filter((one) => one.neuron !== neuron).map((one) => ({ time_s,
      values: episode.now(table).column(one.neuron), name: names[one.neuron], colour: one.colour }));
    if (neuron === null) {
      plot.show(others, null);
      return;
    }
    const lines = [{ time_s, values: episode[table].column(neuron), name: names[neuron] }];
    const isHeld = table === "timescales_s" && episode.silent.includes(neuron);
    if (episode.ablated && !isHeld) {
      lines.push({ time_s, values: episode.ablated[table].column(neuron), title: "without",
        colour: "without", isDashed: true });
    }
    lines.push(...others);
    const twin = peer?.wiring && episode.wiring
      ? peer.neuron_names.indexOf(episode.neuron_names[neuron]) : -1;
    if (twin >= 0 && peer[table]) {
      lines.push({ time_s: peer.time_s, values: peer[table].column(twin), isPeer: true });
    }
    plot.show(lines, episode[bounds]?.[neuron] ?? null);
  }

  listSynapses() {
    const { wiring } = this.episode;
    const synaptic_currents = this.episode.now("synaptic_currents");
    const node = this.neuron === null ? -1 : this.neuron + wiring.numSensory;
    const strength = (i) => synaptic_currents.column(i).reduce((sum, v) => sum + Math.abs(v), 0);
    const all = wiring.synapses.map((synapse, i) => ({ ...synapse, i }));
    const byStrength = (synapses) => synapses
      .map((synapse) => ({ ...synapse, strength: strength(synapse.i) }))
      .sort((a, b) => b.strength - a.strength);
    const incoming = byStrength(all.filter(({ target }) => target === node));
    const outgoing = byStrength(all.filter(({ source }) => source === node));
    // Bars are long for what matters to this neuron.
    const currents = [...incoming, ...outgoing].flatMap(({ i }) => [...synaptic_currents.column(i)]);
    const scale = currents.reduce((most, current) => Math.max(most, Math.abs(current)), 1e-6);
    const rowsOf = (synapses, end) => synapses.map((synapse) => this.makeRow(
      wiring.names[synapse[end]], synapse[end] - wiring.numSensory, scale,
      (frame) => this.episode.now("synaptic_currents").at(frame, synapse.i)));
    this.rows = [...this.fillList(".incoming", rowsOf(incoming, "source")),
      ...this.fillList(".outgoing", rowsOf(outgoing, "target")),
      ...this.fillList(".readout", this.makeReadRows())];
  }

  // What the neuron adds to each output that reads it.
  makeReadRows() {
    const { readout, states } = this.episode;
    if (!readout || this.neuron === null) return [];
    const lines = readout.linesOf(this.neuron).sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
    const highest = states.column(this.neuron).reduce((most, v) => Math.max(most, Math.abs(v)), 0);
    const scale = Math.max(Math.abs(lines[0]?.weight ?? 0) * highest, 1e-6);
    return lines.map((line) => this.makeRow(
      readout.names[line.output], -1, scale, (frame) => readout.term(frame, line)));
  }

  fillList(selector, rows) {
    const list = this.lists.querySelector(selector);
    list.replaceChildren(...rows.map((row) => row.item));
    const heading = list.previousElementSibling;
    const [side] = heading.textContent.split(" (");
    heading.textContent = `${side} (${rows.length}), strongest over the episode first`;
    return rows;
  }

  // A row of a list: a name, and the number that `at(frame)` gives, of -scale to scale. A neuron's
  // name, unless its number is negative, is a button that follows it.
  makeRow(name, neuron, scale, at) {
    const label = element(neuron >= 0 ? "button" : "span", { title: name }, name);
    if (neuron >= 0) label.addEventListener("click", () => this.follow(neuron));
    const bar = element("span", { class: "bar" });
    const value = element("span", { class: "value" });
    return { at, scale, bar, value, item: element("li", {}, label, bar, value) };
  }

  show(frame, time_s) {
    this.state.moveTo(time_s, frame);
    this.timescale?.moveTo(time_s, frame);
    for (const { at, scale, bar, value } of this.neuron === null ? [] : this.rows) {
      const amount = at(frame);
      bar.style.background = amount < 0 ? colours.inhibiting : colours.exciting;
      bar.style.transform = `scaleX(${Math.min(Math.abs(amount) / scale, 1)})`;
      value.textContent = formatNumber(amount);
    }
  }
}
