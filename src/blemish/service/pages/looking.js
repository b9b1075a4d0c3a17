// The large view of a run's photo: its places, what it was compared with, its families, and a person's word.
import { get } from "./api.js";
import { go, state } from "./address.js";
import { sentences } from "./calls.js";
import { alone, find } from "./dom.js";
import { fresh } from "./fragments.js";
import { barsOf } from "./histogram.js";
import { tried } from "./notices.js";
import { comparedOf, placesOf } from "./places.js";
import { photoViewOf } from "./photo_view.js";
import { teachingOf } from "./teaching.js";
import { placed } from "./threshold.js";
import { fixed, interval, plural } from "./words.js";
import { focusWord, yourWord } from "./your_word.js";

const LONGEST = 1600; // pixels of the picture

// `context`: run, grid, said(row, call), and of the photos that are shown itemOf(photo), rowAt(item), next(item) and
// total(). Returns follow(pid), changed() and close().
export function lookingAt({ run, grid, said, itemOf, rowAt, next, total }) {
  const dialog = fresh("photo_view.html");
  const beside = find(".beside", dialog);
  const silhouette = barsOf(run.verdict, Math.max(...run.verdict.bars), "photo");
  const view = photoViewOf(dialog, silhouette, (by) => step(by));
  let shown = null; // the photo in detail
  let target = null; // the item that is on its way: who presses j three times goes on by three
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
    target = null;
    const item = itemOf(detail);
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
      last: item !== null && item + 1 === total(),
    });
    judge();
  }

  function judge() {
    const { verdict } = run;
    const share = 100 * shown.found.reduce((sum, region) => sum + region.share, 0);
    const why = sentences([
      shown.reason,
      shown.found.length
        ? `${plural(shown.found.length, "place")} marked, ${Number(share.toFixed(2))} % of the picture`
        : "",
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
    beside.replaceChildren(yourWord(run, shown, mark), ...placesOf(run, shown), comparedOf(run, shown), teachingOf(run, shown));
  }

  async function mark(call) {
    const item = itemOf(shown);
    const row = (item === null ? null : rowAt(item)) ?? shown;
    await said(row, call);
    shown.said = row.said;
    judge();
    focusWord(beside, call ?? "defect");
  }

  // Moving on

  async function step(by) {
    const from = target ?? (shown && itemOf(shown));
    if (from === null) return;
    const mine = (target = from + by);
    const found = await next(mine);
    if (mine !== target) return; // somebody went on
    if (found?.status === "ok") go({ photo: found.pid }, true);
    else target = null;
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
    if (focused !== undefined) focusWord(beside, focused);
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
    const item = shown && itemOf(shown);
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
