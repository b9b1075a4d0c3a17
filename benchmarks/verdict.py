"""Verdicts without labels against the truth: false alarms on clean batches, F1, the estimated share, the unsure band.

    BLEMISH_DATA=../shared/data python benchmarks/verdict.py POOLS --measured FILE > tables.md

prints the tables of `verdict.md`. POOLS: folder of the pools of `verdict_pools.py`, built if they are not there (an
hour). FILE keeps every finished measurement, so that a run can be broken off and go on; ``--only NAME ...`` measures
some pools, so that two processes can share the work. Constants were chosen on the selection half.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import verdict_rivals as rivals
from blemish.scoring.mutual import mean_of_smallest, neighbours
from blemish.verdict import Estimate, detectors, estimate
from blemish.verdict.rejection import Band
from verdict_pools import Pool, get_pool
from verdict_tables import print_tables

HALVES = {
    "selection": ("washer", "washer-faint", "board", "tiles1", "aliens", "cookies"),
    "reported": ("bottle", "bottle-faint", "board2", "tiles2"),
}
PHOTOS = (4, 8, 10, 20, 30, 60, 100, 150)
SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4)
CLEAN_DRAWS, DRAWS = 20, 4
MOST_UNSURE = 0.1
ASKED = 0.01  # false alarms

Bools = npt.NDArray[np.bool_]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pools", type=Path)
    parser.add_argument("--measured", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=[])
    options = parser.parse_args()
    known = {}
    if options.measured.exists():
        for line in options.measured.read_text().splitlines():
            record = json.loads(line)
            known[record["key"]] = record
    wanted = [name for half in HALVES.values() for name in half if name in (options.only or name)]
    for name in wanted:
        pool = get_pool(name, options.pools)
        if pool is None:
            continue
        with options.measured.open("a") as file:
            for key, rows in draws(pool):
                if key not in known:
                    known[key] = {"key": key, "pool": name, **measure(pool, rows, name in HALVES["selection"])}
                    file.write(json.dumps(known[key]) + "\n")
        print(f"{name}: {sum(r['pool'] == name for r in known.values())} draws", file=sys.stderr, flush=True)
    print_tables([record for record in known.values() if record["pool"] in wanted], HALVES)


def draws(pool: Pool) -> Iterator[tuple[str, npt.NDArray[np.intp]]]:
    """Photos of every batch, as far as the pool has enough: never more than nine tenths of its good ones."""
    good, bad = np.flatnonzero(~pool.flawed), np.flatnonzero(pool.flawed)
    for photos in PHOTOS:
        for share in SHARES:
            flawed = round(share * photos)
            if (share and not flawed) or photos - flawed > 0.9 * len(good) or flawed > len(bad):
                continue
            for seed in range(DRAWS if share else CLEAN_DRAWS):
                key = f"{pool.name}|{photos}|{share}|{seed}"
                rng = np.random.default_rng(zlib.crc32(key.encode()))
                rows = np.concatenate([rng.permutation(good)[: photos - flawed], rng.permutation(bad)[:flawed]])
                yield key, rng.permutation(rows)


def measure(pool: Pool, rows: npt.NDArray[np.intp], rivals_too: bool) -> dict[str, Any]:
    """Everything about one batch."""
    flawed = pool.flawed[rows]
    grids = mutual(pool.nearest[np.ix_(rows, rows)]).reshape(len(rows), *pool.grid)
    scores = grids.reshape(len(rows), -1).max(axis=1)
    found = detectors(scores, grids, [], pool.embeddings[rows])
    estimated = estimate(scores, found)
    threshold = estimated.best()
    record = {
        "photos": len(rows),
        "share": float(flawed.mean()),
        "best_f1": best_f1(estimated.scores, flawed),
        "ceiling_f1": ceiling_f1(estimated.scores, flawed),
        "interval": [estimated.share.low, estimated.share.high],
        "at_least": estimated.at_least,
        "asked": false_alarms(estimated.scores > estimated.allowing(ASKED), flawed),
        "expected": float(estimated.expected_false_alarms(np.array([threshold]))[0]),
        "unsure": unsure(estimated, threshold, flawed, rivals_too),
        "rules": {"ours": called(estimated.scores > threshold, flawed)},
    }
    if rivals_too and len(rows) >= 10:
        others = rivals.thresholds(estimated, found, flawed)
        record["rules"] |= {name: called(estimated.scores > at, flawed) for name, at in others.items()}
    return record


def mutual(nearest: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """(n, n, N) distances -> (n, N): mutual scores at the default K."""
    images = len(nearest)
    k = neighbours(0.3, images)
    scores = np.empty(nearest.shape[1:], np.float32)
    for i in range(images):
        row = nearest[i].astype(np.float32)
        row[i] = np.inf
        scores[i] = mean_of_smallest(row, k)
    return scores


def called(blemished: Bools, flawed: Bools) -> dict[str, float | None]:
    return {"false_alarms": false_alarms(blemished, flawed), "f1": f1(blemished, flawed) if flawed.any() else None}


def false_alarms(blemished: Bools, flawed: Bools) -> float:
    return float(blemished[~flawed].mean())


def f1(blemished: Bools, flawed: Bools) -> float:
    return float(2 * (blemished & flawed).sum() / max(1, blemished.sum() + flawed.sum()))


def best_f1(scores: npt.NDArray[np.float64], flawed: Bools) -> float | None:
    """What the best threshold reaches, with labels."""
    if not flawed.any():
        return None
    hits = np.cumsum(flawed[np.argsort(-scores)])
    return float((2 * hits / (np.arange(1, len(scores) + 1) + flawed.sum())).max())


def ceiling_f1(scores: npt.NDArray[np.float64], flawed: Bools) -> float | None:
    """What is reached if the good photos are known and one in a hundred of them may be called blemished."""
    if not flawed.any():
        return None
    return f1(scores > np.quantile(scores[~flawed], 0.99), flawed)


def unsure(estimated: Estimate, threshold: float, flawed: Bools, rivals_too: bool) -> dict[str, Any]:
    """Wrong calls, how many of them the band removes, and how many photos it sends to a person."""
    wrong = (estimated.scores > threshold) != flawed
    most = int(MOST_UNSURE * len(flawed))
    bands = {"ours": Band(estimated.scores, estimated.defective, np.ones(len(flawed), bool)).unsure(threshold, most)}
    if rivals_too and len(flawed) >= 10:
        bands |= rivals.bands(estimated, threshold, most)
    return {"wrong": int(wrong.sum())} | {
        name: {"removed": int(wrong[rows].sum()), "sent": len(rows)} for name, rows in bands.items()
    }


if __name__ == "__main__":
    main()
