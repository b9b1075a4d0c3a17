// Behaviour of report.html for photos: heat, filters, the verdict tried out, large view, commands to copy.
// All it knows it reads from the page, which opens from disk and asks nobody; another threshold replaces #verdict only.
import { callsAt, why } from "./calls.js";
import { alone, copy, find, findAll } from "./dom.js";
import { photoViewOf } from "./photo_view.js";
import { addressed, put, state } from "./report_address.js";
import { callsShownOn } from "./report_calls.js";
import { thresholdOf } from "./threshold.js";
import { interval } from "./words.js";

const verdict = JSON.parse(find("#verdict")?.textContent ?? "null"); // null: scanned without one
const cards = findAll(".card");
const photos = [...cards, ...findAll("#rest tbody tr")]; // most unusual first
const bars = findAll(".histogram svg a");
const marker = find(".histogram .marker");
const filter = find("#filter");
const opacity = find("#opacity");
const ownCalls = verdict && callsAt(verdict, verdict.chosen, photos.length);
const calls = verdict && callsShownOn(verdict, cards, photos, bars);
let shownStop = null;
let threshold = null; // the histogram's control
let current = null; // the card in the large view
let opener = null; // what had the focus when it was opened, if not the card itself

function setState(key, value) {
  put(key, value);
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

function showStop(at, tableToo = true) {
  shownStop = at;
  threshold.show(at, calls.show(at, tableToo));
  find(".preview .option").textContent = `--threshold ${verdict.stops[at].threshold}`;
  if (view.dialog.open) describe(current);
}

function followVerdict(wanted) {
  const stop = Number(wanted.get("stop") ?? verdict.chosen);
  const at = stop in verdict.stops ? stop : verdict.chosen;
  if (at !== shownStop || calls.waited()) showStop(at);
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
  const row = cards.indexOf(card);
  const about = verdict ? interval(verdict.low[row], verdict.high[row], verdict.digits) : "";
  const score = `score ${find(".score", card).textContent}${about}`;
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
    words: [score, ...details, `as scored: ${file} in the run's folder`].join("  ·  "),
    position: card.dataset.position,
    first: visible[0] === card,
    last: visible.at(-1) === card,
  });
  describe(card);
}

function describe(card) {
  if (!verdict) return;
  const row = cards.indexOf(card);
  const photo = { row, call: calls.of(row), own: ownCalls[row], low: verdict.low[row], high: verdict.high[row] };
  const found = verdict.regions[row];
  view.judge(verdict, {
    ...photo,
    why: why(verdict, shownStop, { ...photo, reason: verdict.reasons[row], regions: found }),
    boxes: found?.boxes ?? [],
    threshold: threshold.place(shownStop),
  });
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
