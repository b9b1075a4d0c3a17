// The part of the address after #: what is shown, so that it can be kept, sent and gone back to.

export const state = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

export function hash(wanted) {
  const known = Object.entries(wanted).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return `#${new URLSearchParams(known)}`;
}

// Changes of the state; null removes. `quietly`: in place of the entry in the history that is there.
export function go(changes, quietly = false) {
  const next = hash({ ...state(), ...changes });
  if (next === location.hash || (next === "#" && location.hash === "")) return;
  if (quietly) {
    history.replaceState(null, "", next);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else location.hash = next;
}
