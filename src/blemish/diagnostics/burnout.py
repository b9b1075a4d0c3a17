"""Burn-out: the rank at which a patch runs out of good matches, if it does so more abruptly than chance would.

A recurring flaw that is in H other photos has H close matches and then none: its growth rate jumps at rank H
(neighbour burn-out; CoDeGraph, TMLR 2025, arXiv 2510.10456). A rare variant of a good part does the same, and
numbers alone cannot tell the two apart. The patches of real photos also differ in their tail index, which the bound
below knows nothing of: several per cent of ordinary ones exceed it, at all ranks alike. What counts is a rank that
stands out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["CHANCE", "BurnOut", "BurnOutSummary", "burn_out", "summary", "typical_rates"]

Float64 = npt.NDArray[np.float64]
Ranks = npt.NDArray[np.intp]

CHANCE = 0.01  # share of tokens that would be called burnt out if all had one tail index


@dataclass(frozen=True, slots=True)
class BurnOut:
    """``rank: (n,)`` burn-out point H of each token, 0 where it has none; ``peak: (n,)`` its largest growth rate in
    multiples of the typical one of that rank; ``bound``: what that must exceed."""

    rank: Ranks
    peak: Float64
    bound: float


@dataclass(frozen=True, slots=True)
class BurnOutSummary:
    """``share`` of the tokens that burn out below omega, of which ``chance`` would under the theory;
    ``counts[h - 1]``: how many do so at rank h, for h = 1 to omega - 1; ``bound``: see ``BurnOut``."""

    share: float
    chance: float
    bound: float
    counts: tuple[int, ...]

    @property
    def most_often(self) -> int:
        """The commonest burn-out point, the smaller of two that are equally common; 0 if no token burns out."""
        return int(np.argmax(self.counts)) + 1 if any(self.counts) else 0

    @property
    def stands_out(self) -> bool:
        """Whether it is far commoner than the others: more than three times their median, and ten tokens besides."""
        others = sorted(self.counts)[:-1]
        return bool(others) and max(self.counts) > 10 + 3 * float(np.median(others))


def typical_rates(curve: Float64, omega: int, alpha: float) -> Float64:
    """Mean growth rate of an ordinary token at ranks 1 to omega - 1: the measured ``curve: (R,)`` of
    ``scaling.pooled_rates``, or 1 / (alpha * i), which is the theory, where most tokens tie. -> (omega - 1,).

    Raises ``ValueError`` unless 2 <= omega <= R + 1 and alpha > 0."""
    if not 2 <= omega <= len(curve) + 1:
        raise ValueError(f"omega must lie between 2 and {len(curve) + 1}; received {omega}")
    if not alpha > 0:
        raise ValueError(f"alpha must be above 0; received {alpha}")
    measured = curve[: omega - 1]
    return np.where(measured > 0, measured, 1 / (alpha * np.arange(1, omega)))


def burn_out(rates: Float64, typical: Float64, *, chance: float = CHANCE) -> BurnOut:
    """Burn-out point H = argmax over i < omega of tau_i / typical_i for each token.

    ``rates: (n, R)`` growth rates, ``typical: (omega - 1,)`` their means, above 0. With the means of the theory,
    1 / (alpha * i), that is argmax of i * tau_i. Measured ones are better: real features fall off as i^-0.8 rather than
    1 / i, which alone would make high ranks burn out several times as often as low ones. A ratio is exponential with
    mean 1, so the largest of omega - 1 exceeds ln((omega - 1) / chance) with a probability of at most ``chance``
    (Bonferroni).
    """
    ratios = rates[:, : len(typical)] / typical
    peak = ratios.max(axis=1)
    bound = math.log(len(typical) / chance)
    return BurnOut(np.where(peak > bound, ratios.argmax(axis=1) + 1, 0), peak, bound)


def summary(found: BurnOut, omega: int, *, chance: float = CHANCE) -> BurnOutSummary:
    """Share and histogram of the burn-out points; ``omega`` and ``chance`` as they were found with."""
    counts = np.bincount(found.rank, minlength=omega)[1:]
    return BurnOutSummary(float(counts.sum() / len(found.rank)), chance, found.bound, tuple(counts.tolist()))
