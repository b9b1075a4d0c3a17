// What the service tells of a run while it is looked at: progress, state, changes by whomever. Where the connection
// breaks, the run is asked for, since an event may have been missed; browsers connect again, unless they were refused.
import { api, get } from "./api.js";

const AGAIN_MS = 3000; // after an answer that was no stream; a connection that is lost browsers make again themselves

// `told(kind, facts)`. `lost()`: nothing is told at the moment; `found()`: it is, maybe again. Returns how to stop.
export function follow(run, { told, lost, found }) {
  let source = null;
  let timer = 0;
  let stopped = false;

  function connect() {
    source = new EventSource(api(`runs/${run}/events`));
    for (const kind of ["progress", "state", "changed"]) {
      source.addEventListener(kind, (event) => told(kind, JSON.parse(event.data)));
    }
    source.addEventListener("open", found);
    source.addEventListener("error", ask);
  }

  async function ask() {
    if (source.readyState === EventSource.CLOSED) timer = setTimeout(connect, AGAIN_MS);
    const info = await get(`runs/${run}`).catch(() => null); // it may be away as well
    if (stopped) return;
    if (!info) {
      lost();
      return;
    }
    told("state", { state: info.state, error: info.error });
    if (info.state === "done") told("changed", {});
  }

  connect();
  return () => {
    stopped = true;
    clearTimeout(timer);
    source.close();
  };
}
