// The calls of a report's photos at the threshold that is shown: badges, outlines, counts, sentence, bars.
// It knows cards and table rows as the page has them; which threshold is shown it is told.
import { callsAt, counted, showBadge, showSentence } from "./calls.js";
import { find, findAll, make } from "./dom.js";
import { outline } from "./outlines.js";
import { addressed } from "./report_address.js";
import { colourBars, placed, readyBars, stretch } from "./threshold.js";

// `photos`: the cards first, then rows of the table. `bars`: of the histogram. Returns show(at, tableToo) and of(row), and
// whether some rows have `waited`.
export function callsShownOn(verdict, cards, photos, bars) {
  const badges = photos.map((each) => find(".call", each));
  const barOf = new Map(bars.map((link, i) => [addressed(link, "bar"), i]));
  const calls = []; // of each row, as shown
  const stale = new Set(); // rows whose call has changed and is not shown yet
  const ticks = cards.map(marked);
  readyBars(bars);
  reserve();

  // The threshold and the score's interval on a card.
  function marked(card, row) {
    card.dataset.label = find(".open", card).getAttribute("aria-label");
    const tick = make("span", { class: "tick" });
    find(".level", card).append(tick);
    if (verdict.low[row] !== null && verdict.high[row] !== null) {
      const whisker = make("span", { class: "interval" });
      stretch(whisker, verdict, verdict.low[row], verdict.high[row]);
      find(".level", card).append(whisker);
    }
    return tick;
  }

  // Table rows can wait until the slider rests: thousands of them take their time. Returns the counts.
  function show(at, tableToo) {
    for (const [row, call] of callsAt(verdict, at, photos.length).entries()) {
      if (call !== calls[row]) stale.add(row);
      calls[row] = call;
    }
    for (const row of stale) {
      if (row >= cards.length && !tableToo) continue;
      stale.delete(row);
      showCall(row);
    }
    const counts = counted(calls);
    showSentence(find("#sentence"), verdict.stops[at].sentence);
    for (const button of findAll(".count")) find("strong", button).textContent = counts[button.dataset.call];
    const held = bars.map(() => counted([]));
    for (const [row, element] of photos.entries()) held[barOf.get(element.dataset.bar)][calls[row]] += 1;
    colourBars(bars, held);
    // Not a property of the whole page: every row would have its style looked up again.
    const place = placed(verdict, Number(verdict.stops[at].threshold));
    for (const tick of ticks) tick.style.left = `${place}%`;
    return counts;
  }

  function showCall(row) {
    const element = photos[row];
    element.dataset.call = calls[row];
    showBadge(badges[row], calls[row]);
    const open = find(".open", element);
    if (!open) return;
    open.setAttribute("aria-label", `${element.dataset.label}, ${calls[row]}`);
    outline(find(".photo", open), verdict.regions[row]?.boxes ?? [], calls[row]);
  }

  // Room for the longest sentence and the largest count, so that nothing jumps while the slider moves.
  function reserve() {
    const sentences = verdict.stops.map((each) => each.sentence);
    const room = find("#sentence").cloneNode(true);
    room.id = "";
    room.setAttribute("aria-hidden", "true");
    showSentence(
      room,
      sentences.reduce((longest, each) => (each.length > longest.length ? each : longest)),
    );
    find(".sentence").append(room);
    const digits = `${photos.length}`.length;
    for (const each of findAll(".count strong")) each.style.minWidth = `${digits}ch`;
  }

  return { show, of: (row) => calls[row], waited: () => stale.size > 0 };
}
