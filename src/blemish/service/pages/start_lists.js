// What was scanned before, and detectors, as tables with links.
import { hash } from "./address.js";
import { api, get, send } from "./api.js";
import { make } from "./dom.js";
import { confirmed, tried } from "./notices.js";
import { moment, plural } from "./words.js";

const STATES = { queued: "waits", running: "is being scanned", done: "done", failed: "failed", cancelled: "stopped" };

// `sizes`: of data sets, in files. `again()`: the list has changed.
export function runsTable(known, sizes, again) {
  const rows = known.map((run) => {
    const question = `Remove the scan “${run.name}” and all that was decided about it? Uploaded photos go with it.`;
    const progress =
      run.state === "running" && run.total ? `: ${run.stage} ${Math.round((100 * run.done) / run.total)} %` : "";
    return [
      make(
        "td",
        {},
        make("a", { href: hash({ run: run.id }), "data-key": run.id }, make("bdi", {}, run.name)),
        size(run, sizes.get(run.dataset)),
      ),
      make("td", { class: "muted" }, moment(run.created)),
      make("td", { class: `state ${run.state}` }, STATES[run.state] + progress),
      make("td", { class: "words" }, { failed: run.error, done: run.message }[run.state] ?? ""),
      make(
        "td",
        {},
        removal(`the scan of ${run.name}`, question, run.id, () => removed(run), again),
      ),
    ];
  });
  return table(["Scan", "Begun", "State", "What came of it", ""], rows);
}

export function detectorsTable(made, again) {
  const rows = made.map((detector) => {
    const question = `Remove the detector “${detector.name}”? What was scanned stays.`;
    const remove = () => send("DELETE", `detectors/${detector.id}`);
    return [
      make("td", {}, make("a", { href: hash({ detector: detector.id }) }, make("bdi", {}, detector.name))),
      make("td", { class: "muted" }, moment(detector.created)),
      make("td", { class: "words" }, detector.meaning),
      make("td", {}, make("a", { href: api(`detectors/${detector.id}/file`), download: true }, "Download")),
      make("td", {}, removal(`the detector ${detector.name}`, question, detector.id, remove, again)),
    ];
  });
  return table(["Detector", "Made", "Meaning", "For blemish check", ""], rows);
}

function size(run, count) {
  const noun = run.kind === "volumes" ? "volume" : "photo";
  return count ? make("span", { class: "muted size" }, plural(count, noun)) : null;
}

function table(names, rows) {
  const heads = names.map((name) => (name ? make("th", { scope: "col" }, name) : make("td")));
  const lines = rows.map((cells) => make("tr", {}, ...cells));
  return make("table", { class: "rows" }, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...lines));
}

function removal(what, question, key, remove, again) {
  const button = make(
    "button",
    { type: "button", "aria-label": `Remove ${what}`, "data-key": `remove ${key}` },
    "Remove",
  );
  button.addEventListener("click", async () => {
    if (!(await confirmed(question, "Remove it"))) return;
    await tried(remove);
    again();
  });
  return button;
}

// With its data set, where nothing else is made of that.
async function removed(run) {
  if (run.state === "queued" || run.state === "running") await send("POST", `runs/${run.id}/cancel`);
  await send("DELETE", `runs/${run.id}`);
  const others = (await get("runs")).some(({ dataset }) => dataset === run.dataset);
  if (!others) await send("DELETE", `datasets/${run.dataset}`);
}
