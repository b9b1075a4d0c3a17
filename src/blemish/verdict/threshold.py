"""From which score a photo is blemished, and what that means: estimated from the batch, without labels.

Every detector is a mixture of its own (``mixture``); their opinions are pooled for each photo, the score's own model of
good photos gives the false alarms. After Perini, Buerkner and Klami, "Estimating the Contamination Factor's
Distribution in Unsupervised Anomaly Detection" (ICML 2023): several detectors, a mixture, and a posterior of the share
instead of a number. Theirs, a Dirichlet process over the detectors' joint scores, is compared in benchmarks/verdict.md.
It knows numbers a photo; no words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.judgement import Interval
from blemish.verdict.detectors import Detector
from blemish.verdict.mixture import Fit, fit

__all__ = ["MISSED", "Estimate", "between", "estimate", "log_odds"]

Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

ALARMS = 0.08  # share of good photos that may be expected to be called blemished, whatever they cost
MISSED = 2.0  # how many false alarms one missed defect is worth
WHOLE = 0.75  # weight of the photo as a whole, which knows large changes only,
WHOLE_LEAST, WHOLE_MOST = -0.3, 5.0  # so that it can speak for a photo more than against it (log-odds),
AGREEMENT = (0.4, 0.65)  # as far as it ranks the photos as the score does: rank correlation of none, and of all
SURE = 1e-4  # probabilities are held this far from 0 and 1 before they are pooled
OVERLAP = 0.25  # wrong calls that are expected, per defect, above which the share has no upper end
HIDDEN = (0.0, 0.05, 0.12, 0.25, 0.45)  # shares of the defects that look like good photos, equally likely
FEWEST = 0.5  # defects that must be expected for the share to have an upper end
SEVERAL = 2.0  # defects that must be expected for an overlap to be worth a word
WIDEST = 0.4  # interval of the share that still says something
FEWEST_PHOTOS = 3  # that anything is learnt from
LEAST = 0.025  # of the share's posterior lie below the "at least"
MARGINS = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Estimate:
    """What a batch says about itself. Arrays are in the order of its photos."""

    scores: Float64  # (B,)
    defective: Float64  # (B,) probability that a photo is, all detectors together
    low: Float64  # (B,) 90 % interval of the score: how far the detectors disagree
    high: Float64  # (B,)
    learnt: Bools  # (B,) whether it was learnt from: a family decides about the others, whatever they score
    share: Interval  # of the photos that are defective
    at_least: bool  # only the lower end is known: nothing stands out, or good and bad overlap
    overlapping: bool  # the latter
    logarithmic: bool  # whether ``model`` speaks of logarithms of scores
    model: Fit  # of the scores

    def false_alarms(self, thresholds: Float64) -> Float64:
        """(3, T): share of good photos above each threshold, 5 %, 50 % and 95 % of its posterior."""
        rates = self.model.false_alarms(self._scale(thresholds))
        order = np.argsort(rates, axis=0)
        ascending = np.take_along_axis(rates, order, axis=0)
        below = np.cumsum(self.model.weights[order], axis=0)
        at = [np.minimum((below < margin).sum(axis=0), len(rates) - 1) for margin in MARGINS]
        return np.stack([np.take_along_axis(ascending, rows[None], axis=0)[0] for rows in at])

    def expected_false_alarms(self, thresholds: Float64) -> Float64:
        """(T,): the same, averaged over the posterior: what to expect."""
        return self.model.weights @ self.model.false_alarms(self._scale(thresholds))

    def best(self) -> float:
        """The threshold with the least expected cost, a missed defect costing ``MISSED`` false alarms."""
        scores, probability = self.scores[self.learnt], self.defective[self.learnt]
        order = np.argsort(-scores, kind="stable")
        scores, probability = scores[order], probability[order]
        alarms = np.concatenate([[0.0], np.cumsum(1 - probability)])
        missed = probability.sum() - np.concatenate([[0.0], np.cumsum(probability)])
        called = int(np.argmin(alarms + MISSED * missed))
        if called == 0:  # nothing stands out: where one good photo in so many would
            return max(self.allowing(0.5 / len(scores)), _above(float(scores[0])))
        return max(between(scores, called), self.allowing(ALARMS))

    def allowing(self, rate: float) -> float:
        """The lowest threshold at which at most ``rate`` of the good photos are expected to be called blemished."""
        low, high = self._unscaled_range()
        for _ in range(60):
            middle = (low + high) / 2
            if self.expected_false_alarms(np.array([self._unscale(middle)]))[0] > rate:
                low = middle
            else:
                high = middle
        return self._unscale(high)

    def expecting(self, share: float) -> float:
        """The threshold above which ``share`` of the photos lie, as nearly as their scores allow."""
        return between(-np.sort(-self.scores), int(share * len(self.scores) + 0.5))

    def _scale(self, thresholds: Float64) -> Float64:
        return np.log(np.maximum(thresholds, 1e-12)) if self.logarithmic else thresholds

    def _unscale(self, value: float) -> float:
        return float(np.exp(value)) if self.logarithmic else value

    def _unscaled_range(self) -> tuple[float, float]:
        centre, spread = self.model.typical
        return centre - 10 * spread, centre + 60 * spread


def estimate(
    scores: npt.NDArray[np.floating],
    detectors: Sequence[Detector],
    known: Bools | None = None,
    open_: Bools | None = None,
) -> Estimate:
    """``scores: (B,)``; ``detectors``: the score itself first and the photo as a whole last. ``known: (B,)`` are
    defective for another reason, they carry a recurring flaw; about ``open_: (B,)`` somebody else decides. Neither says
    anything about what good photos and other defects score."""
    values = np.asarray(scores, dtype=np.float64)
    known = np.zeros(len(scores), bool) if known is None else known
    learnt = ~known if open_ is None else ~(known | open_)
    if learnt.sum() < FEWEST_PHOTOS:
        learnt = np.ones(len(scores), bool)
    fits = [fit(detector.values[learnt], detector.usual_spread) for detector in detectors]
    local = fits[:-1]
    believed = [_of_all(one.defective, detector.values, learnt) for one, detector in zip(fits, detectors, strict=True)]
    opinions = np.stack([log_odds(one) for one in believed[:-1]])
    # small flaws hardly move the averages over a map, so the score itself is never outvoted
    odds = np.maximum(opinions[0], opinions.mean(axis=0))
    odds += _of_whole(believed[-1], detectors[0].values, detectors[-1].values)
    defective = np.where(known, 1.0, 1 / (1 + np.exp(-odds)))
    low, high = _interval(detectors[:-1], local)
    share, at_least = _share(local, defective[learnt])
    if not learnt.all():
        share = _with_known(share, float(known.mean()), float(learnt.mean()))
    logarithmic = detectors[0].usual_spread is not None
    unscaled = np.exp if logarithmic else np.asarray
    return Estimate(
        scores=values,
        defective=defective,
        low=np.minimum(unscaled(low), values),  # copies that score 0 have no logarithm
        high=np.maximum(unscaled(high), values),
        learnt=learnt,
        share=share,
        at_least=at_least,
        overlapping=at_least and float(defective[learnt].sum()) > SEVERAL,
        logarithmic=logarithmic,
        model=fits[0],
    )


def _of_all(defective: Float64, values: Float64, learnt: Bools) -> Float64:
    """Probabilities of the photos that were learnt from, and what they would be for the others' values."""
    if learnt.all():
        return defective
    order = np.argsort(values[learnt], kind="stable")
    return np.asarray(np.interp(values, values[learnt][order], defective[order]))


def _of_whole(defective: Float64, scores: Float64, whole: Float64) -> Float64:
    """What the photos as wholes add to the log-odds. Light, pose or two lots set photos apart as a whole, too, and
    nearly at random for the score; what the score confirms is more likely a defect."""
    ranks = [np.argsort(np.argsort(values, kind="stable"), kind="stable") for values in (scores, whole)]
    correlation = float(np.asarray(np.corrcoef(np.stack(ranks))).min()) if len(scores) > 1 else 0.0
    agreement = float(np.clip((correlation - AGREEMENT[0]) / (AGREEMENT[1] - AGREEMENT[0]), 0, 1))
    return WHOLE * np.clip(log_odds(defective), WHOLE_LEAST, WHOLE_MOST * agreement)


def between(descending: Float64, called: int) -> float:
    """A threshold that ``called`` of the scores exceed, as nearly as equal ones allow; in the middle of its gap."""
    photos = len(descending)
    if called <= 0:
        return _above(float(descending[0]))
    if called >= photos:
        return float(np.nextafter(descending[-1], -np.inf))
    upper, lower = float(descending[called - 1]), float(descending[called])
    middle = (upper + lower) / 2
    return middle if lower <= middle < upper else lower


def _above(score: float) -> float:
    """Just above a score, also once it is written with few digits."""
    return score + 1e-4 * max(abs(score), 1e-9)


def log_odds(probability: Float64) -> Float64:
    held = np.clip(probability, SURE, 1 - SURE)
    return np.asarray(np.log(held / (1 - held)))


def _interval(detectors: Sequence[Detector], fits: Sequence[Fit]) -> tuple[Float64, Float64]:
    """Ends of each score's 90 % interval: every detector's distance from its good photos, in their spreads, is taken as
    if it were the score's."""
    units = []
    for detector, one in zip(detectors, fits, strict=True):
        centre, spread = one.typical
        units.append((detector.values - centre) / spread)
    deviation = np.std(units, axis=0)
    reach = 1.645 * deviation * fits[0].typical[1]
    return detectors[0].values - reach, detectors[0].values + reach


def _share(fits: Sequence[Fit], defective: Float64) -> tuple[Interval, bool]:
    """The detectors' posteriors of the share, averaged, with room for defects that nobody sees; and whether only its
    lower end is known, since good and bad overlap: then the least that any detector is sure of."""
    values = np.concatenate([one.shares for one in fits])
    weights = np.tile(np.concatenate([one.share_weights for one in fits]) / len(fits) / len(HIDDEN), len(HIDDEN))
    with_hidden = np.minimum(np.concatenate([values / (1 - hidden) for hidden in HIDDEN]), 1.0)
    low, middle, high = _quantiles(with_hidden, weights, MARGINS)
    expected, wrong = float(defective.sum()), float(np.minimum(defective, 1 - defective).sum())
    if expected > FEWEST and wrong < OVERLAP * max(expected, 1.0) and high - low < WIDEST:
        return Interval(middle, low, high), False
    low = min(_quantiles(one.shares, one.share_weights, (LEAST,))[0] for one in fits)
    return Interval(max(low, middle), low, 1.0), True


def _with_known(share: Interval, known: float, learnt: float) -> Interval:
    """The share among all photos, from that among the ``learnt`` ones and the ``known`` defective; of those that are
    neither nobody knows."""
    low, middle = (known + learnt * end for end in (share.low, share.estimate))
    return Interval(middle, low, 1 - learnt * (1 - share.high))


def _quantiles(values: Float64, weights: Float64, margins: Sequence[float]) -> list[float]:
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return [float(values[order][min(int(np.searchsorted(below, margin)), len(values) - 1)]) for margin in margins]
