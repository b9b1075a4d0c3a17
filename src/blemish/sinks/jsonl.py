"""results.jsonl: the rows of results.csv as JSON, one photo a line; what a photo lacks is null."""

from __future__ import annotations

import json
from pathlib import Path

from blemish.result import Result
from blemish.sinks.csv import columns_of

__all__ = ["write"]


def write(result: Result, file: Path) -> None:
    # What of a file name is no Unicode becomes \udcXX, which is how JSON itself writes it.
    columns = columns_of(result)
    with file.open("w", encoding="utf-8", errors="backslashreplace") as handle:
        for photo in result.photos:
            row = {column: getattr(photo, column) for column in columns}
            handle.write(json.dumps(row, ensure_ascii=False) + "\n")
