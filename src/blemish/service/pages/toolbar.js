// The bar above the grid: search, heat and its strength, the colour scale, how many are shown.
import { state } from "./address.js";
import { findAll, make } from "./dom.js";
import { gradient } from "./ramp.js";

export function setHeat(mode) {
  document.documentElement.dataset.heat = mode;
  for (const each of findAll("[name=heat]")) each.checked = each.value === mode;
}

export function toolbarOf(run, noun) {
  const modes = [
    ["always", "Always"],
    ["hover", "On hover"],
    ["never", "Never"],
  ].map(([mode, words]) =>
    make(
      "label",
      {},
      make("input", {
        type: "radio",
        name: "heat",
        value: mode,
        checked: mode === document.documentElement.dataset.heat,
      }),
      make("span", {}, words),
    ),
  );
  const now = getComputedStyle(document.documentElement).getPropertyValue("--strength") || 1;
  const opacity = make("input", {
    id: "opacity",
    type: "range",
    min: 10,
    max: 100,
    step: 5,
    value: Math.round(100 * now),
  });
  const field = make("input", {
    id: "filter",
    type: "search",
    placeholder: "part of a file path",
    autocomplete: "off",
    spellcheck: "false",
    value: state().q ?? "",
  });
  const { colours } = run.result.colour_scale;
  const bar = make("span", {
    class: "ramp",
    role: "img",
    "aria-label": "Colour scale from clear, usual, through violet to yellow, unusual",
    style: { "--ramp": gradient(colours) },
  });
  const form = make(
    "form",
    { class: "toolbar", "aria-label": "What is shown" },
    make("label", { class: "filter", title: "/" }, "Search", field),
    ...(noun === "photo"
      ? [
          make("fieldset", { class: "modes", title: "o" }, make("legend", {}, "Heat"), ...modes),
          make("label", { class: "strength" }, "Opacity", opacity),
        ]
      : []),
    make("p", { class: "legend" }, make("span", {}, "usual"), bar, make("span", {}, "unusual")),
    make(
      "p",
      { class: "shown", role: "status" },
      make("span", { id: "shown" }),
      make("button", { type: "button", id: "clear", hidden: true }, "Show all"),
    ),
  );
  form.addEventListener("submit", (event) => event.preventDefault());
  opacity.addEventListener("input", () =>
    document.documentElement.style.setProperty("--strength", opacity.value / 100),
  );
  return form;
}
