"""How often the warnings of `batch_health` are right: false ones on clean batches, and what they find.

    BLEMISH_DATA=../shared/data python benchmarks/batch_health.py POOLS OWN > tables.md

prints the tables of `batch_health.md`. POOLS: folder of the pools of `verdict_pools.py`; OWN: of those of
`batch_health_pools.py`. What is not there is built (a minute or two a pool), and later read.
"""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from batch_health_pools import AGAIN, CHANGES, COPIED, PRODUCTS, REAL, SOURCES, Mixture, Pool, get_mixture
from batch_health_pools import get_pool as own_pool
from blemish.batch_health import ENOUGH, VARIED
from blemish.diagnostics import diagnose
from blemish.verdict.drift import drift
from blemish.verdict.duplicates import taken_again
from blemish.verdict.products import groups_of, nearest_photo
from verdict_pools import get_pool

Float32 = npt.NDArray[np.float32]

CHOSEN = ("washer", "tiles1", "cookies", "board")  # sets that constants were chosen on
REPORTED = ("bottle", "tiles2", "aliens", "board2")
SIZES = (10, 30, 100, 170)
DRAWS = 40
LIMIT = VARIED["effnet-lite2"]


def drifts(vectors: Float32) -> bool:
    found = drift(np.ascontiguousarray(vectors))
    return found is not None and found.found


def too_varied(between: Float32) -> bool:
    return len(between) >= ENOUGH and nearest_photo(between) > LIMIT


def between_of(nearest: npt.NDArray[np.float16]) -> Float32:
    between = np.stack([row.astype(np.float32).mean(axis=1) for row in nearest])
    np.fill_diagonal(between, 0)
    return between


def rate(hits: Sequence[bool]) -> str:
    return f"{sum(hits)} of {len(hits)}"


def clean(folder: Path) -> Iterator[str]:
    yield "| set | photos | several products | too varied | order | part again |"
    yield "|---|---|---|---|---|---|"
    rng = np.random.default_rng(1)
    for name in CHOSEN + REPORTED:
        pool = get_pool(name, folder)
        if pool is None:
            continue
        between = between_of(pool.nearest)
        good, bad = np.flatnonzero(~pool.flawed), np.flatnonzero(pool.flawed)
        for size in SIZES:
            flawed = round(0.1 * size)
            if size - flawed > len(good):
                continue
            hits: list[tuple[bool, ...]] = []
            for _ in range(DRAWS):
                drawn = np.concatenate([rng.choice(good, size - flawed, False), rng.choice(bad, flawed, False)])
                drawn = rng.permutation(drawn)
                own = between[np.ix_(drawn, drawn)]
                hits.append(
                    (
                        groups_of(own) is not None,
                        too_varied(own),
                        drifts(pool.embeddings[drawn]),
                        bool(taken_again(own)),
                    )
                )
            cells = " | ".join(rate([hit[at] for hit in hits]) for at in range(4))
            yield f"| {name} | {size} | {cells} |"


def stepped(levels: Float32, drawn: npt.NDArray[np.intp]) -> Float32:
    """Photos ``drawn`` with a change that grows along the order in as many steps as there are levels."""
    step = np.round(np.linspace(0, len(levels) - 1, len(drawn))).astype(int)
    return np.asarray(levels[step, drawn])


def brightened(pool: Pool, drawn: npt.NDArray[np.intp]) -> Float32:
    """(n, 1) mean grey of small pictures under light that grows by a quarter."""
    gain = np.linspace(1, 1.25, len(drawn))[:, None, None]
    grey = np.minimum(pool.small[drawn] * gain, 255).mean(axis=(1, 2))
    return np.asarray(np.log(grey)[:, None], np.float32)


def power(folder: Path) -> Iterator[str]:
    kinds = list(CHANGES)
    yield "| set | photos | " + " | ".join(kinds) + " | light, by grey | shuffled | shuffled, by grey | bursts |"
    yield "|---" * (len(kinds) + 6) + "|"
    rng = np.random.default_rng(2)
    for name in SOURCES:
        pool = own_pool(name, folder)
        if pool is None:
            continue
        for size in (40, 60, 100):
            if size > pool.photos:
                continue
            drawn = [rng.permutation(pool.photos)[:size] for _ in range(DRAWS)]
            cells = [rate([drifts(vectors) for vectors in batches]) for batches in _changed(pool, drawn, rng)]
            yield f"| {name} | {len(drawn[0])} | " + " | ".join(cells) + " |"


def _changed(pool: Pool, drawn: Sequence[npt.NDArray[np.intp]], rng: np.random.Generator) -> Iterator[list[Float32]]:
    for levels in pool.shift.values():
        yield [stepped(levels, at) for at in drawn]
    yield [brightened(pool, at) for at in drawn]
    yield [pool.embeddings[at] for at in drawn]
    yield [np.log(pool.small[at].mean(axis=(1, 2)))[:, None] for at in drawn]
    yield [bursts(pool, at, rng) for at in drawn]


def bursts(pool: Pool, drawn: npt.NDArray[np.intp], rng: np.random.Generator) -> Float32:
    """Parts in a random order, each in a row under all levels of light, which come in any order."""
    levels = pool.shift["light"]
    parts = drawn[: len(drawn) // len(levels)]
    return np.concatenate([levels[rng.permutation(len(levels)), part] for part in parts])


def natural(folder: Path) -> Iterator[str]:
    yield "| set, in the order of its names | p | excess | stretch | own side | chance |"
    yield "|---|---|---|---|---|---|"
    for name in ("tiles1", "tiles2", "cookies", "aliens"):
        pool = own_pool(name, folder)
        found = drift(pool.embeddings[: pool.photos]) if pool else None
        if found is None or pool is None:
            continue
        stretch = f"{found.stretch.first + 1} to {found.stretch.last + 1} of {pool.photos}"
        sides = f"{found.stretch.own:.0%} | {found.stretch.chance:.0%}"
        yield f"| {name} | {found.p:.3f} | {found.excess:.2f} | {stretch} | {sides} |"


def again(folder: Path) -> Iterator[str]:
    yield "| set | " + " | ".join(AGAIN) + " | pairs among the others |"
    yield "|---" * (len(AGAIN) + 2) + "|"
    for name in SOURCES:
        pool = own_pool(name, folder)
        if pool is None:
            continue
        cells = []
        for kind in range(len(AGAIN)):
            first = pool.photos + kind * COPIED
            rows = np.concatenate([np.arange(pool.photos), np.arange(first, first + COPIED)])
            own, small = pool.between[np.ix_(rows, rows)], pool.small[rows]
            cells.append(f"{_recalled(taken_again(own), pool)}, {_recalled(taken_again(own, small), pool)}")
        plain = slice(0, pool.photos)
        both = taken_again(pool.between[plain, plain]), taken_again(pool.between[plain, plain], pool.small[plain])
        cells.append(", ".join(str(sum(len(group) - 1 for group in groups)) for groups in both))
        yield f"| {name} | " + " | ".join(cells) + " |"


def _recalled(groups: Sequence[npt.NDArray[np.intp]], pool: Pool) -> int:
    return sum(any({at, pool.photos + at} <= set(group.tolist()) for group in groups) for at in range(COPIED))


def products(mixture: Mixture, folder: Path) -> Iterator[str]:
    between = between_of(mixture.nearest)
    names = PRODUCTS + REAL
    rng = np.random.default_rng(3)

    def some(kind: int, count: int) -> npt.NDArray[np.intp]:
        return rng.choice(np.flatnonzero(mixture.of == kind), count, replace=False)

    yield "| batch | said to be several | of the right sizes | lowest silhouette |"
    yield "|---|---|---|---|"
    for sizes in ((20, 20), (20, 5), (5, 5), (12, 12, 12), (20, 10, 5), (4, 4, 4, 4, 4, 4)):
        found = []
        for _ in range(DRAWS):
            kinds = rng.choice(len(names), len(sizes), replace=False)
            rows = np.concatenate([some(kind, size) for kind, size in zip(kinds, sizes, strict=True)])
            found.append(groups_of(between[np.ix_(rows, rows)]))
        right = [group is not None and sorted(group.sizes, reverse=True) == list(sizes) for group in found]
        lowest = min((group.silhouette if group else 0.0) for group in found)
        said = rate([group is not None for group in found])
        yield f"| {' + '.join(map(str, sizes))} | {said} | {rate(right)} | {lowest:.2f} |"
    pool = own_pool("bottle-variants", folder)
    if pool is not None:
        for size in (10, 30, 100):
            drawn = [rng.permutation(pool.photos)[:size] for _ in range(DRAWS)]
            hits = [groups_of(pool.between[np.ix_(at, at)]) is not None for at in drawn]
            yield f"| {size} bottles of three variants | {rate(hits)} | | |"


def varied(mixture: Mixture) -> Iterator[str]:
    between = between_of(mixture.nearest)
    trip = np.flatnonzero(mixture.of == -1)
    rng = np.random.default_rng(4)
    yield "| batch | photos | said to be too varied | nearest photo | power law R² | exponent | tail index |"
    yield "|---|---|---|---|---|---|---|"
    for size in (10, 30, 60):
        drawn = [rng.permutation(trip)[:size] for _ in range(DRAWS)]
        owns = [between[np.ix_(at, at)] for at in drawn]
        nearest = float(np.median([nearest_photo(own) for own in owns]))
        law = _law(mixture, drawn[0])
        yield f"| any photos | {size} | {rate([too_varied(own) for own in owns])} | {nearest:.2f} | {law} |"
    for at, name in enumerate(PRODUCTS + REAL):
        rows = np.flatnonzero(mixture.of == at)
        own = between[np.ix_(rows, rows)]
        yield f"| {name} | {len(rows)} | {rate([too_varied(own)])} | {nearest_photo(own):.2f} | {_law(mixture, rows)} |"


def _law(mixture: Mixture, rows: npt.NDArray[np.intp]) -> str:
    nearest = mixture.nearest[np.ix_(rows, rows)].astype(np.float32)
    omega = max(2, round(0.3 * (len(rows) - 1)))
    law = diagnose(nearest.__getitem__, len(rows), nearest.shape[2], omega=omega, bound=1.0)
    if law.power_law is None or law.alpha is None:
        return "- | - | -"
    return f"{law.power_law.r2:.2f} | {law.power_law.exponent:.2f} | {law.alpha:.1f}"


def cost() -> Iterator[str]:
    rng = np.random.default_rng(5)
    yield "| photos | order, s | products, s | part again, s |"
    yield "|---|---|---|---|"
    for size in (100, 1_000, 5_000):
        vectors = rng.standard_normal((size, 120)).astype(np.float32)
        photos = min(size, 1_000)
        between = rng.uniform(0.9, 1.1, (photos, photos)).astype(np.float32)
        small = rng.uniform(0, 255, (photos, 64, 64)).astype(np.float32)
        cells = []
        for work in (partial(drift, vectors), partial(groups_of, between), partial(taken_again, between, small)):
            start = time.perf_counter()
            work()
            cells.append(f"{time.perf_counter() - start:.2f}")
        yield f"| {size} | {' | '.join(cells)} |"


def main(pools: Path, own: Path) -> None:
    mixture = get_mixture(own)
    sections: list[tuple[str, Iterator[str]]] = [("clean", clean(pools)), ("power", power(own))]
    sections += [("natural", natural(own)), ("again", again(own))]
    if mixture is not None:
        sections += [("products", products(mixture, own)), ("varied", varied(mixture))]
    sections.append(("cost", cost()))
    print(f"# Batch health\n\nMeasured {datetime.date.today()}.")
    for title, lines in sections:
        print(f"\n## {title}\n")
        for line in lines:
            print(line, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
