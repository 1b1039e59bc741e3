// Time: playing, scrubbing, zooming, keys; which policies are shown; links and pictures.

class Player {
  constructor(data) {
    readColours();
    this.reload_s = data.reload_s;
    const repaint = () => this.panels?.forEach((panel) => panel.show(this.time_s));
    this.episodes = data.episodes.map((stored) => new Episode(stored, repaint));
    // The longest episode sets the frames of the slider.
    this.clock = this.episodes.reduce((a, b) => (b.time_s.at(-1) > a.time_s.at(-1) ? b : a));
    this.frame = this.reload_s ? this.clock.numFrames - 1 : 0;
    this.isPlaying = false;
    this.title = data.title;
    this.view = null;
    this.makePanels();
    this.makeViews();
    this.listen();
    this.keepLive();
    this.seekFrame(this.frame);
    this.goTo(readLink(location.hash, this.episodes));
  }

  get time_s() {
    return this.clock.time_s[this.frame];
  }

  makePanels() {
    const starts = this.episodes.map((episode) => episode.time_s[0]);
    const range = [Math.min(...starts), this.clock.time_s.at(-1)];
    this.axis = new TimeAxis(range, (time_s) => this.seekFrame(this.clock.frameAt(time_s)));
    this.axis.onChange(() => this.onZoom());
    this.panels = this.episodes.map((episode, number) =>
      new Panel(episode, this.episodes[1 - number] ?? null, this.axis, {
        follow: (panel, neuron) => this.follow(panel, neuron),
        changed: () => this.linkSoon(),
        seekFrame: (frame) => this.seekFrame(this.clock.frameAt(episode.time_s[frame])),
        number,
      }));
    document.getElementById("panels").append(...this.panels.map((panel) => panel.root));
    for (const panel of this.panels) {
      panel.time_s = this.time_s;
      panel.follow(panel.episode.liveliestNeuron());
    }
  }

  // With two policies: either, or both.
  makeViews() {
    if (this.panels.length < 2) return;
    const views = document.getElementById("views");
    views.hidden = false;
    document.body.classList.add("pair");
    const shown = [...this.panels.map((panel) => [panel]), this.panels];
    const labels = [...this.episodes.map((episode) => episode.name), "Both"];
    const buttons = labels.map((label) => element("button", { type: "button" }, label));
    const choose = (i) => {
      this.view = i;
      buttons.forEach((button, k) => button.setAttribute("aria-pressed", k === i));
      for (const panel of this.panels) panel.root.hidden = !shown[i].includes(panel);
      document.body.classList.toggle("compare", shown[i].length > 1);
    };
    this.chooseView = choose;
    buttons.forEach((button, i) => button.addEventListener("click", () => {
      choose(i);
      this.linkSoon();
    }));
    views.append(...buttons);
    choose(matchMedia("(max-width: 979px)").matches ? 0 : 2);  // both are long to scroll through
  }

  // A neuron of the same name in the other policy's wiring is followed with it.
  follow(panel, neuron) {
    panel.follow(neuron);
    for (const other of this.panels) {
      if (other === panel || !other.episode.wiring || !panel.episode.wiring) continue;
      const twin = other.episode.neuron_names.indexOf(panel.episode.neuron_names[neuron]);
      other.follow(twin < 0 ? null : twin);
    }
    this.linkSoon();
  }

  seekFrame(frame) {
    this.frame = Math.min(Math.max(frame, 0), this.clock.numFrames - 1);
    this.played_s = this.time_s;
    const scrub = document.getElementById("scrub");
    const last = this.clock.numFrames - 1;
    scrub.max = last;
    scrub.value = this.frame;
    scrub.setAttribute("aria-valuetext", `${this.time_s.toFixed(2)} s, frame ${this.frame} of ${last}`);
    document.getElementById("clock").replaceChildren(`${this.time_s.toFixed(2)} s `,
      element("span", {}, `frame ${this.frame} of ${last}`));
    this.axis.keepInView(this.time_s);
    for (const panel of this.panels) panel.show(this.time_s);
    this.linkSoon();
  }

  onZoom() {
    document.getElementById("zoom-all").disabled = this.axis.isWhole;
    document.getElementById("zoom-out").disabled = this.axis.isWhole;
    this.linkSoon();
  }

  zoom(factor) {
    this.axis.zoom(factor, this.time_s);
  }

  // Show what a link tells; what it does not tell stays as it is.
  goTo({ isSet, time_s, view, zoom, panels }) {
    if (!isSet || this.reload_s) return;
    this.axis.set(...zoom ?? this.axis.whole);
    if (this.chooseView && view !== undefined && view >= 0 && view < 3) this.chooseView(view);
    panels.forEach(({ neuron, kept, silent }, i) => {
      const panel = this.panels[i];
      const differing = [...new Set([...panel.kept, ...kept])].filter(
        (one) => panel.kept.includes(one) !== kept.includes(one));
      differing.forEach((one) => panel.toggleKept(one));
      if (panel.episode.canSilence) panel.silence(silent);
      panel.follow(neuron ?? null);
    });
    if (time_s !== undefined) this.seekFrame(this.clock.frameAt(time_s));
  }

  // Not at every frame of a drag: browsers refuse to change the address that often.
  linkSoon() {
    if (this.isPlaying || this.reload_s || !this.panels) return;
    clearTimeout(this.linkTimer);
    this.linkTimer = setTimeout(() => this.link(), 200);
  }

  // Write what is shown into the page's address.
  link() {
    const { time_s, view, axis, panels } = this;
    clearTimeout(this.linkTimer);
    this.hash = writeLink({ time_s, view, panels, zoom: axis.isWhole ? null : axis.range });
    history.replaceState(null, "", this.hash);
  }

  async copyLink() {
    this.link();
    const note = document.getElementById("said");
    try {
      await navigator.clipboard.writeText(location.href);
      note.textContent = "Link copied: it leads to this moment.";
    } catch {
      note.textContent = "The address of this page leads to this moment.";
    }
    clearTimeout(this.noteTimer);
    this.noteTimer = setTimeout(() => { note.textContent = ""; }, 4000);
  }

  savePicture() {
    const shown = this.panels.filter((panel) => !panel.root.hidden).map((panel) => panel.root);
    const moment = `${this.title}, ${this.time_s.toFixed(2)} s`;
    const name = moment.replace(/[^\w.-]+/g, "-").replace(/^-|-$/g, "").slice(0, 80);
    savePicture(drawPicture(shown, moment), `${name}.png`);
  }

  setPlaying(isPlaying) {
    this.isPlaying = isPlaying;
    document.body.classList.toggle("playing", isPlaying);
    document.getElementById("play").setAttribute("aria-label", isPlaying ? "Pause" : "Play");
    if (!isPlaying) {
      this.linkSoon();
      return;
    }
    if (this.frame === this.clock.numFrames - 1) this.seekFrame(0);
    this.tick_ms = performance.now();
    requestAnimationFrame((now_ms) => this.tick(now_ms));
  }

  tick(now_ms) {
    if (!this.isPlaying) return;
    const speed = Number(document.getElementById("speed").value);
    const time_s = this.played_s + (speed * Math.max(now_ms - this.tick_ms, 0)) / 1000;
    this.tick_ms = now_ms;
    const frame = this.clock.frameAt(time_s);
    if (frame !== this.frame) this.seekFrame(frame);
    this.played_s = time_s;
    if (frame === this.clock.numFrames - 1) this.setPlaying(false);
    else requestAnimationFrame((next_ms) => this.tick(next_ms));
  }

  listen() {
    const get = (id) => document.getElementById(id);
    get("play").addEventListener("click", () => this.setPlaying(!this.isPlaying));
    get("scrub").addEventListener("input", (event) => this.seekFrame(Number(event.target.value)));
    get("help-button").addEventListener("click", () => get("help").showModal());
    get("link").addEventListener("click", () => this.copyLink());
    get("picture").addEventListener("click", () => this.savePicture());
    get("zoom-in").addEventListener("click", () => this.zoom(0.5));
    get("zoom-out").addEventListener("click", () => this.zoom(2));
    get("zoom-all").addEventListener("click", () => this.axis.showAll());
    window.addEventListener("hashchange", () => {
      if (location.hash !== this.hash) this.goTo(readLink(location.hash, this.episodes));
    });
    document.addEventListener("keydown", (event) => this.onKey(event));
    // A button is pressed when the key goes up.
    document.addEventListener("keyup", (event) => {
      if (event.key === " " && event.target.matches?.(".node")) event.preventDefault();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      readColours();
      for (const panel of this.panels) panel.recolour();
    });
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.getElementById("help").open) return;
    if (event.key === "Escape" && document.querySelector(".about-text:popover-open")) return;
    const action = this.keyAction(event);
    if (!action || isOwnKey(event)) return;
    event.preventDefault();
    action();
  }

  keyAction(event) {
    const second = Math.max(this.clock.frameAt(this.clock.time_s[0] + 1), 1);
    const step = event.shiftKey ? second : 1;
    const actions = {
      " ": () => this.setPlaying(!this.isPlaying),
      ArrowLeft: () => this.seekFrame(this.frame - step),
      ArrowRight: () => this.seekFrame(this.frame + step),
      Home: () => this.seekFrame(0),
      End: () => this.seekFrame(this.clock.numFrames - 1),
      ArrowUp: () => this.followNext(-1),
      ArrowDown: () => this.followNext(1),
      Escape: () => this.followNone(),
      s: () => this.panels.forEach((panel) => panel.camera?.nextChoice()),
      x: () => this.firstShown.toggleSilent(this.pointedAt(event)),
      k: () => this.firstShown.toggleKept(this.pointedAt(event)),
      l: () => this.copyLink(),
      p: () => this.savePicture(),
      "+": () => this.zoom(0.5),
      "=": () => this.zoom(0.5),
      "-": () => this.zoom(2),
      0: () => this.axis.showAll(),
      "?": () => document.getElementById("help").showModal(),
    };
    if (/^[1-9]$/.test(event.key)) return () => this.followMain(Number(event.key) - 1);
    return actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  }

  get firstShown() {
    return this.panels.find((panel) => !panel.root.hidden);
  }

  followNone() {
    this.panels.forEach((panel) => panel.follow(null));
    this.linkSoon();
  }

  // The neuron whose button has the focus, else the one that is followed.
  pointedAt({ target }) {
    const panel = this.firstShown;
    const { neuron } = target.dataset ?? {};
    const isHere = neuron !== undefined && panel.root.contains(target);
    return isHere ? panel.episode.neuron_names.indexOf(neuron) : panel.neuron;
  }

  followMain(index) {
    const neuron = this.firstShown.episode.mainNeurons()[index];
    if (neuron !== undefined) this.follow(this.firstShown, neuron);
  }

  followNext(step) {
    const panel = this.firstShown;
    const count = panel.episode.neuron_names.length;
    const from = panel.neuron ?? (step > 0 ? -1 : 0);
    this.follow(panel, (from + step + count) % count);
  }

  // While the episode goes on, load the page anew, until the reader takes over.
  keepLive() {
    if (!this.reload_s) return;
    const note = document.getElementById("live");
    note.hidden = false;
    note.textContent = `live, every ${trim(this.reload_s)} s`;
    const timer = setTimeout(() => location.reload(), 1000 * this.reload_s);
    const stop = () => {
      clearTimeout(timer);
      note.textContent = "live view held: reload the page to go on";
    };
    document.addEventListener("pointerdown", stop, { once: true });
    document.addEventListener("keydown", stop, { once: true });
  }
}

// Keys that the focused control needs for itself. Space on a neuron plays; Enter follows it.
function isOwnKey(event) {
  const { target, key } = event;
  if (target.matches?.("select")) return key !== "Escape" && key !== "?";
  if (target.matches?.(".strength, [type=radio]")) return /^(Arrow|Home|End| $)/.test(key);
  return key === " " && target.matches?.("button") && !target.matches(".node");
}

const player = new Player(JSON.parse(document.getElementById("data").textContent));
