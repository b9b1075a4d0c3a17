// What was scanned before, and detectors, as tables with links.
import { get, send } from "./api.js";
import { hash } from "./address.js";
import { make } from "./dom.js";
import { confirmed, tried } from "./notices.js";
import { moment } from "./words.js";

const STATES = { queued: "waits", running: "is being scanned", done: "done", failed: "failed", cancelled: "cancelled" };

// `again()`: the list has changed.
export function runsTable(known, again) {
  const rows = known.map((run) => {
    const remove = make(
      "button",
      { type: "button", "aria-label": `Remove the scan of ${run.name}`, "data-key": `remove ${run.id}` },
      "Remove",
    );
    remove.addEventListener("click", async () => {
      if (
        !(await confirmed(
          `Remove the scan “${run.name}” and all that was decided about it? Uploaded photos go with it.`,
          "Remove it",
        ))
      )
        return;
      await tried(() => removed(run));
      again();
    });
    const open = make("a", { href: hash({ run: run.id }), "data-key": run.id }, make("bdi", {}, run.name));
    return make(
      "tr",
      {},
      make("td", {}, open),
      make("td", { class: "muted" }, moment(run.created)),
      make(
        "td",
        { class: `state ${run.state}` },
        run.state === "running" && run.total
          ? `${STATES.running}: ${run.stage} ${Math.round((100 * run.done) / run.total)} %`
          : STATES[run.state],
      ),
      make("td", { class: "words" }, run.state === "failed" ? run.error : run.state === "done" ? run.message : ""),
      make("td", {}, remove),
    );
  });
  const names = ["Scan", "Begun", "State", "What came of it", "Remove"];
  return make(
    "table",
    { class: "rows" },
    make(
      "thead",
      {},
      make(
        "tr",
        {},
        ...names.map((name) =>
          make("th", { scope: "col" }, make("span", { class: name === "Remove" ? "visually-hidden" : null }, name)),
        ),
      ),
    ),
    make("tbody", {}, ...rows),
  );
}

async function removed(run) {
  if (run.state === "queued" || run.state === "running") await send("POST", `runs/${run.id}/cancel`);
  await send("DELETE", `runs/${run.id}`);
  const others = (await get("runs")).some(({ dataset }) => dataset === run.dataset);
  if (!others) await send("DELETE", `datasets/${run.dataset}`);
}

export function detectorsTable(made) {
  const rows = made.map((detector) =>
    make(
      "tr",
      {},
      make("td", {}, make("a", { href: hash({ detector: detector.id }) }, make("bdi", {}, detector.name))),
      make("td", { class: "muted" }, moment(detector.created)),
      make("td", {}, detector.meaning),
    ),
  );
  return make(
    "table",
    { class: "rows" },
    make(
      "thead",
      {},
      make("tr", {}, ...["Detector", "Made", "Meaning"].map((name) => make("th", { scope: "col" }, name))),
    ),
    make("tbody", {}, ...rows),
  );
}
