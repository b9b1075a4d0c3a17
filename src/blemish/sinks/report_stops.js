// What every threshold that can be tried out means, of photos and of volumes. All of it stands in the block #verdict,
// where each threshold comes with its counts and its sentence: nothing is estimated here. Rows are counted, most unusual
// first; what they look like, another script of the same block knows.
"use strict";

const verdict = JSON.parse(document.querySelector("#verdict")?.textContent ?? "null"); // null: scanned without one
const always = new Set(verdict?.always);
const spared = new Set(verdict?.spared);

const position = (score) => {
  const [low, high] = verdict.axis;
  return Math.min(Math.max((100 * (score - low)) / (high - low), 0), 100);
};
const places = verdict?.stops.map((each) => position(Number(each.threshold)));

const asked = ({ unsure }, row) => unsure.some(([first, last]) => first <= row && row <= last);

function callsAt(at) {
  const { above, unsure } = verdict.stops[at];
  const found = verdict.low.map((_, row) => ((row < above && !spared.has(row)) || always.has(row) ? "blemished" : "ok"));
  for (const [first, last] of unsure) found.fill("unsure", first, last + 1);
  return found;
}

function nearest(place) {
  const distances = places.map((each) => Math.abs(each - place));
  return distances.indexOf(Math.min(...distances));
}

// Which threshold a key on the slider asks for; NaN: none.
function stepped(key, at) {
  const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5 }[key];
  const to = { Home: 0, End: verdict.stops.length - 1 }[key] ?? at + by;
  return Math.min(Math.max(to, 0), verdict.stops.length - 1);
}

function showSentence(place, sentence) {
  if (place.textContent === sentence) return; // or it would be read out again
  const [head, ...tail] = sentence.split(";");
  place.querySelector(".head").textContent = head;
  place.querySelector(".mark").textContent = tail.length ? ";" : "";
  place.querySelector(".tail").textContent = tail.join(";");
}

// The threshold's line in the histogram, what the slider says of it, and the command that keeps it.
function showThresholdAt(at, calls) {
  const { threshold } = verdict.stops[at];
  const [blemished, unsure] = ["blemished", "unsure"].map((call) => calls.filter((each) => each === call).length);
  const slider = document.querySelector("#threshold");
  slider.value = places[at];
  slider.setAttribute("aria-valuetext", `${threshold}: ${blemished} blemished, ${unsure} unsure`);
  const line = document.querySelector(".histogram .threshold");
  line.style.left = `${places[at]}%`;
  line.classList.toggle("late", places[at] > 75);
  line.querySelector(".value").textContent = threshold;
  document.querySelector(".preview .option").textContent = `--threshold ${threshold}`;
  document.documentElement.classList.toggle("previewed", at !== verdict.chosen);
}

// What stays as the slider moves.
function showOwnThreshold() {
  const { threshold } = verdict.stops[verdict.chosen];
  document.querySelector(".standing-threshold .own strong").textContent = threshold;
  document.querySelector(".standing-threshold .rule").textContent = verdict.rule && ` · ${verdict.rule}`;
  document.querySelector(".preview .value").textContent = threshold;
  document.querySelector("#threshold").hidden = verdict.stops.length < 2;
  document.querySelector(".own .try").hidden = verdict.stops.length < 2;
}

