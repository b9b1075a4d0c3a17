// What a verdict says of photos: their calls at any of its thresholds, and why. Rows count from 0, most unusual first.
// `verdict` is what Python made (sinks/report_verdict.py): nothing is estimated here.

export const asked = ({ unsure }, row) => unsure.some(([first, last]) => first <= row && row <= last);

// The call of each of `rows` photos at the threshold number `at`.
export function callsAt(verdict, at, rows) {
  const { above, unsure } = verdict.stops[at];
  const [always, spared] = [new Set(verdict.always), new Set(verdict.spared)];
  const found = Array.from({ length: rows }, (_, row) =>
    (row < above && !spared.has(row)) || always.has(row) ? "blemished" : "ok",
  );
  for (const [first, last] of unsure) found.fill("unsure", first, last + 1);
  return found;
}

export function counted(calls) {
  const counts = { blemished: 0, unsure: 0, ok: 0 };
  for (const call of calls) counts[call] += 1;
  return counts;
}

export function showBadge(badge, call) {
  badge.className = `call ${call ?? ""}`;
  badge.textContent = call ?? "";
}

// The sentence's first half is a headline; the semicolon between is for who listens.
export function showSentence(place, sentence) {
  if (place.textContent === sentence) return; // or it would be read out again
  const [head, ...tail] = sentence.split(";");
  place.querySelector(".head").textContent = head;
  place.querySelector(".mark").textContent = tail.length ? ";" : "";
  place.querySelector(".tail").textContent = tail.join(";");
}

// Why a photo is called so at the threshold number `at`. `photo`: row, call, own (its call at the run's threshold), low,
// high, reason, and regions as {count, share in percent} or nothing.
export function why(verdict, at, photo) {
  const { row, call, own, low, high, reason, regions } = photo;
  if (call === "ok") return "";
  const { threshold, above } = verdict.stops[at];
  const told = [];
  if (call === "unsure") {
    const known = low !== null && high !== null;
    const either = known && low <= Number(threshold) && Number(threshold) <= high;
    const anyway = [0, -1].every((each) => asked(verdict.stops.at(each), row)); // so the threshold is not the reason
    if (at === verdict.chosen || anyway) told.push(reason ?? "");
    else if (either) told.push("Its score could lie on either side of this threshold");
  } else if (row >= above) {
    told.push("It carries a recurring flaw, whatever its score");
  }
  const many = regions?.count === 1 ? "1 place" : `${regions?.count} places`;
  if (regions) told.push(`${many} marked, ${regions.share} % of the picture`);
  else if (own !== "ok") told.push("No place on it stands out");
  else told.push("Its places are marked once this threshold is kept");
  return sentences(told);
}

export function sentences(told) {
  return told
    .filter((each) => each)
    .map((each) => each[0].toLocaleUpperCase() + each.slice(1).replace(/\.$/, "") + ".")
    .join(" ");
}
