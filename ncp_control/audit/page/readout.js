// What the outputs read, where they read other neurons than their motor neurons as well.
//
//     output k = b_k + Σ_j W_kj v_j

class Readout {
  constructor(episode) {
    const { read_weights: weights, states, action_names, choice_names, wiring: { names, motors } } = episode;
    const { rows, columns } = weights;
    this.episode = episode;
    // Scores of choices; of several actions, with the name of their action.
    const of = (i) => (choice_names.length > 1 ? `${action_names[i]}: ` : "");
    const scores = choice_names.flatMap((choices, i) => choices.map((choice) => of(i) + choice));
    const outputs = motors?.map(withoutUnit) ?? scores;
    this.names = Array.from({ length: rows }, (_, k) => outputs[k] ?? `output ${k}`);
    // The outputs stand beside the motor neurons, as nodes with the numbers after theirs.
    this.column = { name: "output", nodes: this.names.map((_, k) => names.length + k) };
    this.lines = Array.from(weights.values, (weight, i) =>
      ({ weight, output: Math.floor(i / columns), neuron: i % columns })).filter(({ weight }) => weight);
    const highest = Array.from({ length: columns }, (_, neuron) =>
      states.column(neuron).reduce((most, v) => Math.max(most, Math.abs(v)), 0));
    this.scale = this.lines.reduce((most, { neuron, weight }) =>
      Math.max(most, Math.abs(weight) * highest[neuron]), 1e-6);
    this.numOthers = new Set(this.lines.map(({ neuron }) => neuron).filter((j) => j < columns - rows)).size;
  }

  linesOf(neuron) {
    return this.lines.filter((line) => line.neuron === neuron);
  }

  // What a neuron adds to an output in a frame.
  term(frame, { neuron, weight }) {
    return weight * this.episode.now("states").at(frame, neuron);
  }

  // The same for each output that reads it, as rows of a tip.
  tipRows(frame, neuron) {
    return this.linesOf(neuron).map((line) =>
      [`adds to ${this.names[line.output]}`, formatNumber(this.term(frame, line))]);
  }
}
