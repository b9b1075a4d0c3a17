// The histogram of scores with a threshold that can be moved: a line, a slider under it, bars coloured by call.
// It knows the figure and the verdict's thresholds; what else on the page follows one is told to `moved` and `kept`.
import { alone, find } from "./dom.js";

const STEPS = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5 };

// Where a score lies on the axis, in percent.
export function placed(verdict, score) {
  const [low, high] = verdict.axis;
  return Math.min(Math.max((100 * (score - low)) / (high - low), 0), 100);
}

// An interval's whisker from `low` to `high`.
export function stretch(element, verdict, low, high) {
  element.style.left = `${placed(verdict, low)}%`;
  element.style.width = `${placed(verdict, high) - placed(verdict, low)}%`;
}

// `moved(at)`: the hand or a key is on the threshold number `at`. `kept(at)`: and off again. Returns `show(at, counts)`,
// which shows that threshold, `place(at)` in percent, and the slider.
export function thresholdOf(figure, verdict, moved, kept) {
  const slider = find("#threshold", figure);
  const line = find(".plot .threshold", figure);
  const own = verdict.stops[verdict.chosen].threshold;
  const places = verdict.stops.map((each) => placed(verdict, Number(each.threshold)));
  let shown = verdict.chosen;

  find(".standing-threshold .own strong", figure).textContent = own;
  find(".standing-threshold .rule", figure).textContent = verdict.rule && ` · ${verdict.rule}`;
  find(".preview .value", figure).textContent = own;
  slider.hidden = find(".own .try", figure).hidden = verdict.stops.length < 2;

  const move = (at) => moved(Math.min(Math.max(at, 0), verdict.stops.length - 1));
  slider.addEventListener("input", () => move(nearest(places, slider.valueAsNumber)));
  slider.addEventListener("change", () => kept(shown));
  slider.addEventListener("keydown", (event) => {
    const to = { Home: 0, End: verdict.stops.length - 1 }[event.key] ?? shown + STEPS[event.key];
    if (Number.isNaN(to) || !alone(event)) return;
    event.preventDefault();
    move(to);
  });
  slider.addEventListener("keyup", () => kept(shown));

  function show(at, counts) {
    shown = at;
    const { threshold } = verdict.stops[at];
    slider.value = places[at];
    slider.setAttribute("aria-valuetext", `${threshold}: ${counts.blemished} blemished, ${counts.unsure} unsure`);
    line.style.left = `${places[at]}%`;
    line.classList.toggle("late", places[at] > 75);
    find(".value", line).textContent = threshold;
    document.documentElement.classList.toggle("previewed", at !== verdict.chosen);
  }

  return { show, slider, place: (at) => places[at] };
}

// Bars to be coloured: each gets a part for what is blemished and one for what is unsure.
export function readyBars(bars) {
  for (const bar of bars) {
    bar.dataset.words = bar.getAttribute("aria-label");
    for (const call of ["blemished", "unsure"]) {
      const part = find(".bar", bar).cloneNode();
      part.classList.replace("bar", call);
      bar.append(part);
    }
  }
}

// `counts`: what each bar holds, as {blemished, unsure, ok}.
export function colourBars(bars, counts) {
  for (const [i, bar] of bars.entries()) {
    const whole = find(".bar", bar);
    const all = counts[i].blemished + counts[i].unsure + counts[i].ok;
    let top = Number(whole.getAttribute("y"));
    for (const call of ["blemished", "unsure"]) {
      const height = all ? (Number(whole.getAttribute("height")) * counts[i][call]) / all : 0;
      const part = find(`.${call}`, bar);
      part.setAttribute("y", top);
      part.setAttribute("height", height);
      top += height;
    }
    const parts = ["blemished", "unsure"].filter((call) => counts[i][call]).map((call) => `${counts[i][call]} ${call}`);
    const words = [bar.dataset.words, ...parts].join(", ");
    bar.setAttribute("aria-label", words);
    find("title", bar).textContent = words;
  }
}

function nearest(places, place) {
  const distances = places.map((each) => Math.abs(each - place));
  return distances.indexOf(Math.min(...distances));
}
