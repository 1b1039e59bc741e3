// Return a line for each text of the page whose contrast is below WCAG's AA: 4.5, or 3 where it is large.
//
// Text on a picture or a canvas is left out, and so is what is hidden, disabled or not read aloud.

const parse = (colour) => {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
};

const over = ([r, g, b, a], below) => [r, g, b].map((c, i) => a * c + (1 - a) * below[i]).concat(1);

const luminance = (colour) => {
  const linear = colour.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
};

// What lies behind an element; null if that is a picture.
const ground = (element) => {
  const layers = [];
  for (let one = element; one; one = one.parentElement) {
    const { backgroundImage, backgroundColor } = getComputedStyle(one);
    if (backgroundImage !== "none") return null;
    layers.unshift(parse(backgroundColor));
    if (layers[0][3] === 1) break;
  }
  return layers.reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
};

const faults = [];
const known = new Set();
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let seen = 0;
while (walker.nextNode()) {
  const text = walker.currentNode.textContent.trim();
  const element = walker.currentNode.parentElement;
  if (!text || element.closest("script, style, option, [aria-hidden=true], :disabled")) continue;
  if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
  seen += 1;
  const style = getComputedStyle(element);
  const key = [element.tagName, element.getAttribute("class"), element.parentElement.getAttribute("class"), style.color].join(" ");
  if (known.has(key)) continue;
  known.add(key);
  const back = ground(element);
  if (!back) continue;
  const front = over(parse(element instanceof SVGElement ? style.fill : style.color), back);
  const [dark, bright] = [luminance(front), luminance(back)].sort((a, b) => a - b);
  const ratio = (bright + 0.05) / (dark + 0.05);
  const size = parseFloat(style.fontSize);
  const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  if (ratio < (isLarge ? 3 : 4.5)) faults.push(`${ratio.toFixed(2)} ${key}: ${text.slice(0, 40)}`);
}
return { seen, faults };
