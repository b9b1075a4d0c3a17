// The pages of the service: which one the address asks for, and what the service tells of the run that is shown.
import { go, hash, state } from "./address.js";
import { who } from "./api.js";
import { detectorPage } from "./detector_page.js";
import { find, make } from "./dom.js";
import { follow } from "./events.js";
import { exportPage } from "./export_page.js";
import { familiesPage } from "./families_page.js";
import { load } from "./fragments.js";
import { bind, help, listen } from "./keys.js";
import { problem, quiet, silence } from "./notices.js";
import { photosPage } from "./photos_page.js";
import { progressPage } from "./progress_page.js";
import { openRun } from "./run.js";
import { startPage } from "./start_page.js";
import { verdictPage } from "./verdict_page.js";

const VIEWS = {
  photos: ["Photos", photosPage],
  families: ["Families", familiesPage],
  verdict: ["Verdict", verdictPage],
  export: ["Export", exportPage],
};
const main = find("#main");
const nav = find(".masthead nav");
let page = null; // what is shown: keys, follow(), changed(), close()
let shown = ""; // which page that is
let run = null; // the run that is shown
let stop = () => {}; // listening to it
let turn = 0;

function asked() {
  const { run: id, view, detector } = state();
  if (detector) return { name: `detector ${detector}`, detector };
  if (!id) return { name: "start" };
  const finished = run?.id === id && run.info.state === "done";
  return {
    name: `${id} ${finished ? (view in VIEWS ? view : "photos") : "progress"}`,
    id,
    view: view in VIEWS ? view : "photos",
  };
}

// Shows what the address asks for; a page that is there already follows it.
async function show() {
  const mine = ++turn;
  const { id, detector } = asked();
  try {
    if (id !== run?.id) await enter(id, mine);
    if (mine !== turn) return;
    const { name, view } = asked();
    if (name === shown) {
      page?.follow();
      return;
    }
    page?.close();
    page = null;
    shown = name;
    heading(view);
    scrollTo(0, 0);
    quiet(); // it was of the page before
    const made = await pageOf(id, view, detector);
    if (asked().name !== name) {
      made.close();
      return;
    }
    page = made;
    bind(page.keys);
    if (document.activeElement === document.body) main.focus({ preventScroll: true }); // what had the focus is gone
  } catch (error) {
    if (mine === turn) nothing(error);
  }
}

function nothing(error) {
  page?.close();
  page = null;
  shown = "";
  run = null;
  stop();
  stop = () => {};
  bind({});
  heading();
  const gone = [404, 422].includes(error.status); // or its name is none
  main.replaceChildren(
    make(
      "section",
      { class: "progress" },
      make("h1", { class: "short" }, gone ? "There is no such scan" : "This cannot be shown"),
      make("p", {}, gone ? "It may have been removed, or the address is not whole." : error.message),
      make("p", {}, make("a", { href: "#", class: "button" }, "To the start page")),
    ),
  );
  main.focus({ preventScroll: true });
}

function pageOf(id, view, detector) {
  if (detector) return detectorPage(main, detector);
  if (!id) return startPage(main);
  if (run.info.state !== "done") return progressPage(main, run);
  return VIEWS[view][1](main, run);
}

async function enter(id, mine) {
  stop();
  stop = () => {};
  run = null;
  silence(false);
  if (!id) return;
  const opened = await openRun(id);
  if (mine !== turn) return;
  run = opened;
  stop = follow(id, {
    told: (kind, facts) => told(opened, kind, facts).catch(problem),
    lost: () => lookAgain(opened),
    found: () => {
      if (silence(false)) lookAgain(opened);
    },
  });
}

// What was not told meanwhile; or that the service is gone, or the run.
async function lookAgain(about) {
  try {
    await told(about, "changed", {});
  } catch (error) {
    if (about !== run) return;
    if (error.status === 404) nothing(error);
    else silence(true);
  }
}

async function told(about, kind, facts) {
  if (about !== run) return;
  if (kind === "progress") {
    about.info = { ...about.info, ...facts, state: "running" };
    if (shown === `${about.id} progress`) page?.changed();
    return;
  }
  const before = about.info.state;
  if (kind === "state") {
    if (facts.state === before || facts.state === "closing") return;
    about.info = { ...about.info, ...facts };
    if (facts.state === "done") await about.refresh();
    if (before === "done" || facts.state === "done") await show();
    else page?.changed();
    return;
  }
  const revision = about.result?.revision;
  await about.refresh();
  if (about !== run) return;
  if (asked().name !== shown) {
    await show(); // it is done, or begun again
    return;
  }
  heading(asked().view);
  if (about.info.state !== before || about.result?.revision !== revision) await page?.changed();
}

function heading(view) {
  const finished = run?.info.state === "done";
  find(".where-am-i bdi").textContent = run ? run.info.name : "";
  document.title = run ? `${run.info.name}: blemish` : "blemish";
  nav.hidden = !finished;
  const links = Object.entries(VIEWS).map(([name, [words]]) => {
    const open =
      name === "families" && finished && run.result.asks.length
        ? make("span", { class: "badge", title: "questions for you" }, String(run.result.asks.length))
        : null;
    const title = name === "photos" && run?.result?.kind === "volumes" ? "Volumes" : words;
    const href = run ? hash({ run: run.id, view: name === "photos" ? null : name }) : "#";
    return make("a", { href, "aria-current": name === view ? "page" : null }, title, open);
  });
  nav.replaceChildren(...links);
}

const view = (name) => () => (run?.info.state === "done" ? go({ view: name, photo: null, family: null }) : false);

document.documentElement.dataset.heat = "hover";
document.documentElement.classList.add("outlined", "judged");
// Maps are enlarged with aligned corners, browsers put the outermost values half a pixel further in.
document.addEventListener(
  "load",
  ({ target }) => {
    if (!(target instanceof HTMLImageElement) || !target.classList.contains("heat")) return;
    const margin = (pixels) => `${50 / Math.max(pixels - 1, 1)}%`;
    target.style.setProperty("--heat-x", margin(target.naturalWidth));
    target.style.setProperty("--heat-y", margin(target.naturalHeight));
  },
  true,
);
find("#who").value = who.get();
find("#who").addEventListener("change", (event) => who.set(event.target.value.trim()));
find("#help-open").addEventListener("click", help);
find("#skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", show);
listen({ "?": help, 1: view(null), 2: view("families"), 3: view("verdict"), 4: view("export") });
try {
  await load("photo_view.html", "volume_view.html");
  await show();
} catch (error) {
  problem(error);
}
