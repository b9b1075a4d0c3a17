"""How much each channel of a photo counts (zero-shot score, distance to sound surface, likeness to a flaw, per scale).

After Abdali et al. (arXiv 2507.23712): weights drawn at random, the ones kept that tell augmented copies of the flawed
photo from copies of a good one. Channels are computed once; a draw only weighs them anew. It knows arrays and labels;
nothing of photos or of how copies are made.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from blemish.errors import ConfigError

__all__ = ["STRATEGIES", "choose", "separation", "weighted"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

DRAWS = 1000
TIED = 1e-9  # AUROC
SHRINKAGE = 0.5  # towards uniform
FREEDOM = 3  # of the Student-t draws: heavy tails, so that one channel often dominates

STRATEGIES = ("uniform", "monte-carlo", "normal", "student", "shrunk", "left-out")


def weighted(channels: Float32, weights: npt.ArrayLike) -> Float32:
    """The combined map: (..., S, N) channels of N tokens and (S,) weights -> (..., N)."""
    return np.asarray(np.einsum("...sn,s->...n", channels, np.asarray(weights, dtype=np.float32)), dtype=np.float32)


def choose(
    channels: Float32,
    flawed: npt.ArrayLike,
    families: Sequence[str],
    strategy: str = "uniform",
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Float64:
    """Weights (S,), none negative, sum 1, from copies: ``channels: (n, S, N)``, ``flawed: (n,)`` and the family of
    augmentation that made each. The score of a copy is the largest value of its combined map; with N = 1 the channels
    are image scores already, as published.

    * ``uniform``: every channel the same; looks at no copy.
    * ``monte-carlo``: the mean of those uniform draws that have the highest AUROC. Copies match the photo that they
      were made of almost perfectly, so many draws tie, and their mean leans towards uniform.
    * ``normal``, ``student``: the same with absolute normal or Student-t draws, which favour extreme weights.
    * ``shrunk``: half-way between ``monte-carlo`` and uniform.
    * ``left-out``: chosen without one family of augmentation at a time and judged on that one; the mean of these
      weights if they beat uniform there on average, otherwise uniform.

    Raises ``ConfigError`` for an unknown strategy, or if copies of either kind are lacking."""
    if strategy not in STRATEGIES:
        raise ConfigError(f"there is no strategy {strategy!r} for weights; choose one of {', '.join(STRATEGIES)}.")
    truth, of_family = np.asarray(flawed, dtype=bool), np.asarray(families)
    uniform = np.full(channels.shape[1], 1 / channels.shape[1])
    if strategy == "uniform":
        return uniform
    if truth.all() or not truth.any():
        raise ConfigError(
            f"weights are chosen on copies of a flawed and of a good photo; received {truth.sum()} flawed and "
            f"{(~truth).sum()} good ones. Give one good photo besides the flawed one, or use uniform weights."
        )
    drawn = _drawn(strategy, len(uniform), draws, np.random.default_rng(seed))
    scores = np.stack([(drawn @ one).max(axis=1) for one in channels], axis=1)
    if strategy == "left-out":
        return _left_out(drawn, scores, channels, truth, of_family)
    best = _best(drawn, separation(scores, truth))
    return best if strategy != "shrunk" else (1 - SHRINKAGE) * best + SHRINKAGE * uniform


def separation(scores: npt.ArrayLike, flawed: npt.NDArray[np.bool_]) -> Float64:
    """AUROC of every row of ``scores: (..., n)``, ties counting half; ``flawed: (n,)`` holds both kinds -> (...)."""
    values = np.asarray(scores)
    above, below = values[..., flawed, None], values[..., None, ~flawed]
    return np.asarray(((above > below) + 0.5 * (above == below)).mean(axis=(-1, -2)), dtype=np.float64)


def _drawn(strategy: str, channels: int, draws: int, rng: np.random.Generator) -> Float64:
    """(draws, channels) of which every row sums to 1."""
    shape = (draws, channels)
    if strategy == "normal":
        raw = np.abs(rng.standard_normal(shape))
    elif strategy == "student":
        raw = np.abs(rng.standard_t(FREEDOM, shape))
    else:
        raw = rng.uniform(0, 1, shape)
    return np.asarray(raw / raw.sum(axis=1, keepdims=True), dtype=np.float64)


def _best(drawn: Float64, reached: Float64) -> Float64:
    return np.asarray(drawn[reached >= reached.max() - TIED].mean(axis=0))


def _left_out(
    drawn: Float64, scores: Float64, channels: Float32, flawed: npt.NDArray[np.bool_], families: npt.NDArray[np.str_]
) -> Float64:
    uniform = np.full(drawn.shape[1], 1 / drawn.shape[1])
    found: list[Float64] = []
    gains: list[float] = []
    for family in np.unique(families):
        held, rest = families == family, families != family
        if min(flawed[held].sum(), (~flawed)[held].sum(), flawed[rest].sum(), (~flawed)[rest].sum()) == 0:
            continue
        best = _best(drawn, separation(scores[:, rest], flawed[rest]))
        with_best, with_uniform = (weighted(channels[held], w).max(axis=1) for w in (best, uniform))
        found.append(best)
        gains.append(float(separation(with_best, flawed[held]) - separation(with_uniform, flawed[held])))
    return np.asarray(np.mean(found, axis=0)) if sum(gains) > 0 else uniform
