"""A batch of a pool judged, turned into a detector, and other photos judged by it, for `frozen.py`.

Knows one batch and one detector at a time; nothing of tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.config import FamilyConfig
from blemish.scoring.calibration import Line, line_through
from blemish.scoring.coreset import ORDINARY, SIZE, THINNED, farthest_first, folds, ordinary, thinned
from blemish.scoring.families import Pass, find_families
from blemish.scoring.memory import nearest
from blemish.scoring.mutual import mean_of_smallest, neighbours
from blemish.verdict import Estimate, detectors, estimate
from frozen_pools import Pool
from recurrence_batches import Matches, Tokens, refined

K = 1
RECURRING_PHOTOS = 24  # of both halves together, where a pool has as many
VOTES = 0.3  # share of the other photos, the default of a scan

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Judged:
    """Photos of a pool that were scored against each other and called. ``rows: (B,)`` of the pool."""

    rows: Ints
    maps: Float32  # (B, N)
    estimated: Estimate
    ok: Bools  # (B,)
    carriers: Bools  # (B,) of families whose flaw is decided

    @property
    def scores(self) -> Float64:
        return self.maps.max(axis=1).astype(np.float64)

    @property
    def called(self) -> Bools:
        return np.asarray((self.scores > self.estimated.best()) | self.carriers)


def judge(pool: Pool, rows: Ints, *, families: bool = False) -> Judged:
    """As a scan judges them, ``rows`` being the folder."""
    maps = mutual(pool, rows, rows)
    carriers, asked = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    if families:
        votes = neighbours(VOTES, len(rows))
        near = pool.nearest[np.ix_(rows, rows)].astype(np.float32)
        near[np.arange(len(rows)), np.arange(len(rows))] = np.inf
        one = Pass(Matches(near, pool.index[np.ix_(rows, rows)]), Tokens(pool.tokens[rows]), pool.grid)
        found = find_families([one], votes, FamilyConfig()).families
        sure = [at for at, family in enumerate(found) if not family.question]
        maps = refined([one], found, [sure], votes, maps[None], {})[0][0]
        for family in found:
            (asked if family.question else carriers)[family.members] = True
    estimated = opinion(pool, rows, maps, carriers, asked)
    ok = (maps.max(axis=1) <= estimated.best()) & ~carriers & ~asked
    return Judged(rows, maps, estimated, np.asarray(ok), carriers)


def mutual(pool: Pool, rows: Ints, references: Ints) -> Float32:
    """(R, N) mutual scores of ``rows`` against ``references``, never against themselves."""
    maps = []
    for row in rows:
        others = references[references != row]
        votes = neighbours(VOTES, len(others) + 1)
        maps.append(mean_of_smallest(pool.nearest[row][others].astype(np.float32), votes))
    return np.stack(maps)


def opinion(
    pool: Pool, rows: Ints, maps: Float32, carriers: Bools | None = None, asked: Bools | None = None
) -> Estimate:
    """What a batch with these maps says about itself. A photo as a whole is the mean of its tokens."""
    whole = pool.tokens[rows].mean(axis=1)
    grids = maps.reshape(len(rows), *pool.grid)
    return estimate(maps.max(axis=1), detectors(maps.max(axis=1), grids, [], whole), carriers, asked)


@dataclass(frozen=True)
class Frozen:
    """A bank, what it makes of its own batch's photos, and the line that takes that to the batch's scores."""

    bank: Float32  # (M, C)
    owner: Ints  # (M,) the photo that each is from, a row of the pool
    k: int
    own: Float32  # (B, N) raw maps
    line: Line

    def maps(self, pool: Pool, rows: Ints) -> Float32:
        """(R, N) raw distances."""
        return distances(pool, rows, self.bank, self.owner, self.k)

    def scores(self, pool: Pool, rows: Ints) -> Float64:
        """(R,) on the batch's scale."""
        return np.asarray(self.line(self.maps(pool, rows).max(axis=1)))


def distances(pool: Pool, rows: Ints, bank: Float32, owner: Ints, k: int) -> Float32:
    """(R, N) mean distance to the k nearest tokens of a bank; no photo is compared with those that it owns."""
    return np.stack([nearest(pool.tokens[row], bank[owner != row], k) for row in rows])


Choose = Callable[[Float32, int, int], Ints]  # tokens, size, seed -> indices


def freeze(
    pool: Pool,
    batch: Judged,
    *,
    size: int = SIZE,
    share: float = ORDINARY,
    limit: int = THINNED,
    k: int = K,
    photos: float = 1.0,
    apart: bool = True,
    choose: Choose = lambda tokens, size, seed: farthest_first(tokens, size, seed=seed),
    seed: int = 0,
) -> Frozen:
    """``photos``: share of those judged ok, the lowest-scoring, whose tokens may be kept. ``apart``: the batch's own
    photos are scored in folds, or by what the bank has of others."""
    some = batch.ok & (batch.scores <= np.quantile(batch.scores[batch.ok], photos))
    tokens = pool.tokens[batch.rows[some]]
    flat = thinned(ordinary(batch.maps[some], share=share), limit=limit, seed=seed)
    among = tokens.reshape(-1, tokens.shape[2])[flat]
    kept = choose(among, size, seed)
    bank, owner = among[kept], np.repeat(batch.rows[some], tokens.shape[1])[flat][kept]
    own = distances(pool, batch.rows, bank, owner, k)
    of = np.repeat(np.flatnonzero(some), tokens.shape[1])[flat]
    part = np.full(len(batch.rows), -1)
    part[some] = folds(int(some.sum()), seed=seed)
    for at in range(part.max() + 1) if apart else ():
        others = among[part[of] != at]
        held_out = np.flatnonzero(part == at)
        others_kept = others[choose(others, size, seed)]
        own[held_out] = distances(pool, batch.rows[held_out], others_kept, np.full(len(others_kept), -1), k)
    return Frozen(bank, owner, k, own, line_through(own.max(axis=1), batch.scores))


def at_random(tokens: Float32, size: int, seed: int) -> Ints:
    return np.random.default_rng(seed).permutation(len(tokens))[:size]


def projected(tokens: Float32, size: int, seed: int) -> Ints:
    """Greedy in 48 random directions, as PatchCore does it for speed."""
    lower = tokens @ np.random.default_rng(seed).normal(size=(tokens.shape[1], 48)).astype(np.float32)
    return farthest_first(lower / np.linalg.norm(lower, axis=1, keepdims=True), size, seed=seed)


def centres(tokens: Float32, size: int, seed: int) -> Ints:
    """Tokens nearest to the centres of k-means (three rounds from random tokens): dense looks get more of them."""
    centre = tokens[at_random(tokens, size, seed)]
    for _ in range(3):
        own = np.argmax(tokens @ centre.T, axis=1)
        total = np.zeros_like(centre)
        np.add.at(total, own, tokens)
        length = np.linalg.norm(total, axis=1, keepdims=True)
        centre = np.where(length > 0, total / np.maximum(length, 1e-12), centre)
    return np.unique(np.argmax(centre @ tokens.T, axis=1))


def halves(pool: Pool, share: float, seed: int) -> Iterator[tuple[Ints, Ints]]:
    """What is frozen and what is judged, both ways: halves of the good photos, ``share`` of each flawed."""
    rng = np.random.default_rng(seed)
    good = rng.permutation(np.flatnonzero(pool.kinds == "good"))
    bad = rng.permutation(np.flatnonzero(pool.kinds != "good"))
    half = len(good) // 2
    flawed = min(len(bad) // 2, round(half * share / (1 - share)))
    parts = [np.sort(np.r_[good[at::2][:half], bad[at::2][:flawed]]) for at in (0, 1)]
    yield parts[0], parts[1]
    yield parts[1], parts[0]


def recurring_halves(pool: Pool, groups: int, seed: int) -> Iterator[tuple[Ints, Ints]]:
    """The same, a third of each half with flaws that recur, in both halves the same ones: ``groups``, 1 to 3."""
    rng = np.random.default_rng(seed)
    names = {1: ["recurring-1"], 2: ["recurring-2", "recurring-3"]}.get(groups, [f"recurring-{n}" for n in (1, 2, 3)])
    halved: list[list[int]] = [[], []]
    for kind in (*names, "sporadic"):
        rows = rng.permutation(np.flatnonzero(pool.kinds == kind))
        few = rows[: 4 if kind == "sporadic" else RECURRING_PHOTOS // groups]
        for at in (0, 1):
            halved[at] += few[at::2].tolist()
    free = ~np.isin(pool.specimens, pool.specimens[np.concatenate(halved).astype(int)])
    good = rng.permutation(np.flatnonzero((pool.kinds == "good") & free))
    third = min(sum(str(pool.kinds[row]).startswith("recurring") for row in half) for half in halved)
    half = min(len(good) // 2, 2 * third - 2)
    parts = [np.sort(np.r_[halved[at], good[at::2][:half]]).astype(np.intp) for at in (0, 1)]
    yield parts[0], parts[1]
    yield parts[1], parts[0]
