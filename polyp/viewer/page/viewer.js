"use strict";
const content = JSON.parse(document.getElementById("content").textContent);
const { angles, size, networks, images } = content;
const element = (id) => document.getElementById(id);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
// Red, green, blue and opacity of a pixel in neither mask, in both, only found, only rotated.
const MASKS = [[0, 0, 0, 0], ...["--both", "--found", "--rotated"].map((name) => [...rgb(colour(name)), 165])];
const state = { image: 0, angle: 0, truth: false, playing: false };
const panels = [];

// --- data

function rgb(hex) {
  return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
}

/** The pixels of all angles, one after the other; unpacked when they are first needed. */
async function unpack(found) {
  if (!found.pixels) {
    const bytes = Uint8Array.from(atob(found.masks), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    found.pixels = new Uint8Array(await new Response(stream).arrayBuffer());
  }
}

function show(value) {
  return value === null ? "–" : value.toFixed(3);
}

// --- pictures

function drawPanel(panel, found) {
  const { canvas } = panel, context = canvas.getContext("2d");
  const width = Math.round(canvas.clientWidth * Math.max(1, window.devicePixelRatio));
  if (canvas.width !== width) canvas.width = canvas.height = width;
  context.fillStyle = "#000";
  context.fillRect(0, 0, width, width);
  context.save();
  context.translate(width / 2, width / 2);
  context.rotate((-angles[state.angle] * Math.PI) / 180);  // counter-clockwise
  context.imageSmoothingQuality = "high";
  context.drawImage(panel.picture, -width / 2, -width / 2, width, width);
  context.restore();
  const pixels = found.pixels.subarray(state.angle * size * size, (state.angle + 1) * size * size);
  context.imageSmoothingEnabled = false;
  context.drawImage(paint(panel.masks, pixels), 0, 0, width, width);
  context.imageSmoothingEnabled = true;
  if (state.truth) outline(context, pixels, width / size);
}

/** The masks in their colours, on a canvas of one pixel per pixel; dark where nothing is compared. */
function paint(canvas, pixels) {
  const context = canvas.getContext("2d"), picture = context.createImageData(size, size);
  pixels.forEach((value, index) => {
    picture.data.set(value & COMPARED ? MASKS[value & 3] : [0, 0, 0, 120], 4 * index);
  });
  context.putImageData(picture, 0, 0);
  return canvas;
}

/** A white line around the true mask. */
function outline(context, pixels, scale) {
  const inside = (row, column) =>
    row >= 0 && column >= 0 && row < size && column < size && (pixels[row * size + column] & TRUTH) > 0;
  context.beginPath();
  for (let row = 0; row <= size; row++) {
    for (let column = 0; column <= size; column++) {
      const here = inside(row, column);
      if (here !== inside(row - 1, column)) {
        context.moveTo(column * scale, row * scale);
        context.lineTo((column + 1) * scale, row * scale);
      }
      if (here !== inside(row, column - 1)) {
        context.moveTo(column * scale, row * scale);
        context.lineTo(column * scale, (row + 1) * scale);
      }
    }
  }
  context.strokeStyle = "#fff";
  context.lineWidth = Math.max(1.5, scale / 2);
  context.stroke();
}

// --- curve

const SVG = "http://www.w3.org/2000/svg";
const chart = { left: 34, right: 20, top: 10, bottom: 24, height: 210, width: 0, lowest: 0 };

function draw(parent, tag, attributes, text) {
  const node = parent.appendChild(document.createElementNS(SVG, tag));
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function x(degrees) {
  return chart.left + (degrees / 360) * (chart.width - chart.left - chart.right);
}

function y(value) {
  const share = (1 - value) / (1 - chart.lowest);
  return chart.top + share * (chart.height - chart.top - chart.bottom);
}

/** The curves of an image, which do not change when it turns. */
function drawCurves() {
  const svg = element("curve"), { found } = images[state.image];
  chart.width = svg.clientWidth;
  svg.setAttribute("viewBox", `0 0 ${chart.width} ${chart.height}`);
  svg.replaceChildren();
  const values = found.flatMap((each) => each.consistency.filter((value) => value !== null));
  chart.lowest = Math.min(0.8, Math.floor(Math.min(1, ...values) * 5) / 5);
  for (let value = chart.lowest; value < 1.001; value += chart.lowest < 0.5 ? 0.2 : 0.1) {
    draw(svg, "line", { x1: x(0), x2: x(360), y1: y(value), y2: y(value), stroke: "#e6e8ec" });
    draw(svg, "text", { x: chart.left - 6, y: y(value) + 4, "text-anchor": "end", fill: "#667085" }, value.toFixed(1));
  }
  for (let degrees = 0; degrees <= 360; degrees += 90) {
    draw(svg, "text", { x: x(degrees), y: chart.height - 6, "text-anchor": "middle", fill: "#667085" }, `${degrees}°`);
  }
  found.forEach(({ consistency }, index) => {
    const closed = [...angles, 360].map((degrees, at) => [degrees, consistency[at % angles.length]]);
    let gap = true, path = "";
    for (const [degrees, value] of closed) {
      if (value !== null) path += `${gap ? "M" : "L"}${x(degrees).toFixed(1)},${y(value).toFixed(1)}`;
      gap = value === null;
    }
    draw(svg, "path", { d: path, fill: "none", stroke: networks[index].colour, "stroke-width": 2.5, "stroke-linejoin": "round" });
  });
  draw(svg, "g", { id: "mark" });
}

function drawMark() {
  const mark = element("mark"), degrees = angles[state.angle];
  mark.replaceChildren();
  draw(mark, "line", { x1: x(degrees), x2: x(degrees), y1: chart.top, y2: chart.height - chart.bottom, stroke: "#1d2129", "stroke-dasharray": "3 3" });
  images[state.image].found.forEach(({ consistency }, index) => {
    const value = consistency[state.angle];
    if (value === null) return;
    draw(mark, "circle", { cx: x(degrees), cy: y(value), r: 5.5, fill: networks[index].colour, stroke: "#fff", "stroke-width": 2 });
  });
}

// --- the page

function update() {
  images[state.image].found.forEach((found, index) => {
    drawPanel(panels[index], found);
    panels[index].consistency.textContent = show(found.consistency[state.angle]);
    panels[index].dice.textContent = show(found.dice[state.angle]);
  });
  drawMark();
  element("angle").value = state.angle;
  element("angle").setAttribute("aria-valuetext", `${angles[state.angle]} degrees`);
  element("degrees").textContent = `${angles[state.angle]}°`;
}

function turnTo(index) {
  state.angle = ((index % angles.length) + angles.length) % angles.length;
  update();
}

function turnToDegrees(degrees) {
  turnTo(Math.round((degrees / 360) * angles.length));
}

async function choose(index) {
  const image = images[index];
  const picture = new Image();
  picture.src = image.picture;
  await Promise.all([picture.decode(), ...image.found.map(unpack)]);
  state.image = index;
  panels.forEach((panel) => {
    panel.picture = picture;
    panel.diceName.textContent = image.truth ? "Dice" : "no true mask";
  });
  element("with-truth").hidden = !image.truth;
  [...element("images").children].forEach((button, at) => button.setAttribute("aria-pressed", at === index));
  drawCurves();
  update();
}

function play(playing) {
  state.playing = playing;
  element("play").textContent = playing ? "❚❚" : "▶";
  element("play").setAttribute("aria-label", playing ? "pause" : "play");
  const step = (then) => (now) => {
    if (!state.playing) return;
    const next = now - then > (12 * 1000) / angles.length;  // a full turn in twelve seconds
    if (next) turnTo(state.angle + 1);
    requestAnimationFrame(step(next ? now : then));
  };
  if (playing) requestAnimationFrame(step(performance.now()));
}

function showTruth(truth) {
  state.truth = element("truth").checked = truth;
  update();
}

function makePanel({ name, colour, dice, consistency, images: count }) {
  const panel = document.createElement("section");
  panel.className = "panel";
  panel.innerHTML = `<h2><i></i><span></span></h2><canvas></canvas>
    <dl><dd></dd><dt>consistency</dt><dd></dd><dt>Dice</dt></dl><small></small>`;
  panel.querySelector("i").style.background = colour;
  panel.querySelector("span").textContent = name;
  panel.querySelector("small").textContent =
    `mean of the run's ${count} test images: consistency ${show(consistency)}, upright Dice ${show(dice)}`;
  const canvas = panel.querySelector("canvas"), [consistencyField, diceField] = panel.querySelectorAll("dd");
  const diceName = panel.querySelector("dt:last-child");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `turned image with the masks of ${name}`);
  drag(canvas);
  element("panels").append(panel);
  const masks = Object.assign(document.createElement("canvas"), { width: size, height: size });
  panels.push({ canvas, masks, consistency: consistencyField, dice: diceField, diceName });
}

/** Turns with the finger or the mouse around the centre of the picture. */
function drag(canvas) {
  const pointed = (event) => {
    const box = canvas.getBoundingClientRect();
    const right = event.clientX - box.left - box.width / 2, up = box.top + box.height / 2 - event.clientY;
    return (Math.atan2(up, right) * 180) / Math.PI;
  };
  let begun = null;
  canvas.addEventListener("pointerdown", (event) => {
    play(false);
    canvas.setPointerCapture(event.pointerId);
    begun = angles[state.angle] - pointed(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (begun !== null) turnToDegrees(begun + pointed(event));
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { begun = null; });
}

function makeImageButton({ label, id, picture }, index) {
  const button = document.createElement("button");
  button.innerHTML = "<img alt=''><span><b></b><small></small></span>";
  button.querySelector("img").src = picture;
  button.querySelector("b").textContent = label;
  button.querySelector("b").classList.toggle("id", label === id);
  button.querySelector("small").textContent = label === id ? "" : id;
  button.addEventListener("click", () => choose(index));
  element("images").append(button);
}

networks.forEach(makePanel);
element("panels").style.setProperty("--columns", Math.min(3, networks.length));
document.querySelector("main").classList.toggle("few", networks.length <= 2);
images.forEach(makeImageButton);
element("angle").max = angles.length - 1;
element("angle").addEventListener("input", (event) => { play(false); turnTo(Number(event.target.value)); });
element("play").addEventListener("click", () => play(!state.playing));
element("truth").addEventListener("change", (event) => showTruth(event.target.checked));
const curve = element("curve");
const point = (event) => {
  if (event.type === "pointermove" && !event.buttons) return;
  play(false);
  const start = curve.getBoundingClientRect().left + chart.left;
  const share = (event.clientX - start) / (chart.width - chart.left - chart.right);
  turnToDegrees(360 * Math.min(1, Math.max(0, share)));
};
curve.addEventListener("pointerdown", point);
curve.addEventListener("pointermove", point);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const onSlider = event.target === element("angle"), onButton = event.target.tagName === "BUTTON";
  const turn = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (turn && !onSlider) { play(false); turnTo(state.angle + turn); }
  else if (event.key === " " && !onButton && event.target !== element("truth")) { event.preventDefault(); play(!state.playing); }
  else if (event.key.toLowerCase() === "t") showTruth(!state.truth);
  else if (images[Number(event.key) - 1]) choose(Number(event.key) - 1);
});
window.addEventListener("resize", () => {
  if (!panels[0].picture) return;  // it is still being unpacked
  drawCurves();
  update();
});
choose(0);
