// The figure of scores as the report has it: bars, counts, axis, the line of the threshold and its slider.
import { make } from "./dom.js";
import { plural } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const LINES = 3; // aimed at

// `verdict`: edges, bars (photos in each), axis. `command`: what stands where the report shows what to type.
export function histogramOf(verdict, noun, command) {
  const top = roundStep(Math.max(...verdict.bars, 1) / LINES);
  const highest = top * Math.ceil(Math.max(...verdict.bars, 1) / top);
  const lines = [];
  for (let count = top; count <= highest; count += top) {
    const style = { bottom: `${(100 * count) / highest}%` };
    lines.push(make("span", { class: "line", style }, make("span", {}, String(count))));
  }
  const slider = make("input", {
    type: "range",
    id: "threshold",
    min: 0,
    max: 100,
    step: "any",
    "aria-label": "Threshold of the score",
    hidden: true,
  });
  return make(
    "figure",
    { class: "histogram" },
    make("figcaption", {}, `${noun[0].toUpperCase()}${noun.slice(1)}s by score`),
    make(
      "div",
      { class: "plot" },
      ...lines,
      barsOf(verdict, highest, noun),
      make("span", { class: "threshold" }, make("span", { class: "value" })),
    ),
    slider,
    make("div", { class: "axis", "aria-hidden": "true" }, ...ticks(verdict.axis)),
    make(
      "p",
      { class: "ends", "aria-hidden": "true" },
      make("span", {}, "like the others"),
      make("span", {}, "unlike the others"),
    ),
    make(
      "div",
      { class: "standing-threshold" },
      make(
        "div",
        { class: "own" },
        make("p", {}, "Threshold ", make("strong"), make("span", { class: "rule" })),
        make("p", { class: "try", hidden: true }, "Drag it to see what another one would mean."),
      ),
      make(
        "div",
        { class: "preview" },
        make(
          "p",
          {},
          make("strong", {}, "Preview."),
          " The threshold of this run is ",
          make("span", { class: "value" }),
          ".",
        ),
        command,
      ),
    ),
  );
}

// The bars alone, as they stand in the large view as well.
export function barsOf(verdict, highest, noun) {
  const svg = shape("svg", {
    viewBox: "0 0 100 100",
    preserveAspectRatio: "none",
    role: "group",
    "aria-label": "Bars",
  });
  const width = 100 / verdict.bars.length;
  for (const [i, count] of verdict.bars.entries()) {
    if (!count) continue;
    const ends = [verdict.edges[i], verdict.edges[i + 1]].map((edge) => Number(edge.toPrecision(6)));
    const words = `${plural(count, noun)}, score ${ends[0]} to ${ends[1]}`;
    const high = Math.max((100 * count) / highest, 2);
    const group = shape("g", { class: "column", "data-bar": i, role: "img", "aria-label": words });
    group.append(
      shape("title", {}),
      shape("rect", { class: "bar", x: i * width + 0.08 * width, y: 100 - high, width: 0.84 * width, height: high }),
    );
    svg.append(group);
  }
  return svg;
}

// The number of the bar that holds a score.
export function barAt(verdict, score) {
  const [low, high] = verdict.axis;
  const at = Math.floor(((score - low) / (high - low)) * verdict.bars.length + 1e-9);
  return Math.min(Math.max(at, 0), verdict.bars.length - 1);
}

function shape(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function roundStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return Math.max(
    [1, 2, 5, 10].map((step) => step * power).find((step) => step >= rough * 0.999),
    1,
  );
}

function ticks([low, high]) {
  const rough = (high - low) / 9;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough * 0.999);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const found = [];
  for (let n = Math.ceil(low / step - 1e-6); n * step <= high + 1e-6 * step; n += 1) {
    const style = { left: `${(100 * (n * step - low)) / (high - low)}%` };
    found.push(make("span", { style }, (n * step).toFixed(digits)));
  }
  return found;
}
