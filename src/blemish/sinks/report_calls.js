// The calls of volumes in report.html, from the block #verdict, which another threshold replaces while pictures stay.
// Rows count the volumes, most unusual first.
"use strict";

(() => {
  const verdict = JSON.parse(document.querySelector("#verdict")?.textContent ?? "null"); // null: scanned without one
  const volumes = [...document.querySelectorAll(".volume")];
  const shown = document.querySelector(".volumes-shown");
  if (!verdict) return;
  const { threshold, above, unsure } = verdict.stops[verdict.chosen];
  const [always, spared] = [new Set(verdict.always), new Set(verdict.spared)];
  for (const [row, volume] of volumes.entries()) {
    const asked = unsure.some(([first, last]) => first <= row && row <= last);
    const called = (row < above && !spared.has(row)) || always.has(row);
    const call = asked ? "unsure" : called ? "blemished" : "ok";
    volume.dataset.call = call;
    const badge = volume.querySelector(".call");
    badge.className = `call ${call}`;
    badge.textContent = call;
    volume.querySelector(".reason").textContent = verdict.reasons[row] ?? "";
  }

  const line = document.querySelector(".histogram .threshold");
  const [low, high] = verdict.axis;
  const place = Math.min(Math.max((100 * (Number(threshold) - low)) / (high - low), 0), 100);
  line.style.left = `${place}%`;
  line.classList.toggle("late", place > 75);
  line.querySelector(".value").textContent = threshold;
  document.querySelector(".standing-threshold .own strong").textContent = threshold;
  document.querySelector(".standing-threshold .rule").textContent = verdict.rule && ` · ${verdict.rule}`;
  document.documentElement.classList.add("judged");

  const buttons = [...document.querySelectorAll(".count")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      const only = button.getAttribute("aria-pressed") === "true" ? null : button.dataset.call;
      for (const each of buttons) each.setAttribute("aria-pressed", each.dataset.call === only);
      for (const volume of volumes) volume.hidden = only !== null && volume.dataset.call !== only;
      const left = volumes.filter((each) => !each.hidden).length;
      shown.textContent = only === null ? "" : `${left} of ${volumes.length} shown: ${only}`;
    });
  }
})();
