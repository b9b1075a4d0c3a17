// One photo, large: as it is with its places outlined, and with its heat; zoom, pan, the score among the others.
// It shows what it is given and knows neither where pictures come from nor what the photos' order is.
import { showBadge } from "./calls.js";
import { alone, copy, find, findAll, make } from "./dom.js";
import { outline } from "./outlines.js";
import { stretch } from "./threshold.js";
import { zoomOf } from "./zoom.js";

const TURNS = { ArrowRight: 1, j: 1, ArrowLeft: -1, k: -1 };
const PANS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

// `dialog`: as in photo_view.html. `silhouette`: the histogram's bars, or null. `step(by)`: the next photo is wanted.
export function photoViewOf(dialog, silhouette, step) {
  const marker = make("span", { class: "marker" });
  const threshold = make("span", { class: "threshold", hidden: true });
  const interval = make("span", { class: "interval", hidden: true });
  const plot = find(".plot", dialog);
  if (silhouette) plot.append(silhouette, marker, threshold, interval);
  else plot.hidden = true;
  const whole = find(".whole", dialog);
  const zoom = zoomOf(findAll(".pair .photo", dialog), (now) => (whole.textContent = `${Math.round(100 * now)} %`));

  // `photo`: rank, total, path, picture, heat (addresses), alt, aspect, words, position of its score in percent, first
  // and last: whether it has no neighbour.
  function open(photo) {
    find(".rank", dialog).textContent = photo.rank;
    find(".total", dialog).textContent = photo.total;
    find(".path bdi", dialog).textContent = photo.path;
    const [plain, hot] = findAll(".picture", dialog);
    for (const each of [plain, hot]) each.src = photo.picture;
    plain.alt = photo.alt;
    hot.alt = `${photo.alt} with its heat`;
    find(".heat", dialog).src = photo.heat;
    const pair = find(".pair", dialog);
    pair.style.setProperty("--aspect", photo.aspect);
    pair.classList.toggle("wide", Number(photo.aspect) > 2);
    find(".words", dialog).textContent = photo.words;
    marker.style.left = `${photo.position}%`;
    find(".previous", dialog).disabled = photo.first;
    find(".next", dialog).disabled = photo.last;
    zoom.reset();
    if (!dialog.open) dialog.showModal();
  }

  // `told`: call, why, boxes, low, high, and the threshold's place in percent.
  function judge(verdict, told) {
    showBadge(find("header .call", dialog), told.call);
    find(".why", dialog).textContent = told.why;
    outline(find(".plain .zoomed", dialog), told.boxes, told.call);
    interval.hidden = told.low === null || told.high === null;
    if (!interval.hidden) stretch(interval, verdict, told.low, told.high);
    threshold.hidden = false;
    threshold.style.left = `${told.threshold}%`;
  }

  dialog.addEventListener("keydown", (event) => {
    if (!alone(event) || event.target.closest("input, textarea, select")) return;
    const act = {
      "+": zoom.larger,
      "=": zoom.larger,
      "-": zoom.smaller,
      0: zoom.reset,
    }[event.key];
    const [right, down] = (event.shiftKey && PANS[event.key]) || [];
    const by = TURNS[event.key];
    if (!act && right === undefined && !by) return;
    event.preventDefault();
    if (act) act();
    else if (right !== undefined) zoom.pan(right / 10, down / 10);
    else step(by);
  });
  find(".previous", dialog).addEventListener("click", () => step(-1));
  find(".next", dialog).addEventListener("click", () => step(1));
  find(".close", dialog).addEventListener("click", () => dialog.close());
  find(".smaller", dialog).addEventListener("click", zoom.smaller);
  find(".larger", dialog).addEventListener("click", zoom.larger);
  whole.addEventListener("click", zoom.reset);
  find(".copy-path", dialog).addEventListener("click", (event) => copy(find(".path bdi", dialog), event.target));

  return { open, judge, dialog };
}
