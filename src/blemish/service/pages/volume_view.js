// The viewer of volumes: three planes with the heat over them. NiiVue, loaded before, draws; this opens, moves and words.
// Where copies come from is told by who opens. Text from file names goes back as text only, never as HTML.
import { showBadge } from "./calls.js";
import { alone, find } from "./dom.js";

const LEVELS = 255;

export const webgl = () => Boolean(document.createElement("canvas").getContext("webgl2"));

// `dialog`: as in volume_view.html. `settings`: colours, low and high of the map. `step(by)`: the next volume is wanted. `more`: keys of whoever opens.
// Returns open(volume), for a volume's rank, total, path, score, interval, call, peak (mm), first, last, and `copies()`:
// its small copy and its map's as NiiVue reads them, each asked for when it is opened.
export function volumeViewOf(dialog, settings, step, more = {}) {
  const part = (selector) => find(selector, dialog);
  const canvas = part("canvas");
  const overlay = part(".overlay");
  const opacity = part(".volume-opacity");
  let viewer = null; // NiiVue, made when the first volume is opened
  let current = null;
  let turns = 0; // counts openings: what was decoded for an earlier one is dropped

  async function made() {
    if (viewer) return viewer;
    viewer = new niivue.Niivue({
      isResizeCanvas: true,
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.55, 0.8, 1, 0.45],
      crosshairWidth: 0.4,
      crosshairWidthUnit: "percent", // as thin on coarse volumes as on fine ones
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

  async function open(volume) {
    const turn = ++turns;
    current = volume;
    part(".rank").textContent = volume.rank;
    part(".total").textContent = volume.total;
    part(".path bdi").textContent = volume.path;
    part(".volume-score").textContent = volume.interval
      ? `score ${volume.score} (${volume.interval})`
      : `score ${volume.score}`;
    showBadge(part(".call"), volume.call);
    part(".previous").disabled = volume.first;
    part(".next").disabled = volume.last;
    part(".where").textContent = "Opening…";
    if (!dialog.open) dialog.showModal(); // before NiiVue measures the canvas
    canvas.focus();
    try {
      const shown = await made();
      const [copy, map] = await Promise.all((await volume.copies()).map(image));
      if (turn !== turns) return;
      for (const old of [...shown.volumes]) shown.removeVolume(old);
      shown.addVolume(copy);
      shown.addVolume(heat(map, copy));
      hottest();
    } catch (error) {
      if (turn === turns) part(".where").textContent = `This volume cannot be shown (${error.message}).`;
    }
  }

  // A copy is .nii.gz in base64.
  function image(base64) {
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

  // The heat

  function strength() {
    return overlay.checked ? opacity.value / 100 : 0;
  }

  function setStrength() {
    if (viewer?.volumes.length === 2) viewer.setOpacity(1, strength());
  }

  // Where the lines cross

  function hottest() {
    viewer.scene.crosshairPos = viewer.mm2frac(current.peak);
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
    part(".where").textContent = place + score;
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
    r: () => part(".radiological").click(),
    h: hottest,
    j: () => step(1),
    k: () => step(-1),
    n: () => step(1),
    p: () => step(-1),
    ...more,
  };

  function move(right, anterior, superior) {
    const mirrored = part(".radiological").checked ? -1 : 1; // the key says where on the picture
    viewer.moveCrosshairInVox(mirrored * right, anterior, superior);
  }

  dialog.addEventListener(
    "keydown",
    (event) => {
      if (!alone(event) || ["Tab", "Escape", "Enter", " "].includes(event.key)) return;
      if (event.target === opacity && event.key.startsWith("Arrow")) return;
      event.stopPropagation();
      const act = KEYS[event.key];
      if (!act || !viewer?.volumes.length) return;
      event.preventDefault();
      act();
    },
    true,
  );

  part(".previous").addEventListener("click", () => step(-1));
  part(".next").addEventListener("click", () => step(1));
  part(".close").addEventListener("click", () => dialog.close());
  part(".hottest").addEventListener("click", hottest);
  overlay.addEventListener("change", setStrength);
  opacity.addEventListener("input", setStrength);
  part(".radiological").addEventListener("change", (event) => viewer?.setRadiologicalConvention(event.target.checked));
  dialog.addEventListener("close", () => (turns += 1));

  return { open, dialog };
}

// The values of `map` at the voxels of `volume`.
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
