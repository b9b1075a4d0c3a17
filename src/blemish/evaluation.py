"""How good a finished run was, given the truth about its photos.

It reads a run folder (``run.json``, ``results.csv``, ``maps/``) and a truth, and returns a table of metrics
with 95 % intervals. It computes nothing about the photos themselves and writes no file. Maps are read one at
a time, twice; what is kept per photo is a row of counts of 27 KB.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError
from blemish.inputs.truth import Truth, fit_mask, read_mask, read_truth
from blemish.metrics.intervals import Interval, image_intervals, pixel_intervals, row_of
from blemish.metrics.pixels import PixelCounts, Spread, bins, empty, survey, update
from blemish.metrics.pro import pro_musc_of, pro_mvtec_of
from blemish.metrics.ranking import (
    Counts,
    RankCounts,
    Undefined,
    auroc_of,
    average_precision_of,
    f1_max_of,
    rank_counts,
)
from blemish.progress import Advance, Progress, Silent
from blemish.run_folder import read_manifest, require_photos
from blemish.sinks.names import beside

__all__ = ["Evaluation", "Row", "evaluate"]

ASPECT_TOLERANCE = 0.02  # a mask whose width / height differs more than this from its photo's is reported

Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
_C = TypeVar("_C", RankCounts, PixelCounts)


@dataclass(frozen=True, slots=True)
class Row:
    """One metric. ``value`` is None if it is undefined, ``low`` and ``high`` are the ends of its 95 %
    interval or None; the note says why, and what else one should know."""

    metric: str
    value: float | None
    low: float | None
    high: float | None
    note: str


@dataclass(frozen=True)
class Evaluation:
    """What ``evaluate`` found; ``notes`` are sentences that belong beneath the table."""

    run: str
    truth: str
    photos: int  # with a score
    normal: int
    defective: int
    kinds: dict[str, int]  # folder name or label -> scored photos
    without_truth: int  # scored photos that enter no metric
    pixel_photos: int  # photos that enter the pixel metrics
    resamples: int
    seed: int
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Photo:
    """A line of results.csv. ``score`` is None for an unreadable photo."""

    path: str
    score: float | None
    size: tuple[int, int] | None  # width, height


def evaluate(
    run: Path, truth: Path, *, resamples: int = 1000, seed: int = 0, progress: Progress | None = None
) -> Evaluation:
    """Compare a finished run with the truth: image and pixel AUROC, AP, F1-max, and both PRO variants.

    ``truth``: an MVTec-like tree or a CSV file, see ``inputs.truth``. ``resamples``: bootstrap resamples of
    the photos for the intervals, 0 for none. ``progress`` hears of two stages, a step a map. Undefined
    metrics have no value and say why. Raises ``InputError`` if ``run`` is no finished run, for a damaged map
    or mask, and as ``read_truth``.
    """
    photos = _read_run(run)
    truths = read_truth(truth, [photo.path for photo in photos])
    scored = [photo for photo in photos if photo.score is not None]
    known = [photo for photo in scored if photo.path in truths]
    image_rows = _image_rows(known, truths, resamples, seed)
    pixel_rows, pixel_photos, pixel_notes = _pixels(
        run, known, truths, resamples=resamples, seed=seed, progress=progress
    )
    kinds = Counter(truths[photo.path].kind for photo in known)
    defective = sum(truths[photo.path].label for photo in known)
    return Evaluation(
        run=str(run),
        truth=str(truth),
        photos=len(scored),
        normal=len(known) - defective,
        defective=defective,
        kinds=dict(sorted(kinds.items())),
        without_truth=len(scored) - len(known),
        pixel_photos=pixel_photos,
        resamples=resamples,
        seed=seed,
        rows=(*image_rows, *pixel_rows),
        notes=(*_coverage_notes(photos, truths, defective if resamples else 0), *pixel_notes),
    )


def _read_run(run: Path) -> list[_Photo]:
    require_photos(read_manifest(run), run, "evaluated")
    try:
        with (run / "results.csv").open(encoding="utf-8-sig", newline="") as file:
            # in the order of names, so that resamples do not depend on the ranking
            return sorted((_photo(line) for line in csv.DictReader(file)), key=lambda photo: photo.path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"The run in {run} is damaged ({error}). Scan the photos again.") from error


def _photo(line: Mapping[str, str]) -> _Photo:
    sized = line["width"] and line["height"]
    return _Photo(
        path=line["path"],
        score=float(line["score"]) if line["status"] == "ok" else None,
        size=(int(line["width"]), int(line["height"])) if sized else None,
    )


def _coverage_notes(photos: Sequence[_Photo], truths: Mapping[str, Truth], resampled: int) -> Iterator[str]:
    """``resampled``: defective photos behind the intervals; 0 if there are none."""
    strangers = [photo.path for photo in photos if photo.score is not None and photo.path not in truths]
    unread = [photo.path for photo in photos if photo.score is None and photo.path in truths]
    if strangers:
        yield f"{_count(strangers, 'photo')} without a truth left out, for example {strangers[0]}."
    if unread:
        yield f"{_count(unread, 'photo')} with a truth were unreadable to the scan, for example {unread[0]}."
    if 0 < resampled < 10:
        yield f"Only {resampled} defective: every interval is rough, rather too narrow than too wide."


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def _f1_max_of(counts: Counts) -> float:
    return f1_max_of(counts)[0]


def _image_rows(known: Sequence[_Photo], truths: Mapping[str, Truth], resamples: int, seed: int) -> tuple[Row, ...]:
    scores = np.array([photo.score for photo in known], dtype=np.float64)
    labels = [truths[photo.path].label for photo in known]
    metrics: dict[str, Callable[[RankCounts], float]] = {
        "image AUROC": auroc_of,
        "image AP": average_precision_of,
        "image F1-max": _f1_max_of,
    }
    intervals = image_intervals(scores, labels, metrics, resamples=resamples, seed=seed)
    return _rows(rank_counts(scores, labels), metrics, intervals, resamples)


PIXEL_METRICS: dict[str, Callable[[PixelCounts], float]] = {
    "pixel AUROC": auroc_of,
    "pixel AP": average_precision_of,
    "pixel F1-max": _f1_max_of,
    "PRO (MuSc)": pro_musc_of,
    "PRO (MVTec)": pro_mvtec_of,
}


def _rows(
    counts: _C,
    metrics: Mapping[str, Callable[[_C], float]],
    intervals: Mapping[str, Interval],
    resamples: int,
) -> tuple[Row, ...]:
    rows = []
    for name, metric in metrics.items():
        try:
            value = metric(counts)
        except Undefined as reason:
            rows.append(Row(name, None, None, None, f"undefined: {reason}"))
            continue
        interval = intervals[name]
        notes = [_meaning(name, counts)]
        if interval.undefined:
            notes.append(f"undefined in {interval.undefined} of {resamples} resamples, which were skipped")
        rows.append(Row(name, value, interval.low, interval.high, "; ".join(filter(None, notes))))
    return tuple(rows)


def _meaning(name: str, counts: Counts) -> str:
    if name.endswith("F1-max"):
        return f"the labels chose the threshold ({f1_max_of(counts)[1]:.4g}): an upper bound"
    if name == "PRO (MuSc)":
        return "200 equidistant thresholds, FPR < 0.3 stretched to 1; depends on the scale of the scores"
    if name == "PRO (MVTec)":
        return "exact curve up to FPR 0.3"
    return ""


def _pixels(
    run: Path,
    known: Sequence[_Photo],
    truths: Mapping[str, Truth],
    *,
    resamples: int,
    seed: int,
    progress: Progress | None,
) -> tuple[tuple[Row, ...], int, list[str]]:
    """The pixel rows, the number of photos behind them, and notes."""
    mapped = [photo for photo in known if _map_file(run, photo).is_file()]
    usable = [photo for photo in mapped if not truths[photo.path].label or truths[photo.path].mask]
    if known and not mapped:
        return _skipped("the run has no anomaly maps"), 0, ["No pixel metrics: scanned with --maps none."]
    notes = _left_out_notes(known, mapped, usable)
    if not any(truths[photo.path].label for photo in usable):
        return _skipped("no defective photo with a mask"), 0, notes

    progress = progress or Silent()
    spread, odd, blank = Spread(), set(), set()
    with progress.stage("surveying maps", len(usable)) as advance:
        for photo, anomaly_map, drawn in _pairs(run, usable, truths, advance):
            if truths[photo.path].label and not drawn.any():
                blank.add(photo.path)
                continue
            if truths[photo.path].label and _aspect_differs(drawn, photo):
                odd.add(photo.path)
            spread = survey(spread, anomaly_map, fit_mask(drawn, anomaly_map.shape))
    notes += _mask_notes(sorted(odd), sorted(blank))
    counted = [photo for photo in usable if photo.path not in blank]
    if not counted:
        return _skipped("every mask is empty"), 0, notes
    cut = bins(spread)
    pooled, row_bins, rows = empty(cut), cut, []
    with progress.stage("counting pixels", len(counted)) as advance:
        for _, anomaly_map, drawn in _pairs(run, counted, truths, advance):
            counts = update(empty(cut), anomaly_map, fit_mask(drawn, anomaly_map.shape))
            pooled += counts
            row_bins, row = row_of(counts)
            rows.append(row)
    intervals = pixel_intervals(row_bins, np.stack(rows), PIXEL_METRICS, resamples=resamples, seed=seed)
    return _rows(pooled, PIXEL_METRICS, intervals, resamples), len(rows), notes


def _pairs(
    run: Path, photos: Sequence[_Photo], truths: Mapping[str, Truth], advance: Advance
) -> Iterator[tuple[_Photo, Float32, Mask]]:
    """Each photo with its anomaly map ``(H, W)`` and its mask as drawn, which may have another size."""
    for photo in photos:
        anomaly_map = _read_map(_map_file(run, photo))
        file = truths[photo.path].mask
        yield photo, anomaly_map, read_mask(file) if file else np.zeros(anomaly_map.shape, dtype=np.bool_)
        advance(1)


def _map_file(run: Path, photo: _Photo) -> Path:
    return beside(run / "maps", photo.path, ".tif")


def _read_map(file: Path) -> Float32:
    import tifffile

    try:
        anomaly_map = np.asarray(tifffile.imread(file), dtype=np.float32)
    except (OSError, ValueError, tifffile.TiffFileError) as error:
        raise InputError(f"The anomaly map {file} cannot be read ({error}). Scan the photos again.") from error
    if anomaly_map.ndim != 2 or not np.isfinite(anomaly_map).all():
        raise InputError(f"{file} is not an anomaly map: it needs (H, W) finite values. Scan the photos again.")
    return anomaly_map


def _aspect_differs(drawn: Mask, photo: _Photo) -> bool:
    if photo.size is None:
        return False
    (height, width), (photo_width, photo_height) = drawn.shape, photo.size
    return bool(abs(width * photo_height / (height * photo_width) - 1) > ASPECT_TOLERANCE)


def _skipped(reason: str) -> tuple[Row, ...]:
    return tuple(Row(name, None, None, None, f"skipped: {reason}") for name in PIXEL_METRICS)


def _left_out_notes(known: Sequence[_Photo], mapped: Sequence[_Photo], usable: Sequence[_Photo]) -> list[str]:
    notes, has_map, in_use = [], set(mapped), set(usable)
    if mapless := [photo.path for photo in known if photo not in has_map]:
        notes.append(f"Pixel metrics leave out {_count(mapless, 'photo')} without a map: {mapless[0]}.")
    if maskless := [photo.path for photo in mapped if photo not in in_use]:
        notes.append(
            f"Pixel metrics leave out {_count(maskless, 'defective photo')} without a mask, for example {maskless[0]}."
        )
    return notes


def _mask_notes(odd: Sequence[str], blank: Sequence[str]) -> list[str]:
    notes = ["Masks: every pixel above 0 is defective, resized to the map (at least half of a pixel's area)."]
    if blank:
        notes.append(
            f"Pixel metrics leave out {_count(blank, 'defective photo')} whose mask is empty, for example {blank[0]}."
        )
    if odd:
        notes.append(
            f"{_count(odd, 'mask')} of another shape than the photo, stretched to fit; "
            f"check for example that of {odd[0]}."
        )
    return notes
