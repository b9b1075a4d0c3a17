// The viewer of volumes in report.html. NiiVue, before it, draws; this opens, moves and words.
// All it knows it reads from the page; text from file names goes back as text only, never as HTML.
"use strict";

(() => {
  const dialog = document.querySelector("#volume-view");
  const cards = [...document.querySelectorAll(".volume")];
  if (!dialog || !cards.length) return;

  const find = (selector, within = dialog) => within.querySelector(selector);
  const settings = JSON.parse(document.querySelector("#volume-settings").textContent);
  const canvas = find("canvas");
  const overlay = find(".overlay");
  const opacity = find(".volume-opacity");
  const LEVELS = 255;
  let viewer = null; // NiiVue, made when the first volume is opened
  let current = null;
  let asked = 0; // counts openings: what was decoded for an earlier one is dropped

  if (!document.createElement("canvas").getContext("webgl2")) {
    document.querySelector(".no-viewer").hidden = false;
    for (const card of cards) find(".slices", card).disabled = true;
    return;
  }

  async function made() {
    if (viewer) return viewer;
    viewer = new niivue.Niivue({
      isResizeCanvas: true,
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.55, 0.8, 1, 0.45],
      crosshairWidth: 0.5,
      fontColor: [0.85, 0.85, 0.85, 1],
      dragAndDropEnabled: false,
      multiplanarShowRender: niivue.SHOW_RENDER.NEVER,
      logLevel: "error",
    });
    await viewer.attachToCanvas(canvas);
    viewer.addColormap("blemish", settings.colours);
    viewer.setSliceType(viewer.sliceTypeMultiplanar);
    viewer.onLocationChange = where;
    return viewer;
  }

  // Opening

  async function open(card) {
    const turn = ++asked;
    current = card;
    const { rank, path, score, interval, call } = card.dataset;
    find(".rank").textContent = rank;
    find(".path bdi").textContent = path;
    find(".volume-score").textContent = interval ? `score ${score} (${interval})` : `score ${score}`;
    find(".call").textContent = call;
    find(".call").className = `call ${call}`;
    find(".previous").disabled = cards[0] === card;
    find(".next").disabled = cards.at(-1) === card;
    find(".where").textContent = "Opening…";
    if (!dialog.open) dialog.showModal(); // before NiiVue measures the canvas
    canvas.focus();
    try {
      const view = await made();
      const [volume, map] = await Promise.all([image(card, ".volume-copy"), image(card, ".volume-map")]);
      if (turn !== asked) return;
      for (const old of [...view.volumes]) view.removeVolume(old);
      view.addVolume(volume);
      view.addVolume(heat(map, volume));
      hottest();
    } catch (error) {
      if (turn === asked) find(".where").textContent = `This volume cannot be shown (${error.message}).`;
    }
  }

  function image(card, selector) {
    const base64 = find(selector, card).textContent.trim();
    return niivue.NVImage.loadFromBase64({ base64, name: "copy.nii.gz", cal_min: 0, cal_max: LEVELS });
  }

  // NiiVue shows every voxel of an overlay as a block: the map is brought to the finer voxels of the volume.

  function heat(map, volume) {
    const fine = volume.clone();
    fine.img = enlarged(map, volume);
    fine.name = "map";
    fine.colormap = "blemish";
    // clearer and clearer below cal_min: where the report's colours reach their full strength
    Object.assign(fine, { cal_min: 0.75 * LEVELS, cal_max: LEVELS, colormapType: 1, opacity: strength() });
    return fine;
  }

  function enlarged(map, volume) {
    const [from, to] = [map.hdr.dims, volume.hdr.dims];
    // both grids begin at the same corner; for every voxel along an axis: two cells of the map and their weight
    const axes = [1, 2, 3].map((axis) => {
      const ratio = volume.hdr.pixDims[axis] / map.hdr.pixDims[axis];
      return Array.from({ length: to[axis] }, (_, at) => {
        const place = Math.min(Math.max((at + 0.5) * ratio - 0.5, 0), from[axis] - 1);
        const first = Math.floor(place);
        return [first, Math.min(first + 1, from[axis] - 1), place - first];
      });
    });
    let values = Float32Array.from(map.img);
    let stride = 1;
    for (const [at, places] of axes.entries()) {
      const length = from[at + 1];
      const rest = values.length / (stride * length);
      const longer = new Float32Array(stride * places.length * rest);
      let index = 0;
      for (let behind = 0; behind < rest; behind += 1) {
        for (const [first, second, weight] of places) {
          const [low, high] = [stride * (behind * length + first), stride * (behind * length + second)];
          for (let before = 0; before < stride; before += 1) {
            longer[index] = values[low + before] * (1 - weight) + values[high + before] * weight;
            index += 1;
          }
        }
      }
      values = longer;
      stride *= places.length;
    }
    return Uint8Array.from(values, Math.round);
  }

  function step(by) {
    const next = cards[cards.indexOf(current) + by];
    if (next) open(next);
  }

  // The heat

  function strength() {
    return overlay.checked ? opacity.value / 100 : 0;
  }

  function setStrength() {
    if (viewer?.volumes.length === 2) viewer.setOpacity(1, strength());
  }

  // Where the lines cross

  function hottest() {
    const [right, anterior, superior] = current.dataset.peak.split(" ").map(Number);
    viewer.scene.crosshairPos = viewer.mm2frac([right, anterior, superior]);
    viewer.drawScene();
    viewer.createOnLocationChange();
  }

  function where(location) {
    const side = (mm, positive, negative) => `${Math.abs(mm).toFixed(0)} mm ${mm >= 0 ? positive : negative}`;
    const [right, anterior, superior] = location.mm;
    const place = [
      side(right, "right", "left"),
      side(anterior, "anterior", "posterior"),
      side(superior, "superior", "inferior"),
    ].join(", ");
    const level = location.values[1]?.value;
    const { low, high } = settings;
    const near = (value) => Number(value.toPrecision(2));
    const score =
      level === undefined
        ? ""
        : level <= 0
          ? `  ·  map ${near(low)} or less, usual`
          : level >= LEVELS
            ? `  ·  map ${near(high)} or more`
            : `  ·  map about ${near(low + ((high - low) * level) / LEVELS)}`;
    find(".where").textContent = place + score;
  }

  // Keys, wherever in the dialog the focus is; NiiVue's own would do other things

  const KEYS = {
    ArrowLeft: () => move(-1, 0, 0),
    ArrowRight: () => move(1, 0, 0),
    ArrowUp: () => move(0, 1, 0),
    ArrowDown: () => move(0, -1, 0),
    PageUp: () => move(0, 0, 1),
    PageDown: () => move(0, 0, -1),
    o: () => overlay.click(),
    r: () => find(".radiological").click(),
    h: hottest,
    n: () => step(1),
    p: () => step(-1),
  };

  function move(right, anterior, superior) {
    const mirrored = find(".radiological").checked ? -1 : 1; // the key says where on the picture
    viewer.moveCrosshairInVox(mirrored * right, anterior, superior);
  }

  dialog.addEventListener(
    "keydown",
    (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey || ["Tab", "Escape", "Enter", " "].includes(event.key)) return;
      if (event.target === opacity && event.key.startsWith("Arrow")) return;
      event.stopPropagation();
      const act = KEYS[event.key];
      if (!act || !viewer?.volumes.length) return;
      event.preventDefault();
      act();
    },
    true,
  );

  for (const card of cards) find(".slices", card).addEventListener("click", () => open(card));
  find(".previous").addEventListener("click", () => step(-1));
  find(".next").addEventListener("click", () => step(1));
  find(".close").addEventListener("click", () => dialog.close());
  find(".hottest").addEventListener("click", hottest);
  overlay.addEventListener("change", setStrength);
  opacity.addEventListener("input", setStrength);
  find(".radiological").addEventListener("change", (event) => viewer?.setRadiologicalConvention(event.target.checked));
  dialog.addEventListener("close", () => {
    asked += 1;
    find(".slices", current).focus();
  });
})();
