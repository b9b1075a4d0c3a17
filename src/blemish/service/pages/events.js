// What the service tells of a run while it is looked at: progress, state, changes by whomever. Browsers connect again.
import { api } from "./api.js";

// `told(kind, facts)`. Returns how to stop.
export function follow(run, told) {
  const source = new EventSource(api(`runs/${run}/events`));
  for (const kind of ["progress", "state", "changed"]) {
    source.addEventListener(kind, (event) => told(kind, JSON.parse(event.data)));
  }
  return () => source.close();
}
