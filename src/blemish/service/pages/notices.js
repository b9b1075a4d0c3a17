// What the pages say beside what they show: notices that go by themselves, problems that stay, questions.
import { find, findAll, make } from "./dom.js";

const STAYS_MS = 6000;

export function notice(text) {
  const line = make("p", { class: "notice" }, text);
  place("notices", "status").replaceChildren(line);
  setTimeout(() => line.remove(), STAYS_MS);
}

export function problem(error) {
  const text = error instanceof Error ? error.message : String(error);
  const close = make("button", { type: "button", "aria-label": "Close this message" }, "✕");
  const line = make("p", { class: "problem" }, make("span", {}, text), close);
  close.addEventListener("click", () => line.remove());
  place("problems", "alert").replaceChildren(line);
}

function noProblem() {
  for (const each of findAll(".problems")) each.replaceChildren();
}

// Nothing is told any more.
export function quiet() {
  for (const each of findAll(".notices, .problems")) each.replaceChildren();
}

// Whether the service answers is told as long as it does not, above an open dialog as well. Returns what was told before.
export function silence(now) {
  const line = find("#silence");
  const before = line.matches(":popover-open");
  if (now !== before) line.togglePopover();
  document.documentElement.classList.toggle("silent", now);
  return before;
}

// Where it is seen: an open dialog lies over everything else.
function place(name, role) {
  const home = findAll("dialog[open]").at(-1) ?? document.body;
  const there = find(`:scope > .${name}`, home);
  if (there) return there;
  const made = make("div", { class: name, role });
  home.append(made);
  return made;
}

// What `act` gives; its error is told and nothing is given.
export async function tried(act) {
  try {
    const given = await act();
    noProblem();
    return given;
  } catch (error) {
    problem(error);
    return undefined;
  }
}

// A question with one way to go on; resolves to whether it was taken.
export function confirmed(question, yes) {
  return new Promise((done) => {
    const title = make("p", { id: "asked" }, question);
    const go = make("button", { type: "submit", value: "yes", class: "danger" }, yes);
    const stay = make("button", { type: "submit", value: "", autofocus: true }, "Cancel");
    const form = make("form", { method: "dialog" }, title, make("div", { class: "row" }, stay, go));
    const dialog = make("dialog", { class: "small", "aria-labelledby": "asked" }, form);
    dialog.addEventListener("close", () => {
      dialog.remove();
      done(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
