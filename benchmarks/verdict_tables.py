"""The tables of `verdict.py`: what is asked of the verdict, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Record = dict[str, Any]
SIZES = ((10, 29), (30, 99), (100, 999))
REACHABLE = 0.75  # best F1 from which a verdict is held to it


def print_tables(records: Sequence[Record], halves: Mapping[str, Sequence[str]]) -> None:
    for half, pools in halves.items():
        own = [record for record in records if record["pool"] in pools]
        if own:
            there = [pool for pool in pools if any(record["pool"] == pool for record in own)]
            print(f"\n## {half.capitalize()} half\n")
            _per_pool(own, there)
    selection = [record for record in records if record["pool"] in halves["selection"]]
    if selection:
        print("\n## What lost, on the selection half\n")
        _rules(selection)
        _bands(selection)


def _per_pool(records: Sequence[Record], pools: Sequence[str]) -> None:
    rows: list[tuple[str, Callable[[Sequence[Record]], str]]] = []
    for low, high in SIZES:
        rows.append((f"clean, {low}-{high} photos: called blemished", lambda own, a=low, b=high: _clean(own, a, b)))
    for low, high, name in ((0.04, 0.15, "5-10 %"), (0.15, 0.5, "20-40 %"), (0.04, 0.5, "5-40 %")):
        rows.append((f"F1 over best F1, shares {name}", lambda own, a=low, b=high: _relative(own, a, b)))
    rows += [
        ("elsewhere: F1 / good known, 1 % false alarms / best", _elsewhere),
        ("share, two-sided: how often / true / width", _two_sided),
        ("share, at least: true", _at_least),
        ("1 % false alarms asked, 10 photos: got", lambda own: _asked(own, 10, 10)),
        ("1 % false alarms asked, 30 and more: got", lambda own: _asked(own, 30, 999)),
        ("false alarms expected / got at our threshold", _expected),
        ("unsure: errors removed / photos sent", _unsure),
    ]
    print("| | " + " | ".join(pools) + " | all |")
    print("|---" * (len(pools) + 2) + "|")
    for name, figure in rows:
        cells = [figure([record for record in records if record["pool"] == pool]) for pool in pools]
        print(f"| {name} | " + " | ".join(cells) + f" | {figure(records)} |")


def _clean(records: Sequence[Record], low: int, high: int) -> str:
    return _percent([_alarms(r) for r in records if not r["share"] and low <= r["photos"] <= high])


def _alarms(record: Record, rule: str = "ours") -> float:
    return float(record["rules"][rule]["false_alarms"])


def _relative(records: Sequence[Record], low: float, high: float, rule: str = "ours") -> str:
    ratios = [
        r["rules"][rule]["f1"] / r["best_f1"]
        for r in records
        if low <= r["share"] <= high and r["photos"] >= 10 and r["best_f1"] >= REACHABLE and rule in r["rules"]
    ]
    return f"{np.mean(ratios):.2f} ({len(ratios)})" if ratios else "-"


def _elsewhere(records: Sequence[Record]) -> str:
    own = [r for r in records if r["share"] >= 0.04 and r["photos"] >= 10 and r["best_f1"] < REACHABLE]
    if not own:
        return "-"
    figures = ([r["rules"]["ours"]["f1"] for r in own], [r["ceiling_f1"] for r in own], [r["best_f1"] for r in own])
    return " / ".join(f"{np.mean(values):.2f}" for values in figures)


def _two_sided(records: Sequence[Record]) -> str:
    own = [r for r in records if r["photos"] >= 10 and r["share"] >= 0.009]
    two = [r for r in own if not r["at_least"]]
    if not two:
        return "0 %"
    true = [r["interval"][0] - 1e-9 <= r["share"] <= r["interval"][1] + 1e-9 for r in two]
    width = [r["interval"][1] - r["interval"][0] for r in two]
    return f"{len(two) / len(own):.0%} / {np.mean(true):.0%} / {np.mean(width):.2f}"


def _at_least(records: Sequence[Record]) -> str:
    one = [r for r in records if r["photos"] >= 10 and r["at_least"]]
    return _percent([r["interval"][0] <= r["share"] + 1e-9 for r in one], 0)


def _asked(records: Sequence[Record], low: int, high: int) -> str:
    return _percent([r["asked"] for r in records if low <= r["photos"] <= high])


def _expected(records: Sequence[Record]) -> str:
    own = [r for r in records if r["photos"] >= 10]
    return f"{_percent([r['expected'] for r in own])} / {_percent([_alarms(r) for r in own])}"


def _unsure(records: Sequence[Record], band: str = "ours") -> str:
    own = [r for r in records if r["photos"] >= 10 and band in r["unsure"]]
    wrong = sum(r["unsure"]["wrong"] for r in own)
    removed = sum(r["unsure"][band]["removed"] for r in own)
    sent = np.mean([r["unsure"][band]["sent"] / r["photos"] for r in own])
    return f"{removed / max(wrong, 1):.0%} / {sent:.1%}"


def _rules(records: Sequence[Record]) -> None:
    print("| threshold | clean 10-29 | clean 30-99 | clean 100- | F1/best 5-10 % | F1/best 20-40 % |")
    print("|---|---|---|---|---|---|")
    own = [record for record in records if record["photos"] >= 10]
    for rule in own[0]["rules"]:
        clean = [
            _percent([_alarms(r, rule) for r in own if not r["share"] and a <= r["photos"] <= b]) for a, b in SIZES
        ]
        f1 = [_relative(own, 0.04, 0.15, rule), _relative(own, 0.15, 0.5, rule)]
        print(f"| {rule} | " + " | ".join(clean + f1) + " |")


def _bands(records: Sequence[Record]) -> None:
    print("\n| unsure by | errors removed / photos sent |\n|---|---|")
    own = [record for record in records if record["photos"] >= 10]
    for band in own[0]["unsure"]:
        if band != "wrong":
            print(f"| {band} | {_unsure(own, band)} |")


def _percent(values: Sequence[float], digits: int = 2) -> str:
    return f"{100 * np.mean(values):.{digits}f} %" if len(values) else "-"
