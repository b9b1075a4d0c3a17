// A run that is not finished: how far it is and for how long, to be stopped or gone on with; or why it failed.
import { send } from "./api.js";
import { sentences } from "./calls.js";
import { find, make } from "./dom.js";
import { tried } from "./notices.js";
import { span } from "./words.js";

const TITLES = {
  queued: "Waiting for its turn",
  running: "Scanning",
  failed: "The scan failed",
  cancelled: "The scan was stopped",
};

export function progressPage(main, run) {
  const title = make("h1", { class: "short" });
  const stage = make("p", { class: "stage", "aria-live": "polite" });
  const bar = make("progress", { max: 1, "aria-label": "This stage" });
  const numbers = make("p", { class: "muted numbers" });
  const error = make("p", { class: "problem", role: "alert", hidden: true });
  const cancel = make("button", { type: "button" }, "Stop");
  const resume = make("button", { type: "button", class: "primary" }, "Go on");
  const others = make("a", { href: "#", class: "button" }, "Choose other photos");
  main.replaceChildren(
    make(
      "section",
      { class: "progress" },
      title,
      stage,
      bar,
      numbers,
      error,
      make("div", { class: "row" }, cancel, resume, others),
    ),
  );

  function show() {
    const { state, stage: doing, done, total, eta_s: left, error: why } = run.info;
    const going = state === "running";
    title.textContent = TITLES[state] ?? "Finishing";
    const now = going ? sentences([doing || "Starting: the program is loaded, then the network it looks with"]) : "";
    if (stage.textContent !== now) stage.textContent = now; // or it would be read out again
    bar.hidden = !going && state !== "queued";
    if (going && total) bar.value = done / total;
    else bar.removeAttribute("value");
    const about = left === null || left === undefined || done >= total ? "" : `  ·  about ${span(left)} left in this step`;
    numbers.textContent =
      going && total
        ? `${done} of ${total}${about}`
        : state === "queued"
          ? "One scan runs at a time."
          : state === "cancelled"
            ? "What it has done is kept: it goes on from there."
            : "";
    error.hidden = state !== "failed";
    error.textContent = why;
    const held = [cancel, resume].includes(document.activeElement);
    cancel.hidden = !going && state !== "queued";
    others.hidden = state !== "failed";
    resume.hidden = state !== "failed" && state !== "cancelled";
    resume.textContent = state === "failed" ? "Try again" : "Go on";
    if (held) find("button:not([hidden])", main)?.focus(); // the one that had the focus may be gone
  }

  async function act(what) {
    const before = run.info.state;
    const info = await tried(() => send("POST", `runs/${run.id}/${what}`));
    if (info && run.info.state === before) run.info = info; // or what was told meanwhile is newer
    show();
  }

  cancel.addEventListener("click", () => act("cancel"));
  resume.addEventListener("click", () => act("resume"));
  show();
  find("button:not([hidden])", main)?.focus();

  return {
    keys: {},
    follow: () => {},
    changed: show,
    close: () => {},
  };
}
