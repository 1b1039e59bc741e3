// The page as a picture: canvases, boxes and texts drawn where they stand.

// Draw the visible part of the panels onto a canvas of their own, at twice the size.
function drawPicture(roots, title, scale = 2) {
  const boxes = roots.map((root) => root.getBoundingClientRect());
  const left = Math.min(...boxes.map((box) => box.left)) - 12;
  const top = Math.min(...boxes.map((box) => box.top)) - 34;
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(scale * (Math.max(...boxes.map((box) => box.right)) + 12 - left));
  canvas.height = Math.round(scale * (Math.max(...boxes.map((box) => box.bottom)) + 12 - top));
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.translate(-left, -top);
  const style = getComputedStyle(document.body);
  context.fillStyle = style.backgroundColor;
  context.fillRect(left, top, canvas.width, canvas.height);
  context.fillStyle = style.color;
  context.font = `650 15px ${style.fontFamily}`;
  context.textBaseline = "middle";
  context.fillText(title, left + 12, top + 18);
  for (const root of roots) drawElement(context, root);
  return canvas;
}

// An element with all that is in it, in the order of the document.
function drawElement(context, node) {
  if (node.nodeType === Node.TEXT_NODE) return drawText(context, node);
  if (node.nodeType !== Node.ELEMENT_NODE || !node.checkVisibility({ visibilityProperty: true })) return undefined;
  const box = node.getBoundingClientRect();
  if (node.matches("canvas")) {
    if (box.width && node.width) context.drawImage(node, box.left, box.top, box.width, box.height);
    return undefined;
  }
  if (node.matches("[type=radio]")) return drawRadio(context, node, box);
  drawBox(context, node, box);
  if (node.matches("select")) return drawChosen(context, node, box);
  context.save();
  if (getComputedStyle(node).overflow !== "visible") {
    context.beginPath();
    context.rect(box.left, box.top, box.width, box.height);
    context.clip();
  }
  node.childNodes.forEach((child) => drawElement(context, child));
  context.restore();
  return undefined;
}

function drawBox(context, node, box) {
  const style = getComputedStyle(node);
  const isFilled = !/^rgba\(.*, 0\)$/.test(style.backgroundColor);
  const hasBorder = parseFloat(style.borderTopWidth) > 0 && parseFloat(style.borderLeftWidth) > 0;
  if (node.matches(".node") || !(isFilled || hasBorder || node.matches(".ramp"))) return;
  context.beginPath();
  context.roundRect(box.left, box.top, box.width, box.height, Math.min(parseFloat(style.borderRadius) || 0, box.height / 2));
  context.fillStyle = node.matches(".ramp") ? rampOf(context, box) : style.backgroundColor;
  context.fill();
  if (!hasBorder) return;
  context.strokeStyle = style.borderTopColor;
  context.lineWidth = 1;
  context.stroke();
}

function drawRadio(context, radio, box) {
  const [x, y] = [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
  context.fillStyle = context.strokeStyle = colours.ink;
  context.lineWidth = 1;
  context.beginPath();
  context.arc(x, y, box.width / 2 - 1, 0, 2 * Math.PI);
  context.stroke();
  if (radio.checked) fillCircle(context, x, y, box.width / 4);
}

function rampOf(context, box) {
  const ramp = context.createLinearGradient(box.left, 0, box.right, 0);
  ["low", "middle", "high"].forEach((name, i) => ramp.addColorStop(i / 2, colours[name]));
  return ramp;
}

function setFont(context, style) {
  context.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
  context.fillStyle = style.color;
  context.textAlign = "left";
  context.textBaseline = "middle";
}

function drawChosen(context, select, box) {
  setFont(context, getComputedStyle(select));
  context.fillText(select.selectedOptions[0]?.text ?? "", box.left + 10, box.top + box.height / 2, box.width - 18);
}

// Word by word, because a text may run over several lines.
function drawText(context, node) {
  if (!node.data.trim()) return;
  setFont(context, getComputedStyle(node.parentElement));
  const range = document.createRange();
  for (const { index, 0: word } of node.data.matchAll(/\S+/g)) {
    range.setStart(node, index);
    range.setEnd(node, index + word.length);
    const box = range.getBoundingClientRect();
    context.fillText(word, box.left, box.top + box.height / 2 + 0.5);
  }
}

// Offer a canvas as a file.
function savePicture(canvas, name) {
  canvas.toBlob((blob) => {
    const link = element("a", { download: name, href: URL.createObjectURL(blob) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }, "image/png");
}
