"""The rules for a region's extent that `regions.py` compares: each turns a batch into a way from a map to a mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from blemish.inputs.truth import fit_mask
from blemish.metrics.ranking import f1_max
from blemish.result import upsample
from blemish.verdict import regions
from blemish.verdict.regions import mask_of
from regions_pools import Pool

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]

AREA = 256**2  # pixels of a photo on which masks are compared
TOUCHING = np.ones((3, 3))


@dataclass
class Batch:
    """A pool scored, and its photos called ok or blemished by the best threshold that labels could choose."""

    pool: Pool
    grids: Float32  # (n, h, w)
    truth: list[Bools]
    shape: tuple[int, int]
    threshold: float  # of the image score
    ok: Rows
    bad: Rows  # flawed and called blemished

    @classmethod
    def of(cls, pool: Pool) -> Batch:
        grids = pool.maps(np.arange(len(pool.flawed)))
        aspect = (pool.grid[0] / pool.grid[1]) ** 0.5
        shape = (round(AREA**0.5 * aspect), round(AREA**0.5 / aspect))
        scores = grids.max(axis=(1, 2))
        threshold = f1_max(scores, pool.flawed)[1]
        ok, bad = np.flatnonzero(scores < threshold), np.flatnonzero((scores >= threshold) & pool.flawed)
        return cls(pool, grids, [fit_mask(mask, shape) for mask in pool.masks], shape, threshold, ok, bad)

    @property
    def maxima(self) -> Float32:
        return np.asarray(self.grids[self.ok].max(axis=(1, 2)))


Rule = Callable[[Batch], Callable[[Float32], Bools]]  # of a batch: map (h, w) -> mask at the batch's shape


def single(level: Callable[[Batch], float]) -> Rule:
    def of_batch(batch: Batch) -> Callable[[Float32], Bools]:
        at = level(batch)
        return lambda grid: upsample(grid, batch.shape) > at

    return of_batch


def own_level(level: Callable[[Float32, float], float], floor: Callable[[Batch], float]) -> Rule:
    """One level a photo, from its map and the batch's floor."""

    def of_batch(batch: Batch) -> Callable[[Float32], Bools]:
        least = floor(batch)
        return lambda grid: upsample(grid, batch.shape) > level(grid, least)

    return of_batch


def hysteresis(seed: Callable[[Batch], float], extent: Callable[[Batch], float]) -> Rule:
    """Two levels for all photos: connected places above the one that reach above the other."""

    def of_batch(batch: Batch) -> Callable[[Float32], Bools]:
        high, low = seed(batch), extent(batch)

        def mask(grid: Float32) -> Bools:
            values = upsample(grid, batch.shape)
            labels, _ = ndimage.label(values > low, structure=TOUCHING)
            kept = np.unique(labels[values > high])
            return np.isin(labels, kept[kept > 0])

        return mask

    return of_batch


def without_growth(batch: Batch) -> Callable[[Float32], Bools]:
    """The rule, but no region reaches below the threshold that seeds it."""
    at = maxima(0.5)(batch)
    return lambda grid: mask_of(grid, batch.shape, at) & (upsample(grid, batch.shape) > at)


def ours(seed: Callable[[Batch], float], **constants: float) -> Rule:
    def of_batch(batch: Batch) -> Callable[[Float32], Bools]:
        at = seed(batch)

        def mask(grid: Float32) -> Bools:
            with changed(**constants):
                return mask_of(grid, batch.shape, at)

        return mask

    return of_batch


@contextmanager
def changed(**constants: float) -> Iterator[None]:
    """``blemish.verdict.regions`` with other constants."""
    usual = {name: getattr(regions, name) for name in constants}
    for name, value in constants.items():
        setattr(regions, name, value)
    try:
        yield
    finally:
        for name, value in usual.items():
            setattr(regions, name, value)


def maxima(q: float) -> Callable[[Batch], float]:
    return lambda batch: float(np.quantile(batch.maxima, q))


def pixels(q: float) -> Callable[[Batch], float]:
    return lambda batch: float(np.quantile(batch.grids[batch.ok], q))


def deviations(batch: Batch) -> float:
    values = batch.grids[batch.ok]
    median = np.median(values)
    return float(median + 4 * 1.4826 * np.median(np.abs(values - median)))


def otsu(grid: Float32, least: float) -> float:
    """The cut of a photo's own values into two groups that differ most."""
    values = np.sort(grid.ravel().astype(np.float64))
    below = np.arange(1, values.size)
    sums = np.cumsum(values)[:-1]
    between = (sums / below - (values.sum() - sums) / (values.size - below)) ** 2 * below * (values.size - below)
    return max(least, float(values[int(np.argmax(between))]))


RULES: dict[str, Rule] = {
    "one level: 99.9 % of the ok photos' pixels": single(pixels(0.999)),
    "one level: median + 4 deviations of the ok photos' pixels": single(deviations),
    "one level: median of the ok photos' maxima": single(maxima(0.5)),
    "one level: 90 % of the ok photos' maxima": single(maxima(0.9)),
    "one level: the image threshold": single(lambda batch: batch.threshold),
    "hysteresis: seeds 90 % of maxima, extent 99 % of pixels": hysteresis(maxima(0.9), pixels(0.99)),
    "own level: Otsu": own_level(otsu, lambda _: 0.0),
    "own level: Otsu, at least the median of maxima": own_level(otsu, maxima(0.5)),
    "own level: 75 % of the peak, at least the median of maxima": own_level(
        lambda grid, least: max(least, 0.75 * float(grid.max())), maxima(0.5)
    ),
    "own level: halfway from the median of maxima to the peak": own_level(
        lambda grid, least: least + 0.5 * max(float(grid.max()) - least, 0), maxima(0.5)
    ),
    "the rule, no region below its threshold (median of maxima)": without_growth,
    "the rule, reach 0.5": ours(maxima(0.9), REACH=0.5),
    "the rule, reach 0.6": ours(maxima(0.9), REACH=0.6),
    "the rule, reach 0.7": ours(maxima(0.9), REACH=0.7),
    "the rule, ground: the photo's median": ours(maxima(0.9), GROUND=0.5),
    "the rule, seeds: median of maxima": ours(maxima(0.5)),
    "the rule, seeds: 75 % of maxima": ours(maxima(0.75)),
    "the rule, seeds: the image threshold": ours(lambda batch: batch.threshold),
    "the rule, seeds beside a higher one: any": ours(maxima(0.9), BESIDE=0.0),
    "the rule, seeds beside a higher one: from half its height": ours(maxima(0.9), BESIDE=0.5),
    "the rule, specks kept": ours(maxima(0.9), SPECK=0.0),
    "**the rule**": ours(maxima(0.9)),
}

OURS = [rule for name, rule in RULES.items() if "the rule" in name]
