// Canvases that stay sharp, colours, numbers as text.

// The colours of the style sheet, read anew when the scheme turns dark or light.
const colours = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["card", "ink", "muted", "line", "accent", "band", "peer", "overlay", "exciting",
    "inhibiting", "low", "middle", "high", "road", "without", "kept1", "kept2", "kept3", "kept4"];
  for (const name of names) colours[name] = style.getPropertyValue(`--${name}`).trim();
}

// A canvas as large as its box in device pixels; `paint(context, width, height)` in CSS pixels.
class Surface {
  constructor(canvas, paint) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.paint = paint;
    this.width = this.height = 0;
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  resize() {
    const { width, height } = this.canvas.getBoundingClientRect();
    const scale = window.devicePixelRatio || 1;
    [this.width, this.height] = [width, height];
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    this.context.setTransform(scale, 0, 0, scale, 0, 0);
    this.onResize?.();
    this.repaint();
  }

  repaint() {
    if (!this.width || !this.height) return;
    this.paint(this.context, this.width, this.height);
  }
}

function parseHex(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

// From the low over the middle to the high colour, for a share from -1 to 1.
function diverging(share) {
  const end = parseHex(share < 0 ? colours.low : colours.high);
  const middle = parseHex(colours.middle);
  const weight = Math.min(Math.abs(share), 1);
  const mixed = middle.map((m, i) => Math.round(m + weight * (end[i] - m)));
  return `rgb(${mixed.join(" ")})`;
}

function isDark(colour) {
  const [red, green, blue] = colour.match(/\d+/g).map(Number);
  return 0.299 * red + 0.587 * green + 0.114 * blue < 135;
}

const HEAT_STOPS = [[20, 10, 60], [150, 30, 110], [240, 110, 40], [255, 245, 130]];

// Black-purple over orange to yellow for a level from 0 to 255: it brightens all the way.
function heat(level) {
  const place = (level / 255) * (HEAT_STOPS.length - 1);
  const i = Math.min(Math.floor(place), HEAT_STOPS.length - 2);
  return HEAT_STOPS[i].map((from, k) => from + (place - i) * (HEAT_STOPS[i + 1][k] - from));
}

// A number with about three digits and a true minus sign.
function formatNumber(value) {
  const size = Math.abs(value);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.1 || size === 0 ? 2 : 3;
  return value.toFixed(digits).replace(/^-(?=0\.?0*$)/, "").replace("-", "−");
}

function formatSeconds(seconds) {
  if (seconds < 1e-3) return `${trim(seconds * 1e6)} µs`;
  return seconds < 1 ? `${trim(seconds * 1e3)} ms` : `${trim(seconds)} s`;
}

function trim(value) {
  return String(Number(value.toPrecision(3)));
}

// A time on an axis [s], fine enough for the shortest part that can be shown.
function timeText(time_s) {
  return String(Number(time_s.toFixed(3)));
}

// Two to six round numbers within a range.
function roundTicks(low, high) {
  const rough = (high - low) / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.75);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
}

// An episode that ends a frame before a round time still gets that tick.
function timeTicks(first_s, last_s) {
  return roundTicks(first_s, last_s + 0.005 * (last_s - first_s) || last_s + 1);
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
