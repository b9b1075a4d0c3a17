"""Files through a frozen detector, one after the other: a line for each, and a folder of results if one is wanted.

A file that cannot be judged gets a line that says why; none ends the work. It knows files and lines; what a score is,
the detector knows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from blemish.checked import Checked, CheckedVolume
from blemish.errors import InputError, OutputError, UnreadablePhoto
from blemish.frozen import Detector
from blemish.inputs.images import PhotoFile
from blemish.result import RGB, upsample
from blemish.sinks import overlays
from blemish.sinks.names import beside

__all__ = ["LINES", "Results", "check_files", "listed", "require_apart"]

LINES = "results.jsonl"
LONGEST = 1024  # side of an overlay, pixels
Line = dict[str, Any]


class Results:
    """A folder that grows by a line a photo, and by a picture for each that is not ok; or by a map of each volume."""

    def __init__(self, folder: Path, detector: Detector) -> None:
        """Raises ``OutputError`` if the folder cannot be written."""
        self.folder = folder
        self._scale = detector.scale
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lines = (folder / LINES).open("ab+")
            self._end_line()
        except OSError as error:
            raise OutputError(f"Cannot write to {str(folder)!r}: {error.strerror}. Choose another --out.") from error

    def _end_line(self) -> None:
        """Whoever was killed in the middle of a line must not spoil the next one."""
        if self._lines.tell():
            self._lines.seek(-1, os.SEEK_END)
            if self._lines.read(1) != b"\n":
                self._lines.write(b"\n")

    def add(self, line: Line, checked: Checked | None, pixels: Any) -> None:
        """The picture first: a line that is there says that all of its photo is. Raises ``OutputError``."""
        try:
            if isinstance(checked, CheckedVolume):
                checked.write(self.folder / "maps", _inside(checked.path))
            elif checked and pixels is not None and checked.verdict != "ok":
                small = _small(pixels)
                heat = upsample(checked.grid, (small.shape[0], small.shape[1]))
                overlays.save(small, heat, self._scale, beside(self.folder / "overlays", _inside(checked.path), ".jpg"))
            self._lines.write(json.dumps(line).encode() + b"\n")
            self._lines.flush()
        except OSError as error:
            raise OutputError(
                f"Cannot write to {str(self.folder)!r}: {error.strerror}. What is there is complete; free some space "
                "and type the same command again."
            ) from error

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.close()


def _inside(path: str) -> str:
    """The same below a folder: /a/b.png -> a/b.png, and so for paths that lead upwards."""
    if Path(path).is_absolute() or ".." in Path(path).parts:
        whole = Path(os.path.abspath(path))  # noqa: PTH100 - links are not followed: the names are what was typed
        path = whole.relative_to(whole.anchor).as_posix()
    return path


def _small(pixels: RGB) -> RGB:
    picture = Image.fromarray(pixels)
    picture.thumbnail((LONGEST, LONGEST), reducing_gap=2.0)
    return np.asarray(picture)


def listed(paths: Sequence[Path], detector: Detector) -> list[Any]:
    """Files as they were given, and the photos, or volumes, of folders. Raises ``InputError`` if there is but a folder
    without any; among others it gets a line with an error."""
    files: list[Any] = []
    for path in paths:
        try:
            files += detector.files(path)
        except InputError:
            if len(paths) == 1:
                raise
            files.append(PhotoFile(str(path), path))
    return files


def require_apart(results: Path, folder: Path) -> None:
    """Raises ``InputError`` if ``results`` lies in ``folder``, whose photos are judged."""
    home, place = folder.resolve(), results.resolve()
    if home == place or home in place.parents:
        raise InputError(
            f"The results folder {str(results)!r} lies in {str(folder)!r}, so its pictures would be judged as well. "
            "Choose another --out."
        )


def check_files(detector: Detector, photos: Sequence[Any], results: Results | None = None) -> Iterator[Line]:
    """A line for each of ``photos``, in their order: path, score, verdict, threshold and boxes, or path and error."""
    for photo in photos:
        yield judge_file(detector, photo, results)


def judge_file(detector: Detector, photo: Any, results: Results | None = None, **more: Any) -> Line:
    """One line; ``more`` is added to it."""
    checked = seen = None
    try:
        seen = detector.read(photo)
        checked = detector.judge(photo.path, seen)
        line: Line = checked.as_dict() | more
    except (UnreadablePhoto, InputError) as error:
        line = {"path": photo.path, "error": str(error), **more}
    except Exception as error:  # out of memory, or whatever a runtime makes of a monstrous photo: the line goes on
        line = {"path": photo.path, "error": f"cannot be judged: {str(error) or type(error).__name__}"[:300], **more}
    if results:
        results.add(line, checked, seen)
    return line
