// What the pages say beside what they show: notices that go by themselves, problems that stay, questions.
import { find, make } from "./dom.js";

const STAYS_MS = 6000;

export function notice(text) {
  const line = make("p", { class: "notice" }, text);
  find("#notices").replaceChildren(line);
  setTimeout(() => line.remove(), STAYS_MS);
}

export function problem(error) {
  const text = error instanceof Error ? error.message : String(error);
  const close = make("button", { type: "button", "aria-label": "Close this message" }, "✕");
  const line = make("p", { class: "problem" }, make("span", {}, text), close);
  close.addEventListener("click", () => line.remove());
  find("#problems").replaceChildren(line);
}

// What `act` gives; its error is told and nothing is given.
export async function tried(act) {
  try {
    const given = await act();
    find("#problems").replaceChildren();
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
