"""Where on a photo: rules for the extent of regions, refined edges, and whether severity ranks graded flaws.

    BLEMISH_DATA=../shared/data python benchmarks/regions.py FOLDER > benchmarks/regions.md

FOLDER keeps the pools of photos (two GB), which take ten minutes to build; the rest takes two.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from scipy.stats import kendalltau

from blemish.result import upsample
from blemish.scoring.mutual import msm, neighbours
from blemish.verdict.regions import mask_of, pixel_threshold, regions_of
from regions_pools import GRADED, GRADED_GOOD, REPORTED, SELECTION, SERIES, get_pool, graded_rows
from regions_refine import refined
from regions_rules import OURS, RULES, TOUCHING, Batch, Rule, changed

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]


def overlaps(masks: list[Bools], truth: list[Bools]) -> tuple[float, float]:
    """Mean IoU over photos, and F1 of all their pixels together."""
    both = np.array([(mask & true).sum() for mask, true in zip(masks, truth, strict=True)])
    sizes = np.array([mask.sum() + true.sum() for mask, true in zip(masks, truth, strict=True)])
    return float(np.mean(both / (sizes - both))), float(2 * both.sum() / sizes.sum())


def oracle(batch: Batch) -> tuple[float, float]:
    """The best one level that masks could choose, for IoU and for F1."""
    values = [upsample(batch.grids[row], batch.shape) for row in batch.bad]
    truth = [batch.truth[row] for row in batch.bad]
    found = [overlaps([v > level for v in values], truth) for level in np.quantile(values, np.linspace(0.3, 0.999, 80))]
    return max(iou for iou, _ in found), max(f1 for _, f1 in found)


def rules(batches: list[Batch], title: str) -> None:
    print(f"### {title}\n")
    heads = " | ".join(batch.pool.name for batch in batches)
    print(
        f"| rule | IoU | F1 | {heads} | regions | good photos marked | of them, area |\n|{'---|' * (6 + len(batches))}"
    )
    best = np.array([oracle(batch) for batch in batches])
    cells = " | ".join(f"{iou:.3f}" for iou in best[:, 0])
    print(
        f"| best one level, chosen with the masks | {best[:, 0].mean():.3f} | {best[:, 1].mean():.3f} | {cells} | | | |"
    )
    for name, rule in RULES.items():
        figures = np.array([measured(batch, rule) for batch in batches])
        iou, f1, count, marked, area = figures.mean(axis=0)
        cells = " | ".join(f"{value:.3f}" for value in figures[:, 0])
        print(f"| {name} | {iou:.3f} | {f1:.3f} | {cells} | {count:.1f} | {marked:.0%} | {area:.1%} |", flush=True)
    print()


def measured(batch: Batch, rule: Rule) -> tuple[float, float, float, float, float]:
    """IoU, F1, regions a photo; share of good photos that reach the seeding level, mean area marked on those."""
    mask = rule(batch)
    masks = [mask(batch.grids[row]) for row in batch.bad]
    count = np.mean([ndimage.label(one, structure=TOUCHING)[1] for one in masks])
    # on a photo that reaches no threshold the rule marks the peak, which nobody is shown while it is called ok
    floor = pixel_threshold(batch.grids[batch.ok])
    good = [batch.grids[row] for row in np.flatnonzero(~batch.pool.flawed)]
    areas = [mask(grid).mean() for grid in good if rule not in OURS or grid.max() > floor]
    marked = [area for area in areas if area > 0]
    return (
        *overlaps(masks, [batch.truth[row] for row in batch.bad]),
        float(count),
        len(marked) / len(good),
        float(np.mean(marked)) if marked else 0.0,
    )


def hard_batches(batches: list[Batch]) -> None:
    """The rule where the photos called ok are few, wrongly chosen, or a batch has three photos."""
    print("## When the photos called ok are few or wrongly chosen\n")
    print("The same flawed photos as above, the rule with a threshold from other photos.\n")
    print(f"| called ok | {' | '.join(b.pool.name for b in batches)} | mean IoU |\n|{'---|' * (2 + len(batches))}")
    rng = np.random.default_rng(0)

    def by_score(batch: Batch, share: float) -> Rows:
        scores = batch.grids.max(axis=(1, 2))
        return np.argsort(scores)[: int(share * len(scores))]

    cases: dict[str, Callable[[Batch], Rows]] = {
        "those below the image threshold": lambda batch: batch.ok,
        "ten of them": lambda batch: rng.choice(batch.ok, 10, replace=False),
        "three of them": lambda batch: rng.choice(batch.ok, 3, replace=False),
        "the lowest tenth": partial(by_score, share=0.1),
        "the lower half": partial(by_score, share=0.5),
        "the lower four fifths, flawed ones among them": partial(by_score, share=0.8),
        "all, flawed ones too": partial(by_score, share=1.0),
        "none": lambda batch: np.empty(0, np.intp),
    }
    for name, chosen in cases.items():
        row = []
        for batch in batches:
            threshold = pixel_threshold(batch.grids[chosen(batch)])
            masks = [mask_of(batch.grids[row], batch.shape, threshold) for row in batch.bad]
            row.append(overlaps(masks, [batch.truth[row] for row in batch.bad])[0])
        print(f"| {name} | {' | '.join(f'{iou:.3f}' for iou in row)} | {np.mean(row):.3f} |", flush=True)
    row = []
    for batch in batches:
        masks = []
        good = np.flatnonzero(~batch.pool.flawed)
        for bad in batch.bad:
            grids = batch.pool.maps(np.array([bad, *rng.choice(good, 2, replace=False)]))
            masks.append(mask_of(grids[0], batch.shape, pixel_threshold(grids[1:])))
        row.append(overlaps(masks, [batch.truth[at] for at in batch.bad])[0])
    print(f"| batches of three photos, one flawed | {' | '.join(f'{v:.3f}' for v in row)} | {np.mean(row):.3f} |\n")


def sizes(batches: list[Batch]) -> None:
    """How many regions a person is shown."""
    found = [
        regions_of(batch.grids[row], (512, 512), pixel_threshold(batch.grids[batch.ok]))
        for batch in batches
        for row in batch.bad
    ]
    counts = np.array([len(regions) for regions in found])
    areas = [region.area for regions in found for region in regions]
    print("## How many regions a photo has\n")
    print(
        f"{len(found)} flawed photos: one region {np.mean(counts == 1):.0%}, two {np.mean(counts == 2):.0%}, more "
        f"{np.mean(counts > 2):.0%}, at most {counts.max()}. The smallest region covers {min(areas) / 256:.2f} tokens, "
        f"the median one {np.median(areas) / 256:.1f}.\n"
    )


REFINEMENTS: dict[str, dict[str, bool | float]] = {
    "colours and network features": {"layer": True, "seen": False, "bar": 0.0},
    "colours and network features, higher bar": {"layer": True, "seen": False, "bar": 0.5},
    "colours, network features and the map, higher bar": {"layer": True, "seen": True, "bar": 0.5},
    "colours and the map, higher bar": {"layer": False, "seen": True, "bar": 0.5},
    "the same, only regions over 12 tokens": {"layer": False, "seen": True, "bar": 0.5, "tokens": 12},
}


def refinement(batches: list[Batch], title: str) -> None:
    print(f"### {title}\n")
    heads = " | ".join(batch.pool.name for batch in batches)
    print(f"| mask | IoU | F1 | {heads} | ms a photo |\n|{'---|' * (4 + len(batches))}")
    plain = [[mask_of(b.grids[row], b.shape, pixel_threshold(b.grids[b.ok])) for row in b.bad] for b in batches]
    for name in ("the rule, not refined", *REFINEMENTS):
        start, figures = time.process_time(), []
        for batch, masks in zip(batches, plain, strict=True):
            after = masks if name not in REFINEMENTS else _refined(batch, masks, **REFINEMENTS[name])
            figures.append(overlaps(after, [batch.truth[row] for row in batch.bad]))
        spent = 1000 * (time.process_time() - start) / sum(len(batch.bad) for batch in batches)
        cells = " | ".join(f"{iou:.3f}" for iou, _ in figures)
        iou, f1 = np.mean(figures, axis=0)
        print(f"| {name} | {iou:.3f} | {f1:.3f} | {cells} | {spent if name in REFINEMENTS else 0:.0f} |", flush=True)
    print()


def _refined(batch: Batch, masks: list[Bools], layer: bool, seen: bool, bar: float, tokens: float = 0) -> list[Bools]:
    threshold, after = pixel_threshold(batch.grids[batch.ok]), []
    for row, mask in zip(batch.bad, masks, strict=True):
        if mask.mean() * batch.grids[row].size < tokens:
            after.append(mask)
            continue
        with changed(REACH=0.5):
            wide = mask_of(batch.grids[row], batch.shape, threshold) | mask
        fine = batch.pool.fine[row].astype(np.float32) if layer else None
        values = upsample(batch.grids[row], batch.shape)
        after.append(refined(values, mask, wide, batch.pool.pixels[row], fine, seen=seen, bar=bar))
    return after


def severities(grid: Float32, threshold: float) -> dict[str, float]:
    """Ways of saying how bad a photo is."""
    found = regions_of(grid, (512, 512), threshold)
    above = np.maximum(upsample(grid, (256, 256)) - threshold, 0)
    return {
        "image score": float(grid.max()),
        "area of the regions": sum(region.share for region in found),
        "area x (peak - threshold)": sum(region.share * max(region.peak - threshold, 0) for region in found),
        "root of area x mean excess": sum(region.severity / region.share**0.5 for region in found),
        "mean excess over the whole photo": float(above.mean()),
        "**severity: area x mean excess**": sum(region.severity for region in found),
    }


def severity(folder: Path) -> None:
    """Each graded photo is compared with the good ones only, as if it were the one flawed photo of its batch."""
    taus: dict[str, dict[tuple[str, str], list[float]]] = {}
    for name in GRADED:
        pool = get_pool(name, folder)
        assert pool is not None
        good = np.arange(GRADED_GOOD)
        threshold = pixel_threshold(pool.maps(good))
        for number, series in enumerate(SERIES):
            grades: dict[str, list[float]] = {}
            for row in graded_rows(number):
                nearest = pool.nearest[row][good].astype(np.float32)
                grid = msm(nearest, neighbours(0.3, GRADED_GOOD + 1)).reshape(pool.grid)
                for way, value in severities(grid, threshold).items():
                    grades.setdefault(way, []).append(value)
            for way, values in grades.items():
                tau = float(np.nan_to_num(kendalltau(np.arange(len(values)), values).statistic))
                taus.setdefault(way, {}).setdefault(series, []).append(tau)
    kinds = list(dict.fromkeys(SERIES))
    print("## Does severity rank graded flaws?\n")
    print(GRADES)
    print(f"| value | mean | {' | '.join(' '.join(kind) for kind in kinds)} |\n|{'---|' * (2 + len(kinds))}")
    for way, of_series in taus.items():
        cells = " | ".join(f"{np.mean(of_series[kind]):.2f}" for kind in kinds)
        print(f"| {way} | {np.mean([tau for each in of_series.values() for tau in each]):.3f} | {cells} |")
    print()


def speed(batches: list[Batch]) -> None:
    grids = [(batch.grids[row], pixel_threshold(batch.grids[batch.ok])) for batch in batches for row in batch.bad]
    times = []
    for call in (partial(regions_of, shape=(1024, 1024)), partial(mask_of, shape=(1024, 1024))):
        start = time.process_time()
        for grid, threshold in grids:
            call(grid, threshold=threshold)
        times.append(1000 * (time.process_time() - start) / len(grids))
    print("## Time\n")
    print(f"For photos of 1024 x 1024 pixels, one core: regions {times[0]:.1f} ms a photo, a mask {times[1]:.1f} ms.")


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    print("# Regions: where on a photo\n")
    print(f"Measured {date.today()}. Command: `python benchmarks/regions.py FOLDER > benchmarks/regions.md`\n")
    print(INTRODUCTION)
    selection, reported = (
        [Batch.of(pool) for name in names if (pool := get_pool(name, folder)) is not None]
        for names in (SELECTION, REPORTED)
    )
    print("## Extent\n")
    print(EXTENT)
    rules(selection, "Chosen on")
    rules(reported, "Reported on")
    print(LOST)
    hard_batches(selection + reported)
    sizes(selection + reported)
    print("## Edges refined at test time\n")
    print(REFINED)
    refinement(selection, "Chosen on")
    refinement(reported, "Reported on")
    severity(folder)
    speed(reported)


INTRODUCTION = """\
Batches of 60 good and 40 flawed photos (cookies: 45 and 32), compared with each other at the default settings, no
families. Synthetic flaws are 3 to 20 % of the side, large ones 30 to 50 %. A photo is called ok or blemished by the
image score and the best threshold that labels could choose, so that this page does not depend on how that one is found;
IoU (mean over photos) and F1 (all their pixels together) are over the flawed photos called blemished.
"""

EXTENT = """\
The rule: pixels above 90 % of the ok photos' maxima are seeds. From its peak each seed reaches down to 65 % of the
peak's height above the photo's ground, the lower quarter of its own map, also below the threshold. Seeds lower than
30 % of the photo's highest are taken for noise, and a piece under a quarter of a token goes. Where nothing exceeds the
threshold, the peak's surroundings are the region.

Regions: mean number a photo. Good photos marked: those on which the rule has a seed, before any verdict.
"""

LOST = """\
On the synthetic batches no one level comes up to the rule, not even the one chosen with the masks: a strong flaw's blur
exceeds a faint flaw's peak. On tiles and cookies, whose flaws are wide and low, the level chosen with the masks is
better than the rule, and on the second half of the tiles even simple levels are. An own level of 75 % of the peak comes
near the rule, but a share of a distance means something else with every backbone; a share of the height above the
ground does not. Specks hardly occur in these maps; the limit is for noisy ones.
"""

GRADES = """\
Kendall's tau between grade and value: one flaw of one part at six sizes (3 to 30 % of the side) or six contrasts (10 to
100 %), each photographed anew; washer, bottle and board, two flaws of each kind. Each is compared with good photos
alone, as if it were the one flawed photo of its batch. Two neighbours swapped in one of the 30 series are 0.004 of the
mean.
"""

REFINED = """\
The idea of "Test Time Training for Industrial Anomaly Segmentation" (TTT4AS): in each photo, the rule's mask and the
pixels surely sound train a linear classifier (weighted ridge), which decides the pixels of a wider mask (reach 0.5).
Not part of `blemish`: what it gains on large flaws of the batches it was tuned on, it does not gain on the others.
"""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
