"""The tail index alpha: how steeply close matches become rare, about the number of ways in which patches vary.

A patch in whose neighbourhood tokens lie on a manifold of dimension alpha has a share r^alpha of its matches within
radius r. Estimated from the k best matches (Hill 1975, Annals of Statistics 3, 1163), for all k at once: where the
curve is level over a range of k, the power law holds and its level is the index.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["HillCurve", "Plateau", "hill_curve", "hill_estimates", "plateau", "robust_alpha"]

Float64 = npt.NDArray[np.float64]
Ranks = npt.NDArray[np.intp]

POINTS = 40  # of the curve, evenly spaced in log k
LEVEL = 0.1  # a plateau's estimates lie within this share of their median


@dataclass(frozen=True, slots=True)
class HillCurve:
    """Pooled tail index ``alpha`` from the ``k`` best matches, with the quartiles ``low``, ``high`` over tokens."""

    k: tuple[int, ...]
    alpha: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Plateau:
    """``alpha``: median of the curve between k = ``first`` and k = ``last``, both included."""

    first: int
    last: int
    alpha: float


def hill_estimates(rates: Float64, k: Ranks) -> Float64:
    """Hill estimates of each token from its k best matches: growth rates ``rates: (n, R)``, ``k: (K,)`` -> (n, K).

    1 / mean(i * tau_i, i <= k), which is Hill's mean of ln(d(k+1) / d(i)), times (k - 1) / k, without which its
    expectation is too large. Infinite where a token's k + 1 best matches tie.
    Raises ``ValueError`` unless 2 <= k <= R: one match alone gives no unbiased estimate.
    """
    if len(k) and not 2 <= k.min() <= k.max() <= rates.shape[1]:
        raise ValueError(f"k must lie between 2 and {rates.shape[1]}; received {k.min()} to {k.max()}")
    sums = np.cumsum(rates * np.arange(1, rates.shape[1] + 1), axis=1)[:, k - 1]
    estimates: Float64 = np.divide(k - 1, sums, out=np.full(sums.shape, np.inf), where=sums > 0)
    return estimates


def hill_curve(rates: Float64, last: int) -> HillCurve:
    """Tail index against k, for about 40 values of k from 2 to ``last``, pooled over tokens: ``rates: (n, R)``.

    Pooled by the median, which a recurring flaw hardly moves. The median of 1 / Gamma(k) lies at 1 / (k - 1/3) and not
    at 1 / (k - 1) as its mean does, which is allowed for. Values of k are left out where a quarter of the tokens tie.
    """
    last = min(last, rates.shape[1])
    if last < 2:
        return HillCurve((), (), (), ())
    k = np.unique(np.geomspace(2, last, POINTS).round().astype(np.intp))
    quartiles = np.quantile(hill_estimates(rates, k), [0.25, 0.5, 0.75], axis=0, method="lower")
    low, middle, high = quartiles * (k - 1 / 3) / (k - 1)
    usable = np.isfinite(high)
    return HillCurve(*(tuple(line[usable].tolist()) for line in (k, middle, low, high)))


def plateau(curve: HillCurve) -> Plateau | None:
    """The longest level stretch of the curve, length being the ratio of its ends, as a Hill plot is read.

    None if no stretch reaches from k to 2 k with all estimates within 10 % of their median: then there is no one tail
    index.
    """
    k, alpha = np.array(curve.k), np.array(curve.alpha)
    best: Plateau | None = None
    for start in range(len(k)):
        for stop in range(len(k), start + 1, -1):
            if k[stop - 1] < 2 * k[start] or (best and k[stop - 1] / k[start] <= best.last / best.first):
                break  # shorter stretches from here cannot win
            level = float(np.median(alpha[start:stop]))
            if np.abs(alpha[start:stop] - level).max() <= LEVEL * level:
                best = Plateau(int(k[start]), int(k[stop - 1]), level)
                break
    return best


def robust_alpha(rates: Float64, omega: int) -> float | None:
    """Tail index from all ranks below omega: ln 2 / median(i * tau_i), ``rates: (n, R)``.

    Under the power law every i * tau_i is exponential with rate alpha, and a median does not feel the jumps of a
    recurring flaw. None if half of the rates are 0, in a batch of copies.
    """
    scaled = rates[:, : omega - 1] * np.arange(1, min(omega - 1, rates.shape[1]) + 1)
    middle = float(np.median(scaled)) if scaled.size else 0.0
    return float(np.log(2)) / middle if middle > 0 else None
