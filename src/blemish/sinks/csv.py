"""results.csv: one row a photo, most anomalous first, unreadable ones last."""

from __future__ import annotations

import csv
from operator import attrgetter
from pathlib import Path

from blemish.result import Result

__all__ = ["write"]

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


def write(result: Result, file: Path) -> None:
    with file.open("w", newline="", encoding="utf-8", errors="backslashreplace") as handle:
        table = csv.writer(handle)
        table.writerow(COLUMNS)
        table.writerows(map(attrgetter(*COLUMNS), result.photos))  # None becomes an empty cell
