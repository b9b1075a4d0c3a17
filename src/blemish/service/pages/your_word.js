// What a person says of the photo or volume in a large view: defect, good, or nothing any more; and its families.
import { find, make } from "./dom.js";

// `shown`: in detail. `mark(call)`: it is said.
export function yourWord(run, shown, mark) {
  const button = (call, text, key) => {
    const each = make(
      "button",
      {
        type: "button",
        "data-say": call ?? "",
        "aria-pressed": call ? String(shown.said === call) : null,
        title: key,
        disabled: call === null && !shown.said,
      },
      text,
    );
    each.addEventListener("click", () => mark(call));
    return each;
  };
  const families = shown.families.map((number) => {
    const link = make(
      "a",
      { class: "to-family", href: `#run=${run.id}&view=families&family=${number}` },
      `family ${number}`,
    );
    return make("span", {}, link, " ");
  });
  return make(
    "section",
    { class: "your-word", "aria-label": "Your word" },
    make("div", { class: "row say" }, button("defect", "Defect", "d"), button("good", "Good", "g"), button(null, "Undo", "u")),
    shown.said
      ? make("p", { class: "muted said-of" }, `Said to be ${shown.said === "good" ? "good" : "defective"}.`)
      : null,
    families.length ? make("p", { class: "muted" }, "Member of ", ...families) : null,
  );
}

export const focusWord = (within, call) => find(`[data-say="${call}"]`, within)?.focus();
