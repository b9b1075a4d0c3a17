"""The tables of `recurrence.py`: the two halves of the settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import numpy as np
import numpy.typing as npt

from recurrence_cells import (
    NO_GAP,
    RULES,
    SHOWN,
    SLICES,
    TIE,
    WAYS,
    Cell,
    Entry,
    cells_of,
    figures_of,
    mean_of,
    number,
    percent,
    recurring_photos,
    slices,
)
from recurrence_side_tables import experiments, sweep_tables, traps

LISTED = 5  # families of a setting


def print_tables(entries: Sequence[Entry], halves: Mapping[str, Sequence[str]], notes: str) -> None:
    """``entries``: as the notebook keeps them."""
    print("# Flaws that keep coming back\n")
    print(f"Measured {date.today()}, one thread.")
    print(
        "Command: `BLEMISH_DATA=../shared/data python benchmarks/recurrence.py --pools ../pools "
        "> benchmarks/recurrence.md`\n"
    )
    print(notes)
    cells = cells_of(entries)
    for half in ("reported", "selection"):
        own = [cell for cell in cells if cell.pool in halves[half]]
        if own:
            print(f"## {half.capitalize()} half: {', '.join(halves[half])}\n")
            _half(own)
    sweep_tables(entries)
    experiments(entries, cells)
    traps(entries, halves)
    for half in ("reported", "selection"):
        own = [cell for cell in cells if cell.pool in halves[half]]
        if own:
            print(f"## Every setting of the {half} half\n")
            _everything(own)
    _left_out(entries)


def _half(cells: list[Cell]) -> None:
    recurring = [cell for cell in cells if cell.share]
    quiet = [cell for cell in cells if not cell.share]
    print("### Gap closed\n")
    print(
        "The gap is pixel AP of the oracle minus plain scoring, both at K = 10 %. Sum: the settings' gains added and "
        f"divided by their gaps added. Mean, median: of the shares of those settings whose gap exceeds {NO_GAP}; the "
        f"others are counted as without a gap. Ahead: pixel AP of auto against published at K = 10 %, ties within "
        f"{TIE}.\n"
    )
    _gap_table(recurring)
    print("### What it comes to\n")
    print("Means over the settings with recurrence: image AUROC / pixel AP / pixel F1-max.\n")
    _level_table(recurring)
    _purity_table(cells)
    print("### A user who merely raises K\n")
    _raised_k(recurring)
    print("### No recurrence, no harm\n")
    print("Changes are against plain scoring at the same K. Families are counted over all draws.\n")
    _harm_table(quiet)
    print("Means over the settings without recurrence: image AUROC / pixel AP / pixel F1-max.\n")
    _level_table(quiet)
    print("### Where auto does badly\n")
    _failures(cells)


def _purity_table(cells: list[Cell]) -> None:
    print("### Whose photos the families hold\n")
    print("Over all draws, those without recurrence included.\n")
    print(
        "| | families | mostly one recurring flaw | mostly recurring flaws, mixed | mostly others | asked about |\n|"
        + "---|" * 6
    )
    for way in ("auto10", "published10"):
        for name, some in slices(cells, ("backbone",)):
            families = [family for cell in some for family in cell.families[way]]
            sizes = [sum(family["kinds"].values()) for family in families]
            most = [
                max((n for kind, n in f["kinds"].items() if kind.startswith("recurring")), default=0) for f in families
            ]
            one = sum(2 * m > size for m, size in zip(most, sizes, strict=True))
            any_of = sum(2 * recurring_photos(family) > size for family, size in zip(families, sizes, strict=True))
            asked = sum(bool(family["question"]) for family in families)
            counts = f"{len(families)} | {one} | {any_of - one} | {len(families) - any_of} | {asked}"
            print(f"| {WAYS[way]}, {name} | {counts} |")
    print()


def _gap_table(cells: list[Cell]) -> None:
    print(
        "| | settings | no gap | mean gap | auto, sum | auto, mean | auto, median | published, sum | published, mean "
        "| auto at K = 30 %, sum | ahead | tied | behind | of those with a gap: ahead | tied | behind |\n|"
        + "---|"
        * 16
    )
    for name, some in slices(cells, SLICES):
        gaps = sum(cell.gap for cell in some)
        shares = {way: np.array([cell.closed(way) for cell in some]) for way in RULES}
        sums = {way: sum(cell.ap(way) - cell.ap("plain10") for cell in some) / gaps for way in RULES}
        known = ~np.isnan(shares["auto10"])
        mean = {way: f"{shares[way][known].mean():.0%}" if known.any() else "-" for way in RULES}
        median = f"{np.median(shares['auto10'][known]):.0%}" if known.any() else "-"
        lead = np.array([cell.ap("auto10") - cell.ap("published10") for cell in some])
        print(
            f"| {name} | {len(some)} | {(~known).sum()} | {gaps / len(some):.3f} | {sums['auto10']:.0%} | "
            f"{mean['auto10']} | {median} | {sums['published10']:.0%} | {mean['published10']} | {sums['auto30']:.0%} | "
            f"{_counts(lead)} | {_counts(lead[known])} |"
        )
    print()


def _counts(lead: npt.NDArray[np.float64]) -> str:
    return " | ".join(str(int(some.sum())) for some in (lead > TIE, abs(lead) <= TIE, lead < -TIE))


def _level_table(cells: list[Cell]) -> None:
    columns = list(slices(cells, ("backbone", "batch", "variants")))
    print(
        f"| | {' | '.join(name for name, _ in columns)} | groups found | captured | excluded |"
        f"\n|{'---|' * (len(columns) + 4)}"
    )
    for way, label in WAYS.items():
        each = " | ".join(figures_of(some, way) for _, some in columns)
        shares = " | ".join(percent(cells, way, name) for name in ("found", "captured", "excluded"))
        print(f"| {label} | {each} | {shares} |")
        if any(family["question"] for cell in cells for family in cell.families.get(way, [])):
            each = " | ".join(figures_of(some, f"{way} answered") for _, some in columns)
            print(f"| {label}, its questions answered | {each} | | | |")
    print()


def _raised_k(cells: list[Cell]) -> None:
    print(
        "| pixel AP, mean difference; settings in which auto is ahead, tied, behind | plain, K = 10 % | "
        "plain, K = 30 % | plain, K = 60 % | the best of the three in hindsight |\n|---|---|---|---|---|"
    )
    for way in ("auto10", "auto30"):
        cellwise = []
        for rivals in (("plain10",), ("plain30",), ("plain60",), ("plain10", "plain30", "plain60")):
            lead = np.array([cell.ap(way) - max(cell.ap(rival) for rival in rivals) for cell in cells])
            cellwise.append(
                f"{lead.mean():+.3f}; {(lead > TIE).sum()}, {(abs(lead) <= TIE).sum()}, {(lead < -TIE).sum()}"
            )
        print(f"| {WAYS[way]} | {' | '.join(cellwise)} |")
    print()


def _harm_table(cells: list[Cell]) -> None:
    rules = (("auto10", "plain10"), ("auto30", "plain30"), ("published10", "plain10"))
    heads = " | ".join(f"{WAYS[way]}: tokens excluded, mean | most | image AUROC | pixel AP" for way, _ in rules)
    print(f"| | settings | {heads} | families of auto |\n|{'---|' * 15}")
    for name, some in slices(cells, ("backbone", "variants", "batch", "pool")):
        parts = []
        for way, plain in rules:
            excluded = [cell.ways[way]["excluded"] for cell in some]
            changes = (mean_of(some, way, figure) - mean_of(some, plain, figure) for figure in ("auroc", "ap"))
            parts.append(f"{np.mean(excluded):.2%} | {max(excluded):.2%} | " + " | ".join(map(_signed, changes)))
        families = sum(len(cell.families["auto10"]) for cell in some)
        print(f"| {name} | {len(some)} | {' | '.join(parts)} | {families} in {sum(c.draws for c in some)} draws |")
    print()


def _signed(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:+.4f}"


def _failures(cells: list[Cell]) -> None:
    print(
        "Settings in which auto at K = 10 % captures less than half of the recurring tokens, closes less than half of "
        "a gap, loses more than 0.005 of pixel AP, or makes a family of which most photos do not have a recurring "
        "flaw.\n"
    )
    print("| setting | plain | auto | oracle | captured | excluded | families: photos of each kind |\n|" + "---|" * 7)
    for cell in cells:
        way = cell.ways["auto10"]
        families = cell.families["auto10"]
        wrong = any(2 * recurring_photos(family) <= sum(family["kinds"].values()) for family in families)
        lost = cell.ap("auto10") < cell.ap("plain10") - 0.005
        if way.get("captured", 1) < 0.5 or cell.closed("auto10") < 0.5 or lost or wrong:
            found = "; ".join(_family(family) for family in families[:LISTED]) or "none"
            found += f"; {len(families) - LISTED} more" if len(families) > LISTED else ""
            three = " | ".join(number(cell.ap(name)) for name in ("plain10", "auto10", "oracle10"))
            captured = f"{way['captured']:.0%}" if "captured" in way else "-"
            print(f"| {_name(cell)} | {three} | {captured} | {way['excluded']:.1%} | {found} |")
    print()


def _family(family: Entry) -> str:
    kinds = " + ".join(f"{count} {kind.removeprefix('recurring-')}" for kind, count in family["kinds"].items())
    return kinds + (" (asks)" if family["question"] else "")


def _name(cell: Cell) -> str:
    groups = f"{cell.share:.0%} in {cell.groups}" if cell.share else "none recurring"
    return f"{cell.pool} {cell.backbone}, {cell.variants} var., {cell.batch} photos, {groups}"


def _everything(cells: list[Cell]) -> None:
    print("Image AUROC / pixel AP / pixel F1-max; captured and excluded: published, auto at 10 %, at 30 %.\n")
    heads = " | ".join(WAYS[way] for way in SHOWN)
    print(
        f"| pool | backbone | variants | photos | share | groups | draws | {heads} | captured | excluded |\n|"
        + "---|" * (9 + len(SHOWN))
    )
    for cell in cells:
        each = " | ".join(figures_of([cell], way) for way in SHOWN)
        captured, excluded = (
            ", ".join(f"{cell.ways[way][name]:{form}}" if name in cell.ways[way] else "-" for way in RULES)
            for name, form in (("captured", ".0%"), ("excluded", ".1%"))
        )
        print(
            f"| {cell.pool} | {cell.backbone} | {cell.variants} | {cell.batch} | {cell.share:.0%} | {cell.groups} | "
            f"{cell.draws} | {each} | {captured} | {excluded} |"
        )
    print()


def _left_out(entries: Iterable[Entry]) -> None:
    rows = {
        f"{entry['pool']} with {case['variants']} variant(s), {case['batch']} photos, {case['share']:.0%} in "
        f"{case['groups']}": None
        for entry in entries
        if entry["part"] == "setting" and "left_out" in entry["found"]
        for case in (entry["case"],)
    }
    if rows:
        print(f"Left out, since the pool has too few photos of one kind: {'; '.join(rows)}.")
