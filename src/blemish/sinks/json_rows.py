"""JSON files that hold a long list: one row a line, written as rows are made, whatever the values are.

It knows plain values; what rows mean is the business of the sinks that use it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

__all__ = ["opened", "plain", "write_rows"]


def opened(file: Path) -> TextIO:
    """What of a file name is no Unicode becomes \\udcXX, which is how JSON itself writes it."""
    return file.open("w", encoding="utf-8", errors="backslashreplace", newline="\n")


def plain(value: Any) -> str:
    """``value`` as JSON on one line. JSON has no infinity: null instead."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_rows(handle: TextIO, rows: Iterable[Any]) -> None:
    """``rows`` as a list, one a line."""
    handle.write("[\n")
    for number, row in enumerate(rows):
        handle.write(f"{',' if number else ''}{plain(row)}\n")
    handle.write("]")
