"""Batches drawn from a pool, and what each way of scoring makes of them, for `recurrence.py`.

Knows one batch at a time. The names of the ways (``plain10`` and so on) carry K in percent.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from blemish.config import FamilyConfig
from blemish.metrics.ranking import RankCounts, auroc, average_precision_of, f1_max_of
from blemish.result import upsample
from blemish.scoring.families import Alternatives, FoundFamily, Pass, alternatives, find_families
from blemish.scoring.mutual import mean_of_smallest, neighbours
from recurrence_photos import GROUPS
from recurrence_pools import MASK_SIZE, Pool

SPORADIC = 0.05  # share of every batch that has a flaw of its own
COVERED = 0.25  # share of a token that a flaw covers from which it counts as the flaw's
BINS = 2**16  # of the maps' values: AP changes in the fifth digit, and needs no sort
SHARES = (0.1, 0.3, 0.6)

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]
Figures = dict[str, Any]


class Matches:
    """Distances and indices of a batch, as family finding asks for them."""

    def __init__(self, nearest: Float32, index: npt.NDArray[np.int16]) -> None:
        self._nearest, self._index = nearest, index

    def row(self, image: int) -> Float32:
        return np.asarray(self._nearest[image])

    def index(self, image: int) -> npt.NDArray[np.int16]:
        return np.asarray(self._index[image])


class Tokens:
    def __init__(self, tokens: Float32) -> None:
        self._tokens = tokens
        self.shape = tokens.shape

    def read(self, start: int, stop: int) -> Float32:
        return self._tokens[start:stop]


@dataclass(frozen=True)
class Batch:
    kinds: npt.NDArray[np.str_]
    masks: Bools  # (B, MASK_SIZE, MASK_SIZE)
    token_masks: Bools  # (B, N)
    passes: list[Pass]

    @property
    def flawed(self) -> Bools:
        return np.asarray(self.kinds != "good")

    @property
    def recurring(self) -> Bools:
        return np.array([kind.startswith("recurring") for kind in self.kinds])


def random_of(*name: object) -> np.random.Generator:
    """A generator that depends on what it is for, and on nothing else that is drawn."""
    return np.random.default_rng(zlib.crc32("|".join(map(str, name)).encode()))


def draw(pool: Pool, images: int, share: float, groups: int, variants: int, seed: int) -> Ints | None:
    """Photos of the pool, or None where it has too few: ``share`` of ``images`` recur in ``groups`` of one size."""
    rng = random_of(pool.name, images, share, groups, variants, seed)
    allowed = np.ones(len(pool.kinds), bool) if variants > 1 else pool.variants == 0
    total = round(share * images)
    sizes = [total // groups + (at < total % groups) for at in range(groups)]
    free = {f"recurring-{at}" for at in range(1, len(GROUPS) + 1)}
    chosen: list[int] = []
    for size in sizes:
        fitting = sorted(name for name in free if (allowed & (pool.kinds == name)).sum() >= size)
        if not fitting:
            return None
        name = fitting[rng.integers(len(fitting))]
        free.remove(name)
        chosen += _some(allowed & (pool.kinds == name), size, rng)
    sporadic = allowed & (pool.kinds == "sporadic")
    chosen += _some(sporadic, min(int(sporadic.sum()), round(SPORADIC * images)), rng)
    good = allowed & (pool.kinds == "good") & ~np.isin(pool.specimens, pool.specimens[chosen])
    missing = images - len(chosen)
    if good.sum() < missing:
        return None
    return rng.permutation(chosen + _some(good, missing, rng))


def _some(among: Bools, count: int, rng: np.random.Generator) -> list[int]:
    return [int(row) for row in rng.permutation(np.flatnonzero(among))[:count]]


def take(pool: Pool, rows: Ints) -> Batch:
    """The batch of these photos. A photo that is named twice is a copy of itself."""
    copies = np.argwhere((rows[:, None] == rows) & ~np.eye(len(rows), dtype=bool))
    passes = []
    for one in pool.passes:
        nearest, index = one.nearest[np.ix_(rows, rows)], one.index[np.ix_(rows, rows)]
        for a, b in copies:
            nearest[a, b], index[a, b] = 0, np.arange(index.shape[2])
        passes.append(Pass(Matches(nearest, index), Tokens(one.tokens[rows]), one.grid))
    return Batch(pool.kinds[rows], pool.masks[rows], _token_masks(pool.masks[rows], pool.passes[0].grid), passes)


def _token_masks(masks: Bools, grid: tuple[int, int]) -> Bools:
    """(B, N): tokens of which a flaw covers at least a quarter, and the one that it covers most."""
    cover = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(masks.astype(np.float32))[:, None], grid)
    share = cover.reshape(len(masks), -1).numpy()
    most = share.max(axis=1, keepdims=True)
    return np.asarray((share >= np.minimum(COVERED, most)) & (most > 0))


def measure(batch: Batch) -> dict[str, Figures]:
    """Every way of scoring one batch: its figures, and for the family rules what they found."""
    images = len(batch.kinds)
    ks = [neighbours(share, images) for share in SHARES]
    plain = mutual(batch.passes, ks, np.ones(images, bool))
    found = {f"plain{share:.0%}"[:-1]: figures(batch, grids) for share, grids in zip(SHARES, plain, strict=True)}
    good = ~batch.flawed
    oracle = mutual(batch.passes, [neighbours(share, int(good.sum())) for share in SHARES[:2]], good)
    found |= {f"oracle{share:.0%}"[:-1]: figures(batch, grids) for share, grids in zip(SHARES, oracle, strict=False)}
    known: dict[bytes, list[Alternatives]] = {}
    found["published10"] = by_families(batch, FamilyConfig("published"), SHARES[0], plain[0], known)
    found["auto10"] = by_families(batch, FamilyConfig(), SHARES[0], plain[0], known)
    found["auto30"] = by_families(batch, FamilyConfig(), SHARES[1], plain[1], known)
    return found


def by_families(
    batch: Batch,
    config: FamilyConfig,
    share: float,
    plain: Float32,
    known: dict[bytes, list[Alternatives]] | None = None,
) -> Figures:
    """Figures after the families' tokens left the references; ``plain``: (passes, B, N) scores before.

    Families about which the rule asks stay. ``answered``: the figures if the user answers as the truth is."""
    k = neighbours(share, len(batch.kinds))
    families = find_families(batch.passes, k, config).families
    sure = [at for at, family in enumerate(families) if not family.question]
    true = [at for at, family in enumerate(families) if batch.recurring[family.members].mean() > 0.5]
    answered = [at for at, family in enumerate(families) if at in (true if family.question else sure)]
    choices = [sure, answered] if answered != sure else [sure]
    scored = refined(batch.passes, families, choices, k, plain, {} if known is None else known)
    result = figures(batch, scored[0])
    excluded = list(_excluded(batch, [families[at] for at in sure]))
    flaw = batch.token_masks & batch.recurring[:, None]
    result["excluded"] = float(np.mean([tokens.mean() for tokens in excluded]))
    result["captured"] = float(np.mean([tokens[flaw].mean() for tokens in excluded])) if flaw.any() else None
    result["families"] = [_description(batch, family) for family in families]
    if answered != sure:
        result["answered"] = figures(batch, scored[-1])
    return result


def mutual(passes: Sequence[Pass], ks: Sequence[int], references: Bools) -> list[Float32]:
    """Mutual scoring with some photos as references: for every K, (passes, B, N)."""
    images, tokens = passes[0].tokens.shape[:2]
    scores = [np.empty((len(passes), images, tokens), np.float32) for _ in ks]
    for number, one in enumerate(passes):
        for i in range(images):
            ascending = np.sort(np.ascontiguousarray(one.matches.row(i)[references].T), axis=1)
            for found, k in zip(scores, ks, strict=True):
                found[number, i] = ascending[:, :k].mean(axis=1)
    return scores


def refined(
    passes: Sequence[Pass],
    families: Sequence[FoundFamily],
    choices: Sequence[Sequence[int]],
    k: int,
    plain: Float32,
    known: dict[bytes, list[Alternatives]],
) -> list[Float32]:
    """Scores (passes, B, N) for each choice of families whose tokens may not be matched. ``known``: second choices
    that were searched before, since two K often find the same families."""
    if not any(choices):
        return [plain for _ in choices]
    what = b"".join(family.members.tobytes() + family.tokens[0].tobytes() for family in families)
    if what not in known:
        known[what] = alternatives(passes, families)
    scores = []
    for chosen in choices:
        score = plain.copy()
        for number, one in enumerate(passes):
            nearest = np.stack([one.matches.row(i) for i in range(one.images)])
            changed = np.zeros(score[number].shape, bool)
            for level, active in known[what][number].chosen(chosen):
                image, token = level.image[active], level.token[active]
                nearest[image, level.other[active], token] = level.distance[active]
                changed[image, token] = True
            for i in np.flatnonzero(changed.any(axis=1)):
                score[number, i, changed[i]] = mean_of_smallest(nearest[i][:, changed[i]], k)
        scores.append(score)
    return scores


def figures(batch: Batch, scores: Float32) -> Figures:
    """Image AUROC, pixel AP and pixel F1-max; None where the batch has no flaw or no masks."""
    grid = batch.passes[0].grid
    maps = upsample(scores.mean(axis=0).reshape(-1, *grid), (MASK_SIZE, MASK_SIZE))
    both = bool(batch.flawed.any() and not batch.flawed.all())
    found: Figures = {"auroc": auroc(maps.max(axis=(1, 2)), batch.flawed) if both else None, "ap": None, "f1": None}
    if batch.masks.any():
        counts = _binned(maps, batch.masks)
        found |= {"ap": average_precision_of(counts), "f1": f1_max_of(counts)[0]}
    return found


def _binned(maps: Float32, masks: Bools) -> RankCounts:
    low, high = float(maps.min()), float(maps.max())
    bins = ((maps - low) * ((BINS - 1) / max(high - low, 1e-12))).astype(np.int64).ravel()
    mask = masks.ravel()
    defective = np.bincount(bins[mask], minlength=BINS).astype(float)
    return RankCounts(np.arange(BINS, dtype=float), defective, np.bincount(bins, minlength=BINS) - defective)


def _excluded(batch: Batch, families: Sequence[FoundFamily]) -> Iterator[Bools]:
    """Per pass, (B, N): the families' tokens."""
    for number, one in enumerate(batch.passes):
        tokens = np.zeros(one.tokens.shape[:2], bool)
        for family in families:
            tokens[family.members] |= family.tokens[number]
        yield tokens


def _description(batch: Batch, family: FoundFamily) -> Figures:
    kinds, counts = np.unique(batch.kinds[family.members], return_counts=True)
    return {
        "kinds": dict(zip(kinds.tolist(), counts.tolist(), strict=True)),
        "strength": round(float(family.strength), 3),
        "cover": round(float(family.tokens[0].mean()), 4),
        "question": family.question,
    }
