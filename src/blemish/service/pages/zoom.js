// Zoom and pan of pictures that lie over or beside each other: what one shows, all show.
// A frame cuts off; in it the element .zoomed is moved. It knows pixels and nothing of photos.
import { find } from "./dom.js";

const MOST = 16;
const STEP = 1.5;

// `told(zoom)`: what is shown now, 1 = the whole picture. Returns by(factor), reset() and pan(right, down), in frames.
export function zoomOf(frames, told) {
  let zoom = 1;
  let [left, top] = [0, 0]; // of the picture's corner, in frames

  function show() {
    left = Math.min(Math.max(left, 1 - zoom), 0);
    top = Math.min(Math.max(top, 1 - zoom), 0);
    for (const frame of frames) {
      const inner = find(".zoomed", frame);
      inner.style.transform = zoom === 1 ? "" : `translate(${100 * left}%, ${100 * top}%) scale(${zoom})`;
      inner.style.setProperty("--zoom", zoom);
      frame.classList.toggle("pannable", zoom > 1);
    }
    told(zoom);
  }

  // What lies at x, y (in frames) stays there.
  function by(factor, x = 0.5, y = 0.5) {
    const next = Math.min(Math.max(zoom * factor, 1), MOST);
    left = x - ((x - left) * next) / zoom;
    top = y - ((y - top) * next) / zoom;
    zoom = next;
    show();
  }

  function reset() {
    zoom = 1;
    show();
  }

  function pan(right, down) {
    left -= right;
    top -= down;
    show();
  }

  for (const frame of frames) {
    const at = (event) => {
      const box = frame.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    let from = null;
    frame.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        by(Math.exp(-event.deltaY / 400), ...at(event));
      },
      { passive: false },
    );
    frame.addEventListener("dblclick", (event) => (zoom > 1 ? reset() : by(4, ...at(event))));
    frame.addEventListener("pointerdown", (event) => {
      if (zoom === 1 || event.button !== 0) return;
      from = at(event);
      frame.setPointerCapture(event.pointerId);
    });
    frame.addEventListener("pointermove", (event) => {
      if (!from) return;
      const to = at(event);
      pan(from[0] - to[0], from[1] - to[1]);
      from = to;
    });
    for (const end of ["pointerup", "pointercancel"]) frame.addEventListener(end, () => (from = null));
    frame.addEventListener("dragstart", (event) => event.preventDefault());
  }

  return { by, reset, pan, larger: () => by(STEP), smaller: () => by(1 / STEP) };
}
