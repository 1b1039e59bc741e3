// What the page holds: tables of numbers, sheets of pictures, episodes.

function decodeBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

// Numbers that were stored in single precision.
function readFloats({ floats }) {
  const view = new DataView(decodeBase64(floats).buffer);
  return Float32Array.from({ length: view.byteLength / 4 }, (_, i) => view.getFloat32(4 * i, true));
}

// A table (rows, columns) that was stored in single precision, or as 16-bit steps.
class Table {
  constructor({ shape, low, step, levels, floats }) {
    [this.rows, this.columns] = shape;
    if (floats) {
      this.values = readFloats({ floats });
      return;
    }
    const view = new DataView(decodeBase64(levels).buffer);
    this.values = new Float32Array(this.rows * this.columns);
    for (let i = 0; i < this.values.length; i += 1) {
      const column = i % this.columns;
      this.values[i] = low[column] + step[column] * view.getUint16(2 * i, true);
    }
  }

  static of(rows, values) {
    const table = Object.create(Table.prototype);
    return Object.assign(table, { rows, columns: values.length / rows, values });
  }

  at(row, column) {
    return this.values[row * this.columns + column];
  }

  column(index) {
    return Float64Array.from({ length: this.rows }, (_, row) => this.at(row, index));
  }

  // The size that all but one in two hundred values stay below.
  largest() {
    const sizes = this.values.map(Math.abs).sort();
    return Math.max(sizes[Math.floor(0.995 * (sizes.length - 1))] ?? 0, 1e-6);
  }
}

// Pictures of consecutive frames, several to an image, decoded when first wanted.
class Sheets {
  constructor(stored, whenReady) {
    Object.assign(this, stored);
    this.whenReady = whenReady;
    this.images = this.sheets.map(() => null);
  }

  image(index) {
    if (index < this.images.length && !this.images[index]) {
      const image = new Image();
      image.src = `data:image/webp;base64,${this.sheets[index]}`;
      image.decode().then(() => { image.isReady = true; this.whenReady(); });
      this.images[index] = image;
    }
    return this.images[index];
  }

  // Draw the picture of a frame into the rectangle; false while it is being decoded.
  draw(context, frame, width, height) {
    const kept = Math.floor(frame / this.stride);
    const sheet = Math.floor(kept / this.per_sheet);
    const cell = kept % this.per_sheet;
    const image = this.image(sheet);
    this.image(sheet + 1);  // decoded by the time it is needed
    if (!image.isReady) return false;
    const x = (cell % this.columns) * this.width;
    const y = Math.floor(cell / this.columns) * this.height;
    context.drawImage(image, x, y, this.width, this.height, 0, 0, width, height);
    return true;
  }
}

class Episode {
  constructor(stored, whenReady) {
    Object.assign(this, stored);
    const names = ["states", "actions", "timescales_s", "synaptic_currents", "features", "read_weights"];
    for (const name of names) this[name] = stored[name] && new Table(stored[name]);
    this.frames = stored.frames && new Sheets(stored.frames, whenReady);
    this.maps = mapValues(stored.maps, (sheets) => new Sheets(sheets, whenReady));
    this.signals = this.listSignals(stored.traces, new Map(Object.entries(stored.overlays)));
    this.wiring = stored.wiring && new Wiring(stored.wiring, this.neuron_names, this);
    const { read_weights } = this;
    this.readout = this.wiring && read_weights && new Readout(this);
    this.rerun = stored.rerun && new Rerun({ ...stored.rerun, read_weights }, this.actions);
    this.silent = [];
    this.ablated = null;
  }

  get canSilence() {
    return Boolean(this.rerun?.isFaithful);
  }

  // Run the circuit anew with these neurons held at their means.
  silence(neurons) {
    this.silent = neurons;
    this.ablated = neurons.length ? this.rerun.without(neurons) : null;
  }

  // What is silenced, in a few words.
  get silentLabel() {
    const [first, ...others] = this.silent;
    return `without ${others.length ? `${this.silent.length} neurons` : this.neuron_names[first]}`;
  }

  // A table as the circuit is now: without the silenced neurons, or as it was recorded.
  now(name) {
    return this.ablated?.[name] ?? this[name];
  }

  get numFrames() {
    return this.time_s.length;
  }

  // Mean interval between frames [s]; 0 for a single frame.
  get frame_s() {
    const last = this.numFrames - 1;
    return last ? (this.time_s[last] - this.time_s[0]) / last : 0;
  }

  // Actions first, then the further traces: [{title, values, overlays}], where the overlays are
  // traces that are drawn in the same plot. An action holds until the next; of a choice, `choices`
  // are the names.
  listSignals(traces, hosts) {
    const actions = this.action_names.map((title, i) => (
      { title, values: this.actions.column(i), isHeld: true, choices: this.choice_names[i] }));
    const others = Object.entries(traces).map(
      ([title, stored]) => ({ title, values: new Table(stored).column(0) }));
    const own = [...actions, ...others.filter(({ title }) => !hosts.has(title))];
    return own.map((signal) => ({ ...signal,
      overlays: others.filter(({ title }) => hosts.get(title) === signal.title) }));
  }

  frameAt(time_s) {
    return nearestFrame(this.time_s, time_s);
  }

  // Number of the neuron that varies most among those nearest to the output.
  liveliestNeuron() {
    const candidates = this.mainNeurons();
    return candidates.reduce((a, b) => (this.deviation(a) >= this.deviation(b) ? a : b));
  }

  // Command and motor neurons; all units where there are no layers.
  mainNeurons() {
    const all = [...this.neuron_names.keys()];
    const main = all.filter((i) => /^(command|motor)_/.test(this.neuron_names[i]));
    return main.length ? main : all;
  }

  deviation(neuron) {
    const values = this.states.column(neuron);
    const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
    return Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length);
  }
}

// Layers and synapses; a node is a sensory input or a neuron, numbered in layer order.
class Wiring {
  constructor(stored, neuronNames, { sensory_names, action_names }) {
    this.numSensory = stored.num_sensory;
    const sensory = Array.from({ length: this.numSensory }, (_, i) => `sensory_${i}`);
    this.names = [...sensory_names ?? sensory, ...neuronNames];
    this.sensors = sensory_names;
    // One motor neuron for each action: it is known what each of them moves.
    this.motors = action_names.length === stored.num_motor ? action_names : null;
    this.synapses = stored.synapses.map(([source, target, sign]) => ({ source, target, sign }));
    let first = 0;
    this.layers = ["sensory", "inter", "command", "motor"].map((name) => {
      const nodes = Array.from({ length: stored[`num_${name}`] }, (_, i) => first + i);
      first += nodes.length;
      return { name, nodes };
    }).filter((layer) => layer.nodes.length);
    this.layerOf = this.layers.flatMap((layer, i) => layer.nodes.map(() => i));
  }
}

// The number of the last frame that is not after a time, or the first.
function lastFrame(times_s, time_s) {
  let low = 0;
  let high = times_s.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (times_s[middle] <= time_s) low = middle; else high = middle - 1;
  }
  return low;
}

// The number of the frame nearest to a time.
function nearestFrame(times_s, time_s) {
  const low = lastFrame(times_s, time_s);
  const next = Math.min(low + 1, times_s.length - 1);
  return times_s[next] - time_s < time_s - times_s[low] ? next : low;
}

function mapValues(object, change) {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, change(value)]));
}
