// What keeps coming back in a run: each family's members, its place on the part, and the word that a person has.
import { get, send } from "./api.js";
import { go, state } from "./address.js";
import { crop } from "./crop.js";
import { find, findAll, make } from "./dom.js";
import { notice, problem, tried } from "./notices.js";
import { painted } from "./ramp.js";
import { fixed, plural } from "./words.js";

const CROPS = 24; // members shown
const SMALL = 384; // pixels of the pictures they are cut from
const WIDE = 0.25; // mean of a place map from which it hides the photo
const DECISIONS = [
  ["defect", "Defect", "d", "Taken out of the comparison, so that it cannot vouch for itself."],
  ["variant", "Variant, allowed", "v", "Left in the comparison, where it vouches for itself."],
];

export function familiesPage(main, run) {
  const noun = run.result.kind === "volumes" ? "volume" : "photo";
  const list = make("div", { class: "families-list" });
  const lead = make("p", { class: "lead" });
  let families = [];
  let sizes = new Map(); // pid -> width over height, of members
  let effects = new Map(); // first member's path -> what the last decision about it has changed
  let busy = false;
  let closed = false;
  main.replaceChildren(make("h1", { class: "short" }, "What keeps coming back"), lead, list);

  async function load() {
    const given = await tried(() => get(`runs/${run.id}/families`));
    if (!given || closed) return;
    families = given;
    draw();
  }

  function draw() {
    const focused = document.activeElement?.dataset?.key;
    const asked = families.filter((family) => family.asks).length;
    lead.textContent = families.length
      ? `A flaw on many ${noun}s finds look-alikes and would pass for usual, so looks that recur are searched for. ${
          asked ? `${plural(asked, "question waits", "questions wait")} for you.` : "No question is open."
        }`
      : `No look recurs among these ${noun}s that the others do not have: there is nothing to decide here.`;
    list.replaceChildren(...families.map(card));
    if (focused) find(`[data-key="${focused}"]`, list)?.focus();
  }

  function card(family) {
    const known = family.members.filter((member) => member.pid !== null);
    const title = `family-${family.number}-title`;
    return make(
      "article",
      { class: `family ${family.kind}`, id: `family-${family.number}`, "aria-labelledby": title, tabindex: -1 },
      make("h3", { id: title }, family.title),
      noun === "photo" && known.length ? where(family, known) : null,
      make(
        "div",
        { class: "account" },
        make("p", { class: "evidence" }, family.evidence),
        question(family),
        make("ul", { class: noun === "photo" ? "crops" : "members-named", "aria-label": "Its members, most anomalous first" }, ...known.slice(0, CROPS).map(member)),
        members(family, known),
      ),
      standing(family),
    );
  }

  function where(family, known) {
    const { shares } = family.place;
    const most = Math.max(...shares.flat());
    const mean = shares.flat().reduce((sum, each) => sum + each, 0) / shares.flat().length / (most || 1);
    const typical = nearestTo(shares, known);
    const picture = make("img", { class: "picture", src: run.picture(typical.pid, SMALL), alt: `Photo ${typical.path}` });
    const heat = painted(shares, run.result.colour_scale.colours);
    heat.className = "heat";
    const photo = make("span", { class: `photo${mean > WIDE ? " wide" : ""}` }, picture, heat);
    picture.addEventListener("load", () => photo.style.setProperty("--aspect", picture.naturalWidth / picture.naturalHeight));
    return make(
      "figure",
      { class: "where" },
      photo,
      make("figcaption", {}, "Where it is, on ", make("bdi", { class: "file" }, typical.path), `. Yellow: where ${Math.round(100 * most)}% of these photos have it.`),
    );
  }

  function question(family) {
    const buttons = DECISIONS.map(([kind, words, key, meaning]) => {
      const chosen = family.kind === kind && family.decided_by === "user";
      const button = make("button", { type: "button", "aria-pressed": String(chosen), title: `${meaning} (${key})`, "data-key": `${family.number} ${kind}` }, words);
      button.addEventListener("click", () => decide(family, kind));
      return button;
    });
    const undo = make("button", { type: "button", title: "Take back what was said (u)", disabled: family.decided_by !== "user", "data-key": `${family.number} undo` }, "Undo");
    undo.addEventListener("click", () => decide(family, null));
    const stands =
      family.kind === "unsure"
        ? "Until you answer, nothing is taken out of the comparison."
        : `${family.decided_by === "user" ? "You" : "blemish"} decided: ${DECISIONS.find(([kind]) => kind === family.kind)[3].toLowerCase()}`;
    const effect = effects.get(family.members[0].path);
    return make(
      "div",
      { class: family.asks ? "question" : "decided" },
      family.asks ? make("p", {}, make("strong", {}, "Is this a flaw? "), `The ${noun}s alone cannot tell: ${family.asks.replace(/\.$/, "")}.`) : null,
      make("p", { class: "stands" }, stands),
      make("div", { class: "row decide" }, ...buttons, undo),
      effect ? make("p", { class: "effect" }, effect) : null,
    );
  }

  function member(each) {
    if (noun === "volume") return make("li", {}, make("bdi", {}, each.path));
    const address = run.picture(each.pid, SMALL);
    const link = make("a", { href: `#run=${run.id}&photo=${each.pid}`, title: each.path });
    const draw = (aspect) => {
      const cut = crop(address, aspect, each.box, `Open ${each.path}`);
      link.replaceChildren(...cut.childNodes);
      for (const side of ["width", "height"]) link.style[side] = cut.style[side];
    };
    if (sizes.has(each.pid)) draw(sizes.get(each.pid));
    else {
      const probe = make("img", { src: address, alt: `Open ${each.path}`, loading: "lazy" });
      probe.addEventListener("load", () => {
        sizes.set(each.pid, probe.naturalWidth / probe.naturalHeight);
        draw(sizes.get(each.pid));
      });
      link.append(probe);
    }
    return make("li", {}, link);
  }

  function members(family, known) {
    const more = known.length - CROPS;
    const words = `Show only ${family.members.length === 1 ? `this ${noun}` : `these ${plural(family.members.length, noun)}`}`;
    return make("p", { class: "members" }, more > 0 ? make("span", {}, `and ${more} more`) : null, make("a", { href: `#run=${run.id}&family=${family.number}` }, words));
  }

  function standing(family) {
    const all = run.result.photos - run.result.counts.unreadable;
    const numbers = [
      [`${noun[0].toUpperCase()}${noun.slice(1)}s`, `${family.members.length} of ${all} (${Math.round((100 * family.members.length) / all)}%)`],
      ["Strength", family.strength === null ? "" : `${fixed(family.strength, 2)} (needs more than ${fixed(family.fence, 2)})`],
      ["Median score", family.effect.sentence],
    ].filter(([, value]) => value);
    return make("dl", { class: "standing" }, ...numbers.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  }

  async function decide(family, kind) {
    if (busy) return;
    busy = true;
    const before = run.result.counts;
    const first = family.members[0].path;
    for (const button of findAll(".decide button", list)) button.disabled = true;
    const done = await tried(() => send("PUT", `runs/${run.id}/families/${family.number}`, { kind }));
    busy = false;
    if (!done) return draw();
    await run.refresh();
    effects = new Map([[first, changedBy(before, run.result.counts)]]);
    await load();
    notice(`Family ${family.number}: ${kind ?? "undone"}. ${effects.get(first)}`);
  }

  const at = () => families.findIndex((family) => find(`#family-${family.number}`)?.contains(document.activeElement));
  const to = (number) => {
    const wanted = Math.min(Math.max(number, 0), families.length - 1);
    const element = families[wanted] && find(`#family-${families[wanted].number}`);
    element?.focus({ preventScroll: true });
    element?.scrollIntoView({ block: "nearest" });
  };
  const said = (kind) => () => (at() < 0 ? problem("Choose a family first: j for the next one.") : decide(families[at()], kind));

  load().then(() => {
    const wanted = families.findIndex((family) => String(family.number) === state().family);
    if (wanted >= 0) to(wanted);
  });

  return {
    keys: { j: () => to(at() + 1), k: () => to(at() - 1), d: said("defect"), v: said("variant"), u: said(null) },
    follow: () => {
      if (state().photo !== undefined) go({ view: null });
    },
    changed: () => (busy ? undefined : load()),
    close: () => (closed = true),
  };
}

// What a decision did to the calls.
function changedBy(before, after) {
  const told = ["blemished", "unsure", "ok"].filter((call) => before[call] !== after[call]).map((call) => `${call} ${before[call]} → ${after[call]}`);
  return told.length ? `Now: ${told.join(", ")}.` : "No photo is called otherwise.";
}

// The member whose box is nearest to the middle of the map, so that its own flaw lies under it.
function nearestTo(shares, members) {
  let [total, x, y] = [1e-9, 0, 0];
  for (const [row, line] of shares.entries()) {
    for (const [column, share] of line.entries()) {
      total += share;
      x += (share * (column + 0.5)) / line.length;
      y += (share * (row + 0.5)) / shares.length;
    }
  }
  const away = ({ box }) => (box.left + box.right - (2 * x) / total) ** 2 + (box.top + box.bottom - (2 * y) / total) ** 2;
  return members.reduce((best, each) => (away(each) < away(best) ? each : best));
}
