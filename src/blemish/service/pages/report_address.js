// The address after # keeps the report's state, so that a link to one photo, bar or family can be kept or sent.

const KEPT = ["photo", "verdict", "stop", "bar", "family", "heat", "outlines"];

export const state = () => new URLSearchParams(location.hash.slice(1));

// `value` null: is no more.
export function put(key, value) {
  const next = new URLSearchParams();
  for (const [name, kept] of Object.entries({ ...Object.fromEntries(state()), [key]: value })) {
    if (KEPT.includes(name) && kept !== null) next.set(name, kept);
  }
  // An empty hash would jump to the top.
  history.replaceState(null, "", next.size ? `#${next}` : "#photos");
}

// Of a link that stands for a state.
export const addressed = (link, key) => new URLSearchParams(link.getAttribute("href").slice(1)).get(key);
