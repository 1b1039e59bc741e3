// All that is shown of one policy.

class Panel {
  // peer: the other episode, drawn behind in grey, or null; axis: the times shown; follow(panel,
  // neuron) follows a neuron here and in the other policy; changed() is called after any choice.
  constructor(episode, peer, axis, { follow, changed, seekFrame, number }) {
    Object.assign(this, { episode, peer, changed, neuron: null });
    const fragment = document.getElementById("panel-template").content.cloneNode(true);
    this.root = fragment.querySelector(".panel");
    this.root.setAttribute("aria-label", episode.name);
    this.writeHeading();
    const find = (selector) => this.root.querySelector(selector);
    this.explain();
    const followHere = (neuron) => follow(this, neuron);
    this.camera = this.keep(find(".camera"), episode.frames, (box) => new Camera(box, episode));
    this.track = this.keep(find(".track"), episode.track, (box) => new TrackView(box, episode, peer));
    this.root.classList.toggle("blind", !this.camera && !this.track);
    this.root.classList.toggle("blind-track", !this.track);
    const stage = find(".stage");
    const choose = (neuron, event) => this.choose(neuron, event, followHere);
    this.circuit = episode.wiring
      ? new WiringView(stage, episode, choose) : new HeatMap(stage, episode, choose, axis);
    find(".legend").append(...this.circuit.legend());
    const toggle = (neuron) => this.toggleSilent(neuron);
    this.silencing = new SilencingView(find(".circuit"), episode, { toggle, seekFrame,
      clear: () => this.silence([]),
      setMode: (isSilencing) => this.circuit.setMode?.(isSilencing) }, number);
    this.neuronView = new NeuronView(find(".neuron"), episode, peer,
      { follow: followHere, silence: toggle, keep: (neuron) => this.toggleKept(neuron) }, axis);
    this.signals = this.makeSignals(find(".signals"), axis);
    this.frame = 0;
  }

  writeHeading() {
    this.root.querySelector(".name").textContent = this.episode.name;
    const facts = this.root.querySelector(".facts");
    Object.entries(this.episode.facts).forEach(([name, value], i) => {
      facts.append(i ? " · " : "", element("b", {}, value), ` ${name}`);
    });
  }

  // Say in words what each part means.
  explain() {
    const texts = aboutTexts(this.episode);
    const titles = { camera: this.episode.sees_pictures ? "Camera" : "Picture", track: "Track",
      circuit: this.episode.wiring ? "Circuit" : "Units", neuron: "Neuron", signals: "Signals" };
    for (const place of this.root.querySelectorAll("[data-about]")) {
      const { about } = place.dataset;
      makeAbout(place, titles[about], texts[about]);
    }
  }

  // Make a view, or take its box away where there is nothing to show.
  keep(box, data, make) {
    if (data) return make(box);
    box.remove();
    return null;
  }

  makeSignals(parent, axis) {
    return this.episode.signals.map((signal) => {
      const { title, isHeld, choices } = signal;
      const plot = new Plot(parent, { axis, title, isHeld, choices });
      plot.show(this.linesOf(signal), null);
      return plot;
    });
  }

  // A signal, what is drawn over it, and of a command what it is without the silenced neurons.
  linesOf(signal) {
    const { time_s, signals, ablated, silentLabel, action_names } = this.episode;
    const { title, values, overlays } = signal;
    const action = signals.indexOf(signal);
    const lines = [{ time_s, values, name: "recorded" }];
    if (ablated && action < action_names.length) {
      lines.push({ time_s, values: ablated.actions.column(action), title: silentLabel,
        colour: "without", isDashed: true });
    }
    lines.push(...overlays.map((overlay) => ({ ...overlay, time_s })));
    const twin = this.peer?.signals.find((other) => other.title === title);
    if (twin) lines.push({ time_s: this.peer.time_s, values: twin.values, isPeer: true });
    return lines;
  }

  // A click on a neuron: with Shift its line is kept; else what the reader chose clicks to do.
  choose(neuron, event, follow) {
    if (event.shiftKey) this.toggleKept(neuron);
    else if (this.silencing.isSilencing) this.toggleSilent(neuron);
    else follow(neuron);
  }

  follow(neuron) {
    this.neuron = neuron;
    this.neuronView.setNeuron(neuron);
    this.show(this.time_s);
  }

  get kept() {
    return this.neuronView.kept.map((one) => one.neuron);
  }

  toggleKept(neuron) {
    if (neuron === null) return;
    this.neuronView.toggleKept(neuron);
    this.circuit.kept = this.neuronView.kept;
    this.follow(this.neuron);
    this.changed();
  }

  toggleSilent(neuron) {
    if (neuron === null || !this.episode.canSilence) return;
    const { silent } = this.episode;
    this.silence(silent.includes(neuron) ? silent.filter((one) => one !== neuron) : [...silent, neuron]);
  }

  // Hold these neurons at their means, and show what the circuit then does.
  silence(neurons) {
    this.episode.silence(neurons);
    this.silencing.show();
    this.circuit.setMode?.(this.silencing.isSilencing);
    this.signals.forEach((plot, i) => plot.show(this.linesOf(this.episode.signals[i]), null));
    this.follow(this.neuron);
    this.changed();
  }

  show(time_s) {
    this.time_s = time_s;
    const frame = this.episode.frameAt(time_s);
    this.frame = frame;
    this.camera?.show(frame, this.neuron);
    this.track?.show(frame, this.peer?.frameAt(time_s));
    this.circuit.show(frame, this.neuron);
    this.neuronView.show(frame, time_s);
    for (const plot of this.signals) plot.moveTo(time_s, frame);
  }

  // After a change from light to dark.
  recolour() {
    this.circuit.repaintColours?.();
    this.neuronView.showKept();
    const plots = [...this.signals, this.neuronView.state, this.neuronView.timescale];
    for (const plot of plots) plot?.drawBackground();
    this.show(this.time_s);
  }
}
