// Keys of the page that is shown, and the list of all of them. In fields and dialogs keys are theirs.
import { alone, find, make } from "./dom.js";

const LISTED = [
  [
    "Everywhere",
    [
      ["?", "these keys"],
      ["1 2 3 4", "photos, families, verdict, export of a run"],
      ["Esc", "close, or leave a field"],
    ],
  ],
  [
    "Photos",
    [
      ["j  k", "next, previous (also in the large view)"],
      ["← → ↑ ↓", "through the grid"],
      ["Enter", "open large"],
      ["d", "this photo is defective"],
      ["g", "this photo is good"],
      ["u", "undo what was said of it"],
      ["o", "heat on the photos; outlines in the large view"],
      ["/", "search in the paths"],
    ],
  ],
  [
    "Large view",
    [
      ["+  -  0", "larger, smaller, whole photo"],
      ["Shift + arrows", "move what is enlarged"],
      ["Esc", "close"],
    ],
  ],
  [
    "Volume",
    [
      ["← → ↑ ↓", "left, right, front, back"],
      ["Page up, down", "up, down"],
      ["h", "the most unusual place"],
      ["o", "heat"],
      ["r", "the patient's left on the right"],
    ],
  ],
  [
    "Families",
    [
      ["j  k", "next, previous family"],
      ["d", "a defect"],
      ["v", "a variant, allowed"],
      ["u", "undo"],
    ],
  ],
  [
    "Verdict",
    [
      ["← →", "threshold down, up"],
      ["Home  End", "first, last"],
      ["Enter", "keep it"],
    ],
  ],
];

let bound = {};

// Key -> what it does; replaces those of the page before.
export function bind(keys) {
  bound = keys;
}

export function listen(everywhere) {
  addEventListener("keydown", (event) => {
    if (!alone(event) || find("dialog[open]")) return;
    const typing = event.target.closest("input:not([type=range], [type=radio], [type=checkbox]), textarea, select");
    if (typing) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const act = bound[event.key] ?? everywhere[event.key];
    if (!act || act(event) === false) return;
    event.preventDefault();
  });
}

export function help() {
  const tables = LISTED.map(([title, keys]) =>
    make(
      "section",
      {},
      make("h3", {}, title),
      make(
        "dl",
        { class: "table" },
        ...keys.flatMap(([key, what]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, what)]),
      ),
    ),
  );
  const close = make("button", { type: "submit", autofocus: true }, "Close");
  const form = make("form", { method: "dialog" }, make("h2", { id: "keys-title" }, "Keys"), close);
  const list = make("div", { class: "all" }, ...tables);
  const dialog = make("dialog", { class: "small keys-list", "aria-labelledby": "keys-title" }, form, list);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
