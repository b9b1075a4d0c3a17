"""What scans have compared, kept in the user's cache: tile logs and finished parts, and when they are let go.

A scan that was killed has finished some parts, which are read, and was in the middle of one, whose tiles are. It knows
where these lie, not what was compared.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from blemish.errors import RunError
from blemish.matching.engine import table_bytes
from blemish.matching.tile_log import TileLog
from blemish.part_file import DonePart, write_part
from blemish.paths import cache_dir
from blemish.stages import Stages

__all__ = [
    "digest",
    "drop_tiles",
    "keep_part",
    "kept_parts",
    "kept_tiles",
    "not_kept",
    "open_log",
    "prune",
    "skip",
]

LIMIT = 4 * 2**30  # bytes
VERSION = 1  # raised when tiles or parts of earlier versions must not be taken over


def kept_tiles() -> Path:
    """The folder of tile logs."""
    return cache_dir() / "tiles"


def kept_parts() -> Path:
    """The folder of finished parts of large batches."""
    return cache_dir() / "parts"


def digest(*values: Any) -> str:
    """A name for everything that decides what is kept under it."""
    return hashlib.sha256(json.dumps([VERSION, *values], sort_keys=True).encode()).hexdigest()[:32]


def open_log(features: str, shape: tuple[int, ...], identities: Sequence[str], earlier: str) -> TileLog | None:
    """The log of one pass over B images with N tokens each, ``shape: (B, N, C)``, with what an ``earlier`` one knows.

    ``features``: digest of what decides tokens and distances besides the images. ``identities``: of their content; the
    deal and the names do not matter. None if it cannot be written or would be too large."""
    if table_bytes(shape[0], shape[1]) > LIMIT / 2:
        return None  # it would push everything else out of the cache
    log = TileLog.open(kept_tiles() / f"{features[:16]}-{digest(sorted(identities))[:16]}", identities)
    # of other features, or matched by another kind of processor, the distances are others
    if log and earlier and earlier.partition("-")[0] == features[:16]:
        log.take_over(kept_tiles() / earlier, identities, shape[1])
    return log


def not_kept(logs: Sequence[TileLog], passes: int) -> str:
    """Why a scan that is killed would compare all this again, if it would although the cache is on."""
    if all(log.broken == "" for log in logs) and len(logs) == passes:
        return ""
    broken = next((log.broken for log in logs if log.broken), "")
    return broken or "the cache cannot be written, is in use by another scan, or would be too small"


def keep_part(done: DonePart, file: Path, folder: Callable[[], Path], *, last: bool) -> DonePart:
    """The part with its second choices on disk. Its tiles are not needed any more, unless a run that grows will deal
    the ``last`` one anew. ``folder``: where it goes for as long as the scan takes, if ``file`` cannot be written.

    Raises ``RunError`` if it can be written nowhere."""
    try:
        done = write_part(done, file)
    except OSError as error:
        # no place in the cache: it lasts as long as the scan, and the next one does it again
        done = replace(done, not_kept=error.strerror or str(error))
        return _in_scratch(done, folder() / file.name)
    if not last:
        drop_tiles(done.tiles)
    return done


def _in_scratch(done: DonePart, file: Path) -> DonePart:
    try:
        return write_part(done, file)
    except OSError as error:
        raise RunError(
            f"Cannot write scratch data to {str(file.parent)!r}: {error.strerror}. Free some space, or set TMPDIR to a "
            "folder on a larger disk, and type the same command to go on."
        ) from error


def skip(done: DonePart, stages: Stages, kind: str) -> None:
    """Tell of a part that was finished before as if it had been done now. ``kind``: photos or volumes."""
    images, passes = len(done.paths), len(done.compared.scores)
    for name, total in ((f"reading {kind}", images), (f"comparing {kind}", images * (images - 1) // 2 * passes)):
        with stages.stage(name, total) as advance:
            advance(total)


def drop_tiles(names: Sequence[str]) -> None:
    """Remove tile logs that are not needed any more."""
    for name in names:
        shutil.rmtree(kept_tiles() / name, ignore_errors=True)


def prune(limit: int = LIMIT) -> None:
    """Remove the tile logs, and apart from them the parts, used longest ago until ``limit`` bytes of each are left."""
    for folder in (kept_tiles(), kept_parts()):
        entries = []
        for child in folder.glob("*"):
            with suppress(OSError):  # another scan may have removed it
                files = [file.stat() for file in (child.iterdir() if child.is_dir() else [child])]
                used = max((stat.st_mtime for stat in files), default=0.0)
                entries.append((used, sum(stat.st_size for stat in files), child))
        excess = sum(size for _, size, _ in entries) - limit
        for _, size, child in sorted(entries, key=lambda entry: entry[0]):
            if excess <= 0:
                break
            with suppress(OSError):
                shutil.rmtree(child, ignore_errors=True) if child.is_dir() else child.unlink(missing_ok=True)
            excess -= size
