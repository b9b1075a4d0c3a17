// What keeps coming back in a run: each family's members, its place on the part, and the word that a person has.
import { get, send } from "./api.js";
import { go, state } from "./address.js";
import { find, findAll, make } from "./dom.js";
import { membersOf, numbersOf, placeOf } from "./family_parts.js";
import { notice, problem, tried } from "./notices.js";
import { plural } from "./words.js";

const DECISIONS = [
  ["defect", "Defect", "d", "Taken out of the comparison, so that it cannot vouch for itself."],
  ["variant", "Variant, allowed", "v", "Left in the comparison, where it vouches for itself."],
];

export function familiesPage(main, run) {
  const noun = run.result.kind === "volumes" ? "volume" : "photo";
  const list = make("div", { class: "families-list" });
  const lead = make("p", { class: "lead" });
  let families = [];
  let effects = new Map(); // a family -> what the last decision about it has changed
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
    const title = families.length
      ? [make("h2", { class: "visually-hidden" }, "Families, strongest evidence first")]
      : [];
    list.replaceChildren(...title, ...families.map(card));
    if (focused) find(`[data-key="${focused}"]`, list)?.focus();
  }

  function card(family) {
    const known = family.members.filter((member) => member.pid !== null);
    const title = `family-${family.number}-title`;
    return make(
      "article",
      { class: `family ${family.kind}`, id: `family-${family.number}`, "aria-labelledby": title, tabindex: -1 },
      make("h3", { id: title }, family.title),
      noun === "photo" && known.length ? placeOf(run, family, known) : null,
      make(
        "div",
        { class: "account" },
        make("p", { class: "evidence" }, family.evidence),
        question(family),
        ...membersOf(run, family, known),
      ),
      numbersOf(run, family),
    );
  }

  function question(family) {
    const buttons = DECISIONS.map(([kind, words, key, meaning]) => {
      const chosen = family.kind === kind && family.decided_by === "user";
      const button = make(
        "button",
        {
          type: "button",
          "aria-pressed": String(chosen),
          title: `${meaning} (${key})`,
          "data-key": `${family.number} ${kind}`,
        },
        words,
      );
      button.addEventListener("click", () => decide(family, kind));
      return button;
    });
    const undo = make(
      "button",
      {
        type: "button",
        title: "Take back what was said (u)",
        disabled: family.decided_by !== "user",
        "data-key": `${family.number} undo`,
      },
      "Undo",
    );
    undo.addEventListener("click", () => decide(family, null));
    const stands =
      family.kind === "unsure"
        ? "Until you answer, nothing is taken out of the comparison."
        : `${family.decided_by === "user" ? "You" : "blemish"} decided: ${DECISIONS.find(([kind]) => kind === family.kind)[3].toLowerCase()}`;
    const effect = effects.get(keyOf(family));
    return make(
      "div",
      { class: family.asks ? "question" : "decided" },
      family.asks
        ? make(
            "p",
            {},
            make("strong", {}, "Is this a flaw? "),
            `The ${noun}s alone cannot tell: ${family.asks.replace(/\.$/, "")}.`,
          )
        : null,
      make("p", { class: "stands" }, stands),
      make("div", { class: "row decide" }, ...buttons, undo),
      effect ? make("p", { class: "effect" }, effect) : null,
    );
  }

  async function decide(family, kind) {
    if (busy) return;
    busy = true;
    const before = run.result.counts;
    for (const button of findAll(".decide button", list)) button.disabled = true;
    const done = await tried(() => send("PUT", `runs/${run.id}/families/${family.number}`, { kind }));
    busy = false;
    if (!done) return draw();
    await run.refresh();
    effects = new Map([[keyOf(family), changedBy(before, run.result.counts)]]);
    await load();
    notice(`Family ${family.number}: ${kind ?? "undone"}. ${effects.get(keyOf(family))}`);
  }

  const at = () => families.findIndex((family) => find(`#family-${family.number}`)?.contains(document.activeElement));
  const to = (number) => {
    const wanted = Math.min(Math.max(number, 0), families.length - 1);
    const element = families[wanted] && find(`#family-${families[wanted].number}`);
    element?.focus({ preventScroll: true });
    element?.scrollIntoView({ block: "nearest" });
  };
  const said = (kind) => () =>
    at() < 0 ? problem("Choose a family first: j for the next one.") : decide(families[at()], kind);

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

// The same for the same photos: numbers change with the evidence.
const keyOf = (family) =>
  family.members
    .map((each) => each.path)
    .sort()
    .join("\n");

// What a decision did to the calls.
function changedBy(before, after) {
  const told = ["blemished", "unsure", "ok"]
    .filter((call) => before[call] !== after[call])
    .map((call) => `${call} ${before[call]} → ${after[call]}`);
  return told.length ? `Now: ${told.join(", ")}.` : "No photo is called otherwise.";
}
