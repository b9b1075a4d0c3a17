// What the service tells of a run while it is looked at: progress, state, changes by whomever. Where the connection
// breaks, the run is asked for, since an event may have been missed; browsers connect again, unless they were refused.
import { api, get } from "./api.js";

const AGAIN_MS = 5000;

// `told(kind, facts)`. Returns how to stop.
export function follow(run, told) {
  let source = null;
  let waiting = null;
  let stopped = false;

  function open() {
    source = new EventSource(api(`runs/${run}/events`));
    for (const kind of ["progress", "state", "changed"]) {
      source.addEventListener(kind, (event) => told(kind, JSON.parse(event.data)));
    }
    source.addEventListener("error", ask);
  }

  async function ask() {
    const refused = source.readyState === EventSource.CLOSED;
    const info = await get(`runs/${run}`).catch(() => null); // it may be away as well
    if (stopped) return;
    if (info) {
      told("state", { state: info.state, error: info.error });
      if (info.state === "done") told("changed", {});
    }
    if (refused) waiting = setTimeout(open, AGAIN_MS);
  }

  open();
  return () => {
    stopped = true;
    clearTimeout(waiting);
    source.close();
  };
}
