"""Our own rule's second half: is a community of regions a flaw, a variant, or the same photo again?

A look that recurs is suspicious only if, with its bearers out of the way, it is unlike everything: unlike what the
batch as a whole shows, and unlike what the other photos show at the same place when they, too, must do without as many
of their nearest photos. The second question is what spares legitimate variants, whose number nobody has to know: take
away its own variant, and the token of any other variant is just as lonely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.scoring.families.family import Bools, Float32, Ints, Pass
from blemish.scoring.families.links import FLOOR
from blemish.scoring.families.regions import Candidate
from blemish.scoring.mutual import mean_of_smallest, neighbours

__all__ = ["Evidence", "distinct", "question", "weigh"]

VOTES = 0.1  # share of the photos whose distances are averaged; with more, everything looks alike
SAMPLE = 20_000  # tokens from which the batch's own distances are read off
BATCH_SHARE, PLACE_SHARE = 0.95, 0.75  # of all tokens; of the other photos, some of which may be flawed there too
NEAR = 0.1  # share of the batch: the photos nearest to one after its copies
COPY = 0.35  # share of the distance to those below which two photos show the same part again
LARGE, HUGE = 0.2, 0.4  # shares of the batch from which a minority is not certain to be one
WHOLE = 0.15  # share of a photo's tokens from which a look covers the part
PART = 0.1  # the same, from which it covers a good part of it
MANY_FIRM, PART_FIRM = 1.25, 1.4  # strengths from which a look on many photos, or all over, is no mere variation


@dataclass(frozen=True)
class Evidence:
    """How many times as far from the other photos the look is than nearly all tokens of the batch, and than most of
    the other photos at the same place."""

    beyond_batch: float
    beyond_place: float


def weigh(one: Pass, found: Sequence[Candidate]) -> list[Evidence]:
    """Evidence for each candidate of one pass, whatever K the scores are made with.

    Compared are means of k ranks: of the members' tokens, distances to the k nearest photos outside; of everybody
    else's, d^(m+1) to d^(m+k), m being the number of members."""
    k = neighbours(VOTES, one.images)
    sampled = _positions(one)
    batch = [np.empty((one.images, len(sampled)), dtype=np.float32) for _ in found]
    places = [np.flatnonzero(candidate.tokens.any(axis=0)) for candidate in found]
    others: list[list[Float32]] = [[] for _ in found]
    own: list[list[Float32]] = [[] for _ in found]
    for i in range(one.images):
        row = one.matches.row(i)
        sums = _prefix_sums(row[:, sampled])
        for at, candidate in enumerate(found):
            m = len(candidate.members)
            batch[at][i] = _shifted(sums, m, k)
            inside = np.searchsorted(candidate.members, i)
            if inside < m and candidate.members[inside] == i:
                outside = np.delete(row[:, candidate.tokens[inside]], candidate.members, axis=0)
                own[at].append(_log(mean_of_smallest(outside, min(k, len(outside)))))
            else:
                others[at].append(_log(_shifted(_prefix_sums(row[:, places[at]]), m, k)))
    evidence = []
    for at, candidate in enumerate(found):
        isolation = float(np.median(np.concatenate(own[at])))
        weights = candidate.tokens[:, places[at]].sum(axis=0)
        usual = np.quantile(np.stack(others[at]), PLACE_SHARE, axis=0) @ weights / weights.sum()
        # of each photo, then their median: a flaw that covers much of many photos does not hide itself
        high = float(np.median(_log(np.quantile(batch[at], BATCH_SHARE, axis=1))))
        evidence.append(Evidence(float(np.exp(isolation - high)), float(np.exp(isolation - usual))))
    return evidence


def _log(distances: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(np.log(np.maximum(distances, FLOOR)))


def _positions(one: Pass) -> Ints:
    """Tokens looked at in every photo: the same in each, so that the order of the batch changes nothing."""
    tokens = one.grid[0] * one.grid[1]
    count = min(tokens, max(16, SAMPLE // one.images))
    return np.unique(np.linspace(0, tokens - 1, count).astype(np.intp))


def _prefix_sums(columns: Float32) -> npt.NDArray[np.float64]:
    """(B, n) distances -> (n, B + 1): sums of the smallest 0, 1, ... B of each column."""
    ascending = np.sort(np.ascontiguousarray(columns.T), axis=1)
    sums = np.zeros((ascending.shape[0], ascending.shape[1] + 1))
    np.cumsum(ascending, axis=1, out=sums[:, 1:])
    return sums


def _shifted(sums: npt.NDArray[np.float64], m: int, k: int) -> Float32:
    """Mean of d^(m+1) to d^(m+k), or of the k largest finite distances where the batch ends before."""
    last = min(sums.shape[1] - 2, m + k)  # the very last distance is to the photo itself, infinite
    first = max(0, last - k)
    return np.asarray((sums[:, last] - sums[:, first]) / (last - first), dtype=np.float32)


def distinct(one: Pass, members: Ints) -> int:
    """How many different parts the members show: photos much nearer to each other than photos usually are, all over,
    are the same part again."""
    kept: list[int] = []
    beyond = min(len(members) + round(NEAR * one.images), one.images - 2)
    for i in members:
        between = np.median(one.matches.row(int(i)), axis=1)
        usual = np.partition(between, beyond)[beyond]  # of photos that are near but no copies: of the same variant
        if all(between[other] > COPY * usual for other in kept):
            kept.append(int(i))
    return len(kept)


def question(members: Ints, tokens: Bools, images: int, strength: float) -> str:
    """Why a family should be asked about rather than decided, or "".

    The rule rests on flaws being rarer than what is right. A look that many photos have, or one that covers the part,
    may be a variant that is merely less frequent than another; unless it is far from everything, the batch alone
    cannot tell."""
    share, cover = len(members) / images, float(tokens.mean())
    if share > HUGE:
        return f"it is on {share:.0%} of the photos, too many to be sure that it is the exception"
    if share > LARGE and (cover > WHOLE or (cover > PART and strength < PART_FIRM)):
        return f"it covers {cover:.0%} of the picture on {share:.0%} of the photos, as a variant would"
    if share > LARGE and strength < MANY_FIRM:
        return f"it is on {share:.0%} of the photos and not very unlike the others, as a variant would be"
    if cover > WHOLE and strength < PART_FIRM:
        return f"it covers {cover:.0%} of the picture and is not very unlike the others, as a variant would be"
    return ""
