// All that is shown of one policy.

class Panel {
  // peer: the other episode, drawn behind in grey, or null; axis: {range, seek} of the time axes.
  constructor(episode, peer, axis, follow) {
    Object.assign(this, { episode, peer, neuron: null });
    const fragment = document.getElementById("panel-template").content.cloneNode(true);
    this.root = fragment.querySelector(".panel");
    this.root.setAttribute("aria-label", episode.name);
    this.writeHeading();
    const find = (selector) => this.root.querySelector(selector);
    const choose = (neuron) => follow(this, neuron);
    this.camera = this.keep(find(".camera"), episode.frames, (box) => new Camera(box, episode));
    this.track = this.keep(find(".track"), episode.track, (box) => new TrackView(box, episode, peer));
    this.root.classList.toggle("blind", !this.camera && !this.track);
    this.root.classList.toggle("blind-track", !this.track);
    const stage = find(".stage");
    this.circuit = episode.wiring
      ? new WiringView(stage, episode, choose) : new HeatMap(stage, episode, choose, axis);
    find(".legend").append(...this.circuit.legend());
    this.neuronView = new NeuronView(find(".neuron"), episode, peer, choose, axis);
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

  // Make a view, or take its box away where there is nothing to show.
  keep(box, data, make) {
    if (data) return make(box);
    box.remove();
    return null;
  }

  makeSignals(parent, axis) {
    const { time_s } = this.episode;
    return this.episode.signals.map(({ title, values, overlays }) => {
      const plot = new Plot(parent, { ...axis, title });
      const twin = this.peer?.signals.find((signal) => signal.title === title);
      const lines = [{ time_s, values }, ...overlays.map((overlay) => ({ ...overlay, time_s }))];
      if (twin) lines.push({ time_s: this.peer.time_s, values: twin.values, isPeer: true });
      plot.show(lines, null);
      return plot;
    });
  }

  follow(neuron) {
    this.neuron = neuron;
    this.neuronView.setNeuron(neuron);
    this.show(this.time_s);
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
    const plots = [...this.signals, this.neuronView.state, this.neuronView.timescale];
    for (const plot of plots) plot?.drawBackground();
    this.show(this.time_s);
  }
}
