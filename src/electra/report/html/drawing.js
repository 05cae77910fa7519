"use strict";
// What the page does when a person touches it: the large chart, tables that sort, and all parts open in print.
// Without this script the page shows the same figures in small pictures and plain tables.
// Every text from a run is put in as text (textContent), never as markup.

const SVG = "http://www.w3.org/2000/svg"; // the name of a vocabulary; nothing is loaded from there
const AXES = { step: "steps", tokens: "tokens", flops: "FLOPs", hours: "hours" };
const MARGIN = { left: 58, right: 14, top: 14, bottom: 34 };
const TIP_LINES = 12; // runs that the tip names
const DOTTED = 60; // points of a held-out line that are dots
const data = JSON.parse(document.getElementById("data").textContent);

function makeElement(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function makeShape(name, attributes = {}, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

function formatNumber(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1e12 || size < 1e-3) return value.toExponential(2).replace("e+", "e").replace(/\.?0+e/, "e");
  for (const [from, unit, letter] of [[1e9, 1e9, "B"], [1e6, 1e6, "M"], [1e4, 1e3, "k"]]) {
    if (size >= from) return `${+(value / unit).toPrecision(4)}${letter}`;
  }
  return String(+value.toPrecision(5));
}

// Where a run stood at a step on another axis: between two known points the way is straight.
function convertStep(run, axis, step) {
  if (axis === "step") return step;
  const known = data.runs[run].axes[axis];
  if (!known) return null;
  const [steps, values] = known;
  let after = steps.findIndex((each) => each >= step);
  if (after < 0) after = steps.length - 1;
  if (steps[after] === step) return values[after];
  const [step0, value0] = after ? [steps[after - 1], values[after - 1]] : [0, 0];
  if (steps[after] === step0) return values[after];
  return value0 + ((values[after] - value0) * (step - step0)) / (steps[after] - step0);
}

// Round numbers within a range; of a logarithmic one the powers of ten, and where they are few also 2 and 5 of each.
function listTicks(low, high, log, most) {
  const ticks = [];
  if (log) {
    const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
    const factors = last - first <= 3 ? [1, 2, 5] : [1];
    const stride = Math.max(1, Math.ceil((last - first) / most));
    for (let power = first; power <= last; power += stride) {
      for (const factor of factors) ticks.push(factor * 10 ** power);
    }
  } else {
    const rough = (high - low) / most;
    const unit = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * unit).find((each) => each >= rough);
    for (let index = Math.ceil(low / step); index * step <= high; index++) ticks.push(+(index * step).toPrecision(12));
  }
  return ticks.filter((tick) => tick >= low && tick <= high);
}

// Whether a line has points on both sides of an x, or one close to it on the screen.
function reaches(line, x, place) {
  const close = 12; // pixels
  return place(line.x[0]) - close <= place(x) && place(x) <= place(line.x[line.x.length - 1]) + close;
}

// The number of a line's point whose x is nearest on the screen and that has a y; -1 if there is none.
function findNearest(line, x, place) {
  let [best, least] = [-1, Infinity];
  for (const [index, each] of line.x.entries()) {
    const apart = Math.abs(place(each) - place(x));
    if (line.y[index] !== null && apart < least) [best, least] = [index, apart];
  }
  return best;
}

// A line of the tip: a run, and its values with the steps that they were measured at.
function makeTipRow(run, values) {
  const { name, colour, dash } = data.runs[run];
  const swatch = makeShape("svg", { class: "swatch", viewBox: "0 0 32 10" });
  swatch.append(makeShape("path", { class: `line c${colour} d${dash}`, d: "M1 5H31" }));
  const parts = values.flatMap(({ split, step, value }, index) => [
    split === "train" ? "" : makeElement("i", {}, `${index ? " · " : ""}${split} `),
    makeElement("span", {}, formatNumber(value)),
    makeElement("i", {}, ` at ${step.toLocaleString("en")}`),
  ]);
  return makeElement("div", {}, swatch, makeElement("span", { dir: "auto" }, name), makeElement("span", {}, ...parts));
}

// What a click does is done by the Enter and the space key too.
function onPress(made, act) {
  made.addEventListener("click", act);
  made.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    act();
  });
}
