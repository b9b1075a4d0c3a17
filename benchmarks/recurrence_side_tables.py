"""Tables beside those of the settings: sweeps of parameters, the dissertation's first experiments, traps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from recurrence_cells import NO_GAP, SHOWN, WAYS, Cell, Entry, number


def sweep_tables(measured: Sequence[Entry]) -> None:
    entries = [entry for entry in measured if entry["part"] == "sweep"]
    single = _single(measured)
    if not single:  # a run of the sweeps alone: it fills the notebook
        return
    for backbone in {entry["backbone"]: None for entry in entries}:
        print(f"## Parameters, swept on the selection half: {backbone}\n")
        print(
            "Batches of 90, one draw a setting, K = 10 %. Defaults are in bold; what lost is kept. "
            "A dash: the oracle gains nothing there to speak of.\n"
        )
        own = [entry for entry in entries if entry["backbone"] == backbone]
        pools = sorted({entry["pool"] for entry in own})
        heads = " | ".join(f"closed, {pool}" for pool in pools)
        print(
            f"| rule | gap closed, sum | {heads} | pixel AP | pixel F1 | captured | excluded | without recurrence: "
            f"excluded | most | pixel AP, change |\n|{'---|' * (9 + len(pools))}"
        )
        for rule in {entry["case"][-1]: None for entry in own}:
            rows = [
                (entry, single[(entry["pool"], backbone, *entry["case"][:4])])
                for entry in own
                if entry["case"][-1] == rule
            ]
            print(_sweep_row(rule, rows, pools))
        print()


def _single(entries: Iterable[Entry]) -> dict[tuple[Any, ...], Entry]:
    """The first draw of every setting, which is the one that sweeps use."""
    return {
        (
            entry["pool"],
            entry["backbone"],
            *(entry["case"][f] for f in ("batch", "share", "groups", "variants")),
        ): entry["found"]
        for entry in entries
        if entry["part"] == "setting" and entry["case"]["seed"] == 0
    }


def _sweep_row(rule: str, rows: list[tuple[Entry, Entry]], pools: list[str]) -> str:
    def closed(pool: str) -> str:
        some = [(entry, base) for entry, base in rows if entry["case"][1] and pool in (entry["pool"], "")]
        gains = sum(entry["found"]["ap"] - base["plain10"]["ap"] for entry, base in some)
        gaps = sum(base["oracle10"]["ap"] - base["plain10"]["ap"] for _, base in some)
        return f"{gains / gaps:.0%}" if gaps > NO_GAP * len(some) else "-"

    def mean(name: str) -> float:
        return float(np.mean([entry["found"][name] for entry, _ in rows if entry["case"][1]]))

    quiet = [(entry["found"], base["plain10"]) for entry, base in rows if not entry["case"][1]]
    excluded = [found["excluded"] for found, _ in quiet]
    change = np.mean([found["ap"] - plain["ap"] for found, plain in quiet])
    name = f"**{rule}**" if rule in ("auto", "published,omega=0.3,k_iqr=3.0") else rule
    each = " | ".join(closed(pool) for pool in ("", *pools))
    return (
        f"| {name} | {each} | {mean('ap'):.3f} | {mean('f1'):.3f} | {mean('captured'):.0%} | {mean('excluded'):.1%} | "
        f"{np.mean(excluded):.2%} | {max(excluded):.2%} | {change:+.4f} |"
    )


def experiments(entries: Sequence[Entry], cells: list[Cell]) -> None:
    print("## The dissertation's first experiments\n")
    print(
        "They are described for MVTec AD (cable, metal_nut, pill) and ConsistAD, which are not at hand: their numbers "
        "cannot be reproduced here. The same questions, asked of these pools:\n"
    )
    print("**1. Is plain scoring at K = 10 % vulnerable?** Pixel F1-max of batches of 90 with one group.\n")
    vulnerable = [cell for cell in cells if cell.batch == 90 and cell.groups == 1 and cell.share >= 0.2]
    print(f"| | {' | '.join(WAYS[way] for way in SHOWN)} |\n|{'---|' * (1 + len(SHOWN))}")
    for cell in vulnerable:
        each = " | ".join(number(cell.ways[way]["f1"]) for way in SHOWN)
        print(f"| {cell.pool} {cell.backbone}, {cell.share:.0%} | {each} |")
    print(
        "\n**2. Does the published graph hold a group in one dense community?** 90 photos of which 23 share a flaw, as "
        "the flipped nuts did: the community with most of them, its density against the fence, the densest community "
        "without any; and the families of auto on the same batch.\n"
    )
    print(
        "| | photos in it | of them flawed | density | fence | densest good | flagged | auto: photos (flawed) |"
        "\n|" + "---|" * 8
    )
    for entry in entries:
        if entry["part"] == "graph":
            f = entry["found"]
            densest = "-" if f["densest_good"] is None else f"{f['densest_good']:.1f}"
            auto = ", ".join(f"{members} ({flawed})" for members, flawed in f["auto"]) or "none"
            flagged = "yes" if f["density"] > f["fence"] else "no"
            print(
                f"| {entry['pool']} {entry['backbone']} | {f['members']} | {f['recurring']} | {f['density']:.1f} | "
                f"{f['fence']:.1f} | {densest} | {flagged} | {auto} |"
            )
    print("\n**3. omega and k_IQR, capture against F1:** the rows `published` of the sweeps above, omega 0.1 to 0.7.\n")


def traps(entries: Sequence[Entry], halves: Mapping[str, Sequence[str]]) -> None:
    print("## Traps: batches in which nothing is to be excluded\n")
    print("Over all draws: families found, of them asked about; tokens excluded on average, and at most.\n")
    print(
        "| | draws | auto: families | asked | excluded | most | published: families | excluded | most |\n|" + "---|" * 9
    )
    labels: dict[str, Callable[[Entry], str]] = {
        "uneven": lambda e: f"variants {'/'.join(map(str, e['case'][0]))}, no flaw",
        "copies": lambda e: "one flawed photo and four copies of it",
        "clean": lambda e: f"{e['found']['photos']} real photos, no flaw",
    }
    rows: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry["part"] in labels:
            half = next((name for name, pools in halves.items() if entry["pool"] in pools), "selection")
            name = f"{entry['pool']} ({half}) {entry['backbone']}: {labels[entry['part']](entry)}"
            rows.setdefault(name, []).append(entry["found"])
    for name, found in rows.items():
        auto, published = ([one[rule] for one in found] for rule in ("auto", "published"))
        asked = sum(bool(family["question"]) for one in auto for family in one["families"])
        cells = [f"{sum(len(one['families']) for one in auto)} | {asked} | {_excluded(auto)}"]
        cells += [f"{sum(len(one['families']) for one in published)} | {_excluded(published)}"]
        print(f"| {name} | {len(found)} | {' | '.join(cells)} |")
    print()


def _excluded(found: list[Entry]) -> str:
    values = [one["excluded"] for one in found]
    return f"{np.mean(values):.2%} | {max(values):.2%}"
