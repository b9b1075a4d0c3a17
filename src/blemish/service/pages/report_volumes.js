// Behaviour of report.html for volumes: their calls, at the run's threshold or at another that is tried out, from the
// block #verdict, which another verdict replaces while pictures stay; and the viewer. Rows count the volumes, most
// unusual first.
import { callsAt, counted, showBadge, showSentence } from "./calls.js";
import { find, findAll } from "./dom.js";
import { thresholdOf } from "./threshold.js";
import { volumeViewOf, webgl } from "./volume_view.js";

const verdict = JSON.parse(find("#verdict")?.textContent ?? "null"); // null: scanned without one
const volumes = findAll(".volume");

function wireVerdict() {
  const buttons = findAll(".count");
  const rows = verdict.low.length; // more than are shown, where there are very many
  const own = callsAt(verdict, verdict.chosen, rows);
  let only = null; // the call whose volumes alone are shown
  document.documentElement.classList.add("judged");
  const threshold = thresholdOf(find(".histogram"), verdict, show, () => {});

  function show(at) {
    const calls = callsAt(verdict, at, rows);
    const counts = counted(calls);
    for (const [row, volume] of volumes.entries()) {
      volume.dataset.call = calls[row];
      showBadge(find(".call", volume), calls[row]);
      // a reason is one for the run's own call
      find(".reason", volume).textContent = calls[row] === own[row] ? (verdict.reasons[row] ?? "") : "";
    }
    for (const button of buttons) find("strong", button).textContent = counts[button.dataset.call];
    showSentence(find("#sentence"), verdict.stops[at].sentence);
    find(".preview .option").textContent = `--threshold ${verdict.stops[at].threshold}`;
    threshold.show(at, counts);
    filter();
  }

  function filter() {
    for (const button of buttons) button.setAttribute("aria-pressed", button.dataset.call === only);
    for (const volume of volumes) volume.hidden = only !== null && volume.dataset.call !== only;
    const left = volumes.filter((each) => !each.hidden).length;
    find(".volumes-shown").textContent = only === null ? "" : `${left} of ${volumes.length} shown: ${only}`;
  }

  find("#own-threshold").addEventListener("click", () => {
    show(verdict.chosen);
    threshold.slider.focus(); // the button is gone
  });
  for (const button of buttons) {
    button.addEventListener("click", () => {
      only = only === button.dataset.call ? null : button.dataset.call;
      filter();
    });
  }
  show(verdict.chosen);
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

if (verdict) wireVerdict();
if (volumes.length && webgl()) wireViewer();
else if (volumes.length) {
  find(".no-viewer").hidden = false;
  for (const card of volumes) find(".slices", card).disabled = true;
}
