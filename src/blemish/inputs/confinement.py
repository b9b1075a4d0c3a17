"""Folders that this process may read photos and volumes from, where strangers choose them: a link can lead elsewhere.

One setting of a whole process, made before anything is read; unless it is made, everything may be read. It knows paths,
not what lies there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from blemish.errors import UnreadablePhoto

__all__ = ["confine", "require_inside"]

_folders: list[Path] = []


def confine(folders: Iterable[Path]) -> None:
    """From now on read below these folders only."""
    _folders[:] = [folder.resolve() for folder in folders]


def require_inside(file: Path) -> None:
    """Raises ``UnreadablePhoto`` if the file, links followed, lies outside of the folders that may be read."""
    if not _folders:
        return
    try:
        place = file.resolve()
    except (OSError, RuntimeError) as error:  # links in a circle
        raise UnreadablePhoto("a link that leads nowhere") from error
    if not any(place.is_relative_to(folder) for folder in _folders):
        raise UnreadablePhoto("a link that leads out of the folders that may be scanned")
