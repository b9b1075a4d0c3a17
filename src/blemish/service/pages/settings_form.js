// Settings of the next scan: the few that change what is seen. What is left alone is chosen by blemish.
import { find, make } from "./dom.js";

export function settingsForm() {
  const choice = (id, words, options) =>
    make(
      "label",
      {},
      words,
      make("select", { id }, ...options.map(([value, text]) => make("option", { value }, text))),
    );
  const element = make(
    "details",
    { class: "settings" },
    make("summary", {}, "Settings of the next scan"),
    make(
      "div",
      { class: "row" },
      choice("set-size", "Detail", [
        ["", "automatic"],
        ["320", "coarse, quick (320 px)"],
        ["512", "usual (512 px)"],
        ["768", "fine (768 px)"],
        ["1024", "very fine, slow (1024 px)"],
      ]),
      choice("set-families", "Recurring flaws", [
        ["", "look for them"],
        ["off", "do not look"],
      ]),
      choice("set-score", "A photo's score", [
        ["", "its most unusual place"],
        ["excess", "above what is usual at that place"],
      ]),
      make(
        "label",
        {},
        "Share of defects, if known",
        make(
          "span",
          {},
          make("input", { type: "number", id: "set-share", min: 0, max: 100, step: "any", placeholder: "unknown" }),
          " %",
        ),
      ),
    ),
  );
  const value = (id) => find(`#${id}`, element).value;

  // Only what was said.
  function values() {
    const said = {
      size: Number(value("set-size")) || undefined,
      families: value("set-families") || undefined,
      image_score: value("set-score") || undefined,
    };
    if (value("set-share") !== "") said.verdict = { expect_defects: Number(value("set-share")) / 100 };
    return said;
  }

  return { element, values };
}
