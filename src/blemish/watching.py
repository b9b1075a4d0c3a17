"""A folder that photos arrive in: each is judged once it is complete, and again if it is replaced.

It looks at names, sizes and times at an interval, which works on every disk and network share. What was judged is known
from the results folder, so that a watcher that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from blemish.checking import LINES, Line, Results, judge_file, require_apart
from blemish.errors import ConfigError, InputError
from blemish.frozen import Detector
from blemish.inputs.images import PhotoFile

__all__ = ["require_watchable", "watch_folder"]

Stamp = tuple[int, int]  # size in bytes, time of the last change in nanoseconds


def require_watchable(folder: Path, results: Path, interval: float) -> None:
    """Raises ``InputError`` or ``ConfigError`` before a detector is loaded in vain."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {str(folder)!r}. Give the folder that the photos arrive in.")
    require_apart(results, folder)
    if not 0 < interval < math.inf:
        raise ConfigError(f"interval is a number of seconds above 0; received {interval}.")


def watch_folder(
    detector: Detector,
    folder: Path,
    results: Results,
    *,
    interval: float = 0.5,
    once: bool = False,
    note: Callable[[str], None] = lambda words: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Line]:
    """A line for each photo that arrives in ``folder`` or below it, as ``check_files`` gives them, in natural order.

    A file is complete when its size and time have not changed for one ``interval`` (seconds). ``once``: stop when all
    that is there has been judged. A folder that goes away for a while (a network share) is waited for.
    Raises ``OutputError`` if a result cannot be written."""
    judged = _judged(results.folder)
    before: dict[str, Stamp] = {}
    there = True
    while True:
        photos = _photos(folder, detector)
        if there != (photos is not None):
            there = photos is not None
            note(f"{folder} is {'back' if there else 'not there; waiting for it'}")
        now = {photo.path: stamp for photo in photos or () if (stamp := _stamp(photo))}
        waiting = [photo for photo in photos or () if photo.path in now and judged.get(photo.path) != now[photo.path]]
        for photo in waiting:
            stamp = now[photo.path]
            if before.get(photo.path) == stamp:
                judged[photo.path] = stamp
                yield judge_file(detector, photo, results, bytes=stamp[0], modified_ns=stamp[1])
        if once and not there:
            raise InputError(f"The folder {str(folder)!r} is not there any more.")
        if once and not waiting:
            return
        before = now
        sleep(interval)


def _photos(folder: Path, detector: Detector) -> list[Any] | None:
    """None if the folder is not there; an empty one is. Photos, or volumes, are named by their path in it."""
    if not folder.is_dir():
        return None
    try:
        return [replace(one, path=Path(one.path).relative_to(folder).as_posix()) for one in detector.files(folder)]
    except (InputError, OSError):
        return [] if folder.is_dir() else None


def _stamp(photo: Any) -> Stamp | None:
    """Of a DICOM series: of all of its files together."""
    files = [photo.file] if isinstance(photo, PhotoFile) else photo.files
    try:
        stats = [file.stat() for file in files]
    except OSError:  # moved away in the meantime
        return None
    return sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in stats)


def _judged(folder: Path) -> dict[str, Stamp]:
    """What earlier watchers have judged; a line that was cut short is not counted."""
    found: dict[str, Stamp] = {}
    try:
        lines = (folder / LINES).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return found
    for text in lines:
        try:
            line: dict[str, Any] = json.loads(text)
            found[line["path"]] = int(line["bytes"]), int(line["modified_ns"])
        except (ValueError, KeyError, TypeError, OverflowError):
            continue
    return found
