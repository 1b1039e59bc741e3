// The camera's frame and what mattered in it.

const FOLLOWED = "followed neuron";

class Camera {
  constructor(figure, episode) {
    this.episode = episode;
    this.canvas = figure.querySelector("canvas");
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.choice = figure.querySelector(".saliency");
    this.strength = figure.querySelector(".strength");
    const { width, height } = episode.frames;
    // Twice the pixels of the frame: the map over it stays smooth.
    [this.canvas.width, this.canvas.height] = [2 * width, 2 * height];
    this.canvas.style.aspectRatio = `${width} / ${height}`;
    this.overlay = document.createElement("canvas");
    this.fillChoices();
    this.choice.addEventListener("change", () => this.draw());
    this.strength.addEventListener("input", () => this.draw());
    figure.querySelector(".options").classList.toggle("none", !this.choice.length);
  }

  // Maps of one neuron each are offered together, as those of the followed neuron.
  fillChoices() {
    const labels = Object.keys(this.episode.maps).map((name) => {
      const [method, neuron] = splitMapName(name);
      return this.episode.neuron_names.includes(neuron) ? `${method}: ${FOLLOWED}` : name;
    });
    const names = labels.length ? [...new Set(labels), "none"] : [];
    this.choice.append(...names.map((name) => element("option", {}, name)));
  }

  nextChoice() {
    const { options, selectedIndex } = this.choice;
    if (options.length) this.choice.selectedIndex = (selectedIndex + 1) % options.length;
    this.draw();
  }

  show(frame, neuron) {
    [this.frame, this.neuron] = [frame, neuron];
    this.draw();
  }

  draw() {
    const { width, height } = this.canvas;
    this.context.imageSmoothingQuality = "high";
    if (!this.episode.frames.draw(this.context, this.frame, width, height)) return;
    this.drawMap(width, height);
  }

  drawMap(width, height) {
    const [method, whose] = splitMapName(this.choice.value);
    const followed = this.episode.neuron_names[this.neuron];
    const name = whose === FOLLOWED ? `${method}: ${followed}` : this.choice.value;
    const map = this.episode.maps[name];
    if (map) this.blend(map, width, height);
    else if (whose === FOLLOWED) this.note(followed ? `no map of ${followed}` : "follow a neuron");
  }

  // Colour the map's levels, and let what matters little shine through.
  blend(map, width, height) {
    [this.overlay.width, this.overlay.height] = [map.width, map.height];
    const context = this.overlay.getContext("2d", { willReadFrequently: true });
    if (!map.draw(context, this.frame, map.width, map.height)) return;
    const pixels = context.getImageData(0, 0, map.width, map.height);
    const strength = Number(this.strength.value);
    for (let i = 0; i < pixels.data.length; i += 4) {
      const level = pixels.data[i];
      pixels.data.set(heat(level), i);
      pixels.data[i + 3] = 255 * strength * Math.min(0.1 + level / 140, 1);
    }
    context.putImageData(pixels, 0, 0);
    this.context.drawImage(this.overlay, 0, 0, width, height);
  }

  note(text) {
    this.context.font = `${Math.round(this.canvas.height / 9)}px sans-serif`;
    this.context.fillStyle = "rgb(0 0 0 / 0.6)";
    const width = this.context.measureText(text).width + 16;
    this.context.fillRect(0, 0, width, this.canvas.height / 6);
    this.context.fillStyle = "white";
    this.context.textBaseline = "middle";
    this.context.fillText(text, 8, this.canvas.height / 12);
  }
}

// "gradient: command_0" is a method and whose map it is.
function splitMapName(name) {
  const cut = name.lastIndexOf(": ");
  return cut < 0 ? [name, ""] : [name.slice(0, cut), name.slice(cut + 2)];
}
