// The verdict of a run: histogram with a threshold to move, what each one means, and which to keep.
import { send } from "./api.js";
import { callsAt, counted, showSentence } from "./calls.js";
import { findAll, make } from "./dom.js";
import { barAt, histogramOf } from "./histogram.js";
import { notice, tried } from "./notices.js";
import { countsOf, showCounts } from "./standing.js";
import { colourBars, readyBars, thresholdOf } from "./threshold.js";

const LEAST = 1e-4; // of the good ones: below, 0.01 % is all that is said

export function verdictPage(main, run) {
  const noun = run.result.kind === "volumes" ? "volume" : "photo";
  let at = 0;
  let keep = null;

  function draw() {
    const { verdict } = run;
    const sentence = make(
      "h1",
      { id: "sentence" },
      ...["head", "mark", "tail"].map((part) => make("span", { class: part })),
    );
    const room = make(
      "p",
      { "aria-hidden": "true" },
      ...["head", "mark", "tail"].map((part) => make("span", { class: part })),
    );
    const longest = verdict.stops.map((stop) => stop.sentence).reduce((a, b) => (b.length > a.length ? b : a));
    showSentence(room, longest);
    const counts = countsOf(run, null, null);
    const button = make("button", { type: "button", class: "primary" }, "Keep this threshold");
    const back = make("button", { type: "button" }, "Back");
    const figure = histogramOf(verdict, noun, make("div", { class: "row" }, button, back));
    main.replaceChildren(
      make(
        "div",
        { class: "top verdict-page" },
        make(
          "div",
          {},
          make("div", { class: "sentence", "aria-live": "polite", "aria-atomic": "true" }, sentence, room),
          counts,
          make("p", { class: "lead" }, shareOf(verdict)),
          alarms(verdict),
        ),
        figure,
      ),
    );
    const bars = findAll("svg .column", figure);
    readyBars(bars);
    const numbers = new Map(bars.map((bar, i) => [Number(bar.dataset.bar), i]));
    const held = verdict.scores.map((score) => numbers.get(barAt(verdict, score)));
    const control = thresholdOf(figure, verdict, show, () => {});

    function show(stop) {
      at = stop;
      const calls = callsAt(verdict, stop, verdict.scores.length);
      const all = counted(calls);
      const per = bars.map(() => counted([]));
      for (const [row, call] of calls.entries()) if (per[held[row]]) per[held[row]][call] += 1;
      showSentence(sentence, verdict.stops[stop].sentence);
      showCounts(counts, all);
      colourBars(bars, per);
      control.show(stop, all);
    }

    button.addEventListener("click", () => set({ threshold: verdict.stops[at].value }));
    back.addEventListener("click", () => {
      show(verdict.chosen);
      control.slider.focus(); // the button is gone
    });
    keep = () => (at === verdict.chosen ? false : set({ threshold: verdict.stops[at].value }));
    show(verdict.chosen);
    return control;
  }

  function alarms(verdict) {
    const now = verdict.asked?.max_false_alarms;
    const field = make("input", {
      type: "number",
      id: "false-alarms",
      min: 0,
      max: 100,
      step: "any",
      value: now === null || now === undefined ? 1 : 100 * now,
    });
    const form = make(
      "form",
      { class: "row alarms" },
      make("label", {}, "At most ", field, " % of the good ones called blemished"),
      make("button", { type: "submit" }, "Set"),
    );
    const automatic = make("button", { type: "button" }, "As blemish suggests");
    form.append(automatic);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (field.reportValidity()) set({ max_false_alarms: field.valueAsNumber / 100 });
    });
    automatic.addEventListener("click", () => set({}));
    return form;
  }

  async function set(wanted) {
    const done = await tried(() => send("PUT", `runs/${run.id}/verdict`, wanted));
    if (!done) return;
    await run.refresh();
    draw().slider.focus();
    notice(`Kept: threshold ${run.verdict.stops[run.verdict.chosen].threshold}.`);
  }

  const control = draw();
  control.slider.focus();

  return {
    keys: { Enter: (event) => (event.target.closest("button, input[type=number]") ? false : keep()) },
    follow: () => {},
    changed: () => {
      const moved = at !== run.verdict.chosen && document.documentElement.classList.contains("previewed");
      if (!moved) draw();
      else notice("Somebody has changed this run. Go back to the threshold to see it as it is now.");
    },
    close: () => document.documentElement.classList.remove("previewed"),
  };
}

function shareOf({ share, atLeast, falseAlarms }) {
  const percent = (value) => `${value < LEAST ? 0 : Number((100 * value).toPrecision(2))} %`;
  const alarms = falseAlarms[0] < LEAST ? `fewer than 0.01 %` : `about ${percent(falseAlarms[0])}`;
  const defects = atLeast
    ? `At least ${percent(share[1])} are estimated to be defective; more may look like good ones.`
    : `About ${percent(share[0])} are estimated to be defective (90 % interval ${percent(share[1])} to ${percent(share[2])}).`;
  return `${defects} At this run's threshold ${alarms} of the good ones are called blemished.`;
}
