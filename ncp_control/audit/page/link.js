// What is shown, in the address of the page: a link leads to the same moment, neurons and view.

// The state of the page as what stands behind the # of its address.
function writeLink({ time_s, view, zoom, panels }) {
  const link = new URLSearchParams({ t: timeText(time_s) });
  if (zoom) link.set("zoom", zoom.map(timeText).join(","));
  if (view !== null) link.set("view", String(view));
  panels.forEach(({ episode, neuron, kept }, i) => {
    const prefix = i ? `${i + 1}.` : "";
    const names = (neurons) => neurons.map((one) => episode.neuron_names[one]);
    if (neuron !== null) link.set(`${prefix}follow`, episode.neuron_names[neuron]);
    for (const name of names(kept)) link.append(`${prefix}keep`, name);
    for (const name of names(episode.silent)) link.append(`${prefix}silent`, name);
  });
  return `#${link}`;
}

// Read it back; what is missing is undefined, and what no neuron is called is left out.
function readLink(hash, episodes) {
  const link = new URLSearchParams(hash.slice(1));
  const numbers = (name) => {
    const values = (link.get(name) ?? "").split(",").map(Number);
    return link.has(name) && values.every(Number.isFinite) ? values : undefined;
  };
  const zoom = numbers("zoom");
  const panels = episodes.map((episode, i) => {
    const prefix = i ? `${i + 1}.` : "";
    const neurons = (name) => link.getAll(prefix + name)
      .map((one) => episode.neuron_names.indexOf(one)).filter((one) => one >= 0);
    return { neuron: neurons("follow")[0], kept: neurons("keep"), silent: neurons("silent") };
  });
  const isSet = link.has("t");
  return { isSet, time_s: numbers("t")?.[0], view: numbers("view")?.[0], panels,
    zoom: zoom?.length === 2 && zoom[1] > zoom[0] ? zoom : undefined };
}
