"""How well the maps and masks of a run of volumes fit masks of lesions: voxels, Dice, lesions found and false ones.

Everything is judged on each volume's own voxels inside its brain, since the dark around it is easy. Volumes are looked
at one at a time: their maps twice, their masks once more before, to learn which can be used. It knows a finished run
and truths; scores of whole volumes are ``evaluation_table``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blemish import verdict_file, volume_file
from blemish.errors import InputError, UnreadablePhoto
from blemish.evaluation_table import Row, Scored, counted, f1_max, metric_rows
from blemish.inputs.truth import Truth
from blemish.inputs.volume_truth import read_volume_truth
from blemish.inputs.volumes import read_mask_on
from blemish.metrics.intervals import pixel_intervals, row_of
from blemish.metrics.pixels import PixelCounts, Spread, bins, empty, survey, update
from blemish.metrics.ranking import Undefined, auroc_of, average_precision_of
from blemish.metrics.volumes import Agreement, Candidates, agreement, candidates, detection_rate
from blemish.paths import RUN_VERDICT, RUN_VOLUMES
from blemish.progress import Progress
from blemish.run import read_rows
from blemish.volume_space import Native

__all__ = ["natives_of", "truths_of", "voxels"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

VOXEL_METRICS: dict[str, Callable[[PixelCounts], float]] = {
    "voxel AUROC": auroc_of,
    "voxel AP": average_precision_of,
    "best Dice": f1_max,
}
AT_VERDICT = ("Dice at the verdict", "lesions found at the verdict", "false regions a volume")
FROC = "lesions found at 1 false peak a volume"


def natives_of(run: Path, scored: Sequence[Scored]) -> dict[str, Native]:
    """Path -> where the volume lies. Raises ``InputError`` if the run was damaged."""
    natives = dict(volume_file.read(run / RUN_VOLUMES).by_path)
    if not {one.path for one in scored} <= natives.keys():
        raise InputError(f"{str(run / RUN_VOLUMES)!r} does not fit the run. Scan the volumes again.")
    return natives


def truths_of(truth: Path, natives: Mapping[str, Native]) -> dict[str, Truth]:
    """See ``read_volume_truth``."""
    return read_volume_truth(truth, [one.file for one in natives.values()])


def voxels(
    run: Path,
    known: Sequence[Scored],
    truths: Mapping[str, Truth],
    natives: Mapping[str, Native],
    *,
    resamples: int,
    seed: int,
    progress: Progress,
) -> tuple[tuple[Row, ...], int, list[str]]:
    """Rows on voxels and lesions, the number of volumes behind them, and notes. Maps are those of the run's verdict, so
    one that was scanned with --maps none has them, too. Raises ``InputError`` if the run was damaged."""
    kept = verdict_file.read(run / RUN_VERDICT)
    row_of_path = {photo.path: at for at, photo in enumerate(read_rows(run)) if photo.status == "ok"}
    if len(row_of_path) != len(kept.grids):
        raise InputError(f"{str(run / RUN_VERDICT)!r} does not fit the run. Scan the volumes again.")
    drawn, notes = _drawn(known, truths, natives)
    if not any(truths[one.path].label for one in drawn):
        reason = "skipped: no volume with a lesion has a mask"
        return tuple(Row(name, None, None, None, reason) for name in (*VOXEL_METRICS, *AT_VERDICT, FROC)), 0, notes

    def maps() -> Iterator[tuple[Scored, Native, Float32, Float32, Bools]]:
        for one in drawn:
            native, grid = natives[one.path], np.asarray(kept.grids[row_of_path[one.path]])
            yield one, native, grid, native.scores(grid), _mask(truths[one.path], native)

    spread, agreed, peaks = Spread(), [], []
    with progress.stage("comparing with the truth", len(drawn)) as advance:
        for one, native, grid, scores, truth in maps():
            brain = native.brain
            spread = survey(spread, scores[brain][None], truth[brain][None])
            marked = native.mask(grid, kept.level) if one.verdict in ("blemished", "unsure") else np.zeros_like(truth)
            agreed.append(agreement(marked, truth & brain))
            peaks.append(candidates(scores, truth & brain, brain))
            advance(1)
    cut = bins(spread)
    pooled, row_bins, rows = empty(cut), cut, []
    with progress.stage("counting voxels", len(drawn)) as advance:
        for _, native, _, scores, truth in maps():
            counts = update(empty(cut), scores[native.brain][None], truth[native.brain][None])
            pooled += counts
            row_bins, row = row_of(counts)
            rows.append(row)
            advance(1)
    intervals = pixel_intervals(row_bins, np.stack(rows), VOXEL_METRICS, resamples=resamples, seed=seed)
    notes.append("Voxels are judged on each volume's own grid, inside its brain; masks count above 0.")
    found = (*metric_rows(pooled, VOXEL_METRICS, intervals, resamples), *_at_verdict(agreed), _froc(peaks))
    return found, len(drawn), notes


def _drawn(
    known: Sequence[Scored], truths: Mapping[str, Truth], natives: Mapping[str, Native]
) -> tuple[list[Scored], list[str]]:
    """The volumes whose lesions are known voxel by voxel, and why the others are left out."""
    usable, without, outside, odd = [], [], [], []
    for one in known:
        if truths[one.path].label and truths[one.path].mask is None:
            without.append(one)
            continue
        try:
            mask = _mask(truths[one.path], natives[one.path])
        except UnreadablePhoto as reason:
            odd.append(f"{one.path} ({reason})")
            continue
        if truths[one.path].label and not mask.any():
            without.append(one)
            continue
        if truths[one.path].label and not (mask & natives[one.path].brain).any():
            outside.append(one)
            continue
        usable.append(one)
    notes = []
    if without:
        notes.append(
            f"Voxel metrics leave out {counted(without, 'volume')} with a lesion but no mask or an empty one, for "
            f"example {without[0].path}."
        )
    if outside:
        notes.append(
            f"Voxel metrics leave out {counted(outside, 'volume')} whose lesions lie outside of the brain as it was "
            f"found, for example {outside[0].path}."
        )
    if odd:
        notes.append(f"Voxel metrics leave out {counted(odd, 'volume')} whose mask does not fit: {odd[0]}.")
    return usable, notes


def _mask(truth: Truth, native: Native) -> Bools:
    """Raises ``UnreadablePhoto``."""
    if truth.mask is None or not truth.label:
        return np.zeros(native.geometry.ras_shape, np.bool_)
    return read_mask_on(truth.mask, native.geometry)


def _at_verdict(agreed: Sequence[Agreement]) -> Iterator[Row]:
    """Of the masks as they stand, those of unsure volumes too: a threshold of the verdict's own, no truth has chosen
    it."""
    marked, drawn, both = (sum(getattr(one, name) for one in agreed) for name in ("marked", "drawn", "both"))
    each = [2 * one.both / (one.marked + one.drawn) for one in agreed if one.drawn]
    dice, found, false = AT_VERDICT
    mean = f"voxels pooled; mean of the volumes {np.mean(each):.3f}" if each else ""
    yield _share(dice, 2 * both, marked + drawn, mean)
    lesions, hit = sum(one.lesions for one in agreed), sum(one.found for one in agreed)
    yield _share(found, hit, lesions, f"{hit} of {lesions} touch the mask")
    strays = sum(one.false for one in agreed)
    yield _share(false, strays, len(agreed), f"{strays} pieces of masks touch no lesion")


def _share(metric: str, part: int, whole: int, note: str) -> Row:
    if not whole:
        return Row(metric, None, None, None, "undefined: neither the masks nor the truth hold anything")
    return Row(metric, part / whole, None, None, note)


def _froc(peaks: Sequence[Candidates]) -> Row:
    try:
        rate = detection_rate(peaks)
    except Undefined as reason:
        return Row(FROC, None, None, None, f"undefined: {reason}")
    return Row(FROC, rate, None, None, "the truth chose the threshold: an upper bound")
