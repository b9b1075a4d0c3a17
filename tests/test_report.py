"""report.html: complete, self-contained, and safe with whatever files are called."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blemish.result import ColourScale, Family, Photo, Result
from blemish.sinks import report
from blemish.sinks.colours import heat

SHAPE = (24, 32)
GRID = (3, 4)
EVIL = [
    "<img src=x onerror=alert(1)>.jpg",
    "\"><script>alert('x')</script>.png",
    "{{ 7 * 7 }}{% raw %}.png",  # a template, were it read as one
    "' onmouseover='alert(1)' x='.png",
    "</title></style></script><b>.png",
    "a&amp;b&lt;.png",
]


def a_manifest(**changed: Any) -> dict[str, Any]:
    """What a scan leaves, with the keys of scanning.py."""
    backbone = {
        "name": "mock",
        "source": "computed",
        "licence": "Apache-2.0",
        "weights_sha256": "0" * 64,
        "layers": [8, 16],
        "working_size": {"height": SHAPE[0], "width": SHAPE[1]},
        "radii": [3],
        "join": True,
        "grids": [list(GRID)],
    }
    return {
        "schema": 1,
        "blemish": "0.1.0",
        "created": "2026-03-04T05:06:07+00:00",
        "source": "/data/parts",
        "note": "",
        "config": {"backbone": "mock", "size": None, "k": 0.3, "rscin": (), "maps": "working", "cache": True},
        "resolved": {
            "k": 2,
            "working_size": {"height": SHAPE[0], "width": SHAPE[1]},
            "smallest_flaw_px": 17,
            "device": "cpu: no CUDA device",
            "deep_ceiling": 65535,
        },
        "backbones": [backbone],
        "colour_scale": {"low": 0.0, "high": 1.0},
        "versions": {"python": "3.11.0", "numpy": "2.0"},
        "counts": {"found": 3, "scored": 3, "unreadable": 0, "duplicates": 0, "from_cache": 0},
        "timings_s": {"reading photos": 1.25, "comparing photos": 0.01},
        "warnings": [],
        **changed,
    }


def a_result(
    paths: list[str],
    *,
    grids: np.ndarray | None = None,
    unreadable: tuple[Photo, ...] = (),
    families: tuple[Family, ...] = (),
    **more: Any,
) -> Result:
    if grids is None:
        grids = np.linspace(1, 0, len(paths))[:, None, None] * np.ones((len(paths), *GRID))
    numbers = {path: family.number for family in reversed(families) for path in family.paths}
    photos = tuple(
        Photo(
            path=path,
            status="ok",
            score=float(grids[i].max()),
            rank=i + 1,
            percentile=100 * (len(paths) - i) / len(paths),
            width=320,
            height=240,
            duplicate_of=more.get("duplicates", {}).get(path, ""),
            family=numbers.get(path),
        )
        for i, path in enumerate(paths)
    )
    return Result(
        photos=photos + unreadable,
        grids=grids.astype(np.float32),
        shape=SHAPE,
        pixels=lambda row: np.full((*SHAPE, 3), 90, np.uint8),
        scale=more.get("scale", ColourScale(0, 1)),
        warnings=more.get("warnings", ()),
        manifest=more.get("manifest", a_manifest()),
        families=families,
        diagnosis=more.get("diagnosis"),
    )


class Page(HTMLParser):
    """What a browser makes of the file: its elements with attributes, and the text a reader sees."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._inside = ""
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.text += data

    def all(self, tag: str, css: str = "") -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag and css in attributes.get("class", "")]


def page(result: Result, folder: Path) -> Page:
    report.write(result, folder / "report.html")
    return Page(folder / "report.html")


def test_hostile_file_names_are_text_everywhere(tmp_path: Path) -> None:
    broken = tuple(Photo(path=f"u-{path}", status="unreadable", reason=f"no <b>{path}") for path in EVIL)
    shown = page(
        a_result(
            EVIL,
            unreadable=broken,
            duplicates={EVIL[0]: EVIL[1]},
            warnings=tuple(f"look at {path}" for path in EVIL),
            manifest=a_manifest(source=f"/data/{EVIL[0]}", note=EVIL[1]),
        ),
        tmp_path,
    )
    for path in EVIL:
        assert shown.text.count(path) >= 4  # card, unreadable file, its reason, warning
    assert [attributes["data-path"] for attributes in shown.all("li", "card")] == EVIL
    assert not [name for _, attributes in shown.elements for name in attributes if name.startswith("on")]
    assert len(shown.all("script")) == 1
    assert not shown.all("b")


def test_nothing_is_fetched(tmp_path: Path) -> None:
    shown = page(a_result(["a.png", "b.png", "c.png"]), tmp_path)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    addresses = [
        value
        for _, attributes in shown.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href")
    ]
    assert addresses
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    assert "http://" not in html
    assert "https://" not in html
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(", html)
    assert not shown.all("link")


def test_the_content_policy_allows_our_script_and_no_other(tmp_path: Path) -> None:
    shown = page(a_result(["a.png", "b.png", "c.png"]), tmp_path)
    html = (tmp_path / "report.html").read_bytes()
    script = html.split(b"<script>")[1].split(b"</script>")[0]
    policy = next(attributes["content"] for attributes in shown.all("meta") if "http-equiv" in attributes)
    assert f"script-src 'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'" in policy
    assert "default-src 'none'" in policy


def test_photos_come_in_order_with_their_numbers(tmp_path: Path) -> None:
    paths = ["line 1/worst.png", "line 2/middle.png", "best.png"]
    shown = page(a_result(paths, grids=np.array([0.9, 0.51, 0.5])[:, None, None] * np.ones((3, *GRID))), tmp_path)
    cards = shown.all("li", "card")
    assert [card["data-path"] for card in cards] == paths
    assert [card["data-rank"] for card in cards] == ["1", "2", "3"]
    labels = [button["aria-label"] for button in shown.all("button", "open")]
    assert labels[0] == "Open photo 1, line 1/worst.png, score 0.900"
    assert all("alt" in image for image in shown.all("img"))


def test_names_in_other_scripts_and_undecodable_ones(tmp_path: Path) -> None:
    paths = ["Prüfling 07 – 部品/ё.png", "\u202egnp.exe.png", "bad-\udcff.png"]
    shown = page(a_result(paths), tmp_path)
    assert paths[0] in shown.text
    assert [card["data-path"] for card in shown.all("li", "card")][2] == "bad-?.png"


def test_unreadable_files_and_copies_are_listed(tmp_path: Path) -> None:
    broken = (Photo(path="sub/cut.jpg", status="unreadable", reason="damaged: image file is truncated"),)
    shown = page(a_result(["a.png", "b.png", "c.png"], unreadable=broken, duplicates={"b.png": "a.png"}), tmp_path)
    assert "sub/cut.jpg" in shown.text
    assert "damaged: image file is truncated" in shown.text
    assert "copy of a.png" in shown.text
    assert {"unreadable", "duplicates"} <= {section.get("id") for section in shown.all("section")}


def test_nothing_to_warn_of_leaves_no_empty_sections(tmp_path: Path) -> None:
    shown = page(a_result(["a.png", "b.png", "c.png"]), tmp_path)
    assert [section["id"] for section in shown.all("section")] == ["photos", "run"]


def test_warnings_are_sentences(tmp_path: Path) -> None:
    shown = page(a_result(["a.png", "b.png", "c.png"], warnings=("sizes differ widely", "")), tmp_path)
    assert "Sizes differ widely." in shown.text


def test_more_photos_than_pictures_become_rows(tmp_path: Path) -> None:
    paths = [f"{i:03}.png" for i in range(report.PICTURES + 3)]
    shown = page(a_result(paths), tmp_path)
    assert len(shown.all("li", "card")) == report.PICTURES
    assert [row["data-path"] for row in shown.all("tr") if "data-path" in row] == paths[report.PICTURES :]
    assert "The other 3 photos" in shown.text


def test_the_file_stays_small(tmp_path: Path) -> None:
    """Photos as noisy as a camera makes them; 200 are to stay under 8 MB, the first of them embedded larger."""
    rng = np.random.default_rng(0)
    photo = (128 + 60 * np.sin(np.arange(512) / 9)[:, None, None] + rng.normal(0, 4, (512, 512, 3))).astype(np.uint8)
    sizes = []
    for photos in (report.SHARP, report.SHARP + 10):
        result = a_result([f"{i}.png" for i in range(photos)], grids=rng.random((photos, 32, 32)))
        result = Result(result.photos, result.grids, (512, 512), lambda row: photo, result.scale, (), result.manifest)
        report.write(result, tmp_path / "report.html")
        sizes.append((tmp_path / "report.html").stat().st_size)
    assert sizes[0] + (sizes[1] - sizes[0]) / 10 * (200 - report.SHARP) < 8e6


@pytest.mark.parametrize("value", [0.0, 0.25, 1e-9])
def test_equal_scores_and_flat_maps(tmp_path: Path, value: float) -> None:
    grids = np.full((3, *GRID), value)
    shown = page(a_result(["a.png", "b.png", "c.png"], grids=grids, scale=ColourScale.of(grids)), tmp_path)
    assert "nan" not in shown.text.lower()
    assert len(shown.all("rect", "bar")) == 1


@pytest.mark.parametrize(
    "scores",
    [
        [0.1, 0.2, 0.3],  # edges that floating point does not hit
        [1e-5, 1.1e-5, 1.2e-5],  # all tiny
        [0.4999999, 0.5, 0.5000001],  # all alike
        [12.0, 900.0, 90000.0],  # one far away
        list(np.linspace(0.3, 0.8, 97)),
    ],
)
def test_the_histogram_holds_every_photo_between_round_numbers(scores: list[float]) -> None:
    histogram = report.histogram_of(scores)
    assert sum(bar.count for bar in histogram.bars) == len(scores)
    counted = np.bincount([histogram.bar_of(score) for score in scores], minlength=len(histogram.bars))
    assert counted.tolist() == [bar.count for bar in histogram.bars]
    assert all(0 <= histogram.position(score) <= 100 for score in scores)
    assert all(0 <= bar.height <= 100 for bar in histogram.bars)
    assert 2 <= len(histogram.ticks) <= 11
    assert len({label for label, _ in histogram.ticks}) == len(histogram.ticks)


def embedded_heat(shown: Page) -> list[np.ndarray]:
    sources = [image["src"] for image in shown.all("img", "heat") if "src" in image]
    data = [base64.b64decode(source.split(",")[1]) for source in sources]
    return [np.asarray(Image.open(io.BytesIO(each)).convert("RGBA")) for each in data]


def test_equal_map_values_have_equal_colours_in_photos_of_different_ranges(tmp_path: Path) -> None:
    grids = np.zeros((3, *GRID))
    grids[0, 0, 0], grids[0, 2, 3] = 1.0, 0.5
    grids[1, 0, 0] = 0.5
    first, second, third = embedded_heat(page(a_result(["a.png", "b.png", "c.png"], grids=grids), tmp_path))
    assert (first[-1, -1] == second[0, 0]).all()
    assert np.abs(second[0, 0].astype(int) - heat(np.float32([0.5]))[0]).max() <= 6  # a palette of 64 colours
    assert (third[..., 3] == 0).all()


def test_what_was_run_is_told(tmp_path: Path) -> None:
    shown = page(a_result(["a.png", "b.png", "c.png"], scale=ColourScale(0.125, 0.75)), tmp_path)
    text = " ".join(shown.text.split())
    for words in (
        "4 Mar 2026, 05:06 UTC",
        "smaller than about 17 pixels",
        "--size 64",  # twice the 28 pixels of this run, in the steps that backbones take
        "the 2 closest count (K = 30 %)",
        "computed",
        "Apache-2.0",
        "1.2 s",
        "0.125",
        "0.750",
        "cpu: no CUDA device",
    ):
        assert words in text


def test_settings_within_settings_are_told_in_words(tmp_path: Path) -> None:
    manifest = a_manifest()
    manifest["config"]["families"] = {"rule": "auto", "omega": [0.1, 0.2], "weighted": True}
    shown = page(a_result(["a.png", "b.png", "c.png"], manifest=manifest), tmp_path)
    assert "rule auto; omega 0.1, 0.2; weighted yes" in shown.text


def test_what_the_numbers_say_is_folded_away(tmp_path: Path) -> None:
    reading = f"By chance alone, <b>{EVIL[1]}"
    shown = page(a_result(["a.png", "b.png", "c.png"], diagnosis={"photos": 3, "reading": reading}), tmp_path)
    assert reading in shown.text
    assert "open" not in shown.all("details", "reading")[0]
    assert not page(a_result(["a.png", "b.png", "c.png"]), tmp_path).all("details")
