// The circuit itself, run anew on what it was given, with some neurons held at one value.
//
// Numbers are those of the export to C, or of the kernels; here they are in double precision.

class PageCircuit {
  // Of a kind of circuit: numNeurons, stateSize, advance(frame, state, held), timescales(frame,
  // state), outputs(state), and currents(states, held) if it has any.
  constructor({ squash, choices, features, dt_s }) {
    Object.assign(this, { squash, choices });
    this.features = new Table(features);
    this.dt_s = readFloats(dt_s);
    this.numFrames = this.dt_s.length;
  }

  // Run over all frames; `held` is a Map from the number of a neuron to its value.
  run(held = new Map()) {
    const { numFrames, numNeurons } = this;
    const states = new Float64Array(numFrames * numNeurons);
    const timescales_s = new Float64Array(states.length);
    const actions = [];
    let hasTimescales = true;
    let state = new Float64Array(this.stateSize);
    for (let frame = 0; frame < numFrames; frame += 1) {
      state = this.advance(frame, state, held);
      states.set(state.subarray(0, numNeurons), frame * numNeurons);
      const found = this.timescales(frame, state);
      hasTimescales = found !== null;
      if (hasTimescales) timescales_s.set(found, frame * numNeurons);
      actions.push(...this.command(state));
    }
    const table = (values) => Table.of(numFrames, values);
    const made = { states: table(states), actions: table(actions),
      timescales_s: hasTimescales ? table(timescales_s) : null };
    return { ...made, synaptic_currents: this.currents?.(made.states, held) ?? null };
  }

  // What the policy does with a state: numbers from −1 to 1, or the best choice of each entry.
  command(state) {
    const outputs = this.outputs(state);
    if (this.choices.length) {
      let begin = 0;
      return this.choices.map((count) => {
        const scores = outputs.slice(begin, begin += count);
        return scores.indexOf(Math.max(...scores));
      });
    }
    const squashed = this.squash === "tanh" ? outputs.map(Math.tanh) : outputs;
    return squashed.map((output) => Math.min(Math.max(output, -1), 1));
  }
}

// The circuit of an episode with all neurons, and without those that are silenced.
class Rerun {
  constructor(stored, recorded) {
    this.circuit = stored.kind === "ltc" ? new LiquidCircuit(stored) : new ProgramCircuit(stored);
    this.whole = this.circuit.run();
    this.gap = change(this.whole.actions, recorded, this.circuit.choices.length > 0).largest;
    this.means = Array.from({ length: this.circuit.numNeurons }, (_, i) => mean(this.whole.states.column(i)));
  }

  // Recorded commands are kept in steps, and were computed in single precision.
  get isFaithful() {
    return this.gap <= 1e-3;
  }

  without(neurons) {
    const held = new Map(neurons.map((neuron) => [neuron, this.means[neuron]]));
    const without = this.circuit.run(held);
    return { ...without, held, change: change(without.actions, this.whole.actions, this.circuit.choices.length > 0) };
  }

  // Each neuron silenced by itself: [{neuron, change}], the one that counts most first.
  rank() {
    const neurons = Array.from({ length: this.circuit.numNeurons }, (_, i) => i);
    this.ranking ??= neurons.map((neuron) => ({ neuron, change: this.without([neuron]).change }))
      .sort((a, b) => b.change.rms - a.change.rms);
    return this.ranking;
  }
}

// How far commands are from others: root mean square, largest and when. Of choices, the share of
// frames in which another one is taken, for both.
function change(actions, others, areChoices) {
  const found = { rms: 0, largest: 0, frame: 0 };
  let squares = 0;
  for (let i = 0; i < others.values.length; i += 1) {
    const differs = Math.abs(actions.values[i] - others.values[i]);
    const size = areChoices ? Number(differs > 0.5) : differs;
    squares += size ** 2;
    if (size > found.largest) Object.assign(found, { largest: size, frame: Math.floor(i / others.columns) });
  }
  const share = squares / others.values.length;
  return areChoices ? { ...found, rms: share, largest: share } : { ...found, rms: Math.sqrt(share) };
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
