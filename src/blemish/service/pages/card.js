// One card of the grid: a photo with its heat, or a volume's slices, with its score, call and families.
import { showBadge } from "./calls.js";
import { find, findAll, make } from "./dom.js";
import { placed, stretch } from "./threshold.js";
import { fixed } from "./words.js";

export const TEXT = 88; // pixels below its picture
const UNHOVERED = matchMedia("(hover: none)"); // there the style shows heat at once
const [SMALL, LARGE] = [384, 1600]; // pixels of pictures

// Width over height of the frames: the working size's, within what makes an even page.
export function frameOf([height, width]) {
  return Math.min(Math.max(width / height, 0.75), 1.8);
}

function cardParts(card, noun) {
  if (card.firstChild) return;
  const pictures =
    noun === "photo"
      ? make(
          "span",
          { class: "photo" },
          make("img", { class: "picture", alt: "" }),
          make("img", { class: "heat", alt: "" }),
        )
      : make("img", { class: "picture", alt: "" });
  card.append(
    make("button", { type: "button", class: noun === "photo" ? "open" : "slices" }, pictures, make("span", { class: "no-picture" })),
    make(
      "span",
      { class: "level", "aria-hidden": "true" },
      make("span"),
      make("span", { class: "tick" }),
      make("span", { class: "interval" }),
    ),
    make("p", { class: "numbers" }, make("span", { class: "rank" }), make("span", { class: "score", title: "Score" })),
    make(
      "p",
      { class: "verdict" },
      make("span", { class: "call" }),
      make("span", { class: "said" }),
      make("span", { class: "families-of" }),
    ),
    make("p", { class: "path" }, make("bdi")),
  );
}

// Heat is asked for where it is seen: half of all pictures otherwise are not looked at.
function heatSeen(card) {
  const { heat } = document.documentElement.dataset;
  return heat === "always" || (heat === "hover" && (UNHOVERED.matches || card.matches(":hover, :focus-within")));
}

// Nothing is known of it but why: no picture, no score, no place in the order.
function fillUnreadable(card, row) {
  find(".no-picture", card).textContent = `Could not be read: ${row.reason}`;
  find("button", card).setAttribute("aria-label", `${row.path} could not be read: ${row.reason}`);
  for (const part of [".rank", ".score", ".said"]) find(part, card).textContent = "";
  find(".families-of", card).replaceChildren();
  showBadge(find(".call", card), null);
  card.dataset.pid = row.pid;
  delete card.dataset.call;
  namePath(card, row);
}

function namePath(card, row) {
  find(".path bdi", card).textContent = row.path;
  find(".path", card).title = row.path;
}

// `row` is undefined until it has come. `resting`: the hand rests, so pictures are worth asking for.
export function fillCard(card, row, run, noun, resting) {
  cardParts(card, noun);
  card.classList.toggle("waiting", !row);
  card.classList.toggle("unreadable", Boolean(row) && row.status !== "ok");
  const images = findAll("img", card);
  if (row?.status !== "ok") {
    for (const image of images) image.removeAttribute("src");
    if (row) fillUnreadable(card, row);
    return;
  }
  const { verdict } = run;
  const addresses = [run.picture(row.pid, noun === "photo" ? SMALL : LARGE), run.heat(row.pid)];
  for (const [i, image] of images.entries()) {
    if (image.getAttribute("src") === addresses[i]) continue;
    if (resting && (i === 0 || heatSeen(card))) image.src = addresses[i];
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
  const chips = row.family
    ? [
        make(
          "a",
          { class: "to-family", href: `#family=${row.family}`, "data-family": row.family, tabindex: -1 },
          `family ${row.family}`,
        ),
      ]
    : [];
  find(".families-of", card).replaceChildren(...chips);
  namePath(card, row);
}
