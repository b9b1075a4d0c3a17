"""Settings of `recurrence.py` with their figures, from its measurements, and how figures are written in tables.

A *setting* is one combination of pool, backbone, variants, batch size, share and groups; its figures are means over
its draws, and every setting weighs the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

NO_GAP = 0.01  # of pixel AP between plain scoring and the oracle: below, there is nothing to win back
TIE = 0.002
WAYS = {
    "plain10": "plain, K = 10 %",
    "plain30": "plain, K = 30 %",
    "plain60": "plain, K = 60 %",
    "published10": "published, K = 10 %",
    "auto10": "auto, K = 10 %",
    "auto30": "auto, K = 30 %",
    "oracle10": "oracle, K = 10 %",
    "oracle30": "oracle, K = 30 %",
}
RULES = ("published10", "auto10", "auto30")
SHOWN = ("plain10", "plain30", "plain60", "published10", "auto10", "auto30", "oracle10")
FIGURES = ("auroc", "ap", "f1", "excluded", "captured")
SLICES: dict[str, Callable[[Cell], Any]] = {
    "backbone": lambda cell: cell.backbone,
    "variants": lambda cell: cell.variants,
    "batch": lambda cell: cell.batch,
    "groups": lambda cell: cell.groups,
    "share": lambda cell: f"{cell.share:.0%}",
    "pool": lambda cell: cell.pool,
}

Entry = dict[str, Any]
Figures = dict[str, float]


@dataclass(frozen=True)
class Cell:
    """One setting: ``ways[way][figure]``, means over ``draws``."""

    pool: str
    backbone: str
    batch: int
    share: float
    groups: int
    variants: int
    draws: int
    ways: dict[str, Figures]
    families: dict[str, list[Entry]]  # of all draws

    @property
    def gap(self) -> float:
        return self.ap("oracle10") - self.ap("plain10")

    def ap(self, way: str) -> float:
        return self.ways[way].get("ap", np.nan)

    def closed(self, way: str) -> float:
        """Share of the gap; nan where there is none to speak of."""
        return (self.ap(way) - self.ap("plain10")) / self.gap if self.gap > NO_GAP else np.nan


def cells_of(entries: Iterable[Entry]) -> list[Cell]:
    grouped: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in entries:
        if entry["part"] == "setting" and "left_out" not in entry["found"]:
            case = entry["case"]
            key = (entry["pool"], entry["backbone"], *(case[f] for f in ("batch", "share", "groups", "variants")))
            grouped.setdefault(key, []).append(entry["found"])
    return [_cell(key, found) for key, found in grouped.items()]


def _cell(key: tuple[Any, ...], found: list[Entry]) -> Cell:
    pool, backbone, batch, share, groups, variants = key
    ways = {way: _means([one[way] for one in found]) for way in WAYS}
    for way in RULES:
        ways[f"{way} answered"] = _means([one[way].get("answered", one[way]) for one in found])
        if groups:
            photos = round(batch * share) / groups
            ways[way]["found"] = float(np.mean([_groups_found(one[way]["families"], photos) / groups for one in found]))
    families = {way: [family for one in found for family in one[way]["families"]] for way in RULES}
    return Cell(pool, backbone, batch, share, groups, variants, len(found), ways, families)


def _groups_found(families: list[Entry], photos: float) -> int:
    """Groups of which at least half of the photos stand in families that are mostly theirs, and not asked about."""
    held: dict[str, int] = {}
    for family in families:
        kind, count = max(family["kinds"].items(), key=lambda item: item[1])
        if kind.startswith("recurring") and 2 * count > sum(family["kinds"].values()) and not family["question"]:
            held[kind] = held.get(kind, 0) + count
    return sum(2 * count >= photos for count in held.values())


def _means(found: list[Entry]) -> Figures:
    """Of every figure that some draw has: a batch without a flaw has no pixel AP, for example."""
    values = {name: [one[name] for one in found if one.get(name) is not None] for name in FIGURES}
    return {name: float(np.mean(some)) for name, some in values.items() if some}


def slices(cells: list[Cell], names: Iterable[str]) -> Iterable[tuple[str, list[Cell]]]:
    yield "all", cells
    for name in names:
        values = {SLICES[name](cell): None for cell in cells}
        if len(values) > 1:
            for value in sorted(
                values, key=lambda v: (isinstance(v, str) and not v[:-1].isdigit(), len(str(v)), str(v))
            ):
                yield f"{name} {value}", [cell for cell in cells if SLICES[name](cell) == value]


def mean_of(cells: list[Cell], way: str, figure: str) -> float:
    values = [cell.ways[way][figure] for cell in cells if figure in cell.ways[way]]
    return float(np.mean(values)) if values else float("nan")


def figures_of(cells: list[Cell], way: str) -> str:
    return " / ".join(number(mean_of(cells, way, figure)) for figure in ("auroc", "ap", "f1"))


def number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


def percent(cells: list[Cell], way: str, figure: str) -> str:
    value = mean_of(cells, way, figure)
    return "" if np.isnan(value) else f"{value:.1%}"


def recurring_photos(family: Entry) -> int:
    return sum(count for kind, count in family["kinds"].items() if kind.startswith("recurring"))
