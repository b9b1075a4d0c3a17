// Places of one photo in detail: those that were marked, and what the hottest were compared with.
import { go } from "./address.js";
import { crop } from "./crop.js";
import { make } from "./dom.js";
import { fixed } from "./words.js";

const SMALL = 384; // pixels of the pictures that are cut
const MOST = 6; // shown of each

// The marked ones.
export function placesOf(run, shown) {
  if (!shown.found.length) return [];
  const lines = shown.found.slice(0, MOST).map((region) => {
    const box = {
      left: region.left / shown.width,
      top: region.top / shown.height,
      right: region.right / shown.width,
      bottom: region.bottom / shown.height,
    };
    const picture = crop(run.picture(shown.pid, SMALL), shown.width / shown.height, box, "");
    const size = `${region.right - region.left} × ${region.bottom - region.top} px`;
    const at = `at ${region.left}, ${region.top}`;
    return make(
      "li",
      {},
      make("span", { class: "frame" }, picture),
      make(
        "span",
        {},
        size,
        make("br"),
        make("span", { class: "muted" }, `${at} · peak ${fixed(region.peak, run.verdict.digits)}`),
      ),
    );
  });
  return [make("section", {}, make("h3", {}, "Places, worst first"), make("ul", { class: "places" }, ...lines))];
}

// Each hot place beside its nearest look-alikes, or why they are not known.
export function comparedOf(run, shown) {
  const title = make("h3", {}, "What it was compared with");
  if (!shown.nearest.length) return make("section", {}, title, make("p", { class: "muted" }, shown.nearest_missing));
  const aspect = shown.width / shown.height;
  const lines = shown.nearest.slice(0, MOST).map((reference) => {
    const here = crop(run.picture(shown.pid, SMALL), aspect, reference.box, "Here");
    const there = crop(
      run.picture(reference.pid, SMALL),
      aspect,
      reference.box_there,
      `Its nearest look-alike, on ${reference.path}`,
    );
    const link = make(
      "a",
      { href: `#run=${run.id}&photo=${reference.pid}`, title: `Open ${reference.path}` },
      make("span", { class: "frame" }, there),
    );
    link.addEventListener("click", (event) => {
      event.preventDefault();
      go({ photo: reference.pid });
    });
    return make(
      "li",
      {},
      make("span", { class: "frame" }, here),
      make("span", { class: "muted", "aria-hidden": "true" }, "→"),
      link,
      make(
        "span",
        {},
        make("bdi", { class: "file" }, reference.path),
        make("br"),
        make(
          "span",
          { class: "muted" },
          `distance ${reference.distance.toPrecision(3)}${reference.counts ? "" : ", not counted: a recurring flaw"}`,
        ),
      ),
    );
  });
  return make("section", {}, title, make("ul", { class: "places references" }, ...lines));
}
