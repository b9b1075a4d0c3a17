// What the service tells of a run while it is looked at: progress, state, changes by whomever.
import { api } from "./api.js";

const AGAIN_MS = 3000; // after an answer that was no stream; a connection that is lost browsers make again themselves

// `told(kind, facts)`. `lost()`: nothing is told at the moment; `found()`: it is, maybe again. Returns how to stop.
export function follow(run, { told, lost, found }) {
  let source = null;
  let timer = 0;

  function connect() {
    source = new EventSource(api(`runs/${run}/events`));
    for (const kind of ["progress", "state", "changed"]) {
      source.addEventListener(kind, (event) => told(kind, JSON.parse(event.data)));
    }
    source.addEventListener("open", found);
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(connect, AGAIN_MS);
      lost();
    });
  }

  connect();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}
