// Which neurons are silenced, and how far the command is from what it was with them.

class SilencingView {
  // actions: toggle(neuron), clear(), setMode(isSilencing) and seekFrame(frame).
  constructor(card, episode, actions, number) {
    Object.assign(this, { episode, actions });
    this.note = card.querySelector(".silenced");
    this.mode = card.querySelector(".mode");
    this.radios = [...this.mode.querySelectorAll("input")];
    this.radios.forEach((radio) => {
      radio.name = `mode-${number}`;
      radio.checked = radio.value === "follow";
      radio.addEventListener("change", () => {
        actions.setMode(this.isSilencing);
        this.show();
      });
    });
    this.mode.hidden = !episode.canSilence;
    this.show();
  }

  get isSilencing() {
    return this.radios.some((radio) => radio.checked && radio.value === "silence");
  }

  // Why nothing can be silenced; empty if it can, or if the page was not told.
  get reason() {
    const { rerun, why_no_rerun, canSilence } = this.episode;
    if (canSilence || !rerun) return why_no_rerun;
    const { choices } = rerun.circuit;
    const gap = choices.length ? `in ${percent(rerun.gap)} of the frames` : `by up to ${trim(rerun.gap)}`;
    return "Neurons cannot be silenced here: run on this page with all its neurons, the circuit"
      + ` gives a command that differs from the recorded one ${gap}.`;
  }

  show() {
    const { episode, note, reason } = this;
    const isAsking = this.isSilencing && !episode.silent.length;
    note.hidden = !episode.silent.length && !reason && !isAsking;
    if (reason) note.textContent = reason;
    else note.replaceChildren(...(isAsking ? this.offer() : episode.ablated ? this.describe() : []));
  }

  // Before the first neuron is silenced: which one counts most?
  offer() {
    const { rerun, neuron_names: names } = this.episode;
    if (!rerun.ranking) {
      const all = element("button", { type: "button", class: "try-each" }, "try each in turn");
      all.addEventListener("click", () => {
        rerun.rank();
        this.show();
      });
      return ["Click a neuron to silence it, or ", all, " to see which counts most."];
    }
    const most = rerun.rank().slice(0, 5).map(({ neuron, change }) => {
      const chip = element("button", { type: "button", "aria-label": `Silence ${names[neuron]}` },
        `${names[neuron]} `, element("b", {}, this.effect(change)));
      chip.addEventListener("click", () => this.actions.toggle(neuron));
      return chip;
    });
    return ["One at a time, these change the command most (RMS): ", ...most];
  }

  effect({ rms }) {
    return this.episode.rerun.circuit.choices.length ? percent(rms) : effectText(rms);
  }

  describe() {
    const { silent, neuron_names: names, ablated, rerun } = this.episode;
    const chips = silent.map((neuron) => {
      const chip = element("button", { type: "button", "aria-label": `Restore ${names[neuron]}` },
        `${names[neuron]} `, element("span", { "aria-hidden": "true" }, "×"));
      chip.addEventListener("click", () => this.actions.toggle(neuron));
      return chip;
    });
    const all = element("button", { type: "button" }, "Restore all");
    all.addEventListener("click", () => this.actions.clear());
    const { rms, largest, frame } = ablated.change;
    const when = element("button", { type: "button", class: "when" },
      `${this.episode.time_s[frame].toFixed(2)} s`);
    when.addEventListener("click", () => this.actions.seekFrame(frame));
    const found = rerun.circuit.choices.length
      ? [`another choice is taken in ${percent(rms)} of the frames`]
      : ["the command changes by ", element("b", { class: "rms" }, effectText(rms)), " (RMS), most at ",
        when, ", by ", element("b", { class: "largest" }, effectText(largest))];
    return ["Without ", ...chips, ...found, ". ", ...(silent.length > 1 ? [all] : [])];
  }
}

function percent(share) {
  return `${trim(100 * share)} %`;
}

// Three digits, and no 1e-7.
function effectText(value) {
  return value < 5e-5 ? "0.0000" : value < 0.1 ? value.toFixed(4) : value.toFixed(3);
}
