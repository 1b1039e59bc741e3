// Circuits of other cells than LTC, run anew from the matrices of the cell's kernel.
//
// Each matrix stands as the kernel has it, with its pieces side by side: state, inputs, elapsed time
// if it is seen, and a column of biases.
//
//     CfC      v ← tanh f · (1 − s) + tanh g · s,  s = 1 / (1 + exp(−(a t + b)))   (default mode)
//     CT-RNN   v ← v + (1 − exp(−t / τ)) (tanh(W u + U v + b) − v)
//     LSTM, GRU as torch has them

class ProgramCircuit extends PageCircuit {
  constructor(stored) {
    super(stored);
    const { kind, mode, activation, unfolds, sees_time, frame_s, num_units, readout, motors } = stored;
    Object.assign(this, { kind, mode, unfolds, frame_s, motors });
    this.activation = ACTIVATIONS[activation];
    this.seesTime = sees_time;
    this.numNeurons = num_units;
    this.stateSize = kind === "lstm" ? 2 * num_units : num_units;
    this.matrices = stored.matrices.map((matrix) => new Table(matrix));
    this.readoutMatrix = readout && new Table(readout);
    if (mode === "pure") [this.leak, this.amplitude] = this.matrices.splice(-2).map(({ values }) => values);
  }

  advance(frame, state, held) {
    const frames = this.dt_s[frame] / this.frame_s;
    const next = this[this.kind](this.seen(frame, frames), state, frames, held);
    for (const [unit, value] of held) next[unit] = value;
    return next;
  }

  // The inputs of a frame, with the elapsed time if the cell sees it, and a 1 for the biases.
  seen(frame, frames) {
    const { columns, values } = this.features;
    const inputs = values.subarray(frame * columns, (frame + 1) * columns);
    return [...inputs, ...(this.seesTime ? [frames] : []), 1];
  }

  cfc(seen, state, frames) {
    return this.close(this.heads(seen, state), frames, 0);
  }

  heads(seen, state) {
    const [first, ...deeper] = this.matrices;
    return deeper.reduce((values, matrix) => product(matrix, values.map(this.activation), [1]),
      product(first, state, seen));
  }

  // The layers one after the other: each sees what those before it have become.
  wired_cfc(seen, state, frames, held) {
    const next = state.slice();
    let first = 0;
    for (const matrix of this.matrices) {
      const closed = this.close(product(matrix, next, seen), frames, first);
      next.set(closed, first);
      for (const [unit, value] of held) if (unit < first + closed.length) next[unit] = value;
      first += closed.length;
    }
    return next;
  }

  // What heads and elapsed time make of the neurons from `first` on.
  close(heads, frames, first) {
    if (this.mode === "pure") {
      return heads.map((f, i) => {
        const decay = Math.exp(-frames * (Math.abs(this.leak[first + i]) + Math.abs(f)));
        return this.amplitude[first + i] * (1 - decay * f);
      });
    }
    const size = heads.length / 4;
    return Float64Array.from({ length: size }, (_, i) => {
      const [f, g, a, b] = [0, 1, 2, 3].map((head) => heads[head * size + i]);
      const gate = sigmoid(a * frames + b);
      return this.mode === "no_gate" ? Math.tanh(f) + Math.tanh(g) * gate
        : Math.tanh(f) * (1 - gate) + Math.tanh(g) * gate;
    });
  }

  ctrnn(seen, state, frames) {
    const [inputs, between, { values: tau }] = this.matrices;
    const given = product(inputs, seen);
    let next = state;
    for (let k = 0; k < this.unfolds; k += 1) {
      const kept = product(between, next);
      next = next.map((v, i) =>
        v - Math.expm1(-frames / this.unfolds / tau[i]) * (Math.tanh(given[i] + kept[i]) - v));
    }
    return next;
  }

  lstm(seen, state) {
    const size = this.numNeurons;
    const gates = product(this.matrices[0], state.subarray(0, size), seen);
    const next = new Float64Array(2 * size);
    for (let i = 0; i < size; i += 1) {
      const candidate = Math.tanh(gates[2 * size + i]);
      const memory = sigmoid(gates[size + i]) * state[size + i] + sigmoid(gates[i]) * candidate;
      next[size + i] = memory;
      next[i] = sigmoid(gates[3 * size + i]) * Math.tanh(memory);
    }
    return next;
  }

  gru(seen, state) {
    const size = this.numNeurons;
    const given = product(this.matrices[0], seen);
    const kept = product(this.matrices[1], state, [1]);
    return state.map((v, i) => {
      const reset = sigmoid(given[i] + kept[i]);
      const update = sigmoid(given[size + i] + kept[size + i]);
      const candidate = Math.tanh(given[2 * size + i] + reset * kept[2 * size + i]);
      return candidate + update * (v - candidate);
    });
  }

  // Time constants in a frame [s]; null of cells that have none.
  timescales(frame, state) {
    if (this.kind === "ctrnn") return this.matrices[2].values.map((tau) => tau * this.frame_s);
    if (this.mode !== "pure") return null;
    const seen = this.seen(frame, this.dt_s[frame] / this.frame_s);
    const heads = this.kind === "cfc" ? this.heads(seen, state)
      : this.matrices.flatMap((matrix) => [...product(matrix, state, seen)]);
    return heads.map((f, i) => this.frame_s / (Math.abs(this.leak[i]) + Math.abs(f)));
  }

  outputs(state) {
    if (this.readoutMatrix) return [...product(this.readoutMatrix, state.subarray(0, this.numNeurons), [1])];
    const first = this.numNeurons - this.motors.length;
    return this.motors.map(([factor, offset], k) => factor * state[first + k] + offset);
  }
}

const ACTIVATIONS = {
  lecun_tanh: (x) => 1.7159 * Math.tanh(0.666 * x),
  tanh: Math.tanh,
  relu: (x) => Math.max(x, 0),
  silu: (x) => x * sigmoid(x),
};

function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}

// A matrix times a vector that stands in parts.
function product({ rows, columns, values }, ...parts) {
  const made = new Float64Array(rows);
  for (let row = 0; row < rows; row += 1) {
    let at = row * columns;
    for (const part of parts) {
      for (let k = 0; k < part.length; k += 1) made[row] += values[at + k] * part[k];
      at += part.length;
    }
  }
  return made;
}
