// What can be taken away from a run: tables, masks, annotations, the report; and a detector made of it.
import { api, get, send } from "./api.js";
import { go } from "./address.js";
import { find, make } from "./dom.js";
import { tried } from "./notices.js";
import { moment } from "./words.js";

const FILES = [
  ["csv", "Table", "scores, verdicts and places, one line each; opens in a spreadsheet", "results.csv"],
  ["jsonl", "Rows for programs", "the same as JSON, one object a line", "results.jsonl"],
  ["masks.zip", "Masks", "white where something stands out, of all that are not ok", "masks.zip"],
  ["coco", "COCO", "outlines as annotations", "coco.json", "photo"],
  ["coco_results", "COCO results", "the same as detections with scores", "coco_results.json", "photo"],
  ["labelstudio", "Label Studio", "pre-annotations, to be corrected there", "labelstudio.json", "photo"],
  ["maps.zip", "Anomaly maps", "as numbers, 32-bit TIFF", "maps.zip", "photo"],
  ["maps.zip", "Anomaly maps", "as numbers, on each volume's own grid (NIfTI)", "maps.zip", "volume"],
  ["report", "Report", "one page that opens from disk, to be passed on", "report.html"],
];

export function exportPage(main, run) {
  const noun = run.result.kind === "volumes" ? "volume" : "photo";
  const lines = FILES.filter(([, , , , only]) => !only || only === noun).map(([kind, title, words, file]) =>
    make(
      "li",
      {},
      make("a", { href: api(`runs/${run.id}/exports/${kind}`), download: file, class: "button" }, title),
      make("span", {}, words),
      make("code", {}, file),
    ),
  );
  const trail = make("table", { class: "rows trail" });
  const detector = freezing();
  main.replaceChildren(
    make("h1", { class: "short" }, "Take away"),
    make("p", { class: "lead" }, `As it stands now: ${run.result.sentence}`),
    make("ul", { class: "exports" }, ...lines),
    ...detector,
    make("h2", {}, "Who decided what"),
    trail,
  );
  decided();

  async function decided() {
    const known = await tried(() => get("audit", { run: run.id }));
    const rows = (known ?? []).map((line) =>
      make(
        "tr",
        {},
        ...[moment(line.when), line.who, line.what, told(line.detail)].map((text) => make("td", {}, text)),
      ),
    );
    trail.replaceChildren(...rows);
  }

  function freezing() {
    const button = make("button", { type: "submit", class: "primary" }, "Make a detector");
    const form = make("form", { class: "row" }, button, make("span", { class: "muted told", role: "status" }));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      button.disabled = true;
      find(".told", form).textContent = "Looking through them again…";
      const made = await tried(() => send("POST", `runs/${run.id}/freeze`));
      button.disabled = false;
      find(".told", form).textContent = "";
      if (!made) return;
      go({ run: null, view: null, detector: made.id });
    });
    return [
      make("h2", {}, `A detector for single ${noun}s`),
      make(
        "p",
        { class: "lead" },
        `What these ${noun}s look like, in one file: it judges one new ${noun} at a time, here or asked by a program.`,
      ),
      form,
    ];
  }

  return { keys: {}, follow: () => {}, changed: () => exportPage(main, run), close: () => {} };
}

// What was decided, as the service notes it: JSON of plain values.
function told(detail) {
  const said = (value) =>
    value === null ? "nothing" : typeof value === "object" ? JSON.stringify(value) : String(value);
  return Object.entries(JSON.parse(detail))
    .map(([name, value]) => `${name.replaceAll("_", " ")}: ${said(value)}`)
    .join(", ");
}
