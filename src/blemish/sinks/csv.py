"""results.csv: one row a photo, most anomalous first, unreadable ones last."""

from __future__ import annotations

import csv
from operator import attrgetter
from pathlib import Path

from blemish.result import Result

__all__ = ["columns_of", "write"]

COLUMNS = (
    "path",
    "score",
    "rank",
    "percentile",
    "verdict",
    "low",
    "high",
    "regions",
    "area_share",
    "severity",
    "width",
    "height",
    "status",
    "reason",
    "duplicate_of",
    "family",
)


def columns_of(result: Result) -> tuple[str, ...]:
    """A table of volumes has their depth, too."""
    if all(photo.depth is None for photo in result.photos):
        return COLUMNS
    after = COLUMNS.index("height") + 1
    return (*COLUMNS[:after], "depth", *COLUMNS[after:])


def write(result: Result, file: Path) -> None:
    with file.open("w", newline="", encoding="utf-8", errors="backslashreplace") as handle:
        table = csv.writer(handle)
        columns = columns_of(result)
        table.writerow(columns)
        table.writerows(map(attrgetter(*columns), result.photos))  # None becomes an empty cell
