// What stands above a run's views: its counts, which filter, and what to know before the order is trusted.
import { find, make } from "./dom.js";
import { plural } from "./words.js";

const WORDS = { blemished: "blemished", unsure: "need a look", ok: "ok" };

// `chosen`: the call that is filtered by; `act(call)` when one is pressed, or null where counts only tell.
export function countsOf(run, chosen, act) {
  const box = make("div", { class: "counts" });
  for (const [call, words] of Object.entries(WORDS)) {
    const inside = [
      make("strong", {}, String(run.result.counts[call])),
      " ",
      make("span", { class: `call ${call}` }, words),
    ];
    const button = act
      ? make(
          "button",
          {
            type: "button",
            class: "count",
            "data-call": call,
            "aria-pressed": String(call === chosen),
            title: "Show only these",
          },
          ...inside,
        )
      : make("p", { class: "count", "data-call": call }, ...inside);
    if (act) button.addEventListener("click", () => act(call));
    box.append(button);
  }
  return box;
}

export function showCounts(box, counts) {
  for (const call of Object.keys(WORDS)) find(`[data-call=${call}] strong`, box).textContent = counts[call];
}

export function warningsOf(run) {
  const { warnings, counts } = run.result;
  const told = [...warnings];
  if (counts.unreadable)
    told.push(
      `${plural(counts.unreadable, "file")} could not be read and ${counts.unreadable === 1 ? "was" : "were"} left out`,
    );
  if (!told.length) return [];
  const lines = told.map((each) => make("li", {}, each[0].toUpperCase() + each.slice(1).replace(/\.$/, "") + "."));
  return [
    make(
      "details",
      { class: "warnings" },
      make("summary", {}, `Before you trust the order (${plural(told.length, "note")})`),
      make("ul", {}, ...lines),
    ),
  ];
}
