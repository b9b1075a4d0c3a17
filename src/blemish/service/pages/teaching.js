// Teaching a run by one of its photos: as good, or by its worst place as a flaw. The others are scored again.
import { send } from "./api.js";
import { make } from "./dom.js";
import { confirmed, notice, tried } from "./notices.js";

export function teachingOf(run, shown) {
  const good = make("button", { type: "button" }, "Learn it as good");
  const flaw = make("button", { type: "button", disabled: !shown.found.length }, "Learn its worst place as a flaw");
  const undo = make("button", { type: "button" }, "Unlearn all");
  good.addEventListener("click", () => teach(run, { good: [shown.pid], defects: [] }, [good, flaw, undo]));
  flaw.addEventListener("click", () => {
    const { left, top, right, bottom } = shown.found[0];
    teach(run, { good: [], defects: [{ pid: shown.pid, box: [left, top, right, bottom] }] }, [good, flaw, undo]);
  });
  undo.addEventListener("click", async () => {
    if (!(await confirmed("Forget all examples that this run was taught?", "Forget them"))) return;
    if (await tried(() => send("POST", `runs/${run.id}/teach/undo`))) notice("The examples are forgotten.");
  });
  const taught = Object.values(run.result.taught ?? {}).some(Boolean);
  return make(
    "details",
    { class: "teaching" },
    make("summary", {}, "Teach by this photo"),
    make(
      "p",
      { class: "muted" },
      "All photos are scored again: what looks like it scores lower, or like the flaw higher. This takes a moment.",
    ),
    make("div", { class: "row" }, good, flaw, ...(taught ? [undo] : [])),
  );
}

async function teach(run, lesson, buttons) {
  for (const each of buttons) each.disabled = true;
  const told = await tried(() => send("POST", `runs/${run.id}/teach`, lesson));
  for (const each of buttons) each.disabled = false;
  if (told) notice(told.sentence);
}
