// Where everything begins: photos are dropped or chosen and scanned at once; what was scanned before; detectors.
import { get, send } from "./api.js";
import { go } from "./address.js";
import { find, make } from "./dom.js";
import { problem, tried } from "./notices.js";
import { goOnWithout } from "./refused.js";
import { folderChooser } from "./server_folders.js";
import { settingsForm } from "./settings_form.js";
import { detectorsTable, runsTable } from "./start_lists.js";
import { chosen, dropped, sent } from "./upload.js";
import { bytes, plural } from "./words.js";

const AGAIN_MS = 3000; // until runs that are scanned are looked at again

export async function startPage(main) {
  const limits = await get("limits");
  const settings = settingsForm();
  const folder = make("input", {
    type: "file",
    class: "visually-hidden",
    tabindex: -1,
    "aria-label": "A folder of photos",
    webkitdirectory: true,
    multiple: true,
    id: "folder",
  });
  const files = make("input", {
    type: "file",
    class: "visually-hidden",
    tabindex: -1,
    "aria-label": "Photos, or a zip of them",
    multiple: true,
    id: "files",
  });
  const chooseFolder = make("button", { type: "button", class: "primary" }, "Choose a folder");
  const chooseFiles = make("button", { type: "button" }, "Photos or a zip");
  const onServer = make("button", { type: "button", hidden: !limits.roots.length }, "A folder of the server");
  const progress = make("p", { class: "sending", role: "status" });
  const refusals = make("div", { class: "refusals" });
  const drop = make(
    "section",
    { class: "drop", "aria-label": "New scan" },
    make("p", { class: "big" }, "Drop a folder of photos here"),
    make(
      "p",
      { class: "muted" },
      `or a zip, or brain volumes (NIfTI, DICOM). They are kept by this service only; up to ${plural(limits.files, "file")}, ${bytes(limits.file)} each.`,
    ),
    make("div", { class: "row" }, chooseFolder, chooseFiles, onServer),
    folder,
    files,
    progress,
    refusals,
  );
  const runs = make("div", { class: "runs" });
  const detectors = make("div", { class: "runs" });
  let closed = false;
  let timer = 0;
  main.replaceChildren(
    make("h1", { class: "short" }, "What is wrong with these parts?"),
    make(
      "p",
      { class: "lead" },
      "The photos of a folder are compared with each other: what differs stands out, and what keeps coming back is asked about. No labels, no training.",
    ),
    drop,
    settings.element,
    make("section", { "aria-labelledby": "runs-title" }, make("h2", { id: "runs-title", tabindex: -1 }, "Scans"), runs),
    make(
      "section",
      { "aria-labelledby": "detectors-title" },
      make("h2", { id: "detectors-title", tabindex: -1 }, "Detectors"),
      detectors,
    ),
  );

  async function take(given) {
    if (drop.classList.contains("busy")) return;
    drop.classList.add("busy");
    const buttons = [chooseFolder, chooseFiles, onServer];
    for (const each of buttons) each.disabled = true;
    const told = (done, total) =>
      (progress.textContent = `Sending: ${Math.round((100 * done) / total)} % of ${bytes(total)}`);
    refusals.replaceChildren();
    progress.textContent = "Looking at what was given…";
    const run = await tried(async () => {
      const { dataset, refused } = await sent(given, told);
      progress.textContent = "";
      const decided = refused.length ? goOnWithout(refusals, refused, dataset.photos) : true;
      if (dataset.photos && (await decided)) return start(dataset);
      await send("DELETE", `datasets/${dataset.id}`);
      if (decided === true) throw new Error("There is no photo and no volume in what was given.");
      return null;
    });
    progress.textContent = "";
    drop.classList.remove("busy");
    for (const each of buttons) each.disabled = false;
    if (!run && !closed && document.activeElement === document.body) chooseFolder.focus();
    if (run) go({ run: run.id });
  }

  const start = (dataset) => send("POST", "runs", { dataset: dataset.id, settings: settings.values() });

  async function scanOnServer(path) {
    const run = await tried(async () => start(await send("POST", "datasets/folder", { path })));
    if (run) go({ run: run.id });
  }

  async function list() {
    clearTimeout(timer);
    let found;
    try {
      found = await Promise.all(["runs", "detectors", "datasets"].map((each) => get(each)));
    } catch (error) {
      problem(error);
      return;
    }
    if (closed) return;
    const [known, made, given] = found;
    const sizes = new Map(given.map(({ id, photos }) => [id, photos]));
    const focused = document.activeElement?.dataset?.key;
    const title = find("h2", document.activeElement?.closest("section") ?? main); // for when what had the focus is removed
    runs.replaceChildren(...(known.length ? [runsTable(known, sizes, list)] : [make("p", { class: "muted" }, "None yet.")]));
    detectors.replaceChildren(
      ...(made.length
        ? [detectorsTable(made, list)]
        : [make("p", { class: "muted" }, "None yet: a finished scan can be made into one, under Export.")]),
    );
    if (focused) (find(`[data-key="${focused}"]`, main) ?? title)?.focus();
    if (known.some(({ state }) => state === "queued" || state === "running")) timer = setTimeout(list, AGAIN_MS);
  }

  chooseFolder.addEventListener("click", () => folder.click());
  chooseFiles.addEventListener("click", () => files.click());
  onServer.addEventListener("click", async () => {
    const path = await folderChooser();
    if (path) scanOnServer(path);
  });
  for (const input of [folder, files]) {
    input.addEventListener("change", () => {
      const given = chosen(input); // before the field is emptied for the next time
      input.value = "";
      take(given);
    });
  }
  const over = (event) => {
    if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
    event.preventDefault();
    drop.classList.toggle("over", event.type === "dragover");
    if (event.type === "drop") take(dropped(event.dataTransfer));
  };
  const events = ["dragover", "dragleave", "drop"];
  for (const each of events) addEventListener(each, over);
  await list();

  return {
    keys: {},
    follow: () => {},
    changed: () => {},
    close: () => {
      closed = true;
      clearTimeout(timer);
      for (const each of events) removeEventListener(each, over);
    },
  };
}
