// What each part of the page means, in words, behind a button in its corner.

const MAP_WORDS = {
  VisualBackProp: "VisualBackProp: what the convolutions react to, whatever the circuit makes of it.",
  gradient: "gradient: how much the command, or the neuron that is followed, changes with each pixel.",
  "Grad-CAM": "Grad-CAM: where the last maps of the head pull the command the way it now has.",
};

// Texts by the name of the part.
function aboutTexts(episode) {
  const maps = new Set(Object.keys(episode.maps).map((name) => splitMapName(name)[0]));
  const known = Object.entries(MAP_WORDS).filter(([name]) => maps.has(name));
  return {
    camera: episode.sees_pictures
      ? ["What the policy saw in this frame.", ...(maps.size ? [
        "The colours tell what counted in it: bright yellow most, purple little. The slider makes"
        + " them stronger or weaker."] : []), ...known.map(([, words]) => words)]
      : ["A picture of what happened. The policy does not see it: it is given the numbers on the"
        + " left side of its circuit."],
    track: ["The track from above, the way driven so far, and the car as an arrow."
      + " A grey dot is the car of the other policy."],
    circuit: episode.wiring ? circuitText(episode) : [
      "Every row is one unit of the network, from the first frame on the left to the last on the"
      + " right; its colour is its activity.", "Click a row to follow that unit, at that time.",
      ...silencingText(episode)],
    neuron: neuronText(episode),
    signals: ["What the policy commanded, and what the world told meanwhile. The vertical line is now.",
      "Point into a plot to read its values at that time; click to go there. Zoom with + and −, or with"
      + " Ctrl and the wheel.",
      ...(episode.canSilence ? ["Dashed: the command without the silenced neurons."] : [])],
  };
}

function circuitText(episode) {
  return [
    "Every circle is a neuron, coloured by its potential; every line is a synapse, blue if it excites,"
    + " orange if it inhibits, and the wider the more current flows through it now. Signals run from the"
    + " inputs on the left to the motor neurons on the right, whose potentials become the command.",
    ...(episode.read_weights ? ["The command is read from other neurons, too: a dashed line adds the potential of its"
      + " neuron, times a weight, to the square that it ends in. Blue: a higher potential raises the command;"
      + " the wider, the more is added now."] : []),
    "Click a neuron to follow it; with Shift, its line is kept beside that of others.",
    ...silencingText(episode),
  ];
}

function silencingText({ rerun, canSilence, wiring }) {
  if (!canSilence) return [];
  return [
    `Choose “silence” and click ${wiring ? "neurons" : "rows"} to take them away: each is held at its mean`
    + " over this episode, so it tells the others nothing new, and the circuit is run anew on this page.",
    "What it is given stays as recorded. So you see what the command would have been in each frame,"
    + " not where the robot would have gone.",
    "With all neurons, the circuit run on this page is at most"
    + ` ${rerun.gap < 1e-6 ? "0.000001" : Number(rerun.gap.toPrecision(2)).toFixed(6)} away from the recorded command.`,
  ];
}

function neuronText({ wiring, timescales_s, state_bounds, synaptic_currents, readout }) {
  return [
    wiring ? "The potential of the neuron that is followed, over time." : "The activity of the unit that is followed.",
    ...(state_bounds ? ["The grey band is certified from the weights: no input whatever takes the neuron out of it."] : []),
    ...(timescales_s ? ["The time constant τ tells how fast the neuron answers: in a time τ it goes 63 %"
      + " of the way to where its inputs pull it. It changes with what comes in, hence “liquid”."] : []),
    ...(synaptic_currents ? ["The lists tell the current through each of its synapses now: blue raises the"
      + " potential of the neuron it goes to, orange lowers it."] : []),
    ...(synaptic_currents && readout ? ["Below is what it adds to each command that reads it, its potential times"
      + " a weight: blue raises the command, orange lowers it."] : []),
    "Keep shows the line of this neuron beside that of the next one you follow.",
  ];
}

let numAbouts = 0;

// Put a button in the place of an element, and the text that it opens.
function makeAbout(place, title, texts) {
  numAbouts += 1;
  const id = `about-${numAbouts}`;
  const button = element("button", { type: "button", class: "about", popovertarget: id,
    "aria-label": `What does this show? ${title}` }, "?");
  const box = element("div", { popover: "", id, class: "about-text", role: "note" },
    element("h3", {}, title), ...texts.map((text) => element("p", {}, text)));
  box.addEventListener("toggle", (event) => {
    if (event.newState !== "open") return;
    const { right, bottom, top } = button.getBoundingClientRect();
    const { width, height } = box.getBoundingClientRect();
    const y = bottom + 6 + height > innerHeight ? top - 6 - height : bottom + 6;
    box.style.left = `${Math.max(right - width, 8)}px`;
    box.style.top = `${Math.max(y, 8)}px`;
  });
  place.replaceWith(button, box);
}
