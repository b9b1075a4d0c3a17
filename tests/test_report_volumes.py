"""Volumes in report.html: slices, small copies, the viewer and its keys, and what a browser makes of them from disk."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

pytest.importorskip("nibabel", reason="volumes need the extra: pip install 'blemish[volumes]'")
import nibabel as nib

import volume_files as made
from blemish.result import ColourScale, Photo
from blemish.sinks import report
from blemish.sinks.report_scripts import source_of
from blemish.sinks.report_volumes import BUDGET, Shown, copy_of, volumes_page
from blemish.sinks.slices import three_planes
from test_report import EVIL

NIIVUE = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
SHAPE = (40, 48, 32)
SPOT = (28, 30, 20)  # right, front, top of the middle
SCALE = ColourScale(0.2, 1.0)


def shown(affine: npt.NDArray[np.float64] | None = None, shape: tuple[int, int, int] = SHAPE) -> Shown:
    """A grey ellipsoid with a hot spot."""
    values = made.ellipsoid(shape, 0.45).astype(np.float32) * np.float32(0.5)
    grid = np.indices(shape, dtype=np.float32)
    away = sum((grid[axis] - SPOT[axis]) ** 2 for axis in range(3))
    return Shown(values, np.asarray(np.exp(-away / 50), np.float32), made.affine() if affine is None else affine)


def photos(paths: Sequence[str]) -> list[Photo]:
    return [
        Photo(path, "ok", 0.75 - row / 100, row + 1, 100.0, verdict="blemished", low=0.5, high=0.875)
        for row, path in enumerate(paths)
    ]


def volumes(paths: Sequence[str] = ("a.nii.gz", "b.nii.gz"), **changes: Any) -> dict[str, Any]:
    return volumes_page(photos(paths), lambda row: shown(), SCALE, 3, **changes)


def page_of(volumes: dict[str, Any], probe: str = "") -> str:
    """The fragment alone in a page of the report's look and content policy. ``probe``: one more script."""
    scripts = [(str(script.text), script.hash) for script in volumes["scripts"]]
    if probe:
        scripts.append((probe, base64.b64encode(hashlib.sha256(probe.encode()).digest()).decode()))
    hashes = " ".join(f"'sha256-{digest}'" for _, digest in scripts)
    policy = (
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
        f"script-src {hashes}; base-uri 'none'; form-action 'none'"
    )
    style = "".join(source_of(name) for name in ("look.css", "verdict.css")) + str(volumes["style"])
    section = report._template("report_volumes.html").render(volumes=volumes)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Volumes</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>'
        f"<body><main>{section}</main>{''.join(f'<script>{text}</script>' for text, _ in scripts)}</body></html>"
    )


def opened(copy: str) -> Any:
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(copy)))


# What is embedded


def test_niivue_is_what_its_package_holds() -> None:
    vendor = files("blemish").joinpath("service", "pages", "vendor")
    text = vendor.joinpath("niivue.umd.js").read_bytes()
    assert hashlib.sha256(text).hexdigest() == NIIVUE
    assert NIIVUE in vendor.joinpath("README.md").read_text()
    assert "BSD 2-Clause License" in vendor.joinpath("niivue.LICENSES.txt").read_text()
    assert b"</script" not in text.lower()  # it is written into a page
    assert b"<!--" not in text


@pytest.mark.parametrize("axes", ["RAS", "oblique"])
def test_a_copy_lies_where_its_volume_lies(axes: str) -> None:
    """A corner's and the spot's places in mm stay, however many voxels become one."""
    affine = made.OBLIQUE if axes == "oblique" else made.affine("RAS", (0.5, 0.5, 1))
    given = shown(affine)
    for limit in (10**9, 8000, 1):
        volume, heat = (opened(copy) for copy in copy_of(given, limit))
        for image, sharp in ((volume, given.values), (heat, given.scores)):
            factors = np.linalg.norm(image.affine[:3, :3], axis=0) / np.linalg.norm(affine[:3, :3], axis=0)
            assert image.shape == tuple(np.ceil(np.array(sharp.shape) / factors.round()))
            first = affine @ [*((factors - 1) / 2), 1]  # the middle of the first block
            np.testing.assert_allclose(image.affine @ [0, 0, 0, 1], first, atol=1e-4)
        hottest = np.unravel_index(int(np.asarray(heat.dataobj).argmax()), heat.shape)
        away = np.abs(np.linalg.inv(affine) @ heat.affine @ [*hottest, 1] - [*SPOT, 1])
        # in voxels of the volume: within the block that holds it
        assert (away[:3] <= factors / 2 + 1e-4).all()


def test_copies_keep_to_their_budget() -> None:
    given = shown(made.affine("RAS", (0.5, 0.5, 1)))
    noisy = Shown(np.random.default_rng(0).random(SHAPE).astype(np.float32), given.scores, given.affine)
    sizes = [len(copy_of(noisy, limit)[0]) for limit in (10**9, 10_000, 2000)]
    assert sizes[0] > 10_000 >= sizes[1] > 2000 >= sizes[2]
    assert len(copy_of(noisy, 1)[0]) < 2000  # the coarsest, where nothing fits
    assert BUDGET < 30e6 - 2.3e6


def test_a_copy_of_thick_slices_keeps_them() -> None:
    """5 mm between slices: what is averaged is within the slices only."""
    volume = opened(copy_of(shown(made.affine("RAS", (0.5, 0.5, 5))), 4000)[0])
    assert volume.shape[2] == SHAPE[2]
    assert volume.shape[0] < SHAPE[0]


def test_a_copy_holds_8_bits_and_geometry() -> None:
    volume, heat = (opened(copy) for copy in copy_of(shown(), 10**9))
    assert volume.get_data_dtype() == heat.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(volume.dataobj), np.rint(255 * shown().values))
    assert not volume.header["descrip"].item()


def test_slices_through_a_place() -> None:
    """Axial, coronal, sagittal; left on the left; true to shape with voxels of 1 x 1 x 2 mm."""
    values, hot = np.full(SHAPE, 0.5, np.float32), np.zeros(SHAPE, np.float32)
    hot[SPOT[0] - 2 : SPOT[0] + 3, SPOT[1] - 2 : SPOT[1] + 3, SPOT[2] - 2 : SPOT[2] + 3] = 1
    address = three_planes(values, hot, np.array([1.0, 1.0, 2.0]), SPOT)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGB")).astype(int)
    assert picture.shape[1] == pytest.approx(660, abs=2)
    scale = (660 - 12) / (40 + 40 + 48)
    # where the spot is on each slice, in pixels from the left, and from the bottom of the tallest (64 mm)
    lefts = (0, 40 * scale + 6, 80 * scale + 12)
    middle = picture.shape[0] / 2
    for left, across, up, height in zip(lefts, (28, 28, 30), (30, 40, 40), (48, 64, 64), strict=True):
        x = int(left + (across + 0.5) * scale)
        y = int(middle + height * scale / 2 - (up + 0.5) * scale)
        red, _, blue = picture[y, x]
        assert red - blue > 60, (x, y)  # yellow, where the rest is grey
    assert abs(np.diff(picture[int(middle), 5])).max() < 12


def test_what_the_page_says_of_a_volume() -> None:
    (card, _) = volumes()["cards"]
    assert (card.score, card.interval) == ("0.750", "0.500 to 0.875")
    assert card.peak == (17.5, 34.2, 27.0)
    assert card.alt.endswith("18 mm right, 34 mm anterior, 27 mm superior of the origin")


def test_names_are_text() -> None:
    section = page_of(volumes(EVIL)).split("<main>")[1].split("</main>")[0]
    assert not re.search(r"<img src=x|<b>|<script>|\bonmouseover='", section)
    assert section.count("<li ") == len(EVIL)
    assert section.count('type="application/octet-stream"') == 2 * len(EVIL)


def test_every_picture_and_button_has_a_name() -> None:
    text = page_of(volumes()).split("<main>")[1].split("</main>")[0]
    assert all(re.search(r'alt="[^"]+"', image) for image in re.findall(r"<img[^>]*>", text))
    for button, inside in re.findall(r"<button([^>]*)>(.*?)</button>", text, re.DOTALL):
        assert "aria-label" in button or re.search("[a-z]", inside)
    assert re.search(r"<canvas[^>]*aria-label", text)


def test_without_volumes_there_is_no_viewer() -> None:
    given = volumes([])
    assert given["scripts"] == []
    assert "<section" not in page_of(given)


# A real browser, where there is one

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--window-size=900,600", "--virtual-time-budget=20000"),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader"),  # WebGL without a graphics card
)

Browse = Callable[..., bytes]


@pytest.fixture
def browse(tmp_path: Path) -> Browse:
    """A page and options of the browser -> what it prints."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no Chromium or Chrome to open the page with")

    def browse_(file: Path, *options: str) -> bytes:
        command = [browser, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", *options, file.as_uri()]
        return subprocess.run(command, capture_output=True, check=True, timeout=180).stdout

    return browse_


OPEN = """
const wait = (ready) => new Promise((done, failed) => {
  let left = 400;
  const look = () => ready() ? done() : left-- ? setTimeout(look, 20) : failed(new Error("never ready"));
  look();
});
const where = () => document.querySelector(".where").textContent;
const press = (key) => {
  document.querySelector("#volume-view canvas").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  return where();
};
const opened = async (row) => {
  document.querySelectorAll(".slices")[row].click();
  await wait(() => where().includes("map"));
};
const tell = (value) => {
  const told = document.createElement("pre");
  told.id = "told";
  told.textContent = JSON.stringify(value);
  document.body.append(told);
};
"""
STEPS = """
(async () => {
  try {
    await opened(0);
    const steps = [where()];
    for (const key of ["ArrowRight", "ArrowUp", "PageUp", "PageDown", "ArrowDown", "ArrowLeft"]) steps.push(press(key));
    for (let many = 0; many < 14; many += 1) press("ArrowLeft");
    steps.push(where());
    steps.push(press("h"));
    press("o");
    const off = document.querySelector(".overlay").checked;
    press("o");
    press("r");
    steps.push(press("ArrowRight"));
    press("n");
    await wait(() => document.querySelector("#volume-view .rank").textContent === "2" && where().includes("map"));
    const title = document.querySelector("#volume-view .path").textContent;
    document.querySelector("#volume-view .close").click();
    tell({ steps, off, title, open: document.querySelector("#volume-view").open });
  } catch (error) {
    tell({ error: String(error), where: where() });
  }
})();
"""


def test_the_viewer_from_disk(browse: Browse, tmp_path: Path) -> None:
    """With the page's policy and no server: it opens a volume where it is hottest, and keys move through it."""
    file = tmp_path / "report.html"
    file.write_text(page_of(volumes(["a.nii.gz", EVIL[0]]), OPEN + STEPS), encoding="utf-8")
    text = browse(file, "--dump-dom").decode()
    found = re.search(r'<pre id="told">(.*?)</pre>', text, re.DOTALL)
    assert found, "the script failed"
    told = json.loads(html.unescape(found[1]))
    assert "error" not in told, told
    places = [step.split("  ·  ")[0] for step in told["steps"]]
    spot = "18 mm right, 34 mm anterior, 27 mm superior"
    right = "19 mm right, 34 mm anterior, 27 mm superior"
    front = "19 mm right, 35 mm anterior, 27 mm superior"
    above = "19 mm right, 35 mm anterior, 28 mm superior"
    assert places[:7] == [spot, right, front, above, front, right, spot]
    assert places[8] == spot  # h
    assert places[9] == "17 mm right, 34 mm anterior, 27 mm superior"  # mirrored: to the right is to the left
    assert re.search(r"map about 0\.[6789]", told["steps"][0])
    assert told["steps"][7].endswith("map 0.2 or less, usual")
    assert told["off"] is False
    assert told["title"] == EVIL[0]
    assert told["open"] is False
    assert "Refused" not in text


def test_the_viewer_draws_a_volume_and_its_heat(browse: Browse, tmp_path: Path) -> None:
    file, picture = tmp_path / "report.html", tmp_path / "seen.png"
    file.write_text(page_of(volumes(), OPEN + "opened(0);"), encoding="utf-8")
    browse(file, f"--screenshot={picture}")
    seen = np.asarray(Image.open(picture).convert("RGB")).astype(int)[80:450]
    grey = (abs(seen.max(axis=2) - seen.min(axis=2)) < 6) & (abs(seen.mean(axis=2) - 128) < 20)
    hot = seen[..., 0] - seen[..., 2] > 60  # violet to yellow over grey
    assert grey.mean() > 0.1
    assert 0.001 < hot.mean() < 0.1


def test_without_webgl_slices_stay(browse: Browse, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(page_of(volumes()), encoding="utf-8")
    text = browse(file, "--disable-gpu", "--disable-3d-apis", "--dump-dom").decode()
    (words,) = re.findall(r'<p class="no-viewer"([^>]*)>', text)
    assert "hidden" not in words
    assert len(re.findall(r'class="slices"[^>]*disabled', text)) == 2
