"""Finished runs as the service shows them: read once, kept in memory, read again when the run folder has changed.

It knows a run's files through ``rereading`` and turns them into plain rows; HTTP is the routes' business.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from blemish.errors import InputError
from blemish.nearest import Nearest
from blemish.nearest import read as read_nearest
from blemish.paths import RUN_DIVISION, RUN_MANIFEST, RUN_NEAREST
from blemish.rereading import Reread, reread
from blemish.result import Photo, Result

__all__ = ["RunView", "Shelf"]

KEPT = 8  # runs in memory
WORDS = {"ok": "good", "blemished": "defect"}


@dataclass(frozen=True, eq=False)
class RunView:
    """One run at one moment. ``revision`` is another after every change."""

    folder: Path
    revision: str
    opened: Reread
    _answers: dict[str, bytes] = field(default_factory=dict)

    def answer(self, name: str, make: Callable[[RunView], Any]) -> bytes:
        """What ``make`` says of the run, as JSON, made once. ``name``: which answer it is."""
        if name not in self._answers:
            self._answers[name] = json.dumps(make(self)).encode()
        return self._answers[name]

    @property
    def result(self) -> Result:
        return self.opened.result

    @property
    def kind(self) -> str:
        return "volumes" if self.result.manifest.get("resolved", {}).get("volumes") else "photos"

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """By pid."""
        return tuple(sorted(photo.path for photo in self.result.photos))

    @cached_property
    def pids(self) -> dict[str, int]:
        return {path: pid for pid, path in enumerate(self.paths)}

    @cached_property
    def at(self) -> dict[str, int]:
        """Path -> row of the result."""
        return {photo.path: row for row, photo in enumerate(self.result.photos)}

    @cached_property
    def families_of(self) -> dict[str, tuple[int, ...]]:
        """Path -> numbers of the families that it is a member of."""
        numbers: dict[str, tuple[int, ...]] = {}
        for family in self.result.families:
            for path in family.paths:
                numbers[path] = (*numbers.get(path, ()), family.number)
        return numbers

    @cached_property
    def rows(self) -> tuple[dict[str, Any], ...]:
        """Plain values, most anomalous first, unreadable ones last."""
        return tuple(self._row(photo) for photo in self.result.photos)

    @cached_property
    def encoded(self) -> tuple[bytes, ...]:
        """``rows`` as JSON: a page of the grid is joined, not encoded again."""
        return tuple(json.dumps(row).encode() for row in self.rows)

    @cached_property
    def files(self) -> Mapping[str, Path]:
        """Path -> where the photo lies, as it was scanned."""
        try:
            parts = json.loads((self.folder / RUN_DIVISION).read_text(encoding="utf-8"))["parts"]
            return {str(path): Path(file) for part in parts for path, file in part}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    @cached_property
    def nearest(self) -> Nearest | None:
        """None where the run has none: it is older, or of volumes, or its photos were judged one by one."""
        try:
            return read_nearest(self.folder / RUN_NEAREST)
        except InputError:
            return None

    def photo(self, pid: int) -> Photo | None:
        return self.result.photos[self.at[self.paths[pid]]] if 0 <= pid < len(self.paths) else None

    def said(self, path: str) -> str | None:
        call = self.opened.reviews.get(path)
        return None if call is None else WORDS[call]

    def _row(self, photo: Photo) -> dict[str, Any]:
        return {
            "pid": self.pids[photo.path],
            "path": photo.path,
            "status": photo.status,
            "score": photo.score,
            "rank": photo.rank,
            "verdict": photo.verdict,
            "low": photo.low,
            "high": photo.high,
            "reason": photo.reason,
            "family": photo.family,
            "regions": photo.regions,
            "area_share": photo.area_share,
            "severity": photo.severity,
            "width": photo.width,
            "height": photo.height,
            "duplicate_of": photo.duplicate_of,
            "said": self.said(photo.path),
        }


class Shelf:
    """The runs that were looked at last. Called from threads."""

    def __init__(self) -> None:
        self._views: OrderedDict[Path, RunView] = OrderedDict()
        self._lock = threading.Lock()
        self._reading: dict[Path, threading.Lock] = {}

    def peek(self, folder: Path) -> RunView | None:
        """The run if it is in memory and has not changed; also while it is being changed. Takes no time."""
        view = self._views.get(folder)
        if view is None or _revision(folder) not in (view.revision, ""):
            return None
        return view

    def view(self, folder: Path) -> RunView:
        """Raises ``InputError`` if the run is not there or damaged."""
        if (known := self.peek(folder)) is not None:
            return known
        with self._lock:
            reading = self._reading.setdefault(folder, threading.Lock())
        with reading:
            if (known := self.peek(folder)) is not None:
                return known
            revision = _revision(folder)
            view = RunView(folder, revision, reread(folder))
            _ = view.encoded  # made here, in a thread, and not when somebody waits for it
            with self._lock:
                self._views[folder] = view
                self._views.move_to_end(folder)
                while len(self._views) > KEPT:
                    self._views.popitem(last=False)
            return view

    def forget(self, folder: Path) -> None:
        with self._lock:
            self._views.pop(folder, None)
            self._reading.pop(folder, None)


def _revision(folder: Path) -> str:
    """Empty while there is no manifest: the run is being replaced."""
    try:
        stat = (folder / RUN_MANIFEST).stat()
    except OSError:
        return ""
    return f"{stat.st_mtime_ns:x}-{stat.st_ino:x}"
