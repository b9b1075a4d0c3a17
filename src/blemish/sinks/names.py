"""Names that sinks write: files per photo, the photo's path and one more suffix; and names in commands to type."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path, PurePosixPath

__all__ = ["beside", "quoted"]

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


def quoted(name: str) -> str:
    """``name`` as one argument, in double quotes where those do, because every system's shell knows them."""
    if name.startswith("-"):
        name = f"./{name}"
    plain = shlex.quote(name)
    return plain if plain == name or set(name) & set('"$`\\!%\n') else f'"{name}"'
