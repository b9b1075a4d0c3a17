"""Our own rule's second half: is a community of regions a flaw, a variant, or the same photo again?

A look that recurs is suspicious only if, with its bearers out of the way, it is unlike everything: unlike what the
batch as a whole shows, and unlike what the other photos show at the same place when they, too, must do without as many
of their nearest photos. The second question is what spares legitimate variants, whose number nobody has to know: take
away its own variant, and the token of any other variant is just as lonely.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.config import FamilyConfig
from blemish.scoring.families.family import Bools, Float32, Ints, Pass
from blemish.scoring.families.known import median, quantile
from blemish.scoring.families.links import FLOOR
from blemish.scoring.families.regions import Candidate
from blemish.scoring.mutual import mean_of_smallest, neighbours

__all__ = [
    "NEAR",
    "VOTES",
    "Evidence",
    "different",
    "distinct",
    "fence_of",
    "high_of",
    "isolation",
    "isolation_of",
    "isolation_without",
    "log_distances",
    "question",
    "shared",
    "usual_of",
    "weigh",
]

VOTES = 0.1  # share of the photos whose distances are averaged; with more, everything looks alike
FEWEST_OUTSIDE = 2  # photos without a look that can say whether it is unusual
SAMPLE = 20_000  # tokens from which the batch's own distances are read off
BATCH_SHARE, PLACE_SHARE = 0.95, 0.75  # of all tokens; of the other photos, some of which may be flawed there too
CORE = 0.75  # quantile of a member's tokens that stands for it in aligned volumes
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
    else's, d^(m+1) to d^(m+k), m being the number of members. A look that all photos have, or all but one, is what is
    usual: there is nothing to compare it with, and no evidence."""
    telling = [one.images - len(candidate.members) >= FEWEST_OUTSIDE for candidate in found]
    weighed = iter(_weighed(one, [candidate for candidate, tells in zip(found, telling, strict=True) if tells]))
    return [next(weighed) if tells else Evidence(0.0, 0.0) for tells in telling]


def _weighed(one: Pass, found: Sequence[Candidate]) -> list[Evidence]:
    """As ``weigh``, each with photos outside."""
    if not found:
        return []
    k = neighbours(VOTES, one.references + 1)
    sampled = _positions(one)
    batch = [np.empty((one.images, len(sampled)), dtype=np.float32) for _ in found]
    places = [np.flatnonzero(candidate.tokens.any(axis=0)) for candidate in found]
    shifts = [_compared_members(one, candidate.members) for candidate in found]
    others: list[list[Float32]] = [[] for _ in found]
    own: list[list[Float32]] = [[] for _ in found]
    for i in range(one.images):
        row = one.matches.row(i)
        sums = _prefix_sums(row[:, sampled])
        for at, candidate in enumerate(found):
            m = shifts[at]
            batch[at][i] = _counted(_shifted(sums, m, k, one.references), one, i, sampled)
            inside = np.searchsorted(candidate.members, i)
            if inside < len(candidate.members) and candidate.members[inside] == i:
                own[at].append(log_distances(isolation_without(row[:, candidate.tokens[inside]], candidate.members, k)))
            else:
                shifted = _shifted(_prefix_sums(row[:, places[at]]), m, k, one.references)
                others[at].append(log_distances(_counted(shifted, one, i, places[at])))
    if one.aligned:
        return [
            _beyond_usual(candidate, log_distances(batch[at]), places[at], np.stack(others[at]), own[at])
            for at, candidate in enumerate(found)
        ]
    evidence = []
    for at, candidate in enumerate(found):
        known = np.concatenate(own[at])
        known = known[np.isfinite(known)]  # a token that was compared with members only says nothing
        if not len(known):
            evidence.append(Evidence(0.0, 0.0))
            continue
        isolated = float(np.median(known))
        weights = candidate.tokens[:, places[at]].sum(axis=0)
        usual = usual_of(np.stack(others[at]))
        if one.inside is not None:
            weights = np.where(np.isnan(usual), 0, weights)
            usual = np.nan_to_num(usual)
        high = high_of(batch[at])
        beyond_place = float(np.exp(isolated - usual @ weights / weights.sum())) if weights.any() else 0.0
        evidence.append(Evidence(float(np.exp(isolated - high)), beyond_place))
    return evidence


def _beyond_usual(
    candidate: Candidate, batch: Float32, places: Ints, others: Float32, own: Sequence[Float32]
) -> Evidence:
    """Evidence where a place means the same in every volume, in ratios to the usual one at each place: folds are hard
    to match in all brains, and further from each other than a lesion in plain tissue is from anything.

    Logarithms of isolations: ``batch`` (B, S) of sampled tokens, ``others`` (n, P) of the volumes outside at
    ``places`` (P,), ``own`` of the tokens of each member. A lesion's core counts, its upper quarter, since the tokens
    around see a part of it."""
    outside = np.delete(batch, candidate.members, axis=0)
    high = median(quantile(batch - median(outside, axis=0), BATCH_SHARE, axis=1))
    middle, most = median(others, axis=0), usual_of(others)
    cores = []
    for logs, tokens in zip(own, candidate.tokens, strict=True):
        at = np.searchsorted(places, np.flatnonzero(tokens))
        over = logs - np.stack([middle[at], most[at]])
        over = over[:, np.isfinite(over).all(axis=0)]
        if over.size:
            cores.append(np.quantile(over, CORE, axis=1))
    if not cores:
        return Evidence(0.0, 0.0)
    isolated, beyond = np.median(cores, axis=0)
    return Evidence(float(np.exp(isolated - high)), float(np.exp(beyond)))


def isolation(one: Pass, m: int) -> Float32:
    """(B, N): how far every token is from the photos that are left when its m nearest are taken away: the mean of
    d^(m+1) to d^(m+k); NaN where a token does not count."""
    return one.known(np.stack([isolation_of(one.matches.row(i), m, one.references) for i in range(one.images)]))


def isolation_of(row: Float32, m: int, references: int) -> Float32:
    """The same for some tokens of one photo: (B, n) distances -> (n,)."""
    return _shifted(_prefix_sums(row), m, neighbours(VOTES, references + 1), references)


def isolation_without(row: Float32, members: Ints, k: int) -> Float32:
    """(B, n) distances of a member's tokens -> (n,): how far they are from the k nearest photos that are no members;
    infinite where no other was compared."""
    outside = np.delete(row, members, axis=0)
    return mean_of_smallest(outside, min(k, len(outside)))


def high_of(distances: Float32) -> float:
    """(B, n) isolations -> logarithm of what nearly all tokens of a usual photo stay below: of each photo, then their
    median, so that a flaw which covers much of many photos does not hide itself."""
    return float(median(log_distances(quantile(distances, BATCH_SHARE, axis=1))))


def usual_of(logs: Float32) -> npt.NDArray[Any]:
    """(n, N) logarithms of isolations -> (N,) what most photos stay below at each place."""
    return quantile(logs, PLACE_SHARE, axis=0)


def fence_of(photos: int, several: bool, config: FamilyConfig) -> float:
    """How far a look must be from the others: the fewer photos agree, and the more layers and neighbourhoods are looked
    at, the likelier something is seen by chance."""
    return config.beyond_batch + config.few / (photos - 2) + (config.several if several else 0)


def log_distances(distances: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Natural logarithms; of zero, that of a distance which is rounding."""
    return np.asarray(np.log(np.maximum(distances, FLOOR)))


def _compared_members(one: Pass, members: Ints) -> int:
    """How many members the usual member was compared with, itself included: what it does without when they leave."""
    if not one.screened:
        return len(members)
    return 1 + round(float(np.mean([one.compared(int(i))[members].sum() for i in members])))


def _positions(one: Pass) -> Ints:
    """Tokens looked at in every photo: the same in each, so that the order of the batch changes nothing."""
    places = np.flatnonzero(shared(one))
    count = min(len(places), max(16, SAMPLE // one.images))
    return places[np.unique(np.linspace(0, len(places) - 1, count).astype(np.intp))]


def shared(one: Pass) -> Bools:
    """(N,) places where tokens of half of the photos count: what is usual in the batch is read there, since the rim of
    a large brain is far from all others for another reason than a flaw."""
    if one.inside is None:
        return np.ones(one.size, dtype=bool)
    photos = one.inside.sum(axis=0)
    return np.asarray(photos >= min(one.images // 2, photos.max()))


def _counted(isolations: Float32, one: Pass, image: int, places: Ints) -> Float32:
    """(n,) isolations of the tokens of ``image`` at ``places`` (n,), NaN where they do not count."""
    if one.inside is not None:
        isolations[~one.inside[image, places]] = np.nan
    return isolations


def _prefix_sums(columns: Float32) -> npt.NDArray[np.float64]:
    """(B, n) distances -> (n, B + 1): sums of the smallest 0, 1, ... B of each column."""
    ascending = np.sort(np.ascontiguousarray(columns.T), axis=1)
    sums = np.zeros((ascending.shape[0], ascending.shape[1] + 1))
    np.cumsum(ascending, axis=1, out=sums[:, 1:])
    return sums


def _shifted(sums: npt.NDArray[np.float64], m: int, k: int, references: int) -> Float32:
    """Mean of d^(m+1) to d^(m+k), or of the k largest finite distances where the batch ends before. ``references``:
    how many are finite; those to the photo itself and to the ones it was not compared with are not."""
    last = min(references, m + k)
    first = max(0, last - k)
    return np.asarray((sums[:, last] - sums[:, first]) / (last - first), dtype=np.float32)


def distinct(one: Pass, members: Ints) -> int:
    """How many different parts the members show."""
    beyond = min(len(members) + round(NEAR * (one.references + 1)), one.references - 1)
    return different(members, lambda i: np.median(one.matches.row(i)[:, one.own(i)], axis=1), beyond)


def different(members: Ints, apart: Callable[[int], Float32], beyond: int) -> int:
    """How many different parts ``members`` show: photos much nearer to each other than photos usually are, all over,
    are the same part again. ``apart(i)``: (B,) distances of photo i to all; ``beyond``: how many come before the one
    that is usual, which is near but no copy: of the same variant."""
    kept: list[int] = []
    for i in members:
        between = apart(int(i))
        usual = np.partition(between, beyond)[beyond]
        if all(between[other] > COPY * usual for other in kept):
            kept.append(int(i))
    return len(kept)


def question(members: Ints, tokens: Bools, images: int, strength: float, many_firm: float = MANY_FIRM) -> str:
    """Why a family should be asked about rather than decided, or "".

    The rule rests on flaws being rarer than what is right. A look that many photos have, or one that covers the part,
    may be a variant that is merely less frequent than another; unless it is far from everything, the batch alone
    cannot tell. ``many_firm``: strength from which a look on many photos is no mere variation."""
    share, cover = len(members) / images, float(tokens.mean())
    if share > HUGE:
        return f"it is on {share:.0%} of the photos, too many to be sure that it is the exception"
    if share > LARGE and (cover > WHOLE or (cover > PART and strength < PART_FIRM)):
        return f"it covers {cover:.0%} of the picture on {share:.0%} of the photos, as a variant would"
    if share > LARGE and strength < many_firm:
        return f"it is on {share:.0%} of the photos and not very unlike the others, as a variant would be"
    if cover > WHOLE and strength < PART_FIRM:
        return f"it covers {cover:.0%} of the picture and is not very unlike the others, as a variant would be"
    return ""
