// The verdict in report.html: calls, sentence, counts, outlines, and a threshold that can be tried out.
// What a threshold means stands in report_stops.js, before it in the same script; report.js follows. Rows count the
// photos, most unusual first.
"use strict";

const calls = []; // of each row, as shown
const badges = [];
const lines = []; // the threshold in the histogram, in the large view and on each card
let photos = []; // cards and table rows
let ownCalls = []; // at the run's own threshold
let shownStop = null;
const stale = new Set(); // rows whose call has changed and is not shown yet

const count = (call) => calls.filter((each) => each === call).length;

// One threshold shown everywhere

// Table rows can wait until the slider rests: thousands of them take their time.
function showStop(at, tableToo = true) {
  shownStop = at;
  for (const [row, call] of callsAt(at).entries()) {
    if (call !== calls[row]) stale.add(row);
    calls[row] = call;
  }
  for (const row of stale) {
    if (row >= cards.length && !tableToo) continue;
    stale.delete(row);
    showCall(row);
  }
  showSentence(find("#sentence"), verdict.stops[at].sentence);
  for (const button of document.querySelectorAll(".count")) {
    find("strong", button).textContent = count(button.dataset.call);
  }
  colourBars();
  showThreshold();
  if (dialog.open) describe(current);
}

function showCall(row) {
  const element = photos[row];
  element.dataset.call = calls[row];
  badges[row].className = `call ${calls[row]}`;
  badges[row].textContent = calls[row];
  const open = find(".open", element);
  if (!open) return;
  open.setAttribute("aria-label", `${element.dataset.label}, ${calls[row]}`);
  outline(find(".photo", open), row);
}

function outline(frame, row) {
  for (const box of frame.querySelectorAll(".region")) box.remove();
  if (calls[row] === "ok") return;
  for (const [left, top, width, height] of verdict.regions[row]?.boxes ?? []) {
    const box = document.createElement("span");
    box.className = `region ${calls[row]}`;
    // A little around the place, so that it is seen itself, but not beyond the picture.
    const inset = (percent) => `max(0px, ${percent.toFixed(1)}% - 5px)`;
    box.style.inset = [top, 100 - left - width, 100 - top - height, left].map(inset).join(" ");
    frame.append(box);
  }
}

function colourBars() {
  const counts = bars.map(() => ({ blemished: 0, unsure: 0, ok: 0 }));
  const numbers = bars.map((link) => link.dataset.bar);
  for (const [row, element] of photos.entries()) counts[numbers.indexOf(element.dataset.bar)][calls[row]] += 1;
  for (const [i, link] of bars.entries()) {
    const bar = find(".bar", link);
    const all = counts[i].blemished + counts[i].unsure + counts[i].ok;
    let top = Number(bar.getAttribute("y"));
    for (const call of ["blemished", "unsure"]) {
      const height = (Number(bar.getAttribute("height")) * counts[i][call]) / all;
      const part = find(`.${call}`, link);
      part.setAttribute("y", top);
      part.setAttribute("height", height);
      top += height;
    }
    const parts = ["blemished", "unsure"].filter((call) => counts[i][call]).map((call) => `${counts[i][call]} ${call}`);
    const words = [link.dataset.words, ...parts].join(", ");
    link.setAttribute("aria-label", words);
    find("title", link).textContent = words;
  }
}

function showThreshold() {
  showThresholdAt(shownStop, calls);
  // Not a property of the whole page: every row would have its style looked up again.
  for (const line of lines) line.style.left = `${places[shownStop]}%`;
}

// Large view

function describe(card) {
  if (!verdict) return;
  const row = cards.indexOf(card);
  const badge = find(".call", dialog);
  badge.className = `call ${calls[row]}`;
  badge.textContent = calls[row];
  find(".why", dialog).textContent = why(row);
  outline(find(".plain", dialog), row);
  const [low, high] = [verdict.low[row], verdict.high[row]];
  const whisker = find(".interval", dialog);
  whisker.hidden = low === null || high === null;
  if (!whisker.hidden) span(whisker, low, high);
}

function why(row) {
  if (calls[row] === "ok") return "";
  const { threshold, above } = verdict.stops[shownStop];
  const own = shownStop === verdict.chosen;
  const told = [];
  if (calls[row] === "unsure") {
    const [low, high] = [verdict.low[row], verdict.high[row]];
    const either = low !== null && high !== null && low <= Number(threshold) && Number(threshold) <= high;
    const anyway = [0, -1].every((at) => asked(verdict.stops.at(at), row)); // so the threshold is not the reason
    if (own || anyway) told.push(verdict.reasons[row] ?? "");
    else if (either) told.push("Its score could lie on either side of this threshold");
  } else if (row >= above) {
    told.push("It carries a recurring flaw, whatever its score");
  }
  const regions = verdict.regions[row];
  const many = regions?.count === 1 ? "1 place" : `${regions?.count} places`;
  if (regions) told.push(`${many} marked, ${regions.share} % of the picture`);
  else if (ownCalls[row] !== "ok") told.push("No place on it stands out");
  else told.push("Its places are marked once this threshold is kept");
  return told
    .filter((each) => each)
    .map((each) => each[0].toLocaleUpperCase() + each.slice(1).replace(/\.$/, "") + ".")
    .join(" ");
}

// ", 90 % interval 0.31 to 0.36"
function interval(card) {
  const row = cards.indexOf(card);
  if (!verdict || verdict.low[row] === null || verdict.high[row] === null) return "";
  return `, 90 % interval ${verdict.low[row].toFixed(verdict.digits)} to ${verdict.high[row].toFixed(verdict.digits)}`;
}

function span(element, low, high) {
  element.style.left = `${position(low)}%`;
  element.style.width = `${position(high) - position(low)}%`;
}

// The address, the slider and the counts

function followVerdict(wanted) {
  if (!verdict) return;
  const stop = Number(wanted.get("stop") ?? verdict.chosen);
  const at = stop in verdict.stops ? stop : verdict.chosen;
  if (at !== shownStop || stale.size) showStop(at);
  for (const button of document.querySelectorAll(".count")) {
    button.setAttribute("aria-pressed", button.dataset.call === wanted.get("verdict"));
  }
  const outlined = wanted.get("outlines") !== "off";
  find("#outlines").checked = outlined;
  document.documentElement.classList.toggle("outlined", outlined);
}

function wireVerdict() {
  if (!verdict) return;
  document.documentElement.classList.add("judged");
  photos = [...cards, ...rows];
  ownCalls = callsAt(verdict.chosen);
  badges.push(...photos.map((each) => find(".call", each)));
  for (const [row, card] of cards.entries()) {
    card.dataset.label = find(".open", card).getAttribute("aria-label");
    lines.push(document.createElement("span"));
    lines.at(-1).className = "tick";
    find(".level", card).append(lines.at(-1));
    if (verdict.low[row] === null || verdict.high[row] === null) continue;
    const whisker = document.createElement("span");
    whisker.className = "interval";
    span(whisker, verdict.low[row], verdict.high[row]);
    find(".level", card).append(whisker);
  }
  for (const link of bars) {
    link.dataset.bar = link.getAttribute("href").slice("#bar=".length);
    link.dataset.words = link.getAttribute("aria-label");
    for (const call of ["blemished", "unsure"]) {
      const part = find(".bar", link).cloneNode();
      part.classList.replace("bar", call);
      link.append(part);
    }
  }
  reserve();
  const small = [find(".histogram .threshold"), document.createElement("span")].map((each) => each.cloneNode());
  small[1].className = "interval";
  find(".plot", dialog).append(...small);
  lines.push(find(".histogram .threshold"), small[0]);
  showOwnThreshold();

  const slider = find("#threshold");
  const move = (at) => {
    const filtered = state().has("verdict");
    showStop(Math.min(Math.max(at, 0), verdict.stops.length - 1), filtered);
    if (filtered) select();
  };
  // Kept in the address only when the hand is off: browsers allow it a few times a second.
  const keep = () => setState("stop", shownStop === verdict.chosen ? null : `${shownStop}`);
  slider.addEventListener("input", () => move(nearest(slider.valueAsNumber)));
  slider.addEventListener("change", keep);
  slider.addEventListener("keydown", (event) => {
    const to = stepped(event.key, shownStop);
    if (Number.isNaN(to) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    move(to);
  });
  slider.addEventListener("keyup", keep);
  find("#own-threshold").addEventListener("click", () => {
    setState("stop", null);
    slider.focus(); // the button is gone
  });
  for (const button of document.querySelectorAll(".count")) {
    button.addEventListener("click", () => {
      const call = button.dataset.call;
      setState("verdict", state().get("verdict") === call ? null : call);
      const below = find("#photos").getBoundingClientRect().top > 0.8 * innerHeight;
      if (below && state().has("verdict")) find("#photos").scrollIntoView();
    });
  }
  const toggle = () => setState("outlines", state().get("outlines") === "off" ? null : "off");
  find("#outlines").addEventListener("change", toggle);
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "o" && !event.ctrlKey && !event.metaKey && !event.altKey) toggle();
  });
}

// Room for the longest sentence and the largest count, so that nothing jumps while the slider moves.
function reserve() {
  const sentences = verdict.stops.map((each) => each.sentence);
  const room = find("#sentence").cloneNode(true);
  room.id = "";
  room.setAttribute("aria-hidden", "true");
  showSentence(room, sentences.reduce((longest, each) => (each.length > longest.length ? each : longest)));
  find(".sentence").append(room);
  const digits = `${photos.length}`.length;
  for (const each of document.querySelectorAll(".count strong")) each.style.minWidth = `${digits}ch`;
}

