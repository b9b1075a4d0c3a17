"""Scores of made-up batches: good photos about a centre, defective ones above it, several detectors that look at it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blemish.verdict.detectors import MAP_SPREAD, WHOLE_SPREAD, Detector
from blemish.verdict.threshold import Estimate, estimate

CENTRE = -1.0  # logarithm of what a good photo scores


def logs(good: int, bad: int = 0, apart: float = 12.0, seed: int = 0) -> np.ndarray:
    """(good + bad,) logarithms of scores, the defective ones last: ``apart`` spreads above the good ones, and spread
    three times as wide."""
    rng = np.random.default_rng(seed)
    return CENTRE + MAP_SPREAD * np.concatenate([rng.normal(size=good), apart + 3 * rng.normal(size=bad)])


def detectors_of(
    values: np.ndarray, seed: int = 0, noise: float = 0.4, whole: np.ndarray | None = None
) -> list[Detector]:
    """The score, two others that mostly agree, and the photo as a whole, which by default knows nothing."""
    rng = np.random.default_rng(1000 + seed)
    others = [values + noise * MAP_SPREAD * rng.normal(size=len(values)) for _ in range(2)]
    whole = WHOLE_SPREAD * rng.normal(size=len(values)) if whole is None else whole
    return [
        Detector("score", values, MAP_SPREAD),
        *(Detector(f"other {at}", other, MAP_SPREAD) for at, other in enumerate(others)),
        Detector("whole photo", whole, WHOLE_SPREAD),
    ]


def estimated(values: np.ndarray, seed: int = 0, known: Sequence[int] = (), open_: Sequence[int] = ()) -> Estimate:
    """What a batch of these logarithms says about itself. ``known`` and ``open_``: rows."""
    rows = np.arange(len(values))
    return estimate(
        np.exp(values).astype(np.float32),
        detectors_of(values, seed),
        np.isin(rows, known) if len(known) else None,
        np.isin(rows, open_) if len(open_) else None,
    )


def falling(good: int, bad: int = 0, seed: int = 0, **more: float) -> np.ndarray:
    """``logs``, most anomalous first, as a verdict has its photos."""
    return -np.sort(-logs(good, bad, seed=seed, **more))
