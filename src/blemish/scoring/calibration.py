"""A frozen detector's distances on the scale of the batch that it was made from: the same number as before.

Mutual scoring averages over a share of the other photos, a bank gives the nearest of few tokens: the one is a little
larger than the other and spreads differently. Both score the batch's own photos, each against tokens of others; a line
takes the one to the other. It knows numbers a photo; no tokens, maps or files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.errors import ConfigError

__all__ = ["Line", "line_through"]

Float64 = npt.NDArray[np.float64]

FEWEST = 10  # photos from which a spread is learnt; of fewer only the middle
ORDINARY = np.linspace(0.1, 0.9, 17)  # quantiles that are laid on each other: flaws beyond them bend nothing
EQUAL = 1e-6  # of the largest: quantiles this near each other say nothing of a slope
USUAL = 0.5  # share of the photos whose two scores differ by no more than ``difference``


@dataclass(frozen=True)
class Line:
    """``scale * distance + offset`` is a score of the batch, give or take ``difference``: half of its photos differ by
    less. About a photo nearer to a threshold than that, the batch might have said something else."""

    scale: float
    offset: float
    difference: float

    def __call__(self, distances: npt.ArrayLike) -> Float64:
        return self.scale * np.asarray(distances, dtype=np.float64) + self.offset


def line_through(frozen: npt.ArrayLike, batch: npt.ArrayLike, *, through_zero: bool = False) -> Line:
    """The line that lays the quantiles of ``frozen: (B,)`` on those of ``batch: (B,)``, scores of the same photos, none
    of them compared with itself.

    Its slope is the median of those between any two of the quantiles .1 to .9 (Theil 1950, on quantiles instead of
    photos): a tenth of the photos at either end can score whatever they like, and noise in the frozen scores does not
    flatten it, as it does a regression, after which fewer photos would exceed the batch's threshold.

    ``through_zero``: for scores of which 0 means the same in both; only middles are laid on each other, as they are
    with fewer than ten photos. Raises ``ConfigError`` if there are no pairs of numbers."""
    x, y = np.asarray(frozen, dtype=np.float64), np.asarray(batch, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or not len(x) or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ConfigError(
            f"A detector is put on the batch's scale by two finite scores a photo; received {x.shape} and {y.shape}."
        )
    if len(x) < FEWEST or through_zero:
        middle = float(np.median(x)), float(np.median(y))
        # a score next to nothing says as little of the scale as none, and dividing by it would overflow
        return _line(middle[1] / middle[0] if min(middle) > EQUAL else 1.0, x, y)
    across, up = np.quantile(x, ORDINARY), np.quantile(y, ORDINARY)
    first, second = np.triu_indices(len(ORDINARY), 1)
    run, rise = across[second] - across[first], up[second] - up[first]
    told = (run > EQUAL * np.abs(across).max()) & (rise > EQUAL * np.abs(up).max())
    return _line(float(np.median(rise[told] / run[told])) if told.any() else 1.0, x, y)


def _line(scale: float, x: Float64, y: Float64) -> Line:
    """With the offset that lays middle on middle."""
    offset = float(np.median(y) - scale * np.median(x))
    return Line(scale, offset, float(np.quantile(np.abs(scale * x + offset - y), USUAL)))
