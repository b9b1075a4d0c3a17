// The large view of a run's photo: its places, what it was compared with, its families, and a person's word.
import { get, send } from "./api.js";
import { go, state } from "./address.js";
import { sentences } from "./calls.js";
import { crop } from "./crop.js";
import { alone, find, findAll, make } from "./dom.js";
import { fresh } from "./fragments.js";
import { barsOf } from "./histogram.js";
import { confirmed, notice, tried } from "./notices.js";
import { photoViewOf } from "./photo_view.js";
import { placed } from "./threshold.js";
import { fixed, interval, plural } from "./words.js";

const LONGEST = 1600; // pixels of the picture
const SMALL = 384;
const NEAREST = 6; // references shown

// `context`: run, rows(), grid, said(row, call). Returns follow(pid), changed() and close().
export function lookingAt({ run, rows, grid, said }) {
  const dialog = fresh("photo_view.html");
  const beside = find(".beside", dialog);
  const silhouette = barsOf(run.verdict, Math.max(...run.verdict.bars), "photo");
  const view = photoViewOf(dialog, silhouette, (by) => step(by));
  let shown = null; // the photo in detail
  let turn = 0;
  beside.hidden = false;

  async function follow(pid) {
    if (pid === undefined) {
      turn += 1;
      shown = null;
      if (dialog.open) dialog.close();
    } else if (Number(pid) !== shown?.pid) await open(Number(pid));
  }

  async function open(pid) {
    const mine = ++turn;
    const detail = await tried(() => get(`runs/${run.id}/photos/${pid}`));
    if (mine !== turn) return;
    if (!detail || detail.status !== "ok") {
      go({ photo: null }, true);
      return;
    }
    shown = detail;
    const item = rows().known(pid);
    if (item !== null) grid.to(item, false);
    const { digits } = run.verdict;
    view.open({
      rank: detail.rank,
      total: run.result.photos - run.result.counts.unreadable,
      path: detail.path,
      picture: run.picture(pid, LONGEST),
      heat: run.heat(pid),
      alt: `Photo ${detail.path}`,
      aspect: detail.width / detail.height,
      words: [
        `score ${fixed(detail.score, digits)}${interval(detail.low, detail.high, digits)}`,
        `${detail.width} × ${detail.height}`,
        ...(detail.duplicate_of ? [`copy of ${detail.duplicate_of}`] : []),
      ].join("  ·  "),
      position: placed(run.verdict, detail.score),
      first: item === 0,
      last: item !== null && item + 1 === rows().total(),
    });
    judge();
  }

  function judge() {
    const { verdict } = run;
    const share = 100 * shown.found.reduce((sum, region) => sum + region.share, 0);
    const why = sentences([
      shown.reason,
      shown.found.length ? `${plural(shown.found.length, "place")} marked, ${Number(share.toFixed(2))} % of the picture` : "",
    ]);
    view.judge(verdict, {
      call: shown.verdict,
      why,
      boxes: shown.found.map((region) => [
        (100 * region.left) / shown.width,
        (100 * region.top) / shown.height,
        (100 * (region.right - region.left)) / shown.width,
        (100 * (region.bottom - region.top)) / shown.height,
      ]),
      low: shown.low,
      high: shown.high,
      threshold: placed(verdict, verdict.stops[verdict.chosen].value),
    });
    beside.replaceChildren(words(), ...places(), ...compared(), teaching());
  }

  // A person's word

  function words() {
    const button = (call, text, key) => {
      const each = make("button", { type: "button", "data-say": call ?? "", "aria-pressed": call ? String(shown.said === call) : null, title: key, disabled: call === null && !shown.said }, text);
      each.addEventListener("click", () => mark(call));
      return each;
    };
    const families = shown.families.map((number) => {
      const link = make("a", { class: "to-family", href: `#run=${run.id}&view=families&family=${number}` }, `family ${number}`);
      return make("span", {}, link, " ");
    });
    return make(
      "section",
      { "aria-label": "Your word" },
      make("div", { class: "row say" }, button("defect", "Defect", "d"), button("good", "Good", "g"), button(null, "Undo", "u")),
      shown.said ? make("p", { class: "muted said-of" }, `Said to be ${shown.said === "good" ? "good" : "defective"}.`) : null,
      families.length ? make("p", { class: "muted" }, "Member of ", ...families) : null,
    );
  }

  async function mark(call) {
    const item = rows().known(shown.pid);
    const row = (item === null ? null : rows().at(item)) ?? shown;
    await said(row, call);
    shown.said = row.said;
    judge();
    find(`[data-say="${call ?? "defect"}"]`, beside)?.focus();
  }

  // Its places

  function places() {
    if (!shown.found.length) return [];
    const lines = shown.found.slice(0, NEAREST).map((region) => {
      const box = { left: region.left / shown.width, top: region.top / shown.height, right: region.right / shown.width, bottom: region.bottom / shown.height };
      const picture = crop(run.picture(shown.pid, SMALL), shown.width / shown.height, box, "");
      const size = `${region.right - region.left} × ${region.bottom - region.top} px`;
      const at = `at ${region.left}, ${region.top}`;
      return make("li", {}, make("span", { class: "frame" }, picture), make("span", {}, size, make("br"), make("span", { class: "muted" }, `${at} · peak ${fixed(region.peak, run.verdict.digits)}`)));
    });
    return [make("section", {}, make("h3", {}, "Places, worst first"), make("ul", { class: "places" }, ...lines))];
  }

  // What it was compared with

  function compared() {
    const title = make("h3", {}, "What it was compared with");
    if (!shown.nearest.length) return [make("section", {}, title, make("p", { class: "muted" }, shown.nearest_missing))];
    const aspect = shown.width / shown.height;
    const lines = shown.nearest.slice(0, NEAREST).map((reference) => {
      const here = crop(run.picture(shown.pid, SMALL), aspect, reference.box, "Here");
      const there = crop(run.picture(reference.pid, SMALL), aspect, reference.box_there, `Its nearest look-alike, on ${reference.path}`);
      const link = make("a", { href: `#run=${run.id}&photo=${reference.pid}`, title: `Open ${reference.path}` }, make("span", { class: "frame" }, there));
      link.addEventListener("click", (event) => {
        event.preventDefault();
        go({ photo: reference.pid });
      });
      return make(
        "li",
        {},
        make("span", { class: "frame" }, here),
        make("span", { class: "muted", "aria-hidden": "true" }, "→"),
        link,
        make("span", {}, make("bdi", { class: "file" }, reference.path), make("br"), make("span", { class: "muted" }, `distance ${reference.distance.toPrecision(3)}${reference.counts ? "" : ", not counted: a recurring flaw"}`)),
      );
    });
    return [make("section", {}, title, make("ul", { class: "places references" }, ...lines))];
  }

  // Teaching

  function teaching() {
    const good = make("button", { type: "button" }, "Learn it as good");
    const flaw = make("button", { type: "button", disabled: !shown.found.length }, "Learn its worst place as a flaw");
    const undo = make("button", { type: "button" }, "Unlearn all");
    good.addEventListener("click", () => teach({ good: [shown.pid], defects: [] }));
    flaw.addEventListener("click", () => {
      const { left, top, right, bottom } = shown.found[0];
      teach({ good: [], defects: [{ pid: shown.pid, box: [left, top, right, bottom] }] });
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
      make("p", { class: "muted" }, "All photos are scored again: what looks like it scores lower, or like the flaw higher. This takes a moment."),
      make("div", { class: "row" }, good, flaw, ...(taught ? [undo] : [])),
    );
  }

  async function teach(lesson) {
    const buttons = findAll(".teaching button", beside);
    for (const each of buttons) each.disabled = true;
    const told = await tried(() => send("POST", `runs/${run.id}/teach`, lesson));
    for (const each of buttons) each.disabled = false;
    if (told) notice(told.sentence);
  }

  // Moving on

  async function step(by) {
    const item = shown && rows().known(shown.pid);
    if (item === null || item === undefined) return;
    const next = await rows().later(item + by);
    if (next) go({ photo: next.pid }, true);
  }

  async function changed() {
    if (!shown || !dialog.open) return;
    const mine = turn;
    const detail = await tried(() => get(`runs/${run.id}/photos/${shown.pid}`));
    if (!detail || mine !== turn || detail.pid !== shown?.pid) return;
    const focused = document.activeElement?.dataset?.say;
    shown = detail;
    find(".heat", dialog).src = run.heat(shown.pid);
    judge();
    if (focused !== undefined) find(`[data-say="${focused}"]`, beside)?.focus();
  }

  dialog.addEventListener("keydown", (event) => {
    if (!alone(event) || !shown) return;
    const call = { d: "defect", g: "good", u: null }[event.key];
    if (event.key === "o") document.documentElement.classList.toggle("outlined");
    else if (call !== undefined) mark(call);
    else return;
    event.preventDefault();
  });
  dialog.addEventListener("close", () => {
    const item = shown && rows().known(shown.pid);
    turn += 1;
    shown = null;
    if (state().photo !== undefined) go({ photo: null }, true);
    if (item !== null) grid.to(item);
  });

  function close() {
    turn += 1;
    dialog.remove();
  }

  return { follow, changed, close };
}
