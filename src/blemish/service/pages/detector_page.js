// A detector: what it is made of, and one photo or volume at a time judged by it.
import { get, upload } from "./api.js";
import { outline } from "./outlines.js";
import { make } from "./dom.js";
import { tried } from "./notices.js";
import { bytes, fixed, moment, plural } from "./words.js";

export async function detectorPage(main, id) {
  const detectors = await get("detectors");
  const detector = detectors.find((each) => each.id === id);
  if (!detector) throw new Error("There is no such detector. It may have been deleted; choose one on the start page.");
  const input = make("input", { type: "file", class: "visually-hidden", tabindex: -1, "aria-label": "One file" });
  const choose = make("button", { type: "button", class: "primary" }, "Choose a file");
  const drop = make("div", { class: "drop" }, make("p", {}, "Drop one photo or volume here, or ", choose), input);
  const shown = make("section", { class: "checked", "aria-live": "polite" });
  document.title = `${detector.name}, a detector: blemish`;
  main.replaceChildren(
    make("h1", { class: "short" }, make("bdi", {}, detector.name)),
    make("p", { class: "lead" }, `${detector.meaning} Made ${moment(detector.created)}, ${bytes(detector.bytes)}.`),
    drop,
    shown,
  );

  async function check(file) {
    if (!file) return;
    shown.replaceChildren(make("p", { class: "muted" }, "Looking…"));
    const form = new FormData();
    form.append("file", file);
    const found = await tried(() => upload(`detectors/${id}/check`, form, () => {}));
    shown.replaceChildren(...(found ? [result(file.name, found)] : []));
  }

  choose.addEventListener("click", () => input.click());
  input.addEventListener("change", () => check(input.files[0]));
  drop.addEventListener("dragover", (event) => event.preventDefault());
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    check(event.dataTransfer.files[0]);
  });

  choose.focus();

  return { keys: {}, follow: () => {}, changed: () => {}, close: () => {} };
}

function result(name, found) {
  // Slices of a volume have their heat in them, and a size of their own.
  const heat = found.heat ? make("img", { class: "heat", src: found.heat, alt: "" }) : null;
  const picture = make("img", {
    class: "picture",
    src: found.picture,
    alt: heat ? `Photo ${name}` : `Slices of ${name}`,
  });
  const photo = make("span", { class: "photo", style: { "--aspect": found.width / found.height } }, picture, heat);
  picture.addEventListener("load", () =>
    photo.style.setProperty("--aspect", picture.naturalWidth / picture.naturalHeight),
  );
  const boxes = found.regions.map((region) => [
    (100 * region.left) / found.width,
    (100 * region.top) / found.height,
    (100 * (region.right - region.left)) / found.width,
    (100 * (region.bottom - region.top)) / found.height,
  ]);
  outline(photo, boxes, found.verdict);
  return make(
    "div",
    { class: "row" },
    photo,
    make(
      "div",
      {},
      make("p", { class: `call ${found.verdict}` }, found.verdict),
      make(
        "p",
        {},
        `Score ${fixed(found.score, 4)}; scores from ${fixed(found.low, 4)} to ${fixed(found.high, 4)} are unsure, above they are blemished.`,
      ),
      found.lesions.length ? make("p", {}, `${plural(found.lesions.length, "place")} marked.`) : null,
      make("p", { class: "muted" }, found.note),
      make("p", { class: "path" }, make("bdi", {}, name)),
    ),
  );
}
