"""Brain volumes: made-up lesions in healthy T1 brains, tumours in FLAIR; published 16^3 tokens beside ours.

    BLEMISH_DATA=../shared/data python benchmarks/volumes.py [lesions|recurring|flair|cost] > benchmarks/volumes.md

Every figure is of ``blemish.scan`` on a folder of files, as a user's. One lesion lies in each brain of one half, then of
the other half, and again with other lesions; figures are means over these batches, but detection, which is pooled.
``--seeds 0,1`` are the rounds that settings were chosen on; the others are reported.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np

from batches import data_folder
from blemish.config import FamilyConfig, ScanConfig, VolumeConfig
from blemish.metrics.ranking import auroc, auroc_of, average_precision_of
from blemish.metrics.volumes import Candidates, best_dice, candidates, detection_rate, voxel_counts
from blemish.result import Result
from blemish.scanning import scan
from volumes_batches import Case, a_third, halves, healthy, write
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


def judged(case: Case, result: Result) -> Judged:
    """Maps and masks on the volumes' own voxels, inside the brains."""
    volumes = result.volumes
    assert volumes is not None and result.judgement is not None
    level = result.judgement.pixel_threshold
    rows = {photo.path: (row, photo) for row, photo in enumerate(result.scored)}
    maps, masks, scores = [], [], []
    for brain in case.batch:
        row, photo = rows[brain.name.removesuffix(".gz")]
        native = volumes.by_path[photo.path]
        maps.append(native.scores(result.grids[row]))
        marked = photo.verdict != "ok"
        masks.append(native.mask(result.grids[row], level) if marked else np.zeros(maps[-1].shape, np.bool_))
        scores.append(float(photo.score or 0))
    inside = [brain.inside for brain in case.batch]
    counts = voxel_counts(maps, case.masks, inside)
    found = [candidates(m, t, b) for m, t, b in zip(maps, case.masks, inside, strict=True)]
    overlap = sum(int((mask & truth).sum()) for mask, truth in zip(masks, case.masks, strict=True))
    size = sum(int(mask.sum()) for mask in (*masks, *case.masks))
    touched, false = _regions(masks, case.masks)
    return Judged(
        auroc_of(counts),
        average_precision_of(counts),
        best_dice(counts)[0],
        2 * overlap / size,
        auroc(scores, [bool(mask.any()) for mask in case.masks]),
        found,
        touched,
        sum(bool(mask.any()) for mask in case.masks),
        false / len(masks),
    )


def _regions(masks: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> tuple[int, int]:
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
    found: dict[tuple[int, str], list[Judged]] = {(size, name): [] for size in sizes for name in names}
    for across in sizes:
        for case in halves(brains, across, seeds):
            for name in names:
                found[across, name].append(judged(case, scanned(case, ScanConfig(volumes=SETTINGS[name]))))
        for name in names:
            print(row(f"{across}, {name}", found[across, name]), flush=True)


def recurring(folder: Path, seeds: Sequence[int], sizes: Sequence[int], name: str) -> None:
    """What mutual scoring loses where lesions recur, and what families bring back."""
    brains = healthy(folder)
    print(f"\n## A third of the brains with a lesion, {name}\n")
    print(header("across, lesions, families"))
    for across in sizes:
        found: dict[tuple[str, str], list[Judged]] = {}
        for seed in seeds:
            for kind in ("sporadic", "recurring"):
                case = a_third(brains, across, seed, recurring=kind == "recurring")
                for rule in ("off", "auto"):
                    config = ScanConfig(volumes=SETTINGS[name], families=FamilyConfig(rule=rule))
                    found.setdefault((kind, rule), []).append(judged(case, scanned(case, config)))
        for (kind, rule), judgements in found.items():
            print(row(f"{across}, {kind}, {rule}", judgements), flush=True)
        ap = {key: float(np.mean([one.ap for one in judgements])) for key, judgements in found.items()}
        lost = ap["sporadic", "off"] - ap["recurring", "off"]
        back = ap["recurring", "auto"] - ap["recurring", "off"]
        print(f"\nAP lost at {across}: {lost:.3f}; brought back by families: {back:.3f} ({back / lost:.0%})\n")


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
