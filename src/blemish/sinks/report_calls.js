// The calls of volumes in report.html, at the run's threshold or at another that is tried out with the slider.
// What a threshold means stands in report_stops.js, before it in the same script. Rows count the volumes, most unusual
// first.

(() => {
  if (!verdict) return;
  const volumes = [...document.querySelectorAll(".volume")];
  const shown = document.querySelector(".volumes-shown");
  const buttons = [...document.querySelectorAll(".count")];
  const slider = document.querySelector("#threshold");
  const own = callsAt(verdict.chosen);
  let stop = verdict.chosen;
  let only = null; // the call whose volumes alone are shown

  function show(at) {
    stop = Math.min(Math.max(at, 0), verdict.stops.length - 1);
    const calls = callsAt(stop);
    for (const [row, volume] of volumes.entries()) {
      volume.dataset.call = calls[row];
      const badge = volume.querySelector(".call");
      badge.className = `call ${calls[row]}`;
      badge.textContent = calls[row];
      // a reason is one for the run's own call
      volume.querySelector(".reason").textContent = calls[row] === own[row] ? (verdict.reasons[row] ?? "") : "";
    }
    for (const button of buttons) {
      const many = calls.filter((call) => call === button.dataset.call).length;
      button.querySelector("strong").textContent = many;
    }
    showSentence(document.querySelector("#sentence"), verdict.stops[stop].sentence);
    showThresholdAt(stop, calls);
    filter();
  }

  function filter() {
    for (const button of buttons) button.setAttribute("aria-pressed", button.dataset.call === only);
    for (const volume of volumes) volume.hidden = only !== null && volume.dataset.call !== only;
    const left = volumes.filter((each) => !each.hidden).length;
    shown.textContent = only === null ? "" : `${left} of ${volumes.length} shown: ${only}`;
  }

  document.documentElement.classList.add("judged");
  showOwnThreshold();
  show(stop);
  slider.addEventListener("input", () => show(nearest(slider.valueAsNumber)));
  slider.addEventListener("keydown", (event) => {
    const to = stepped(event.key, stop);
    if (Number.isNaN(to) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    show(to);
  });
  document.querySelector("#own-threshold").addEventListener("click", () => {
    show(verdict.chosen);
    slider.focus(); // the button is gone
  });
  for (const button of buttons) {
    button.addEventListener("click", () => {
      only = only === button.dataset.call ? null : button.dataset.call;
      filter();
    });
  }
})();
