"""File names of what is written per photo: the photo's path and one more suffix."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

__all__ = ["beside"]

LONGEST = 255  # bytes that file systems allow in one name


def beside(folder: Path, path: str, suffix: str) -> Path:
    """``folder / path`` with ``suffix`` appended: sub/a.jpg, .tif -> folder/sub/a.jpg.tif.

    A name too long for that is cut, and a piece of its hash keeps it unique."""
    whole = PurePosixPath(path)
    if whole.is_absolute() or ".." in whole.parts:
        raise ValueError(f"{path!r} would be written outside {folder}")
    name = whole.name.encode()
    if len(name) + len(suffix) > LONGEST:
        digest = hashlib.sha256(name).hexdigest()[:12]
        kept = name[: LONGEST - len(suffix) - len(digest) - 1].decode(errors="ignore")
        return folder / whole.parent / f"{kept}~{digest}{suffix}"
    return folder / whole.parent / f"{whole.name}{suffix}"
