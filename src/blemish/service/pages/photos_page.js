// A run's photos: the sentence, counts to filter by, the toolbar, and the grid, most anomalous first.
import { go, state } from "./address.js";
import { showBadge } from "./calls.js";
import { find, findAll, make } from "./dom.js";
import { gridOf } from "./grid.js";
import { lookingAt } from "./looking.js";
import { problem } from "./notices.js";
import { gradient } from "./ramp.js";
import { rowsOf } from "./rows.js";
import { say } from "./saying.js";
import { placed, stretch } from "./threshold.js";
import { countsOf, warningsOf } from "./standing.js";
import { volumesLooked } from "./volume_page.js";
import { fixed, plural } from "./words.js";

const NARROWEST = { photos: 200, volumes: 360 }; // pixels of a card
const TEXT = 88; // pixels below its picture
const [SMALL, LARGE] = [384, 1600]; // pixels of pictures
const WAIT_MS = 200; // after the last letter of a search

export function photosPage(main, run) {
  const volumes = run.result.kind === "volumes";
  const noun = volumes ? "volume" : "photo";
  const frame = volumes ? 660 / 270 : frameOf(run.result.shape);
  const tools = toolbar(run, noun);
  const list = make("ol", { class: "grid virtual", "aria-label": `${noun}s, most anomalous first` });
  const none = make("p", { class: "none", hidden: true }, `No ${noun} matches. `, make("button", { type: "button" }, "Show all"));
  const head = make("div", { class: "standing-line" });
  main.replaceChildren(head, tools, make("section", { id: "photos", "aria-label": "Photos" }, list, none));
  list.style.setProperty("--frame", frame);

  const wanted = () => ({ verdict: state().verdict, family: state().family, q: state().q });
  let rows = null;
  let filter = "";
  const grid = gridOf(list, {
    narrowest: NARROWEST[run.result.kind],
    heightOf: (width) => width / frame + TEXT,
    fill: (card, item, resting) => fillCard(card, rows?.at(item), run, noun, resting),
  });
  const context = { run, rows: () => rows, grid, said: (row, call) => saying(row, call) };
  const large = volumes ? volumesLooked(context) : lookingAt(context);

  async function load() {
    const before = rows;
    const mine = rowsOf(run.id, wanted(), () => grid.again());
    before?.close();
    rows = mine;
    try {
      await mine.first();
    } catch (error) {
      problem(error);
      return;
    }
    if (rows !== mine) return;
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

  function showHead() {
    head.replaceChildren(
      make("h1", { class: "short" }, run.result.sentence),
      countsOf(run, state().verdict, (call) => go({ verdict: state().verdict === call ? null : call })),
      ...warningsOf(run),
    );
  }

  async function saying(row, call) {
    await say(run, row, call);
    grid.again();
  }

  async function mark(call) {
    const row = rows.at(grid.at());
    if (row) await saying(row, call);
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

  const steps = (by) => () => grid.to(grid.at() + by);
  const columns = (sign) => () => grid.to(grid.at() + sign * grid.columns());
  const keys = {
    j: steps(1),
    k: steps(-1),
    ArrowRight: steps(1),
    ArrowLeft: steps(-1),
    ArrowDown: columns(1),
    ArrowUp: columns(-1),
    Home: () => grid.to(0),
    End: () => grid.to(rows.total() - 1),
    Enter: (event) => (event.target.closest("button, a, summary") ? false : open(grid.at())),
    d: () => mark("defect"),
    g: () => mark("good"),
    u: () => mark(null),
    o: () => setHeat(document.documentElement.dataset.heat === "always" ? "hover" : "always"),
    "/": () => find("#filter", tools).focus(),
  };

  function open(item) {
    const row = rows.at(item);
    if (row) go({ photo: row.pid });
  }

  list.addEventListener("click", (event) => {
    const card = event.target.closest(".card");
    const chip = event.target.closest(".to-family");
    if (chip) {
      event.preventDefault();
      go({ view: "families", family: chip.dataset.family, photo: null });
    } else if (card && event.target.closest("button")) open(Number(card.getAttribute("aria-posinset")) - 1);
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
      grid.close();
      large.close();
    },
  };
}

// Width over height of the frames: the working size's, within what makes an even page.
function frameOf([height, width]) {
  return Math.min(Math.max(width / height, 0.75), 1.8);
}

function setHeat(mode) {
  document.documentElement.dataset.heat = mode;
  for (const each of findAll("[name=heat]")) each.checked = each.value === mode;
}

function toolbar(run, noun) {
  const modes = [
    ["always", "Always"],
    ["hover", "On hover"],
    ["never", "Never"],
  ].map(([mode, words]) =>
    make(
      "label",
      {},
      make("input", { type: "radio", name: "heat", value: mode, checked: mode === document.documentElement.dataset.heat }),
      make("span", {}, words),
    ),
  );
  const now = getComputedStyle(document.documentElement).getPropertyValue("--strength") || 1;
  const opacity = make("input", { id: "opacity", type: "range", min: 10, max: 100, step: 5, value: Math.round(100 * now) });
  const field = make("input", {
    id: "filter",
    type: "search",
    placeholder: "part of a file path",
    autocomplete: "off",
    spellcheck: "false",
    value: state().q ?? "",
  });
  const { colours } = run.result.colour_scale;
  const bar = make("span", {
    class: "ramp",
    role: "img",
    "aria-label": "Colour scale from clear, usual, through violet to yellow, unusual",
    style: { "--ramp": gradient(colours) },
  });
  const form = make(
    "form",
    { class: "toolbar", "aria-label": "What is shown" },
    make("label", { class: "filter", title: "/" }, "Search", field),
    ...(noun === "photo"
      ? [
          make("fieldset", { class: "modes", title: "o" }, make("legend", {}, "Heat"), ...modes),
          make("label", { class: "strength" }, "Opacity", opacity),
        ]
      : []),
    make("p", { class: "legend" }, make("span", {}, "usual"), bar, make("span", {}, "unusual")),
    make(
      "p",
      { class: "shown", role: "status" },
      make("span", { id: "shown" }),
      make("button", { type: "button", id: "clear", hidden: true }, "Show all"),
    ),
  );
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", (event) => event.target.name === "heat" && setHeat(event.target.value));
  opacity.addEventListener("input", () =>
    document.documentElement.style.setProperty("--strength", opacity.value / 100),
  );
  return form;
}

function cardParts(card, noun) {
  if (card.firstChild) return;
  const pictures =
    noun === "photo"
      ? make("span", { class: "photo" }, make("img", { class: "picture", alt: "" }), make("img", { class: "heat", alt: "" }))
      : make("img", { class: "picture", alt: "" });
  card.append(
    make("button", { type: "button", class: noun === "photo" ? "open" : "slices" }, pictures),
    make("span", { class: "level", "aria-hidden": "true" }, make("span"), make("span", { class: "tick" }), make("span", { class: "interval" })),
    make("p", { class: "numbers" }, make("span", { class: "rank" }), make("span", { class: "score", title: "Score" })),
    make("p", { class: "verdict" }, make("span", { class: "call" }), make("span", { class: "said" }), make("span", { class: "families-of" })),
    make("p", { class: "path" }, make("bdi")),
  );
}

function fillCard(card, row, run, noun, resting) {
  cardParts(card, noun);
  card.classList.toggle("waiting", !row);
  const images = findAll("img", card);
  if (!row) {
    for (const image of images) image.removeAttribute("src");
    return;
  }
  const { verdict } = run;
  const heat = noun === "photo" ? run.heat(row.pid) : null;
  for (const [image, address] of [[images[0], run.picture(row.pid, noun === "photo" ? SMALL : LARGE)], [images[1], heat]]) {
    if (!image || image.getAttribute("src") === address) continue;
    if (resting) image.src = address;
    else image.removeAttribute("src");
  }
  images[0].alt = `${noun === "photo" ? "Photo" : "Three slices of"} ${row.path}`;
  const score = fixed(row.score, verdict.digits);
  const button = find("button", card);
  button.setAttribute("aria-label", `Open ${noun} ${row.rank}, ${row.path}, score ${score}, ${row.verdict}`);
  if (noun === "photo") {
    const [aspect, frame] = [row.width / row.height, frameOf(run.result.shape)];
    const photo = find(".photo", card);
    photo.style.setProperty("--w", `${100 * Math.min(1, aspect / frame)}%`);
    photo.style.setProperty("--h", `${100 * Math.min(1, frame / aspect)}%`);
  }
  const [level, tick, whisker] = find(".level", card).children;
  level.style.width = `${placed(verdict, row.score)}%`;
  tick.style.left = `${placed(verdict, verdict.stops[verdict.chosen].value)}%`;
  whisker.hidden = row.low === null || row.high === null;
  if (!whisker.hidden) stretch(whisker, verdict, row.low, row.high);
  find(".rank", card).textContent = row.rank;
  find(".score", card).textContent = score;
  showBadge(find(".call", card), row.verdict);
  find(".said", card).textContent = row.said ? `said: ${row.said}` : "";
  card.dataset.pid = row.pid;
  card.dataset.call = row.verdict;
  const chips = row.family ? [make("a", { class: "to-family", href: `#family=${row.family}`, "data-family": row.family, tabindex: -1 }, `family ${row.family}`)] : [];
  find(".families-of", card).replaceChildren(...chips);
  find(".path bdi", card).textContent = row.path;
  find(".path", card).title = row.path;
}
