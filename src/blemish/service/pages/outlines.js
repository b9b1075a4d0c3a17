// Outlines of the places that were marked, over a picture. `boxes`: left, top, width and height in percent of it.
import { make } from "./dom.js";

export function outline(frame, boxes, call) {
  for (const box of frame.querySelectorAll(".region")) box.remove();
  if (call === "ok") return;
  for (const [left, top, width, height] of boxes) {
    const box = make("span", { class: `region ${call}` });
    // A little around the place, so that it is seen itself, but not beyond the picture.
    const inset = (percent) => `max(0px, ${percent.toFixed(1)}% - 5px)`;
    box.style.inset = [top, 100 - left - width, 100 - top - height, left].map(inset).join(" ");
    frame.append(box);
  }
}
