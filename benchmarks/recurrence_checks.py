"""Beside the settings of `recurrence.py`: sweeps of the rules' parameters, and batches that are traps.

Every function yields (name of the case, how to measure it); what is measured is a dictionary of plain values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from blemish.config import FamilyConfig
from blemish.scoring.families import find_families
from blemish.scoring.families.communities import density, outlier_fence, partition
from blemish.scoring.families.graph import similarity_graph
from blemish.scoring.mutual import neighbours
from recurrence_batches import SHARES, Batch, Ints, by_families, draw, mutual, random_of, take
from recurrence_pools import Pool

Case = tuple[tuple[Any, ...], Callable[[], dict[str, Any]]]

OMEGAS, K_IQRS = (0.1, 0.2, 0.3, 0.5, 0.7), (1.5, 3.0, 4.5)
PUBLISHED = [f"published,omega={omega},k_iqr={k_iqr}" for omega in OMEGAS for k_iqr in K_IQRS]
PUBLISHED += ["published,omega=0.2,degree=5", "published,weighted=false"]
AUTO = [
    "auto",
    *(f"auto,burn_out={value}" for value in (2.5, 4.0)),
    *(f"auto,local_burn_out={value}" for value in (3.0, 6.0)),
    *(f"auto,beyond_batch={value}" for value in (1.0, 1.05, 1.3, 1.5)),
    *(f"auto,beyond_place={value}" for value in (1.0, 1.1, 1.35, 1.5)),
    *(f"auto,burn_out={low},local_burn_out={local}" for low, local in ((2.0, 3.0), (2.0, 2.0), (1.5, 2.0))),
    *(f"auto,burn_out=2.0,local_burn_out={local},beyond_batch=1.3" for local in (3.0, 2.0)),
    *(f"auto,resolution={value}" for value in (0.15, 0.5)),
    *(f"auto,omega={value}" for value in ("0.1", "0.2", "0.35", "0.1/0.2", "0.2/0.35", "0.1/0.2/0.35/0.5")),
]
GROUP = 23  # flipped nuts in the published example
TINY = 8  # photos below which a variant is not tried


@dataclass(frozen=True)
class Setting:
    batch: int
    share: float
    groups: int
    variants: int
    seed: int = 0


def sweeps(pool: Callable[[], Pool], settings: list[Setting]) -> Iterator[Case]:
    """Every rule on every setting, at K = 10 %."""
    for setting in settings:
        drawn = cache(partial(_drawn, pool, setting))
        for rule in (*PUBLISHED, *AUTO):
            yield (*asdict(setting).values(), rule), partial(_run, drawn, rule)


def _drawn(pool: Callable[[], Pool], setting: Setting) -> Batch:
    rows = draw(pool(), setting.batch, setting.share, setting.groups, setting.variants, setting.seed)
    assert rows is not None
    return take(pool(), rows)


def _run(drawn: Callable[[], Batch], rule: str) -> dict[str, Any]:
    batch = drawn()
    k = neighbours(SHARES[0], len(batch.kinds))
    plain = mutual(batch.passes, [k], np.ones(len(batch.kinds), bool))[0]
    return by_families(batch, FamilyConfig.parse(rule), SHARES[0], plain)


def graphs(pool: Callable[[], Pool]) -> Iterator[Case]:
    """90 photos, of which 23 share a flaw: is there one community of just these in the published graph?"""
    yield (), partial(_graph, pool)


def _graph(get: Callable[[], Pool]) -> dict[str, Any]:
    pool = get()
    rng = random_of(pool.name, "graph")
    parts = (("recurring-1", GROUP), ("sporadic", 5), ("good", 90 - GROUP - 5))
    rows = np.concatenate([_some(pool, pool.kinds == kind, count, rng) for kind, count in parts])
    batch = take(pool, rng.permutation(rows))
    config = FamilyConfig("published")
    weights, _ = similarity_graph(
        batch.passes, config.omega[0], weighted=config.weighted, degree=config.degree, coverage=config.coverage
    )
    communities = [c for c in partition(weights, config.percentile, config.seed) if len(c) >= config.smallest]
    densities = [density(weights, members) for members in communities]
    best = max(range(len(communities)), key=lambda at: int(batch.recurring[communities[at]].sum()))
    good = [rho for rho, members in zip(densities, communities, strict=True) if not batch.recurring[members].any()]
    families = find_families(batch.passes, neighbours(SHARES[0], 90), FamilyConfig()).families
    return {
        "communities": len(communities),
        "members": len(communities[best]),
        "recurring": int(batch.recurring[communities[best]].sum()),
        "density": densities[best],
        "fence": outlier_fence(densities, weights, config.k_iqr),
        "densest_good": max(good, default=None),
        "auto": [[len(family.members), int(batch.recurring[family.members].sum())] for family in families],
    }


def uneven(pool: Callable[[], Pool]) -> Iterator[Case]:
    """Good photos whose variants are not equally frequent: nothing is to be excluded."""
    for shares in ((50, 50), (70, 30), (80, 20), (90, 10), (70, 20, 10)):
        for seed in range(3):
            yield (shares, seed), partial(_uneven, pool, shares, seed)


def _uneven(get: Callable[[], Pool], shares: tuple[int, ...], seed: int) -> dict[str, Any]:
    pool = get()
    good = pool.kinds == "good"
    rng = random_of(pool.name, "uneven", shares, seed)
    order = rng.permutation(3)[: len(shares)]
    there = [int((good & (pool.variants == variant)).sum()) for variant in order]
    images = min(90, *(int(100 * count / share) for count, share in zip(there, shares, strict=True)))
    counts = [round(images * share / 100) for share in shares]
    chosen = [
        _some(pool, good & (pool.variants == variant), count, rng) for variant, count in zip(order, counts, strict=True)
    ]
    return {"counts": counts} | _found(take(pool, rng.permutation(np.concatenate(chosen))))


def copies(pool: Callable[[], Pool]) -> Iterator[Case]:
    """A batch in which one flawed photo stands five times: a part photographed twice is not a recurring flaw."""
    for seed in range(5):
        yield (seed,), partial(_copies, pool, seed)


def _copies(get: Callable[[], Pool], seed: int) -> dict[str, Any]:
    pool = get()
    rng = random_of(pool.name, "copies", seed)
    flawed = _some(pool, pool.kinds == "sporadic", 1, rng)
    images = min(90, int((pool.kinds == "good").sum()) // 2)
    rows = np.concatenate([np.repeat(flawed, 5), _some(pool, pool.kinds == "good", images - 5, rng)])
    return _found(take(pool, rng.permutation(rows)))


def clean(pool: Callable[[], Pool], sizes: tuple[int, ...]) -> Iterator[Case]:
    """Real photos without a flaw; 0 photos stands for all there are."""
    for size in sizes:
        for seed in range(5 if size else 1):
            yield (size, seed), partial(_clean, pool, size, seed)


def _clean(get: Callable[[], Pool], size: int, seed: int) -> dict[str, Any]:
    pool = get()
    good = pool.kinds == "good"
    rows = _some(pool, good, size or int(good.sum()), random_of(pool.name, "clean", size, seed))
    return {"photos": len(rows)} | _found(take(pool, rows))


def _found(batch: Batch) -> dict[str, Any]:
    """What both rules find in a batch where there is nothing to find."""
    k = neighbours(SHARES[0], len(batch.kinds))
    plain = mutual(batch.passes, [k], np.ones(len(batch.kinds), bool))[0]
    return {
        rule: {
            field: value
            for field, value in by_families(batch, FamilyConfig(rule), SHARES[0], plain).items()
            if field in ("families", "excluded")
        }
        for rule in ("auto", "published")
    }


def _some(pool: Pool, among: np.ndarray[Any, np.dtype[np.bool_]], count: int, rng: np.random.Generator) -> Ints:
    rows = np.flatnonzero(among)
    assert len(rows) >= count
    return np.asarray(rng.permutation(rows)[:count])
