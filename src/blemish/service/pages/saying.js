// A person's word about one photo: said, told, and shown at once; the service judges the run again.
import { send } from "./api.js";
import { notice, tried } from "./notices.js";

let last = Promise.resolve(); // what was said before: words arrive in the order in which they were said

const TOLD = { defect: "is defective", good: "is good" };

// `call`: "defect", "good" or null, which takes the word back. `row` is changed in place.
export async function say(run, row, call) {
  if (row.said === call) return;
  const before = row.said;
  row.said = call;
  last = last.then(() => tried(() => send("PUT", `runs/${run.id}/photos/${row.pid}/said`, { call })));
  const done = await last;
  if (done === undefined) row.said = before;
  else notice(call ? `${row.path} ${TOLD[call]}, you said. Undo: u` : `Nothing is said of ${row.path} any more.`);
}
