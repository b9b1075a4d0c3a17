// What a family's card shows besides the question: its place on the part, its members cut out, its numbers.
import { crop } from "./crop.js";
import { make } from "./dom.js";
import { painted } from "./ramp.js";
import { fixed, plural } from "./words.js";

const CROPS = 24; // members shown
const SMALL = 384; // pixels of the pictures they are cut from
const WIDE = 0.25; // mean of a place map from which it hides the photo
const aspects = new Map(); // address of a picture -> its width over its height

// The place map on the most typical member's photo.
export function placeOf(run, family, known) {
  const { shares } = family.place;
  const most = Math.max(...shares.flat());
  const mean = shares.flat().reduce((sum, each) => sum + each, 0) / shares.flat().length / (most || 1);
  const typical = nearestTo(shares, known);
  const picture = make("img", {
    class: "picture",
    src: run.picture(typical.pid, SMALL),
    alt: `Photo ${typical.path}`,
  });
  const heat = painted(shares, run.result.colour_scale.colours);
  heat.className = "heat";
  const photo = make("span", { class: `photo${mean > WIDE ? " wide" : ""}` }, picture, heat);
  picture.addEventListener("load", () =>
    photo.style.setProperty("--aspect", picture.naturalWidth / picture.naturalHeight),
  );
  return make(
    "figure",
    { class: "where" },
    photo,
    make(
      "figcaption",
      {},
      "Where it is, on ",
      make("bdi", { class: "file" }, typical.path),
      `. Yellow: where ${Math.round(100 * most)}% of these photos have it.`,
    ),
  );
}

// Members, most anomalous first; volumes by name.
export function membersOf(run, family, known) {
  const noun = run.result.kind === "volumes" ? "volume" : "photo";
  const more = known.length - CROPS;
  const only = family.members.length === 1 ? `this ${noun}` : `these ${plural(family.members.length, noun)}`;
  const each = noun === "photo" ? (member) => cropOf(run, member) : (member) => make("bdi", {}, member.path);
  return [
    make(
      "ul",
      { class: noun === "photo" ? "crops" : "members-named", "aria-label": "Its members, most anomalous first" },
      ...known.slice(0, CROPS).map((member) => make("li", {}, each(member))),
    ),
    make(
      "p",
      { class: "members" },
      more > 0 ? make("span", {}, `and ${more} more`) : null,
      make("a", { href: `#run=${run.id}&family=${family.number}` }, `Show only ${only}`),
    ),
  ];
}

function cropOf(run, each) {
  const address = run.picture(each.pid, SMALL);
  const link = make("a", { href: `#run=${run.id}&photo=${each.pid}`, title: each.path });
  const draw = (aspect) => {
    const cut = crop(address, aspect, each.box, `Open ${each.path}`);
    link.replaceChildren(...cut.childNodes);
    for (const side of ["width", "height"]) link.style[side] = cut.style[side];
  };
  if (aspects.has(address)) draw(aspects.get(address));
  else {
    const probe = make("img", { src: address, alt: `Open ${each.path}`, loading: "lazy" });
    probe.addEventListener("load", () => {
      aspects.set(address, probe.naturalWidth / probe.naturalHeight);
      draw(aspects.get(address));
    });
    link.append(probe);
  }
  return link;
}

export function numbersOf(run, family) {
  const noun = run.result.kind === "volumes" ? "Volumes" : "Photos";
  const all = run.result.photos - run.result.counts.unreadable;
  const numbers = [
    [noun, `${family.members.length} of ${all} (${Math.round((100 * family.members.length) / all)}%)`],
    [
      "Strength",
      family.strength === null ? "" : `${fixed(family.strength, 2)} (needs more than ${fixed(family.fence, 2)})`,
    ],
    ["Median score", family.effect.sentence],
  ].filter(([, value]) => value);
  return make(
    "dl",
    { class: "standing" },
    ...numbers.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
  );
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
  const away = ({ box }) =>
    (box.left + box.right - (2 * x) / total) ** 2 + (box.top + box.bottom - (2 * y) / total) ** 2;
  return members.reduce((best, each) => (away(each) < away(best) ? each : best));
}
