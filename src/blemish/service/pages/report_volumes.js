// Behaviour of report.html for volumes: their calls, from the block #verdict, which another threshold replaces while
// pictures stay, and the viewer. Rows count the volumes, most unusual first.
import { callsAt, showBadge } from "./calls.js";
import { find, findAll } from "./dom.js";
import { placed } from "./threshold.js";
import { volumeViewOf, webgl } from "./volume_view.js";

const verdict = JSON.parse(find("#verdict")?.textContent ?? "null"); // null: scanned without one
const volumes = findAll(".volume");

function showVerdict() {
  for (const [row, call] of callsAt(verdict, verdict.chosen, volumes.length).entries()) {
    volumes[row].dataset.call = call;
    showBadge(find(".call", volumes[row]), call);
    find(".reason", volumes[row]).textContent = verdict.reasons[row] ?? "";
  }
  const { threshold } = verdict.stops[verdict.chosen];
  const line = find(".histogram .threshold");
  const place = placed(verdict, Number(threshold));
  line.style.left = `${place}%`;
  line.classList.toggle("late", place > 75);
  find(".value", line).textContent = threshold;
  find(".standing-threshold .own strong").textContent = threshold;
  find(".standing-threshold .rule").textContent = verdict.rule && ` · ${verdict.rule}`;
  document.documentElement.classList.add("judged");
  const buttons = findAll(".count");
  for (const button of buttons) button.addEventListener("click", () => showOnly(buttons, button));
}

function showOnly(buttons, button) {
  const only = button.getAttribute("aria-pressed") === "true" ? null : button.dataset.call;
  for (const each of buttons) each.setAttribute("aria-pressed", each.dataset.call === only);
  for (const volume of volumes) volume.hidden = only !== null && volume.dataset.call !== only;
  const left = volumes.filter((each) => !each.hidden).length;
  find(".volumes-shown").textContent = only === null ? "" : `${left} of ${volumes.length} shown: ${only}`;
}

function wireViewer() {
  let current = null; // the card in the viewer
  const view = volumeViewOf(find("#volume-view"), JSON.parse(find("#volume-settings").textContent), (by) => {
    const next = volumes[volumes.indexOf(current) + by];
    if (next) show(next);
  });
  const show = (card) => {
    current = card;
    view.open({
      ...card.dataset,
      total: volumes.length,
      peak: card.dataset.peak.split(" ").map(Number),
      first: volumes[0] === card,
      last: volumes.at(-1) === card,
      copies: async () => [".volume-copy", ".volume-map"].map((each) => find(each, card).textContent.trim()),
    });
  };
  for (const card of volumes) find(".slices", card).addEventListener("click", () => show(card));
  view.dialog.addEventListener("close", () => find(".slices", current).focus());
}

if (verdict) showVerdict();
if (volumes.length && webgl()) wireViewer();
else if (volumes.length) {
  find(".no-viewer").hidden = false;
  for (const card of volumes) find(".slices", card).disabled = true;
}
