// A place on a photo with what is around it, cut from the small copy that the grid shows as well.
import { make } from "./dom.js";

const GROWN = 2; // side of a crop in sides of its box: one sees what is around it
const LEAST = 0.16; // the same in shorter sides of the photo, for boxes of a token or two

const limited = (value, low, high) => Math.min(Math.max(value, low), high);

// `box`: left, top, right, bottom in shares of the photo; `aspect`: its width over its height.
export function crop(address, aspect, box, alt) {
  const [wide, high] = [(box.right - box.left) * aspect, box.bottom - box.top]; // in photo heights
  const side = Math.max(GROWN * Math.max(wide, high), LEAST * Math.min(aspect, 1));
  const [across, down] = [Math.min(side / aspect, 1), Math.min(side, 1)];
  const left = limited((box.left + box.right - across) / 2, 0, 1 - across);
  const top = limited((box.top + box.bottom - down) / 2, 0, 1 - down);
  const percent = (value) => `${(100 * value).toFixed(2)}%`;
  const shape = (across * aspect) / down;
  const picture = make("img", {
    src: address,
    alt,
    loading: "lazy",
    style: {
      width: percent(1 / across),
      height: percent(1 / down),
      left: percent(-left / across),
      top: percent(-top / down),
    },
  });
  const outline = make("span", {
    class: "box",
    style: {
      left: percent((box.left - left) / across),
      top: percent((box.top - top) / down),
      width: percent((box.right - box.left) / across),
      height: percent((box.bottom - box.top) / down),
    },
  });
  const style = { width: percent(Math.min(shape, 1)), height: percent(Math.min(1 / shape, 1)) };
  return make("span", { class: "crop", style }, picture, outline);
}
