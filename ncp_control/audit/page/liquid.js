// An LTC circuit, run anew.
//
//     C dv_i/dt = b_i − a_i v_i,  a_i = g + Σ w s(x_j),  b_i = g V + Σ w E s(x_j)
//     s(x) = 1 / (1 + 2^(rate (x − centre)))
//
// The numbers and the steps are those of the export to C; here they are in double precision.

class LiquidCircuit extends PageCircuit {
  constructor(stored) {
    super(stored);
    const { unfolds, integrator, sources, ends, layers, motors } = stored;
    Object.assign(this, { unfolds, integrator, sources, ends, layers, motors });
    this.synapses = mapValues(stored.synapses, readFloats);
    this.neurons = mapValues(stored.neurons, readFloats);
    this.readWeights = stored.read_weights;
    this.numNeurons = this.stateSize = ends.length;
    this.numSensory = ends[ends.length - 1][0];
    this.given = this.sumSensory();
  }

  // Where the synapses of a neuron begin: those from inputs, and those from neurons.
  firstOf(neuron) {
    return neuron ? [this.ends[neuron - 1][0], this.ends[neuron - 1][2]] : [0, this.numSensory];
  }

  // What leak and inputs add to a and b of every neuron in every frame; neurons do not change it.
  sumSensory() {
    const conductance = new Float64Array(this.numFrames * this.numNeurons);
    const drive = new Float64Array(conductance.length);
    const { leak, leak_drive } = this.neurons;
    for (let frame = 0; frame < this.numFrames; frame += 1) {
      const row = this.features.values.subarray(
        frame * this.features.columns, (frame + 1) * this.features.columns);
      for (let i = 0; i < this.numNeurons; i += 1) {
        const sum = { a: leak[i], b: leak_drive[i] };
        this.add(sum, this.firstOf(i)[0], this.ends[i][0], row);
        conductance[frame * this.numNeurons + i] = sum.a;
        drive[frame * this.numNeurons + i] = sum.b;
      }
    }
    return { conductance, drive };
  }

  opening(synapse, x) {
    const { rate, centre } = this.synapses;
    return 1 / (1 + 2 ** ((x - centre[synapse]) * rate[synapse]));
  }

  add(sum, first, end, signal) {
    const { weight, weighted_reversal } = this.synapses;
    for (let s = first; s < end; s += 1) {
      const open = this.opening(s, signal[this.sources[s]]);
      sum.a += open * weight[s];
      sum.b += open * weighted_reversal[s];
    }
    return sum;
  }

  // a and b of a neuron; of the synapses from neurons, those up to `end`.
  flow(frame, i, signal, end = this.ends[i][2]) {
    const at = frame * this.numNeurons + i;
    const sum = { a: this.given.conductance[at], b: this.given.drive[at] };
    return this.add(sum, this.firstOf(i)[1], end, signal);
  }

  // How far a neuron goes from v in h seconds.
  step(i, v, { a, b }, h_s) {
    const capacitance_s = this.neurons.capacitance_s[i];
    if (this.integrator === "semi_implicit_euler") return (h_s * (b - a * v)) / (capacitance_s + h_s * a);
    const time = (h_s * a) / capacitance_s;
    const share = this.integrator === "explicit_euler" ? Math.min(time, 1) : -Math.expm1(-time);
    return share * (b / a - v);
  }

  advance(frame, state, held) {
    const h_s = Math.min(this.dt_s[frame] / this.unfolds, 1e15);
    let next = state;
    for (let k = 0; k < this.unfolds; k += 1) next = this.unfold(frame, next, h_s, held);
    return next;
  }

  unfold(frame, state, h_s, held) {
    if (this.integrator === "layered_midpoint") return this.advanceLayers(frame, state, h_s, held);
    return state.map((v, i) =>
      held.get(i) ?? v + this.step(i, v, this.flow(frame, i, state), h_s));
  }

  // The neurons of a layer see the middle of the layers before; of their own layer first the
  // start, then, to reach the end, the middle.
  advanceLayers(frame, state, h_s, held) {
    const middle = state.slice();
    const next = state.slice();
    for (const [first, end] of this.layers) {
      const sums = [];
      for (let i = first; i < end; i += 1) {
        const sum = this.flow(frame, i, middle, this.ends[i][1]);
        sums[i] = { ...sum };
        this.add(sum, this.ends[i][1], this.ends[i][2], state);
        const go = (time_s) => held.get(i) ?? state[i] + this.step(i, state[i], sum, time_s);
        next[i] = go(h_s);
        middle[i] = go(h_s / 2);
      }
      for (let i = first; i < end; i += 1) {
        if (this.ends[i][1] === this.ends[i][2] || held.has(i)) continue;
        const sum = this.add(sums[i], this.ends[i][1], this.ends[i][2], middle);
        next[i] = state[i] + this.step(i, state[i], sum, h_s);
      }
    }
    return next;
  }

  timescales(frame, state) {
    return state.map((_, i) => this.neurons.capacitance_s[i] / this.flow(frame, i, state).a);
  }

  outputs(state) {
    const first = this.numNeurons - this.motors.length;
    return this.motors.map(([factor, offset], k) => {
      let output = factor * state[first + k] + offset;
      for (let j = 0; this.readWeights && j < first; j += 1) output += this.readWeights.at(k, j) * state[j];
      return output;
    });
  }

  currents(states, held) {
    return new Currents(this, states, held);
  }
}

// The current w s(x)(E − v) through each synapse, worked out when it is asked for.
class Currents {
  constructor(circuit, states, held) {
    Object.assign(this, { circuit, states, held, rows: states.rows });
    this.targets = circuit.sources.map(() => 0);
    for (let i = 0; i < circuit.numNeurons; i += 1) {
      const [sensory, inner] = circuit.firstOf(i);
      this.targets.fill(i, sensory, circuit.ends[i][0]);
      this.targets.fill(i, inner, circuit.ends[i][2]);
    }
  }

  // A silenced neuron takes no current.
  at(row, synapse) {
    const { circuit, states } = this;
    const target = this.targets[synapse];
    if (this.held.has(target)) return 0;
    const seen = synapse < circuit.numSensory ? circuit.features : states;
    const { weight, weighted_reversal } = circuit.synapses;
    return circuit.opening(synapse, seen.at(row, circuit.sources[synapse]))
      * (weighted_reversal[synapse] - weight[synapse] * states.at(row, target));
  }

  column(synapse) {
    return Float64Array.from({ length: this.rows }, (_, row) => this.at(row, synapse));
  }
}
