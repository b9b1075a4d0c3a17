"""A batch turned into a detector for one photo: its numbers against the batch's, on photos that were not in it.

    BLEMISH_DATA=../shared/data python benchmarks/frozen.py POOLS [TABLE ...] > tables.md

POOLS: folder of the pools of `frozen_pools.py`; what is not there is built. TABLE: choices, batches, families,
thresholds; by default all.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.metrics.ranking import auroc
from blemish.verdict.rejection import Band
from frozen_detectors import (
    Judged,
    at_random,
    centres,
    freeze,
    halves,
    judge,
    mutual,
    opinion,
    projected,
    recurring_halves,
)
from frozen_pools import Pool, get_pool

SELECTION, REPORTED = ("cookies", "tiles1", "washer"), ("aliens", "tiles2", "board")
SELECTION_R, REPORTED_R = ("washer-r", "tiles5-r"), ("board-r", "tiles-r", "tinted-r")
SHARE = 0.2  # of the photos that are defective, in what is frozen and in what is judged
GROUPS = (1, 2, 3)  # of recurring flaws, a third of the photos together
DRAWS = 2  # each both ways
CHOICES: dict[str, dict[str, Any]] = {
    "as it is": {"apart": True},
    "own photos against what is not theirs": {},
    "all tokens of ok photos": {"share": 1.0},
    "tokens below 99.5 %": {"share": 0.995},
    "tokens below 98 %": {"share": 0.98},
    "tokens below 95 %": {"share": 0.95},
    "photos: the lower 80 %": {"photos": 0.8},
    "500 tokens": {"size": 500},
    "1,000 tokens": {"size": 1000},
    "4,000 tokens": {"size": 4000},
    "thinned to 6,000": {"limit": 6000},
    "thinned to 60,000": {"limit": 60_000},
    "k = 3": {"k": 3},
    "random": {"choose": at_random},
    "greedy, 48 random directions": {"choose": projected},
    "k-means": {"choose": centres},
}
TOPS = (3, 10)  # of about 1,000 tokens

Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Row = dict[str, float]


def main() -> None:
    folder, wanted = Path(sys.argv[1]), sys.argv[2:] or list(TABLES)
    print("# Frozen detectors: one photo against its batch\n")
    print(f"Measured {date.today()}.")
    print("Command: `BLEMISH_DATA=../shared/data python benchmarks/frozen.py POOLS > tables.md`")
    for name in wanted:
        TABLES[name](folder)


def pools(folder: Path, names: tuple[str, ...]) -> Iterator[Pool]:
    for name in names:
        pool = get_pool(name, folder)
        if pool:
            yield pool


def choices(folder: Path) -> None:
    print("\n## Choices, on the selection half\n")
    found: dict[str, list[Row]] = {}
    for pool in pools(folder, SELECTION):
        for rows, others in islice(halves(pool, SHARE, 0), 1):
            batch, bad = judge(pool, rows), pool.kinds[others] != "good"
            base, good = auroc(judge(pool, others).scores, bad), ~bad
            for name, options in CHOICES.items():
                start = time.perf_counter()
                frozen = freeze(pool, batch, **{"apart": False, **options})
                seconds = time.perf_counter() - start
                maps = frozen.maps(pool, others)
                scores = maps.max(axis=1)
                spread = float(np.std(np.log(scores[good])))
                own = frozen.own.max(axis=1)[pool.kinds[rows] == "good"]
                found.setdefault(name, []).append(
                    {
                        "auroc": auroc(scores, bad),
                        "gain": auroc(scores, bad) - base,
                        "agrees": float(np.corrcoef(scores, mutual(pool, others, rows).max(axis=1))[0, 1]),
                        "own": float(np.median(np.log(own)) - np.median(np.log(scores[good]))) / spread,
                        "seconds": seconds,
                    }
                    | {f"top {n}": auroc(np.sort(maps, axis=1)[:, -n:].mean(axis=1), bad) for n in TOPS}
                )
            print(f"{pool.name} done", file=sys.stderr, flush=True)
    heads = list(found["as it is"][0])
    print(f"| choice | {' | '.join(heads)} |\n|{'---|' * (1 + len(heads))}")
    for name, all_rows in found.items():
        print(f"| {name} | {' | '.join(f'{np.mean([row[head] for row in all_rows]):.3f}' for head in heads)} |")


def batches(folder: Path) -> None:
    print("\n## Unseen photos, against batch scoring of the same photos\n")
    print("| half | pool | frozen, photos | missed | batch | against the frozen photos | frozen | difference |")
    print("|---|---|---|---|---|---|---|---|")
    for part, names in (("selection", SELECTION), ("reported", REPORTED)):
        differences = []
        for pool in pools(folder, names):
            found: list[tuple[float, ...]] = []
            for rows, others in drawn(pool):
                batch, bad = judge(pool, rows), pool.kinds[others] != "good"
                missed = int((batch.ok & (pool.kinds[rows] != "good")).sum())
                same = auroc(judge(pool, others).scores, bad)
                against = auroc(mutual(pool, others, rows).max(axis=1), bad)
                found.append((missed, same, against, auroc(freeze(pool, batch).scores(pool, others), bad)))
            missed_, same_, against_, frozen_ = np.mean(found, axis=0)
            differences.append(frozen_ - same_)
            print(
                f"| {part} | {pool.name} | {len(rows)} | {missed_:.1f} | {same_:.3f} | {against_:.3f} | "
                f"{frozen_:.3f} | {frozen_ - same_:+.3f} |",
                flush=True,
            )
        print(f"| {part} | mean | | | | | | {np.mean(differences):+.3f} |")


def drawn(pool: Pool) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    for seed in range(DRAWS):
        yield from halves(pool, SHARE, seed)


def families(folder: Path) -> None:
    print("\n## A third of the batch with recurring flaws: banks with families and without\n")
    print(
        "| half | pool | groups | flawed in bank, without | with | batch, without | with | frozen, without | with | "
        "called, without | with | false alarms, without | with |"
    )
    print(f"|{'---|' * 13}")
    for part, names in (("selection", SELECTION_R), ("reported", REPORTED_R)):
        for pool in pools(folder, names):
            for groups in GROUPS:
                found = [
                    value for seed in range(DRAWS) for value in _families(pool, recurring_halves(pool, groups, seed))
                ]
                cells = " | ".join(f"{value:.3f}" for value in np.mean(found, axis=0))
                print(f"| {part} | {pool.name} | {groups} | {cells} |", flush=True)


def _families(pool: Pool, both: Iterator[tuple[Any, Any]]) -> Iterator[list[float]]:
    for rows, others in both:
        flawed, bad = pool.kinds[rows] != "good", pool.kinds[others] != "good"
        recurring = np.char.startswith(pool.kinds[others], "recurring")
        columns: list[tuple[float, ...]] = []
        for searched in (False, True):
            batch = judge(pool, rows, families=searched)
            frozen = freeze(pool, batch)
            scores = frozen.scores(pool, others)
            threshold = batch.estimated.best()
            columns.append(
                (
                    float((batch.ok & flawed).sum()),
                    auroc(judge(pool, others, families=searched).scores, bad),
                    auroc(scores, bad),
                    float((scores > threshold)[recurring].mean()),
                    float((scores > threshold)[~bad].mean()),
                )
            )
        yield [value for pair in zip(*columns, strict=True) for value in pair]


def thresholds(folder: Path) -> None:
    print("\n## Thresholds on unseen photos\n")
    print("| half | pool | rule | false alarms, stated | measured | recall | batch's recall | calls as the batch's |")
    print(f"|{'---|' * 8}")
    for part, names in (("selection", SELECTION), ("reported", REPORTED)):
        for pool in pools(folder, names):
            found: dict[str, list[tuple[float, ...]]] = {}
            for rows, others in drawn(pool):
                for name, values in _thresholds(pool, judge(pool, rows), judge(pool, others)):
                    found.setdefault(name, []).append(values)
            for name, all_values in found.items():
                cells = " | ".join(f"{value:.3f}" for value in np.nanmean(all_values, axis=0))
                print(f"| {part} | {pool.name} | {name} | {cells} |", flush=True)


def _thresholds(pool: Pool, batch: Judged, other: Judged) -> Iterator[tuple[str, tuple[float, ...]]]:
    bad = pool.kinds[other.rows] != "good"
    frozen = freeze(pool, batch)
    raw = frozen.maps(pool, other.rows).max(axis=1)
    own = frozen.line(frozen.own).astype(np.float32)
    anew = opinion(pool, batch.rows, own)
    carried = batch.estimated
    rules: dict[str, tuple[float, Float64]] = {
        "the batch's threshold": (carried.best(), frozen.line(raw)),
        "the batch's threshold, raw distances": (carried.best(), raw.astype(np.float64)),
        "estimated anew": (anew.best(), frozen.line(raw)),
    }
    for rate in (0.01, 0.05):
        rules[f"the batch's, {rate:.0%} allowed"] = (carried.allowing(rate), frozen.line(raw))
        rules[f"anew, {rate:.0%} allowed"] = (anew.allowing(rate), frozen.line(raw))
    for name, (threshold, scores) in rules.items():
        called = scores > threshold
        stated = float(anew.expected_false_alarms(np.array([threshold]))[0])
        yield (
            name,
            (
                stated,
                float(called[~bad].mean()),
                float(called[bad].mean()),
                float(other.called[bad].mean()),
                float((called == other.called).mean()),
            ),
        )
    scores, threshold = frozen.line(raw), carried.best()
    usual = frozen.line.difference
    by_odds = Band(anew.scores, anew.defective, np.ones(len(own), bool)).unsure(threshold, len(own) // 10)
    doubtful = anew.scores[by_odds] if len(by_odds) else np.array([np.inf])
    bands = {
        "unsure: the usual difference": (threshold - usual, threshold + usual),
        "unsure: twice that": (threshold - 2 * usual, threshold + 2 * usual),
        "unsure: scores of the batch's unsure photos": (float(doubtful.min()), float(doubtful.max())),
    }
    for name, (low, high) in bands.items():
        yield name, _unsure(scores, threshold, (scores >= low) & (scores <= high), bad)


def _unsure(scores: Float64, threshold: float, sent: Bools, bad: Bools) -> tuple[float, ...]:
    """Share of the photos sent to a person, of the errors among them, of the good sent, of the bad, of the calls that
    are left and right."""
    wrong = (scores > threshold) != bad
    removed = float(sent[wrong].mean()) if wrong.any() else float("nan")
    left = float((~wrong)[~sent].mean()) if not sent.all() else float("nan")
    return float(sent.mean()), removed, float(sent[~bad].mean()), float(sent[bad].mean()), left


TABLES: dict[str, Callable[[Path], None]] = {
    "choices": choices,
    "batches": batches,
    "families": families,
    "thresholds": thresholds,
}

if __name__ == "__main__":
    main()
