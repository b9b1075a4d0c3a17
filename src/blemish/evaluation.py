"""How good a finished run was, given the truth about its photos.

It reads a run folder (``run.json``, ``results.csv``, ``maps/``) and a truth, and returns a table of metrics
with 95 % intervals. It computes nothing about the photos themselves and writes no file. Maps are read one at
a time, twice; what is kept per photo is a row of counts of 27 KB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blemish import volume_evaluation
from blemish.errors import InputError
from blemish.evaluation_table import (
    Evaluation,
    Row,
    Scored,
    counted,
    coverage_notes,
    f1_max,
    metric_rows,
    read_scored,
    score_rows,
)
from blemish.inputs.truth import Truth, fit_mask, read_mask, read_truth
from blemish.metrics.intervals import pixel_intervals, row_of
from blemish.metrics.pixels import PixelCounts, Spread, bins, empty, survey, update
from blemish.metrics.pro import pro_musc_of, pro_mvtec_of
from blemish.metrics.ranking import auroc_of, average_precision_of
from blemish.progress import Advance, Progress, Silent
from blemish.run_folder import of_volumes, read_manifest
from blemish.sinks.names import beside

__all__ = ["Evaluation", "Row", "evaluate"]

ASPECT_TOLERANCE = 0.02  # a mask whose width / height differs more than this from its photo's is reported

Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def evaluate(
    run: Path, truth: Path, *, resamples: int = 1000, seed: int = 0, progress: Progress | None = None
) -> Evaluation:
    """Compare a finished run with the truth: image and pixel AUROC, AP, F1-max, and both PRO variants.

    ``truth``: an MVTec-like tree or a CSV file, see ``inputs.truth``. ``resamples``: bootstrap resamples of
    the photos for the intervals, 0 for none. ``progress`` hears of two stages, a step a map. Undefined
    metrics have no value and say why. Of volumes: patient and voxel metrics, Dice and lesions, from a folder of NIfTI
    masks or a CSV file, see ``inputs.volume_truth``. Raises ``InputError`` if ``run`` is no finished run, for a damaged
    map or mask, and as ``read_truth``.
    """
    manifest = read_manifest(run)
    photos = read_scored(run)
    scored = [photo for photo in photos if photo.score is not None]
    if of_volumes(manifest):
        unit, natives = "volume", volume_evaluation.natives_of(run, scored)
        truths = volume_evaluation.truths_of(truth, natives)
        known = [photo for photo in scored if photo.path in truths]
        rows = score_rows(known, truths, resamples, seed, "patient")
        counted_rows, counted_photos, notes = volume_evaluation.voxels(
            run, known, truths, natives, resamples=resamples, seed=seed, progress=progress or Silent()
        )
    else:
        unit, truths = "photo", read_truth(truth, [photo.path for photo in photos])
        known = [photo for photo in scored if photo.path in truths]
        rows = score_rows(known, truths, resamples, seed)
        counted_rows, counted_photos, notes = _pixels(
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
        pixel_photos=counted_photos,
        resamples=resamples,
        seed=seed,
        rows=(*rows, *counted_rows),
        notes=(*coverage_notes(photos, truths, defective if resamples else 0, unit), *notes),
    )


PIXEL_METRICS: dict[str, Callable[[PixelCounts], float]] = {
    "pixel AUROC": auroc_of,
    "pixel AP": average_precision_of,
    "pixel F1-max": f1_max,
    "PRO (MuSc)": pro_musc_of,
    "PRO (MVTec)": pro_mvtec_of,
}


def _pixels(
    run: Path,
    known: Sequence[Scored],
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
    return metric_rows(pooled, PIXEL_METRICS, intervals, resamples), len(rows), notes


def _pairs(
    run: Path, photos: Sequence[Scored], truths: Mapping[str, Truth], advance: Advance
) -> Iterator[tuple[Scored, Float32, Mask]]:
    """Each photo with its anomaly map ``(H, W)`` and its mask as drawn, which may have another size."""
    for photo in photos:
        anomaly_map = _read_map(_map_file(run, photo))
        file = truths[photo.path].mask
        yield photo, anomaly_map, read_mask(file) if file else np.zeros(anomaly_map.shape, dtype=np.bool_)
        advance(1)


def _map_file(run: Path, photo: Scored) -> Path:
    return beside(run / "maps", photo.path, ".tif")


def _read_map(file: Path) -> Float32:
    import tifffile

    try:
        anomaly_map = np.asarray(tifffile.imread(file), dtype=np.float32)
    except (OSError, ValueError, tifffile.TiffFileError) as error:
        raise InputError(f"The anomaly map {file} cannot be read ({error}). Scan again.") from error
    if anomaly_map.ndim != 2 or not np.isfinite(anomaly_map).all():
        raise InputError(f"{file} is not an anomaly map: it needs (H, W) finite values. Scan again.")
    return anomaly_map


def _aspect_differs(drawn: Mask, photo: Scored) -> bool:
    if photo.size is None:
        return False
    (height, width), (photo_width, photo_height) = drawn.shape, photo.size
    return bool(abs(width * photo_height / (height * photo_width) - 1) > ASPECT_TOLERANCE)


def _skipped(reason: str) -> tuple[Row, ...]:
    return tuple(Row(name, None, None, None, f"skipped: {reason}") for name in PIXEL_METRICS)


def _left_out_notes(known: Sequence[Scored], mapped: Sequence[Scored], usable: Sequence[Scored]) -> list[str]:
    notes, has_map, in_use = [], set(mapped), set(usable)
    if mapless := [photo.path for photo in known if photo not in has_map]:
        notes.append(f"Pixel metrics leave out {counted(mapless, 'photo')} without a map: {mapless[0]}.")
    if maskless := [photo.path for photo in mapped if photo not in in_use]:
        notes.append(
            f"Pixel metrics leave out {counted(maskless, 'defective photo')} without a mask, for example {maskless[0]}."
        )
    return notes


def _mask_notes(odd: Sequence[str], blank: Sequence[str]) -> list[str]:
    notes = ["Masks: every pixel above 0 is defective, resized to the map (at least half of a pixel's area)."]
    if blank:
        notes.append(
            f"Pixel metrics leave out {counted(blank, 'defective photo')} whose mask is empty, for example {blank[0]}."
        )
    if odd:
        notes.append(
            f"{counted(odd, 'mask')} of another shape than the photo, stretched to fit; "
            f"check for example that of {odd[0]}."
        )
    return notes
