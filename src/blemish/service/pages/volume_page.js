// The large view of a run's volume: three planes by NiiVue, which is loaded when the first one is opened.
import { base64, get } from "./api.js";
import { go, state } from "./address.js";
import { showBadge } from "./calls.js";
import { find, make } from "./dom.js";
import { fresh } from "./fragments.js";
import { problem, tried } from "./notices.js";
import { volumeViewOf, webgl } from "./volume_view.js";
import { fixed } from "./words.js";
import { focusWord, yourWord } from "./your_word.js";

let loaded = null;

function niivueLoaded() {
  loaded ??= new Promise((done, failed) => {
    const script = make("script", { src: "/vendor/niivue.umd.js" });
    script.addEventListener("load", done);
    script.addEventListener("error", () =>
      failed(new Error("The viewer of volumes could not be loaded. Load this page again.")),
    );
    document.head.append(script);
  });
  return loaded;
}

// As lookingAt of looking.js, for volumes.
export function volumesLooked({ run, grid, said, itemOf, rowAt, next, total }) {
  const dialog = fresh("volume_view.html");
  const { colours, low, high } = run.result.colour_scale;
  const view = volumeViewOf(dialog, { colours, low, high }, step, {
    d: () => mark("defect"),
    g: () => mark("good"),
    u: () => mark(null),
  });
  const place = make("div");
  find(".controls", dialog).prepend(place);
  let shown = null; // the volume in detail
  let turn = 0;

  async function follow(pid) {
    if (pid === undefined) {
      turn += 1;
      shown = null;
      if (dialog.open) dialog.close();
      return;
    }
    if (Number(pid) === shown?.pid) return;
    const mine = ++turn;
    if (!webgl()) {
      problem(
        "This browser has no WebGL 2, so volumes cannot be opened here. Download the maps under Export and open them in a viewer of your own.",
      );
      go({ photo: null }, true);
      return;
    }
    const detail = await tried(async () => {
      await niivueLoaded();
      return get(`runs/${run.id}/photos/${pid}`);
    });
    if (mine !== turn) return;
    if (!detail || detail.status !== "ok") {
      go({ photo: null }, true);
      return;
    }
    shown = detail;
    word();
    const item = itemOf(detail);
    if (item !== null) grid.to(item, false);
    const { digits } = run.verdict;
    view.open({
      rank: detail.rank,
      total: run.result.photos - run.result.counts.unreadable,
      path: detail.path,
      score: fixed(detail.score, digits),
      interval:
        detail.low === null || detail.high === null
          ? ""
          : `${fixed(detail.low, digits)} to ${fixed(detail.high, digits)}`,
      call: detail.verdict,
      peak: detail.peak_mm,
      first: item === 0,
      last: item !== null && item + 1 === total(),
      copies: () =>
        Promise.all(
          ["volume.nii.gz", "volume-map.nii.gz"].map((name) => base64(`runs/${run.id}/photos/${detail.pid}/${name}`)),
        ),
    });
  }

  function word() {
    place.replaceChildren(yourWord(run, shown, mark));
  }

  async function mark(call) {
    const item = itemOf(shown);
    const row = (item === null ? null : rowAt(item)) ?? shown;
    const clicked = place.contains(document.activeElement);
    const done = said(row, call);
    shown.said = row.said; // at once: judging takes its time
    word();
    await done;
    if (shown?.pid !== row.pid) return;
    shown.said = row.said;
    word();
    if (clicked) focusWord(place, call ?? "defect");
  }

  async function changed() {
    if (!shown || !dialog.open) return;
    const detail = await tried(() => get(`runs/${run.id}/photos/${shown.pid}`));
    if (!detail || detail.pid !== shown?.pid) return;
    const focused = place.contains(document.activeElement) ? document.activeElement.dataset.say : undefined;
    shown = detail;
    showBadge(find("header .call", dialog), detail.verdict);
    word();
    if (focused !== undefined) focusWord(place, focused);
  }

  async function step(by) {
    const item = shown && itemOf(shown);
    if (item === null) return;
    const found = await next(item + by);
    if (found?.status === "ok") go({ photo: found.pid }, true);
  }

  dialog.addEventListener("close", () => {
    const item = shown && itemOf(shown);
    turn += 1;
    shown = null;
    if (state().photo !== undefined) go({ photo: null }, true);
    if (item !== null) grid.to(item);
  });
  return {
    follow,
    changed,
    close: () => {
      turn += 1;
      dialog.remove();
    },
  };
}
