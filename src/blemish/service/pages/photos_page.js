// A run's photos: the sentence, counts to filter by, the toolbar, and the grid, most anomalous first.
import { go, state } from "./address.js";
import { fillCard, frameOf, TEXT } from "./card.js";
import { find, make } from "./dom.js";
import { gridOf } from "./grid.js";
import { lookingAt } from "./looking.js";
import { notice, problem } from "./notices.js";
import { rowsOf } from "./rows.js";
import { say } from "./saying.js";
import { countsOf, warningsOf } from "./standing.js";
import { setHeat, toolbarOf } from "./toolbar.js";
import { volumesLooked } from "./volume_page.js";
import { plural } from "./words.js";

const NARROWEST = { photos: 200, volumes: 360 }; // pixels of a card
const PATIENTS =
  "Three slices through the most anomalous place of each: axial, coronal, sagittal; the patient's left is on the left. " +
  "They show a patient: pass them on as you would the scans.";
const WAIT_MS = 200; // after the last letter of a search

export function photosPage(main, run) {
  const volumes = run.result.kind === "volumes";
  const noun = volumes ? "volume" : "photo";
  const frame = volumes ? 660 / 270 : frameOf(run.result.shape);
  const tools = toolbarOf(run, noun);
  const list = make("ol", { class: "grid virtual", "aria-label": `${noun}s, most anomalous first` });
  const none = make(
    "p",
    { class: "none", hidden: true },
    `No ${noun} matches. `,
    make("button", { type: "button" }, "Show all"),
  );
  const head = make("div", { class: "standing-line" });
  main.replaceChildren(head, tools, make("section", { id: "photos", "aria-label": "Photos" }, list, none));
  list.style.setProperty("--frame", frame);

  const wanted = () => ({ verdict: state().verdict, family: state().family, q: state().q });
  let rows = null; // those that are shown
  let coming = null; // those that will be, once they are there
  let filter = "";
  const grid = gridOf(list, {
    narrowest: NARROWEST[run.result.kind],
    heightOf: (width) => width / frame + TEXT,
    fill: (card, item, resting) => fillCard(card, rows?.at(item), run, noun, resting),
  });
  const context = { run, grid, itemOf, rowAt: (item) => rows?.at(item), said: (row, call) => saying(row, call) };
  context.next = (item) => rows?.later(item);
  context.total = () => rows?.total();
  const large = volumes ? volumesLooked(context) : lookingAt(context);

  async function load() {
    const mine = rowsOf(run.id, wanted(), () => rows === mine && grid.again());
    coming?.close();
    coming = mine;
    try {
      const [first, end] = grid.inSight();
      await mine.first();
      await Promise.all([first, end - 1, grid.at()].map(mine.later)); // so that what is in sight does not blink
    } catch (error) {
      problem(error);
      return;
    }
    if (coming !== mine) return;
    rows?.close();
    rows = mine; // not before: what is there can be opened and decided about meanwhile
    coming = null;
    grid.show(mine.total());
    const all = run.result.photos;
    const what = [wanted().family && `family ${wanted().family}`, wanted().verdict].filter(Boolean);
    const narrowed = Object.values(wanted()).some(Boolean);
    find("#shown", tools).textContent = narrowed
      ? `${mine.total()} of ${all}${what.length ? `, ${what.join(", ")}` : ` ${noun}s`}`
      : plural(all, noun);
    find("#clear", tools).hidden = !narrowed;
    none.hidden = mine.total() > 0;
  }

  // Where a photo is among those that are shown; null where that is not known.
  function itemOf(photo) {
    return rows?.known(photo.pid) ?? (Object.values(wanted()).some(Boolean) ? null : photo.rank - 1);
  }

  function showHead() {
    head.replaceChildren(
      make("h1", { class: "short" }, run.result.sentence),
      countsOf(run, state().verdict, (call) => go({ verdict: state().verdict === call ? null : call })),
      ...(volumes ? [make("p", { class: "muted" }, PATIENTS)] : []),
      ...warningsOf(run),
    );
  }

  function heatTo(mode) {
    setHeat(mode);
    grid.again();
  }

  async function saying(row, call) {
    const done = say(run, row, call);
    grid.again();
    await done;
    grid.again();
  }

  // Nothing can be seen of a file that is not, so nobody can say what it is.
  function readable(row) {
    if (row && row.status !== "ok") notice(`${row.path} could not be read: ${row.reason}.`);
    return row?.status === "ok";
  }

  async function mark(call) {
    const row = rows?.at(grid.at());
    if (readable(row)) await saying(row, call);
  }

  function follow() {
    const now = JSON.stringify(wanted());
    if (now !== filter) {
      filter = now;
      const field = find("#filter", tools);
      if (document.activeElement !== field) field.value = state().q ?? "";
      showHead();
      load();
    }
    large.follow(state().photo);
  }

  async function changed() {
    showHead();
    await load();
    large.changed();
  }

  const steps = (by) => () => grid.to(grid.focused() ? grid.at() + by : grid.at());
  const columns = (sign) => () => grid.to(grid.at() + sign * grid.columns());
  const keys = {
    j: steps(1),
    k: steps(-1),
    ArrowRight: steps(1),
    ArrowLeft: steps(-1),
    ArrowDown: columns(1),
    ArrowUp: columns(-1),
    Home: () => grid.to(0),
    End: () => grid.to((rows?.total() ?? 1) - 1),
    Enter: (event) => (event.target.closest("button, a, summary") ? false : open(grid.at())),
    d: () => mark("defect"),
    g: () => mark("good"),
    u: () => mark(null),
    o: () => heatTo(document.documentElement.dataset.heat === "always" ? "hover" : "always"),
    "/": () => find("#filter", tools).focus(),
  };

  function open(item) {
    const row = rows?.at(item);
    if (readable(row)) go({ photo: row.pid });
  }

  for (const kind of ["pointerover", "focusin"]) {
    list.addEventListener(kind, (event) => {
      const card = event.target.closest(".card");
      if (card) fillCard(card, rows?.at(grid.itemOf(card)), run, noun, true);
    });
  }
  tools.addEventListener("change", (event) => event.target.name === "heat" && heatTo(event.target.value));
  list.addEventListener("click", (event) => {
    const card = event.target.closest(".card");
    const chip = event.target.closest(".to-family");
    if (chip) {
      event.preventDefault();
      go({ view: "families", family: chip.dataset.family, photo: null });
    } else if (card && event.target.closest("button")) open(grid.itemOf(card));
  });
  let typing = 0;
  find("#filter", tools).addEventListener("input", (event) => {
    clearTimeout(typing);
    typing = setTimeout(() => go({ q: event.target.value.trim() || null }, true), WAIT_MS);
  });
  const clear = () => go({ q: null, verdict: null, family: null });
  find("#clear", tools).addEventListener("click", clear);
  find("button", none).addEventListener("click", clear);
  follow();

  return {
    keys,
    follow,
    changed,
    close: () => {
      rows?.close();
      coming?.close();
      grid.close();
      large.close();
    },
  };
}
