"""Which photos a person should look at: those about which the estimate is least sure, and never too many.

After Perini and Davis, "Unsupervised Anomaly Detection with Rejection" (NeurIPS 2023): reject where the call is
unstable, with a bound on how many are rejected. Their measure of stability (ExCeeD, a photo's rank under resampling)
sees only the score; ours is the pooled probability of all detectors (both: benchmarks/verdict.md).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blemish.verdict.threshold import MISSED, log_odds

__all__ = ["Band"]

Float64 = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

SURELY_GOOD, SURELY_BAD = 0.005, 0.9  # probabilities of a defect beyond which nobody needs to look
EVEN = 1 / (1 + MISSED)  # probability from which a missed defect costs more than a false alarm


class Band:
    """The doubtful photos around any threshold, from ``scores`` and probabilities of being ``defective``, both (B,).
    Only those that are ``open_`` to doubt are looked at."""

    def __init__(self, scores: Float64, defective: Float64, open_: npt.NDArray[np.bool_]) -> None:
        self._rows = np.flatnonzero(open_)
        self._scores = scores[open_]
        self._odds = log_odds(defective[open_])
        order = np.argsort(self._scores, kind="stable")
        self._ascending = self._scores[order]
        self._rising = _isotonic(self._odds[order])

    def unsure(self, threshold: float, most: int) -> Ints:
        """At most ``most`` photos, whose odds are near those of a photo that scores as much as ``threshold``. A
        threshold that is moved takes the band along: only the odds relative to those at the threshold count."""
        if not len(self._rows):
            return self._rows
        above = int((self._scores > threshold).sum())
        low, even, high = log_odds(np.array([SURELY_GOOD, EVEN, SURELY_BAD]))
        at = self._odds_at(threshold, float(even))
        if (not above and at > even) or (above == len(self._rows) and at < even):
            return self._rows[:0]  # all photos are far on one side, and no person is asked
        relative = self._odds - at + even
        # a threshold that is moved among plainly good photos makes none of them doubtful
        near = np.flatnonzero((self._odds > low) & (relative > low) & (relative < high))
        # of equally doubtful photos those whose scores are nearest
        doubt = np.round(np.abs(relative[near] - even), 6)
        chosen = near[np.lexsort((np.abs(self._scores[near] - threshold), doubt))][:most]
        return np.sort(self._rows[chosen])

    def _odds_at(self, threshold: float, even: float) -> float:
        """Of a photo that scores so much, between those of its neighbours, smoothed upwards; even where the neighbours
        allow it, since a gap between two scores says nothing of what lies in it."""
        above = int(np.searchsorted(self._ascending, threshold, side="right"))
        lower = float(self._rising[above - 1]) if above else -np.inf
        upper = float(self._rising[above]) if above < len(self._rising) else np.inf
        return min(max(even, lower), upper)


def _isotonic(values: Float64) -> Float64:
    """The nearest rising sequence (pool adjacent violators)."""
    means: list[float] = []
    counts: list[int] = []
    for value in values.tolist():
        mean, count = value, 1
        while means and means[-1] > mean:
            mean = (means[-1] * counts[-1] + mean * count) / (counts[-1] + count)
            count += counts.pop()
            means.pop()
        means.append(mean)
        counts.append(count)
    return np.repeat(means, counts)
