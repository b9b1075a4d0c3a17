"""report.html: the whole result as one page that opens from disk, with nothing to install and nothing fetched.

It turns a result into the plain values that ``report_template.html`` shows; look and behaviour are the service's own
(``service/pages``) and are written into the page. Families and the verdict have files of their own.
File names are hostile input: the template escapes everything, and the page's content policy lets no script run but
ours and no address be opened.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from blemish.config import COMPARING, PHOTOS_ONLY
from blemish.result import Photo, Result
from blemish.sinks.colours import heat
from blemish.sinks.embedded import ahead, between_tokens, heat_layer, margin, photograph
from blemish.sinks.report_families import families_of, families_page
from blemish.sinks.report_scripts import script_of, source_of
from blemish.sinks.report_verdict import Verdict, command, parted, verdict_of

__all__ = ["LONGEST", "digits_of", "histogram_of", "replace_verdict", "write"]

PICTURES = 400  # photos shown as pictures; the rest are rows of a table, or the page would not open everywhere
SHARP = 48  # of those, the first that are embedded as large as they were scored: they are the ones looked at
LONGEST_SHARP, LONGEST = 1024, 384  # pixels
BARS = 28  # aimed at in the histogram


@dataclass(frozen=True)
class Bar:
    """One bar of the histogram; positions and sizes in percent of the axes."""

    low: str
    high: str
    count: int
    left: float
    width: float
    height: float


@dataclass(frozen=True)
class Histogram:
    edges: npt.NDArray[np.float64]  # round numbers, so that the axis can be read
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[str, float], ...]  # label, position in percent
    counts: tuple[tuple[int, float], ...]  # grid lines: photos, height in percent

    def position(self, score: float) -> float:
        """Where a score lies on the axis, in percent."""
        return float(100 * (score - self.edges[0]) / (self.edges[-1] - self.edges[0]))

    def bar_of(self, score: float) -> int:
        return int(np.clip(np.searchsorted(self.edges, score, side="right") - 1, 0, len(self.bars) - 1))


@dataclass(frozen=True)
class Card:
    """One photo as the page shows it. ``width`` and ``height``: its share of the frame, in percent."""

    photo: Photo
    score: str
    bar: int
    position: float
    picture: str
    heat: str
    width: float
    height: float


def write(result: Result, file: Path, run: str = "") -> None:
    """One self-contained HTML file. The pictures are written as they are made, so memory stays small.

    ``run``: name of the folder where the run will be, for the commands on the page; by default the file's own."""
    page = _template("report_template.html").stream(_page(result, run or file.absolute().parent.name))
    page.enable_buffering(64)
    with file.open("w", encoding="utf-8", errors="replace", newline="\n") as handle:
        handle.writelines(page)


def replace_verdict(old: Path, new: Path, result: Result) -> None:
    """The report ``old`` of the same photos and scores with this result's verdict, as ``new``: the pictures stay.

    Raises ``ValueError`` if ``old`` has no verdict, or ``result`` none to put there."""
    page = old.read_bytes()
    start, end = parted(page)
    scores = [_score(photo) for photo in result.scored]
    verdict = _verdict(result, histogram_of(scores), digits_of(scores))
    if verdict is None:
        raise ValueError("this result has no judgement")
    part = (
        _template("report_verdict.html").render(verdict=verdict, noun=_noun(result)).encode("utf-8", errors="replace")
    )
    part = part[slice(*parted(part))]
    rest = memoryview(page)
    with new.open("wb") as handle:
        handle.writelines((rest[:start], part, rest[end:]))


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(source_of),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["setting"] = _setting
    return environment.get_template(name)


def _page(result: Result, run: str) -> dict[str, Any]:
    """Everything the template names. ``cards`` and the families make pictures and can be gone through once."""
    manifest, scored = result.manifest, result.scored
    scores = [_score(photo) for photo in scored]
    histogram = histogram_of(scores)
    digits = digits_of(scores)
    grid_height, grid_width = result.grids.shape[-2:]
    volumes = _volumes(result, digits)
    scripts = volumes["scripts"] if volumes else [script_of("report_photos.js")]
    return {
        "result": result,
        "manifest": manifest,
        "name": _last_part(manifest["source"]),
        "created": datetime.fromisoformat(manifest["created"]),
        "warnings": [warning[0].upper() + warning[1:].rstrip(".") + "." for warning in result.warnings if warning],
        "duplicates": [photo for photo in scored if photo.duplicate_of],
        "families": families_page(result, run, PICTURES, digits),
        "families_of": families_of(result),
        "verdict": _verdict(result, histogram, digits),
        "verdict_command": command(run),
        "told": manifest["resolved"].get("told", ""),
        "settings": [(key, value) for key, value in manifest["config"].items() if key not in _unsaid(manifest)],
        "reading": (result.diagnosis or {}).get("reading", ""),
        "histogram": histogram,
        "volumes": volumes,
        "noun": _noun(result),
        "cards": () if volumes else _cards(result, histogram, digits),
        "rows": [
            (photo, f"{_score(photo):.{digits}f}", histogram.bar_of(_score(photo))) for photo in scored[PICTURES:]
        ],
        "pictures": PICTURES,
        "frame": _frame_aspect(result.shape),
        "heat_box": {"x": margin(grid_width), "y": margin(grid_height)},
        "ramp": _css_ramp(),
        "scale": {
            end: f"{value:.{_digits(result.scale.high - result.scale.low, result.scale.high)}f}"
            for end, value in (("low", result.scale.low), ("high", result.scale.high))
        },
        "larger_size": 0 if volumes else _larger_size(result.shape),
        "style": Markup("".join(map(source_of, _STYLES)) + str(volumes["style"] if volumes else "")),
        "scripts": scripts,
    }


def _noun(result: Result) -> str:
    return "volume" if result.volumes else "photo"


_STYLES = ("look.css", "families.css", "verdict.css")


def _volumes(result: Result, digits: int) -> dict[str, Any] | None:
    """What the page shows of volumes; None for photos."""
    volumes = result.volumes
    if volumes is None:
        return None
    from blemish.sinks.report_volumes import Shown, volumes_page

    scored = result.scored

    def show(row: int) -> Shown:
        native = volumes.by_path[scored[row].path]
        scores = native.scores(np.asarray(result.grids[row]))
        return Shown(native.values(), scores, native.geometry.ras_affine)

    return volumes_page(scored, show, result.scale, digits)


def _verdict(result: Result, histogram: Histogram, digits: int) -> Verdict | None:
    return verdict_of(result, (float(histogram.edges[0]), float(histogram.edges[-1])), digits, PICTURES)


def _score(photo: Photo) -> float:
    assert photo.score is not None
    return photo.score


def _last_part(source: str) -> str:
    """The scanned folder's own name, whichever system the run was made on."""
    path = PureWindowsPath(source) if "\\" in source else PurePosixPath(source)
    return path.name or source


def _unsaid(manifest: dict[str, Any]) -> tuple[str, ...]:
    """Settings that the page has told already, or that mean nothing for this run."""
    alone = manifest["config"].get("method", "mutual") != "mutual"
    unsaid = COMPARING if alone else ("method", "text")
    if manifest["resolved"].get("volumes"):
        return ("verdict", "exports", *unsaid, *PHOTOS_ONLY, "k", "image_score")
    return ("verdict", "exports", "volumes", *unsaid)


def _setting(value: Any) -> str:
    """A value of the configuration in words."""
    if value is None:
        return "automatic"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "off"
    if isinstance(value, dict):
        return "; ".join(f"{name} {_setting(each)}" for name, each in value.items())
    return str(value)


def _larger_size(shape: tuple[int, ...]) -> int:
    """``--size`` twice as large as this run's: the side of a square with four times the working area."""
    return 32 * round(2 * math.sqrt(shape[0] * shape[1]) / 32)


def digits_of(scores: list[float]) -> int:
    """Decimals that scores are shown with."""
    return _digits(max(scores) - min(scores), max(scores))


def _digits(spread: float, largest: float) -> int:
    """Decimals that tell two thousandths of the spread apart, or of the value itself where nothing spreads."""
    reach = spread or abs(largest) or 1.0
    return min(max(math.ceil(-math.log10(reach)) + 2, 1), 8)


def _round_step(rough: float) -> float:
    """The next number of the kind 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rough * 0.999)


def histogram_of(scores: list[float]) -> Histogram:
    low, high = min(scores), max(scores)
    step = _round_step((high - low) / BARS if high > low else (abs(high) or 1.0) / 10)
    first, last = math.floor(low / step), math.floor(high / step) + 1
    edges = step * np.arange(first, last + 1, dtype=np.float64)
    at = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, len(edges) - 2)
    counts = np.bincount(at, minlength=len(edges) - 1)
    digits = max(0, -math.floor(math.log10(step)))
    lines = _round_step(max(int(counts.max()) / 3, 1))
    top = lines * math.ceil(int(counts.max()) / lines)
    width = 100 / len(counts)
    return Histogram(
        edges=edges,
        bars=tuple(
            Bar(f"{a:.{digits}f}", f"{b:.{digits}f}", int(count), i * width, width, 100 * int(count) / top)
            for i, (a, b, count) in enumerate(zip(edges, edges[1:], counts, strict=False))
        ),
        ticks=_ticks(float(edges[0]), float(edges[-1])),
        counts=tuple((round(n * lines), 100 * n * lines / top) for n in range(1, round(top / lines) + 1)),
    )


def _ticks(low: float, high: float) -> tuple[tuple[str, float], ...]:
    """Labels at five to ten round numbers between both ends of an axis, with their positions in percent."""
    step = _round_step((high - low) / 9)
    digits = max(0, -math.floor(math.log10(step)))
    numbers = range(math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6) + 1)
    return tuple((f"{n * step:.{digits}f}", 100 * (n * step - low) / (high - low)) for n in numbers)


def _cards(result: Result, histogram: Histogram, digits: int) -> Iterator[Card]:
    frame = _frame_aspect(result.shape)
    scored, maps = result.scored, result.maps

    def card(row: int) -> Card:
        photo = scored[row]
        aspect = (photo.width or result.shape[1]) / (photo.height or result.shape[0])
        return Card(
            photo=photo,
            score=f"{_score(photo):.{digits}f}",
            bar=histogram.bar_of(_score(photo)),
            position=histogram.position(_score(photo)),
            picture=photograph(result, row, LONGEST_SHARP if row < SHARP else LONGEST),
            heat=heat_layer(result.scale.apply(between_tokens(maps.grid(photo.path)))),
            width=100 * min(1, aspect / frame),
            height=100 * min(1, frame / aspect),
        )

    return ahead(card, range(min(len(scored), PICTURES)))


def _frame_aspect(shape: tuple[int, ...]) -> float:
    """Width over height of the cards' frames: the working size's, within what makes an even page."""
    return min(max(shape[1] / shape[0], 0.75), 1.8)


def _css_ramp() -> str:
    """The colour ramp as the stops of a CSS gradient."""
    colours = heat(np.linspace(0, 1, 13, dtype=np.float32)).tolist()
    return ", ".join(f"rgb({r} {g} {b} / {a / 255:.2f})" for r, g, b, a in colours)
