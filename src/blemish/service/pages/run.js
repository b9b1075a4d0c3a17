// One run as the pages see it: its result and verdict, asked for again when its revision changes, and its addresses.
import { api, get } from "./api.js";

// The verdict in the shape that the report has it in as well (sinks/report_verdict.py).
export function judged(found) {
  const { edges, counts } = found.histogram;
  return {
    axis: [edges[0], edges.at(-1)],
    edges,
    bars: counts,
    digits: found.digits,
    rule: found.rule,
    chosen: found.chosen,
    stops: found.stops.map((stop) => ({
      ...stop,
      threshold: stop.text,
      value: stop.threshold,
      unsure: stop.unsure.map(([first, last]) => [first - 1, last - 1]), // ranks become rows
    })),
    always: found.always.map((rank) => rank - 1),
    spared: found.spared.map((rank) => rank - 1),
    scores: found.scores,
    share: found.share,
    atLeast: found.at_least,
    falseAlarms: found.false_alarms,
    asked: found.asked,
    sentence: found.sentence,
  };
}

export async function openRun(id) {
  const run = {
    id,
    info: await get(`runs/${id}`),
    result: null,
    verdict: null,
    picture: (pid, longest) => api(`runs/${id}/photos/${pid}/picture`, { longest, v: id }),
    heat: (pid) => api(`runs/${id}/photos/${pid}/heat`, { v: run.result?.revision }),
    refresh: async () => {
      run.info = await get(`runs/${id}`);
      if (run.info.state !== "done") return;
      const [result, verdict] = await Promise.all([get(`runs/${id}/result`), get(`runs/${id}/verdict`)]);
      run.result = result;
      run.verdict = judged(verdict);
    },
  };
  await run.refresh();
  return run;
}
