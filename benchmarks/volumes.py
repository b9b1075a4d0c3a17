"""Brain volumes: made-up lesions in healthy T1 brains, tumours in FLAIR; published 16^3 tokens beside ours.

    BLEMISH_DATA=../shared/data python benchmarks/volumes.py [lesions|recurring|flair|cost] > benchmarks/volumes.md

Every figure is of ``blemish.scan`` on a folder of files, as a user's. One lesion lies in each brain of one half, then
of the other half, and again with other lesions; figures are means over these batches, but detection, which is pooled.
``--seeds 0,1`` are the rounds that settings were chosen on; the others are reported.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt

from batches import data_folder
from blemish.config import FamilyConfig, ScanConfig, VolumeConfig
from blemish.metrics.ranking import auroc, auroc_of, average_precision_of
from blemish.metrics.volumes import Candidates, best_dice, candidates, detection_rate, voxel_counts
from blemish.result import Result
from blemish.scanning import scan
from volumes_batches import Brain, Case, a_third, halves, healthy, write
from volumes_cost import cost
from volumes_flair import flair

SIZES = (8, 12, 16, 20)
PUBLISHED = VolumeConfig(grid=16, radius=-1, places=False)
OURS = VolumeConfig()
SETTINGS = {
    "16^3, anywhere (published)": PUBLISHED,
    "16^3, ours otherwise": replace(OURS, grid=16),
    "32^3, anywhere": replace(OURS, radius=-1, places=False),
    "32^3, within 2 cells": replace(OURS, places=False),
    "default, --grey both": replace(OURS, grey="both"),
    "default, --align affine": replace(OURS, align="affine"),
    "32^3, within 2 cells, weighed by place (default)": OURS,
}
COLUMNS = ("voxel AUROC", "voxel AP", "best Dice", "Dice of the masks", "found at 1 false a volume")
COLUMNS += ("found by the masks", "false regions a volume", "patient AUROC")


@dataclass(frozen=True)
class Judged:
    """One scan against its truth. ``found``: by volume. ``marked``: lesions that a mask touches; ``lesions`` of all;
    ``false``: regions of masks that touch none, a volume."""

    auroc: float
    ap: float
    best_dice: float
    mask_dice: float
    patients: float
    found: list[Candidates]
    marked: int
    lesions: int
    false: float


def scanned(case: Case, config: ScanConfig) -> Result:
    with tempfile.TemporaryDirectory() as scratch:
        write(case, Path(scratch, "brains"))
        result = scan(Path(scratch, "brains"), config)
        return replace(result, keep={})


@dataclass(frozen=True)
class View:
    """What a scan says of one volume, on its own voxels: its map, its mask (empty if it is called ok), its score."""

    map: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]
    score: float


def views(result: Result) -> dict[str, View]:
    volumes = result.volumes
    assert volumes is not None and result.judgement is not None
    level = result.judgement.pixel_threshold
    found = {}
    for grid, photo in zip(result.grids, result.scored, strict=True):
        native, marked = volumes.by_path[photo.path], photo.verdict != "ok"
        scores = native.scores(grid)
        mask = native.mask(grid, level) if marked else np.zeros(scores.shape, np.bool_)
        found[photo.path] = View(scores, mask, float(photo.score or 0))
    return found


def judged(case: Case, seen: Mapping[str, View]) -> Judged:
    """``seen``: by file name."""
    own = [seen[brain.file] for brain in case.batch]
    maps, masks, inside = [v.map for v in own], [v.mask for v in own], [brain.inside for brain in case.batch]
    counts = voxel_counts(maps, case.masks, inside)
    overlap = sum(int((mask & truth).sum()) for mask, truth in zip(masks, case.masks, strict=True))
    size = sum(int(mask.sum()) for mask in (*masks, *case.masks))
    touched, false = _regions(masks, case.masks)
    sick = [bool(mask.any()) for mask in case.masks]
    return Judged(
        auroc=auroc_of(counts),
        ap=average_precision_of(counts),
        best_dice=best_dice(counts)[0],
        mask_dice=2 * overlap / size,
        patients=auroc([v.score for v in own], sick),
        found=[candidates(m, t, b) for m, t, b in zip(maps, case.masks, inside, strict=True)],
        marked=touched,
        lesions=sum(sick),
        false=false / len(masks),
    )


def _regions(masks: Sequence[npt.NDArray[np.bool_]], truths: Sequence[npt.NDArray[np.bool_]]) -> tuple[int, int]:
    """How many lesions (one a volume) a mask touches, and how many regions of masks touch none."""
    from scipy import ndimage

    touched = false = 0
    for mask, truth in zip(masks, truths, strict=True):
        regions, count = ndimage.label(mask, np.ones((3, 3, 3)))
        right = np.unique(regions[truth & (regions > 0)])
        touched += bool(right.size)
        false += count - right.size
    return touched, false


def row(name: str, judgements: Sequence[Judged]) -> str:
    mean = np.mean([[j.auroc, j.ap, j.best_dice, j.mask_dice, j.patients, j.false] for j in judgements], axis=0)
    lesions = sum(j.lesions for j in judgements)
    detected = detection_rate([one for j in judgements for one in j.found])
    marked = sum(j.marked for j in judgements) / lesions
    return (
        f"| {name} | {lesions} | {mean[0]:.3f} | {mean[1]:.3f} | {mean[2]:.3f} | {mean[3]:.3f} | {detected:.2f} | "
        f"{marked:.2f} | {mean[5]:.2f} | {mean[4]:.2f} |"
    )


def header(first: str) -> str:
    columns = (first, "lesions", *COLUMNS)
    return f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|"


def lesions(folder: Path, seeds: Sequence[int], sizes: Sequence[int], names: Iterable[str]) -> None:
    brains = healthy(folder)
    print(f"\n## Made-up lesions in {len(brains)} healthy brains, one in each of half of them\n")
    print(header("across, setting"))
    families, batches = 0, 0
    for across in sizes:
        found: dict[str, list[Judged]] = {name: [] for name in names}
        for case in halves(brains, across, seeds):
            for name in names:
                result = scanned(case, ScanConfig(volumes=SETTINGS[name]))
                found[name].append(judged(case, views(result)))
                families, batches = families + len(result.families), batches + 1
        for name in names:
            print(row(f"{across}, {name}", found[name]), flush=True)
    print(f"\nFamilies in these {batches} scans, where nothing recurs: {families}")


def recurring(folder: Path, seeds: Sequence[int], sizes: Sequence[int], name: str) -> None:
    """What mutual scoring loses where a lesion recurs, and what families bring back. "Alone" is the same lesions, each
    scanned in a batch where no other brain has it."""
    brains = healthy(folder)
    print(f"\n## The same lesion in a third of the brains, {name}\n")
    print(header("across, lesions"))
    kinds = ("alone", "recurring, --families off", "recurring, families (default)")
    for across in sizes:
        found: dict[str, list[Judged]] = {kind: [] for kind in kinds}
        hits, extra = 0, 0
        for seed in seeds:
            case = a_third(brains, across, seed)
            alone, off, auto = kinds
            plain = ScanConfig(volumes=SETTINGS[name], families=FamilyConfig(rule="off"))
            found[alone].append(judged(case, _each_alone(case, brains, plain)))
            found[off].append(judged(case, views(scanned(case, plain))))
            result = scanned(case, ScanConfig(volumes=SETTINGS[name]))
            found[auto].append(judged(case, views(result)))
            carriers = {brain.file for brain, mask in zip(case.batch, case.masks, strict=True) if mask.any()}
            true = [family for family in result.families if len(carriers & set(family.paths)) >= len(carriers) - 1]
            hits, extra = hits + bool(true), extra + len(result.families) - len(true)
        for kind in kinds:
            print(row(f"{across}, {kind}", found[kind]), flush=True)
        each = [[one.ap for one in found[kind]] for kind in kinds]
        lost, back = np.subtract(each[0], each[1]), np.subtract(each[2], each[1])
        print(
            f"\n{across}: AP lost {lost.mean():.3f}, brought back {back.mean():.3f} ({back.sum() / lost.sum():.0%}); "
            f"the family found in {hits} of {len(seeds)} batches, {extra} others. By batch, lost and brought back: "
            f"{'; '.join(f'{a:.2f} {b:.2f}' for a, b in zip(lost, back, strict=True))}.\n"
        )


def _each_alone(case: Case, brains: Sequence[Brain], config: ScanConfig) -> dict[str, View]:
    """Every carrier as it looks where it is the only one; the healthy brains beside the first of them."""
    seen: dict[str, View] = {}
    for at, mask in enumerate(case.masks):
        if mask.any():
            one = Case(list(brains), [np.zeros_like(other) for other in case.masks])
            one.batch[at], one.masks[at] = case.batch[at], mask
            now = views(scanned(one, config))
            seen = {**now, **seen, case.batch[at].file: now[case.batch[at].file]}
    return seen


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("part", nargs="?", choices=("lesions", "recurring", "flair", "cost"))
    parser.add_argument("--seeds", default="2,3,4,5")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--settings", default="", help="some of: " + "; ".join(SETTINGS))
    options = parser.parse_args()
    folder = data_folder()
    if folder is None:
        sys.exit("Set BLEMISH_DATA to the folder of real sets.")
    print(f"# Volumes\n\n{date.today()}, `BLEMISH_DATA=../shared/data python benchmarks/volumes.py`.")
    seeds, sizes = ([int(one) for one in text.split(",")] for text in (options.seeds, options.sizes))
    names = [name.strip() for name in options.settings.split(";")] if options.settings else list(SETTINGS)
    if options.part in (None, "lesions"):
        lesions(folder / "brain_t1_healthy", seeds, sizes, names)
    if options.part in (None, "recurring"):
        recurring(folder / "brain_t1_healthy", seeds, sizes[-2:], names[-1])
    if options.part in (None, "flair"):
        flair(folder / "brain_flair_glioma")
    if options.part in (None, "cost"):
        cost(folder / "brain_t1_healthy")


if __name__ == "__main__":
    main()
