// Behaviour of report.html: heat, filters, histogram marker, large view, commands to copy; the verdict's is before it.
// All it knows it reads from the page; text from file names goes back as text only, never as HTML.
"use strict";

const find = (selector, within = document) => within.querySelector(selector);
const cards = [...document.querySelectorAll(".card")];
const rows = [...document.querySelectorAll("#rest tbody tr")];
const bars = [...document.querySelectorAll(".histogram svg a")];
const marker = find(".histogram .marker");
const dialog = find("#view");
const filter = find("#filter");
const opacity = find("#opacity");
let current = null; // the card in the large view
let opener = null; // what had the focus when it was opened, if not the card itself

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
  const bar = wanted.get("bar");
  for (const link of bars) {
    const chosen = link.getAttribute("href") === `#bar=${bar}`;
    link.classList.toggle("chosen", chosen);
    if (chosen) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  if (wanted.has("heat")) showHeat(wanted.get("heat"));
  followVerdict(wanted);
  select();
  const card = cards.find((each) => each.dataset.rank === wanted.get("photo"));
  if (card) show(card);
  else if (dialog.open) dialog.close();
}

// Heat

function showHeat(mode) {
  const choice = [...document.querySelectorAll("[name=heat]")].find((each) => each.value === mode);
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
  for (const element of [...cards, ...rows]) {
    element.hidden = !matches(element);
    if (!element.hidden) shown += 1;
  }
  const all = cards.length + rows.length;
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

// Large view

function show(card) {
  current = card;
  const source = find(".photo", card);
  const picture = find(".picture", source);
  const place = picture.getAttribute("src");
  const score = find(".score", card).textContent;
  find(".rank", dialog).textContent = card.dataset.rank;
  find(".path bdi", dialog).textContent = card.dataset.path;
  for (const each of dialog.querySelectorAll(".picture")) each.src = place;
  const [plain, hot] = dialog.querySelectorAll(".picture");
  plain.alt = picture.alt;
  hot.alt = `${picture.alt} with its heat`;
  find(".heat", dialog).src = find(".heat", source).getAttribute("src");
  const aspect = source.style.getPropertyValue("--aspect");
  const pair = find(".pair", dialog);
  pair.style.setProperty("--aspect", aspect);
  pair.classList.toggle("wide", Number(aspect) > 2);
  const details = [...card.querySelectorAll(".more span, .copy, .to-family")].map((each) => each.textContent);
  const file = `overlays/${card.dataset.path}.jpg`; // what is embedded here may be a small copy
  const words = [`score ${score}${interval(card)}`, ...details, `as scored: ${file}`];
  find(".words", dialog).textContent = words.join("  ·  ");
  find(".marker", dialog).style.left = `${card.dataset.position}%`;
  describe(card);
  const visible = cards.filter((each) => !each.hidden);
  find("#previous").disabled = visible[0] === card;
  find("#next").disabled = visible.at(-1) === card;
  if (!dialog.open) dialog.showModal();
}

function step(by) {
  const visible = cards.filter((each) => !each.hidden);
  const next = visible[visible.indexOf(current) + by];
  opener = null;
  if (next) setState("photo", next.dataset.rank);
}

async function copy(source, button) {
  const words = button.textContent;
  if (words === "Copied") return;
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = words), 1500);
  } catch {
    getSelection().selectAllChildren(source); // no clipboard for pages from disk: ready for Ctrl+C
  }
}

// Wiring

const silhouette = find(".histogram svg").cloneNode(true);
for (const link of silhouette.querySelectorAll("a")) link.replaceWith(find(".bar", link));
const smallMarker = marker.cloneNode();
smallMarker.hidden = false;
find(".plot", dialog).append(silhouette, smallMarker);

wireVerdict();

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
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const bar = new URLSearchParams(link.getAttribute("href").slice(1)).get("bar");
    setState("bar", state().get("bar") === bar ? null : bar);
  });
}

for (const link of document.querySelectorAll(".crops a")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    opener = link;
    setState("photo", new URLSearchParams(link.getAttribute("href").slice(1)).get("photo"));
  });
}

for (const link of document.querySelectorAll(".members-of")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    setState("family", new URLSearchParams(link.getAttribute("href").slice(1)).get("family"));
    find("#photos").scrollIntoView();
  });
}

// By hand, so that what the address keeps is not lost.
for (const link of document.querySelectorAll(".to-family")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const family = find(link.getAttribute("href"));
    const folded = family.closest("details");
    if (folded) folded.open = true;
    family.scrollIntoView();
  });
}

for (const button of document.querySelectorAll(".copy-command")) {
  button.hidden = false;
  button.addEventListener("click", () => copy(find("bdi", button.parentElement), button));
}

dialog.addEventListener("close", () => {
  setState("photo", null);
  (opener ?? find(".open", current)).focus();
  opener = null;
});

dialog.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const by = { ArrowRight: 1, j: 1, ArrowLeft: -1, k: -1 }[event.key];
  if (!by) return;
  event.preventDefault();
  step(by);
});

find("#previous").addEventListener("click", () => step(-1));
find("#next").addEventListener("click", () => step(1));
find("#close").addEventListener("click", () => dialog.close());
find("#copy-path").addEventListener("click", () => copy(find(".path bdi", dialog), find("#copy-path")));
find("#clear").addEventListener("click", showAll);
find("#clear-none").addEventListener("click", showAll);
find(".toolbar").addEventListener("submit", (event) => event.preventDefault());
find(".modes").addEventListener("change", (event) => setState("heat", event.target.value));
filter.addEventListener("input", select);
opacity.addEventListener("input", setStrength);
addEventListener("hashchange", follow);

setStrength();
follow();
