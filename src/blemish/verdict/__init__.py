"""The verdict: ok, blemished or unsure for every photo of a batch, with its meaning, from numbers alone.

``estimate`` learns what the batch says about itself; ``judge`` turns that and what the user knows into calls. The one
takes a moment, the other none, so a threshold can be moved without scoring again. Regions: ``regions``. Batch health:
``drift``, ``duplicates``, ``products``. Nothing here knows photos, files or torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.config import VerdictConfig
from blemish.judgement import Interval, Judgement, Stop
from blemish.verdict.detectors import detectors
from blemish.verdict.rejection import Band
from blemish.verdict.threshold import Estimate, between, estimate
from blemish.verdict.wording import FEW, Said, percent, sentence

__all__ = ["Estimate", "Groups", "detectors", "estimate", "judge"]

Float64 = npt.NDArray[np.float64]

STOPS = 120  # of the slider: every photo's at the top, then ever fewer
SINGLE = 60


@dataclass(frozen=True)
class Groups:
    """What families and products have to say. Rows count the photos, most anomalous first."""

    carriers: tuple[int, ...] = ()  # of families whose flaw is decided: blemished whatever their score
    asked: tuple[int, ...] = ()  # of families that the user is asked about, or should be
    spared: tuple[int, ...] = ()  # of rare legitimate variants, and usual for these: not blemished whatever their score
    said: tuple[int, ...] = ()  # about which a person has said what they are, so nobody needs to look
    products: tuple[int, ...] = ()  # sizes of the groups, if the photos look like several products
    alone: bool = False  # each was scored on its own, so that a few photos, or equal ones, can all be flawed
    unit: str = "photo"  # what one of them is called


def judge(estimated: Estimate, config: VerdictConfig, pixel_threshold: float, groups: Groups) -> Judgement:
    """The verdict about a batch whose photos are ordered by falling score."""
    scores = estimated.scores
    settled = np.isin(np.arange(len(scores)), (*groups.carriers, *groups.asked, *groups.spared))
    band = Band(scores, estimated.defective, ~settled)
    threshold, rule = _threshold(estimated, config, groups.unit)
    of_batch = (config.threshold, config.max_false_alarms, config.expect_defects) == (None, None, None)
    thresholds = _stops(scores, threshold)
    rates = estimated.false_alarms(thresholds)

    def stop(at: int) -> Stop:
        return _stop(
            estimated,
            config,
            groups,
            band,
            float(thresholds[at]),
            _interval(rates[:, at]),
            of_batch and thresholds[at] == threshold,
        )

    stops = tuple(stop(at) for at in range(len(thresholds)))
    chosen = int(np.flatnonzero(thresholds == threshold)[0])
    return Judgement(
        threshold=threshold,
        pixel_threshold=pixel_threshold,
        rule=rule,
        share=estimated.share,
        at_least=estimated.at_least,
        false_alarms=_interval(rates[:, chosen]),
        sentence=stops[chosen].sentence,
        unsure=stops[chosen].unsure,
        always=groups.carriers,
        spared=groups.spared,
        stops=stops,
    )


def _threshold(estimated: Estimate, config: VerdictConfig, unit: str) -> tuple[float, str]:
    if config.threshold is not None:
        return config.threshold, "as you said"
    if config.max_false_alarms is not None:
        allowed = percent(config.max_false_alarms)
        return estimated.allowing(config.max_false_alarms), f"at most {allowed} false alarms, as you asked"
    if config.expect_defects is not None:
        return estimated.expecting(config.expect_defects), f"{percent(config.expect_defects)} defects, as you expect"
    return estimated.best(), f"estimated from these {unit}s"


def _stop(
    estimated: Estimate,
    config: VerdictConfig,
    groups: Groups,
    band: Band,
    threshold: float,
    false_alarms: Interval,
    own: bool,
) -> Stop:
    photos, by_hand = len(estimated.scores), config.threshold is not None
    above = int((estimated.scores > threshold).sum())
    called = (set(range(above)) - set(groups.spared)) | set(groups.carriers)
    asked = called & set(groups.asked)
    unsure = set(band.unsure(threshold, int(config.max_unsure * photos + 1e-9)).tolist())
    alike = bool(estimated.scores[0] == estimated.scores[-1])
    if groups.alone and (photos < FEW or alike) and not by_hand:
        unsure |= set(range(photos))
    elif photos < FEW and not by_hand:
        unsure |= called  # too few to condemn any
    unsure = (unsure | asked) - set(groups.said)
    blemished = len(called - unsure)
    said = Said(
        photos=photos,
        blemished=blemished,
        above=above,
        unsure=len(unsure),
        asked=len(asked),
        false_alarms=false_alarms,
        share=estimated.share,
        overlapping=estimated.overlapping,
        products=groups.products,
        by_hand=by_hand,
        own=own,
        alike=alike,
        unit=groups.unit,
    )
    return Stop(threshold, blemished, tuple(sorted(unsure)), sentence(said))


def _stops(scores: Float64, chosen: float) -> Float64:
    """Ascending thresholds, ``chosen`` among them: between any two of the highest scores, then further apart."""
    photos = len(scores)
    counts: Sequence[int] = range(photos + 1)
    if photos > STOPS:
        further = np.geomspace(SINGLE, photos, STOPS - SINGLE).round().astype(int)
        counts = sorted({*range(SINGLE), *further.tolist()})
    return np.unique([*(between(scores, count) for count in counts), chosen])


def _interval(rates: Float64) -> Interval:
    low, middle, high = (float(rate) for rate in rates)
    return Interval(middle, low, high)
