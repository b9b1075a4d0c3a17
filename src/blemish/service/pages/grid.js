// A grid that holds only the cards in sight, however many there are: they lie at computed places, one height for all.
// It knows numbers of items from 0 and where they are; what a card shows is told by whoever made the grid.
import { make } from "./dom.js";

const GAP = 20; // pixels between cards
const BEYOND = 2; // rows kept ready above and below
const SETTLED_MS = 90; // pictures wait until the hand rests, when it flies over them

// `narrowest`: pixels of a card. `heightOf(width)`: of a card of that width. `fill(card, item, resting)`: show that item;
// called again once the hand rests. Returns show(total), again() when items have changed,
// to(item) and what is current, in sight and focused.
export function gridOf(list, { narrowest, heightOf, fill, chosen }) {
  const cards = new Map(); // item -> card
  const spare = [];
  let total = 0;
  let current = 0; // the item that j and k start from; it has the only tab stop
  let columns = 1;
  let [width, height] = [0, 0];
  let lastTop = 0;
  let settling = 0;
  let frame = 0;

  function measure() {
    const all = list.clientWidth;
    columns = Math.max(Math.floor((all + GAP) / (narrowest + GAP)), 1);
    width = (all - GAP * (columns - 1)) / columns;
    height = Math.ceil(heightOf(width));
    list.style.height = `${Math.max(Math.ceil(total / columns) * (height + GAP) - GAP, 0)}px`;
    for (const [item, card] of cards) place(card, item);
  }

  function place(card, item) {
    const [row, column] = [Math.floor(item / columns), item % columns];
    card.style.width = `${width}px`;
    card.style.height = `${height}px`;
    card.style.transform = `translate(${column * (width + GAP)}px, ${row * (height + GAP)}px)`;
  }

  function inSight() {
    const top = -list.getBoundingClientRect().top;
    const first = Math.floor(top / (height + GAP)) - BEYOND;
    const last = Math.ceil((top + innerHeight) / (height + GAP)) + BEYOND;
    return [Math.max(first * columns, 0), Math.min(last * columns, total)];
  }

  function draw() {
    frame = 0;
    if (!height) return;
    const flying = Math.abs(scrollY - lastTop) > 2 * innerHeight;
    lastTop = scrollY;
    clearTimeout(settling);
    settling = setTimeout(() => cards.forEach((card, item) => fill(card, item, true)), SETTLED_MS);
    const [first, end] = inSight();
    for (const [item, card] of cards) {
      if ((item >= first && item < end) || item === current) continue;
      cards.delete(item);
      card.remove();
      spare.push(card);
    }
    for (let item = first; item < end; item += 1) card(item, !flying);
    if (current < total) card(current, true);
  }

  function card(item, resting) {
    let found = cards.get(item);
    if (!found) {
      found = spare.pop() ?? make("li", { class: "card" });
      cards.set(item, found);
      place(found, item);
      found.setAttribute("aria-setsize", total);
      found.setAttribute("aria-posinset", item + 1);
      fill(found, item, resting);
      list.append(found);
      tabStop(found, item);
    }
    return found;
  }

  function tabStop(card, item) {
    const button = card.querySelector("button");
    if (button) button.tabIndex = item === current ? 0 : -1;
    card.classList.toggle("current", item === current);
  }

  function soon() {
    frame ||= requestAnimationFrame(draw);
  }

  // As many as before: the cards stay, and with them the focus.
  function show(count) {
    if (count === total) {
      again();
      return;
    }
    total = count;
    current = Math.min(current, Math.max(total - 1, 0));
    for (const card of cards.values()) {
      card.remove();
      spare.push(card);
    }
    cards.clear();
    measure();
    draw();
  }

  function again() {
    for (const [item, card] of cards) {
      fill(card, item, true);
      tabStop(card, item);
    }
  }

  // Makes `item` the current one; `focus`: and scrolls to it with the focus on it.
  function to(item, focus = true) {
    if (!total) return;
    const before = current;
    current = Math.min(Math.max(item, 0), total - 1);
    if (cards.has(before)) tabStop(cards.get(before), before);
    const found = card(current, true);
    tabStop(found, current);
    chosen?.(current);
    if (!focus) return;
    found.querySelector("button")?.focus({ preventScroll: true });
    found.scrollIntoView({ block: "nearest" });
  }

  list.addEventListener("focusin", (event) => {
    const found = event.target.closest(".card");
    for (const [item, each] of cards) if (each === found && item !== current) to(item, false);
  });
  const resized = new ResizeObserver(() => {
    measure();
    soon();
  });
  resized.observe(list);
  addEventListener("scroll", soon, { passive: true });

  return {
    show,
    again,
    to,
    at: () => current,
    itemOf: (card) => Number(card.getAttribute("aria-posinset")) - 1,
    inSight,
    focused: () => list.contains(document.activeElement),
    columns: () => columns,
    close: () => {
      resized.disconnect();
      removeEventListener("scroll", soon);
      clearTimeout(settling);
    },
  };
}
