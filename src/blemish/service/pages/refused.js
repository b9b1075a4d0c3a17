// Files of an upload that were refused: all of them with their reasons, until it is decided to scan the others or not.
import { find, make } from "./dom.js";
import { plural } from "./words.js";

// `left`: files that were not refused. Resolves to whether to go on with them.
export function goOnWithout(place, refused, left) {
  return new Promise((done) => {
    const lines = refused.map(({ path, reason }) => make("li", {}, make("bdi", { class: "file" }, path), `: ${reason}`));
    const on = make("button", { type: "button", class: "primary", hidden: !left }, `Scan the other ${plural(left, "file")}`);
    const off = make("button", { type: "button" }, left ? "Cancel" : "Close this list");
    const decide = (go) => () => {
      place.replaceChildren();
      done(go);
    };
    on.addEventListener("click", decide(true));
    off.addEventListener("click", decide(false));
    place.replaceChildren(
      make("p", { class: "problem", role: "alert" }, left ? `${plural(refused.length, "file")} refused, ${left} taken.` : "None of the files is a photo or a volume."),
      make("ul", {}, ...lines),
      make("div", { class: "row" }, on, off),
    );
    find("button:not([hidden])", place).focus();
  });
}
