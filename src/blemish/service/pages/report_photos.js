// Behaviour of report.html for photos: heat, filters, the verdict tried out, large view, commands to copy.
// All it knows it reads from the page, which opens from disk and asks nobody; another threshold replaces #verdict only.
import { callsAt, counted, showBadge, showSentence, why } from "./calls.js";
import { alone, copy, find, findAll, make } from "./dom.js";
import { outline } from "./outlines.js";
import { photoViewOf } from "./photo_view.js";
import { colourBars, readyBars, stretch, thresholdOf } from "./threshold.js";

const verdict = JSON.parse(find("#verdict")?.textContent ?? "null"); // null: scanned without one
const cards = findAll(".card");
const photos = [...cards, ...findAll("#rest tbody tr")]; // most unusual first
const badges = photos.map((each) => find(".call", each));
const bars = findAll(".histogram svg a");
const barOf = new Map(bars.map((link, i) => [addressed(link, "bar"), i]));
const marker = find(".histogram .marker");
const filter = find("#filter");
const opacity = find("#opacity");
const ownCalls = verdict && callsAt(verdict, verdict.chosen, photos.length);
const calls = []; // of each row, as shown
const ticks = []; // the threshold on each card
const stale = new Set(); // rows whose call has changed and is not shown yet
let shownStop = null;
let threshold = null; // the histogram's control
let current = null; // the card in the large view
let opener = null; // what had the focus when it was opened, if not the card itself

function addressed(link, key) {
  return new URLSearchParams(link.getAttribute("href").slice(1)).get(key);
}

// The address after # keeps the state, so that a link to one photo, bar or family can be kept or sent.

const KEPT = ["photo", "verdict", "stop", "bar", "family", "heat", "outlines"];

const state = () => new URLSearchParams(location.hash.slice(1));

function setState(key, value) {
  const next = new URLSearchParams();
  for (const [name, kept] of Object.entries({ ...Object.fromEntries(state()), [key]: value })) {
    if (KEPT.includes(name) && kept !== null) next.set(name, kept);
  }
  // An empty hash would jump to the top.
  history.replaceState(null, "", next.size ? `#${next}` : "#photos");
  follow();
}

function follow() {
  const wanted = state();
  for (const link of bars) {
    const chosen = addressed(link, "bar") === wanted.get("bar");
    link.classList.toggle("chosen", chosen);
    if (chosen) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  if (wanted.has("heat")) showHeat(wanted.get("heat"));
  if (verdict) followVerdict(wanted);
  select();
  const card = cards.find((each) => each.dataset.rank === wanted.get("photo"));
  if (card) show(card);
  else if (view.dialog.open) view.dialog.close();
}

function showHeat(mode) {
  const choice = findAll("[name=heat]").find((each) => each.value === mode);
  if (!choice) return;
  choice.checked = true;
  document.documentElement.dataset.heat = mode;
}

function setStrength() {
  document.documentElement.style.setProperty("--strength", opacity.value / 100);
}

// Filter by path, by bar, by family and by verdict

function select() {
  const words = filter.value.trim().toLocaleLowerCase();
  const bar = state().get("bar");
  const family = state().get("family");
  const call = verdict && state().get("verdict");
  const matches = (element) =>
    (bar === null || element.dataset.bar === bar) &&
    (call === null || element.dataset.call === call) &&
    (family === null || (element.dataset.families ?? "").split(" ").includes(family)) &&
    element.dataset.path.toLocaleLowerCase().includes(words);
  let shown = 0;
  for (const element of photos) {
    element.hidden = !matches(element);
    if (!element.hidden) shown += 1;
  }
  const all = photos.length;
  const narrowed = words !== "" || bar !== null || family !== null || call !== null;
  const noun = all === 1 ? "photo" : "photos";
  const what = [family === null ? null : `family ${family}`, call].filter((each) => each !== null);
  const kind = what.length ? `, ${what.join(", ")}` : ` ${noun}`; // short: the toolbar is to stay one line
  find("#shown").textContent = narrowed ? `${shown} of ${all}${kind}` : `${all} ${noun}`;
  find("#clear").hidden = !narrowed;
  find(".none").hidden = shown > 0;
}

function showAll() {
  filter.value = "";
  for (const key of ["verdict", "family", "bar"]) setState(key, null);
}

// One threshold shown everywhere. Table rows can wait until the slider rests: thousands of them take their time.

function showStop(at, tableToo = true) {
  shownStop = at;
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
  threshold.show(at, counts);
  // Not a property of the whole page: every row would have its style looked up again.
  for (const tick of ticks) tick.style.left = `${threshold.place(at)}%`;
  find(".preview .option").textContent = `--threshold ${verdict.stops[at].threshold}`;
  if (view.dialog.open) describe(current);
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

function followVerdict(wanted) {
  const stop = Number(wanted.get("stop") ?? verdict.chosen);
  const at = stop in verdict.stops ? stop : verdict.chosen;
  if (at !== shownStop || stale.size) showStop(at);
  for (const button of findAll(".count")) {
    button.setAttribute("aria-pressed", button.dataset.call === wanted.get("verdict"));
  }
  const outlined = wanted.get("outlines") !== "off";
  find("#outlines").checked = outlined;
  document.documentElement.classList.toggle("outlined", outlined);
}

// Large view

const silhouette = find(".histogram svg").cloneNode(true);
for (const link of findAll("a", silhouette)) link.replaceWith(find(".bar", link));
const view = photoViewOf(find("#view"), silhouette, step);

function show(card) {
  current = card;
  const source = find(".photo", card);
  const picture = find(".picture", source);
  const score = find(".score", card).textContent;
  const details = findAll(".more span, .copy, .to-family", card).map((each) => each.textContent);
  const file = `overlays/${card.dataset.path}.jpg`; // what is embedded here may be a small copy
  const visible = cards.filter((each) => !each.hidden);
  view.open({
    rank: card.dataset.rank,
    total: photos.length,
    path: card.dataset.path,
    picture: picture.getAttribute("src"),
    heat: find(".heat", source).getAttribute("src"),
    alt: picture.alt,
    aspect: source.style.getPropertyValue("--aspect"),
    words: [`score ${score}${interval(card)}`, ...details, `as scored: ${file}`].join("  ·  "),
    position: card.dataset.position,
    first: visible[0] === card,
    last: visible.at(-1) === card,
  });
  describe(card);
}

function describe(card) {
  if (!verdict) return;
  const row = cards.indexOf(card);
  const photo = { row, call: calls[row], own: ownCalls[row], low: verdict.low[row], high: verdict.high[row] };
  const found = verdict.regions[row];
  view.judge(verdict, {
    ...photo,
    why: why(verdict, shownStop, { ...photo, reason: verdict.reasons[row], regions: found }),
    boxes: found?.boxes ?? [],
    threshold: threshold.place(shownStop),
  });
}

// ", 90 % interval 0.31 to 0.36"
function interval(card) {
  const row = cards.indexOf(card);
  if (!verdict || verdict.low[row] === null || verdict.high[row] === null) return "";
  return `, 90 % interval ${verdict.low[row].toFixed(verdict.digits)} to ${verdict.high[row].toFixed(verdict.digits)}`;
}

function step(by) {
  const visible = cards.filter((each) => !each.hidden);
  const next = visible[visible.indexOf(current) + by];
  opener = null;
  if (next) setState("photo", next.dataset.rank);
}

// Wiring

function wireVerdict() {
  document.documentElement.classList.add("judged");
  for (const [row, card] of cards.entries()) {
    card.dataset.label = find(".open", card).getAttribute("aria-label");
    ticks.push(make("span", { class: "tick" }));
    find(".level", card).append(ticks.at(-1));
    if (verdict.low[row] === null || verdict.high[row] === null) continue;
    const whisker = make("span", { class: "interval" });
    stretch(whisker, verdict, verdict.low[row], verdict.high[row]);
    find(".level", card).append(whisker);
  }
  readyBars(bars);
  reserve();
  const move = (at) => {
    const filtered = state().has("verdict");
    showStop(at, filtered);
    if (filtered) select();
  };
  // Kept in the address only when the hand is off: browsers allow it a few times a second.
  threshold = thresholdOf(find(".histogram"), verdict, move, (at) =>
    setState("stop", at === verdict.chosen ? null : `${at}`),
  );
  find("#own-threshold").addEventListener("click", () => {
    setState("stop", null);
    threshold.slider.focus(); // the button is gone
  });
  for (const button of findAll(".count")) {
    button.addEventListener("click", () => {
      const call = button.dataset.call;
      setState("verdict", state().get("verdict") === call ? null : call);
      const below = find("#photos").getBoundingClientRect().top > 0.8 * innerHeight;
      if (below && state().has("verdict")) find("#photos").scrollIntoView();
    });
  }
  const toggle = () => setState("outlines", state().get("outlines") === "off" ? null : "off");
  find("#outlines").addEventListener("change", toggle);
  view.dialog.addEventListener("keydown", (event) => {
    if (event.key === "o" && alone(event)) toggle();
  });
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

// A link that acts in place of going somewhere, by hand, so that what the address keeps is not lost.
function acts(link, act) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    act();
  });
}

if (verdict) wireVerdict();

for (const card of cards) {
  find(".open", card).addEventListener("click", () => setState("photo", card.dataset.rank));
  const point = () => {
    marker.style.left = `${card.dataset.position}%`;
    marker.hidden = false;
  };
  const lift = () => (marker.hidden = true);
  card.addEventListener("pointerenter", point);
  card.addEventListener("pointerleave", lift);
  card.addEventListener("focusin", point);
  card.addEventListener("focusout", lift);
}

for (const link of bars) {
  const bar = addressed(link, "bar");
  acts(link, () => setState("bar", state().get("bar") === bar ? null : bar));
}

for (const link of findAll(".crops a")) {
  acts(link, () => {
    opener = link;
    setState("photo", addressed(link, "photo"));
  });
}

for (const link of findAll(".members-of")) {
  acts(link, () => {
    setState("family", addressed(link, "family"));
    find("#photos").scrollIntoView();
  });
}

for (const link of findAll(".to-family")) {
  acts(link, () => {
    const family = find(link.getAttribute("href"));
    const folded = family.closest("details");
    if (folded) folded.open = true;
    family.scrollIntoView();
  });
}

for (const button of findAll(".copy-command")) {
  button.hidden = false;
  button.addEventListener("click", () => copy(find("bdi", button.parentElement), button));
}

view.dialog.addEventListener("close", () => {
  setState("photo", null);
  (opener ?? find(".open", current)).focus();
  opener = null;
});

find("#clear").addEventListener("click", showAll);
find("#clear-none").addEventListener("click", showAll);
find(".toolbar").addEventListener("submit", (event) => event.preventDefault());
find(".modes").addEventListener("change", (event) => setState("heat", event.target.value));
filter.addEventListener("input", select);
opacity.addEventListener("input", setStrength);
addEventListener("hashchange", follow);

setStrength();
follow();
