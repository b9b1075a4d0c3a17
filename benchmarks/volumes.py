"""Brain volumes: synthetic lesions in healthy T1 brains, tumours in FLAIR; published 16^3 tokens beside finer ones.

    BLEMISH_DATA=../shared/data python benchmarks/volumes.py [lesions|recurring|flair] > benchmarks/volumes.md

A lesion is placed in each brain of one half, then in each of the other half, and again with other lesions: which
brains carry them matters more than the method. Each round is a batch of its own; figures are means over rounds, but
detection, which is pooled. ``--seeds 0,1`` are the rounds that settings were chosen on; the others are reported.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from batches import data_folder
from blemish.features.registry import Backbone, load_backbone
from blemish.features.volume_tokens import cells_inside, volume_tokens
from blemish.inputs.synthetic.lesions import draw_lesion, moved, paint
from blemish.inputs.volume_grid import Box, brain_box, from_cube, to_cube
from blemish.inputs.volume_layouts import find_volumes
from blemish.inputs.volume_nifti import read_nifti
from blemish.inputs.volumes import clipped, read_brain, read_volume
from blemish.metrics.ranking import auroc, auroc_of, average_precision_of
from blemish.metrics.volumes import Candidates, best_dice, candidates, detection_rate, voxel_counts
from blemish.scoring.mutual import msm, neighbours

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

SIZES = (8, 12, 16, 20)
CUBE = 192
CELLS = 4  # side of the blocks of cells that are matched at once
LEAST = 4  # brains that have to share a place before it is normalised
TOP = 0.001  # share of a brain's voxels whose mean is the patient's score


@dataclass(frozen=True)
class Setting:
    """``radius``: cells within which a token may match; None anywhere. ``normalise``: by the batch at each place."""

    name: str
    grid: int
    radius: int | None
    normalise: bool
    slice_size: int = CUBE
    slice_step: int = 2
    k: float = 0.1  # as published for volumes: of a dozen the nearest alone
    layers: tuple[int, ...] | None = None
    axes: tuple[int, ...] = (0, 1, 2)
    weigh: bool = False  # the part of the normalised score above 0 times the score
    smooth: float = 0  # cells; large lesions gain, small ones drown


SETTINGS = (
    Setting("16^3, anywhere (published)", 16, None, False),
    Setting("16^3, +-2, normalised", 16, 2, True),
    Setting("32^3, +-2", 32, 2, False),
    Setting("32^3, +-2, normalised", 32, 2, True),
    Setting("32^3, +-2, normalised and weighed", 32, 2, True, weigh=True),
)
# thick slices: only those across the third axis were ever looked at by a radiologist, the others are interpolated
FLAIR_SETTINGS = (
    Setting("16^3, anywhere (published), slices as taken", 16, None, False, slice_step=8, axes=(2,)),
    Setting("32^3, +-2", 32, 2, False, slice_step=8, axes=(2,)),
    Setting("32^3, +-2, normalised", 32, 2, True, slice_step=8, axes=(2,)),
    Setting("32^3, +-2, normalised, smoothed by 2 cells", 32, 2, True, slice_step=8, axes=(2,), smooth=2),
)


@dataclass(frozen=True)
class Brain:
    """A volume with its brain, and where its cube lies."""

    values: Float32
    inside: Bools
    box: Box


@dataclass(frozen=True)
class Tokens:
    """``dense: (g, g, g, C)`` float32, zero outside; ``inside: (g, g, g)``."""

    dense: Tensor
    inside: Tensor


@dataclass(frozen=True)
class Figures:
    auroc: float
    ap: float
    dice: float
    detection: float
    patients: float


def healthy(folder: Path) -> list[Brain]:
    brains = []
    for file in find_volumes(folder).volumes:
        volume = read_volume(file)
        inside = read_brain(file, volume).inside
        brains.append(Brain(volume.values, inside, brain_box(inside).enlarged(0.08)))
    return brains


def rounds(
    brains: Sequence[Brain], across: float, seeds: Sequence[int]
) -> Iterator[tuple[list[Brain], list[Bools], tuple[int, int]]]:
    """For every seed and half: the batch with one lesion in each brain of the half, and the lesions' masks."""
    for seed in seeds:
        order = np.random.default_rng((seed, 77)).permutation(len(brains))
        for half in (0, 1):
            batch, masks = list(brains), [np.zeros(b.values.shape, np.bool_) for b in brains]
            for at in order[half::2]:
                rng = np.random.default_rng((seed, int(at), int(across)))
                own = brains[at]
                lesion = draw_lesion(own.values, own.inside, across, rng)
                values, masks[at] = paint(own.values, own.inside, lesion)
                batch[at] = Brain(values, own.inside, own.box)
            yield batch, masks, (seed, half)


def a_third(brains: Sequence[Brain], across: float, seed: int, *, recurring: bool) -> tuple[list[Brain], list[Bools]]:
    """A third of the brains with a lesion each: of their own, or the same at corresponding places, a voxel to and
    fro."""
    rng = np.random.default_rng((seed, 99, int(across)))
    order = rng.permutation(len(brains))[: len(brains) // 3]
    first = brains[order[0]]
    common = draw_lesion(first.values, first.inside, across, rng)
    batch, masks = list(brains), [np.zeros(b.values.shape, np.bool_) for b in brains]
    for at in order:
        own = brains[at]
        lesion = moved(common, first.box, own.box, rng.uniform(-1, 1, 3))
        if not recurring:
            lesion = draw_lesion(own.values, own.inside, across, rng)
        values, masks[at] = paint(own.values, own.inside, lesion)
        batch[at] = Brain(values, own.inside, own.box)
    return batch, masks


def tokens_of(brain: Brain, backbone: Backbone, setting: Setting) -> Tokens:
    """All layers joined, each with the same say."""
    cube = torch.from_numpy(to_cube(clipped(brain.values, brain.inside), brain.box, CUBE))
    inside = cells_inside(torch.from_numpy(to_cube(brain.inside, brain.box, CUBE)), setting.grid, 0.2)
    made = volume_tokens(
        cube,
        backbone,
        grid=setting.grid,
        inside=inside,
        slice_size=setting.slice_size,
        slice_step=setting.slice_step,
        axes=setting.axes,
    )
    joined = torch.cat(made.layers, dim=1) / len(made.layers) ** 0.5
    dense = torch.zeros(setting.grid**3, joined.shape[1])
    dense[made.cells] = joined
    return Tokens(dense.reshape(*made.grid, -1), inside)


def distances(
    batch: Sequence[Tokens], radius: int | None, known: Float32 | None = None, changed: Sequence[int] | None = None
) -> Float32:
    """(B, B, g, g, g): of every token of the first to its nearest in the second; infinite to itself and outside.

    ``known``: a table of the same batch but for the volumes ``changed``."""
    g = batch[0].dense.shape[0]
    table = np.full((len(batch), len(batch), g, g, g), np.inf, np.float32) if known is None else known.copy()
    new = set(range(len(batch))) if changed is None else set(changed)
    near = _anywhere if radius is None else _nearby
    for i, one in enumerate(batch):
        for j, other in enumerate(batch[:i]):
            if i in new or j in new:
                table[i, j], table[j, i] = near(one, other, radius or 0)
    return table


def _anywhere(one: Tokens, other: Tokens, _: int) -> tuple[Float32, Float32]:
    product = one.dense[one.inside] @ other.dense[other.inside].T
    found = []
    for tokens, best in ((one, product.amax(dim=1)), (other, product.amax(dim=0))):
        grid = torch.full(tokens.inside.shape, torch.inf)
        grid[tokens.inside] = (2 - 2 * best).clamp(min=0).sqrt()
        found.append(grid.numpy())
    return found[0], found[1]


def _nearby(one: Tokens, other: Tokens, radius: int) -> tuple[Float32, Float32]:
    """Blocks of cells against their surroundings: a small product each, whose maxima along both sides are used."""
    g, c = one.dense.shape[0], one.dense.shape[-1]
    wide = CELLS + 2 * radius
    pad = [radius] * 6
    padded = torch.nn.functional.pad(other.dense, (0, 0, *pad))
    there = torch.nn.functional.pad(other.inside, pad)
    line = (torch.arange(wide) - radius - torch.arange(CELLS)[:, None]).abs() <= radius
    reach = line[:, None, None, :, None, None] & line[None, :, None, None, :, None] & line[None, None, :, None, None, :]
    far = ~reach.reshape(CELLS**3, wide**3)
    best, back = torch.full((g, g, g), -torch.inf), torch.full(there.shape, -torch.inf)
    for x in range(0, g, CELLS):
        for y in range(0, g, CELLS):
            for z in range(0, g, CELLS):
                own = (slice(x, x + CELLS), slice(y, y + CELLS), slice(z, z + CELLS))
                part = (slice(x, x + wide), slice(y, y + wide), slice(z, z + wide))
                rows, columns = one.inside[own].reshape(-1), there[part].reshape(-1)
                if not rows.any() or not columns.any():
                    continue
                product = one.dense[own].reshape(-1, c)[rows] @ padded[part].reshape(-1, c)[columns].T
                product.masked_fill_(far[rows][:, columns], -torch.inf)
                best[own][one.inside[own]] = product.amax(dim=1)
                back[part][there[part]] = torch.maximum(back[part][there[part]], product.amax(dim=0))
    inner = (slice(radius, radius + g),) * 3
    return _lengths(best), _lengths(back[inner])


def _lengths(product: Tensor) -> Float32:
    return torch.where(product.isfinite(), (2 - 2 * product).clamp(min=0).sqrt(), torch.inf).numpy()


def scored(table: Float32, inside: Sequence[Tensor], k: float) -> Float32:
    """(B, g, g, g) mutual scores, 0 outside."""
    count, g = len(table), table.shape[-1]
    scores = np.stack([msm(table[i].reshape(count, -1), neighbours(k, count)) for i in range(count)])
    scores = scores.reshape(count, g, g, g)
    mask = np.stack([one.numpy() for one in inside])
    return np.where(mask & np.isfinite(scores), scores, 0).astype(np.float32)


def normalised(scores: Float32, inside: Sequence[Tensor], floor: float = 1.0, around: int = 5) -> Float32:
    """Score minus the batch's median at its place, over the median absolute deviation there.

    A dozen volumes say little about the spread at one place, so it is averaged over ``around``^3 cells and not taken
    below ``floor`` of the usual one. Chosen on seeds 0 and 1 from 3 and 5 cells, .5 and 1.
    Places that fewer than ``LEAST`` brains share are not judged."""
    from scipy import ndimage

    mask = np.stack([one.numpy() for one in inside])
    shared = mask.sum(axis=0) >= LEAST
    values = np.where(mask & shared, scores, np.nan)[:, shared]
    middle, spread = np.zeros(shared.shape), np.zeros(shared.shape)
    middle[shared] = np.nanmedian(values, axis=0)
    spread[shared] = np.nanmedian(np.abs(values - middle[shared]), axis=0)
    share = ndimage.uniform_filter(shared.astype(np.float64), around)
    spread = ndimage.uniform_filter(spread, around) / np.maximum(share, 1e-9)
    usual = float(np.median(spread[shared]))
    z = (scores - middle) / np.maximum(spread, floor * usual)
    return np.where(mask & shared, z, 0).astype(np.float32)


def maps_of(scores: Float32, inside: Sequence[Tensor], setting: Setting) -> Float32:
    """(B, g, g, g): normalised, weighed by the score itself and smoothed inside the brain, as the setting has it."""
    from scipy import ndimage

    maps = normalised(scores, inside) if setting.normalise else scores
    if setting.weigh:
        maps = np.maximum(maps, 0) * scores
    if not setting.smooth:
        return maps
    smoothed = []
    for one, mask in zip(maps, inside, strict=True):
        share = ndimage.gaussian_filter(mask.numpy().astype(np.float32), setting.smooth)
        smoothed.append(ndimage.gaussian_filter(one, setting.smooth) / np.maximum(share, 1e-3) * mask.numpy())
    return np.stack(smoothed)


def judged(
    maps: Sequence[Float32], batch: Sequence[Brain], masks: Sequence[Bools], stride: int = 1
) -> tuple[Figures, list[Candidates]]:
    """``maps``: (g, g, g) each; judged on the volumes' own voxels, every ``stride``-th along each axis."""
    thin = (slice(None, None, stride),) * 3
    fine = [from_cube(m, b.box, b.values.shape)[thin] for m, b in zip(maps, batch, strict=True)]
    truth, brains = [m[thin] for m in masks], [b.inside[thin] for b in batch]
    counts = voxel_counts(fine, truth, brains)
    found = [
        candidates(m, t, b, apart=round(10 / stride), reach=round(3 / stride))
        for m, t, b in zip(fine, truth, brains, strict=True)
    ]
    patients = [float(np.sort(m[b])[-max(1, int(TOP * b.sum())) :].mean()) for m, b in zip(fine, brains, strict=True)]
    labels = [bool(t.any()) for t in truth]
    figures = Figures(
        auroc_of(counts),
        average_precision_of(counts),
        best_dice(counts)[0],
        detection_rate(found),
        auroc(patients, labels) if len(set(labels)) == 2 else float("nan"),
    )
    return figures, found


def lesions(folder: Path, seeds: Sequence[int], sizes: Sequence[int], settings: Sequence[Setting]) -> None:
    brains = healthy(folder)
    print(f"\n## Synthetic lesions in {len(brains)} healthy brains, one in each of half of them\n")
    print(
        "| across | setting | lesions | voxel AUROC | voxel AP | best Dice "
        "| found at 1 false a volume | patient AUROC |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for setting in settings:
        backbone = load_backbone("effnet-lite2", setting.layers)
        clean = [tokens_of(brain, backbone, setting) for brain in brains]
        known = distances(clean, setting.radius)
        for across in sizes:
            figures, found = [], []
            for batch, masks, _ in rounds(brains, across, seeds):
                scores, inside = mutual_scores(batch, masks, clean, known, backbone, setting)
                one, pointed = judged(list(maps_of(scores, inside, setting)), batch, masks)
                figures.append([one.auroc, one.ap, one.dice, one.patients])
                found += pointed
            area, ap, dice, patients = np.mean(figures, axis=0)
            count = sum(one.lesions.size for one in found)
            print(
                f"| {across} | {setting.name} | {count} | {area:.3f} | {ap:.3f} | {dice:.3f} | "
                f"{detection_rate(found):.2f} | {patients:.2f} |",
                flush=True,
            )


def recurrence(folder: Path, seeds: Sequence[int], sizes: Sequence[int], setting: Setting) -> None:
    """What mutual scoring alone loses where lesions recur: what families have to bring back."""
    brains, backbone = healthy(folder), load_backbone("effnet-lite2", setting.layers)
    clean = [tokens_of(brain, backbone, setting) for brain in brains]
    known = distances(clean, setting.radius)
    print(f"\n## A third of the brains with a lesion, {setting.name}, without families\n")
    print("| across | voxel AP, sporadic | voxel AP, recurring at one place |")
    print("|---|---|---|")
    for across in sizes:
        found: dict[bool, list[float]] = {False: [], True: []}
        for seed in seeds:
            for same, aps in found.items():
                batch, masks = a_third(brains, across, seed, recurring=same)
                scores, inside = mutual_scores(batch, masks, clean, known, backbone, setting)
                figures, _ = judged(list(maps_of(scores, inside, setting)), batch, masks)
                aps.append(figures.ap)
        print(f"| {across} | {np.mean(found[False]):.3f} | {np.mean(found[True]):.3f} |", flush=True)


def mutual_scores(
    batch: Sequence[Brain],
    masks: Sequence[Bools],
    clean: Sequence[Tokens],
    known: Float32,
    backbone: Backbone,
    setting: Setting,
) -> tuple[Float32, list[Tensor]]:
    """Scores (B, g, g, g) and the cells inside; only what a lesion changed is made and compared anew."""
    sick = [at for at, mask in enumerate(masks) if mask.any()]
    tokens = [tokens_of(batch[at], backbone, setting) if at in sick else clean[at] for at in range(len(clean))]
    inside = [one.inside for one in tokens]
    return scored(distances(tokens, setting.radius, known, sick), inside, setting.k), inside


def flair(folder: Path, settings: Sequence[Setting]) -> None:
    """Every patient has a tumour, so there is no patient AUROC: voxels are judged, inside the robust brain masks."""
    brains, tumours = [], []
    for file in find_volumes(folder).volumes:
        volume = read_volume(file)
        inside = read_brain(file, volume).inside
        brains.append(Brain(volume.values, inside, brain_box(inside).enlarged(0.08)))
        tumours.append(volume.geometry.to_ras(read_nifti(file.files[0].with_name("mask.nii.gz"))[0]) > 0)
    print(f"\n## Tumours in FLAIR of {len(brains)} patients, inside the brain\n")
    print("| map | voxel AUROC | voxel AP | best Dice |")
    print("|---|---|---|---|")
    grey = smoothed_intensities(brains)
    _flair_row("intensity, standardised, Gaussian of 5 px in the slice", grey, tumours, brains)
    _flair_row("intensity, standardised, mean of 5 x 5 px", smoothed_intensities(brains, box=True), tumours, brains)
    backbone = load_backbone("effnet-lite2")
    for setting in settings:
        tokens = [tokens_of(brain, backbone, setting) for brain in brains]
        inside = [one.inside for one in tokens]
        scores = scored(distances(tokens, setting.radius), inside, setting.k)
        maps = maps_of(scores, inside, setting)
        fine = [from_cube(m, b.box, b.values.shape) for m, b in zip(maps, brains, strict=True)]
        _flair_row(f"tokens {setting.name}", fine, tumours, brains)
        joined = [a + b for a, b in zip(_standardised(fine, brains), _standardised(grey, brains), strict=True)]
        _flair_row(f"tokens {setting.name}, with intensity", joined, tumours, brains)


def smoothed_intensities(brains: Sequence[Brain], *, box: bool = False) -> list[Float32]:
    """Grey levels, standardised inside the brain and smoothed within slices: the baseline that needs no network."""
    from scipy import ndimage

    maps = []
    for brain in brains:
        tissue = brain.values[brain.inside]
        standard = np.where(brain.inside, (brain.values - tissue.mean()) / tissue.std(), 0)
        smooth = ndimage.uniform_filter(standard, (5, 5, 1)) if box else ndimage.gaussian_filter(standard, (5, 5, 0))
        maps.append(np.asarray(smooth, dtype=np.float32))
    return maps


def _standardised(maps: Sequence[Float32], brains: Sequence[Brain]) -> list[Float32]:
    """By the batch's median and upper spread inside the brains, so that two kinds of map can be added."""
    values = np.concatenate([m[b.inside][::7] for m, b in zip(maps, brains, strict=True)])
    middle, upper = np.percentile(values, (50, 84))
    return [(m - middle) / (upper - middle) for m in maps]


def _flair_row(name: str, maps: Sequence[Float32], truth: Sequence[Bools], brains: Sequence[Brain]) -> None:
    counts = voxel_counts(maps, truth, [brain.inside for brain in brains])
    print(
        f"| {name} | {auroc_of(counts):.3f} | {average_precision_of(counts):.3f} | {best_dice(counts)[0]:.3f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("part", nargs="?", choices=("lesions", "recurring", "flair"))
    parser.add_argument("--seeds", default="2,3,4,5")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = data_folder()
    if folder is None:
        sys.exit("Set BLEMISH_DATA to the folder of real sets.")
    print(f"# Volumes\n\n{date.today()}, `BLEMISH_DATA=../shared/data python benchmarks/volumes.py`.")
    seeds, sizes = ([int(one) for one in text.split(",")] for text in (options.seeds, options.sizes))
    if options.part in (None, "lesions"):
        lesions(folder / "brain_t1_healthy", seeds, sizes, SETTINGS)
    if options.part in (None, "recurring"):
        recurrence(folder / "brain_t1_healthy", seeds, sizes[-2:], SETTINGS[-1])
    if options.part in (None, "flair"):
        flair(folder / "brain_flair_glioma", FLAIR_SETTINGS)


if __name__ == "__main__":
    main()
