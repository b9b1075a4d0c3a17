"""The folder of a run: made in a hidden folder beside its final place or inside it, and put in place when complete.

It knows which names a run may hold, whether a folder is a finished run (its ``run.json`` says so, which is why that is
moved last), and what killed processes leave behind. What stands in the files is the business of ``run`` and the sinks.
It removes nothing that blemish did not write.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from blemish.errors import InputError, OutputError, RunError
from blemish.paths import (
    RUN_CACHE,
    RUN_DECISIONS,
    RUN_DIAGNOSIS,
    RUN_DIVISION,
    RUN_MANIFEST,
    RUN_MARKER,
    RUN_PLOTS,
    RUN_SCHEMA,
    RUN_TAUGHT,
    RUN_TAUGHT_BEFORE,
    RUN_VERDICT,
    RUN_VOLUMES,
)
from blemish.whole_file import umask

__all__ = [
    "check_out",
    "default_out",
    "of_volumes",
    "read_manifest",
    "replacing",
    "require_compared",
    "require_photos",
    "require_same_method",
    "staging",
    "why_not_written",
]

JUDGED = frozenset({"coco.json", "coco_results.json", "labelstudio.json", "masks"})  # where there is a verdict
RESULTS = JUDGED | {"families.json", "maps", "overlays", "report.html", "results.csv", "results.jsonl", RUN_MANIFEST}
LITTER = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})  # left by file managers that have looked in
KEPT = {RUN_CACHE, RUN_DECISIONS, RUN_DIAGNOSIS, RUN_DIVISION, RUN_PLOTS, RUN_TAUGHT, RUN_TAUGHT_BEFORE}
KEPT |= {RUN_VERDICT, RUN_VOLUMES}
WRITTEN = RESULTS | KEPT


def default_out(source: Path, method: str = "mutual") -> Path:
    """``parts/`` -> ``parts-blemish`` beside it, or ``parts-text``: a run of another kind does not take its place."""
    source = source.expanduser().resolve()
    name = source.stem if source.suffix.lower() == ".csv" else source.name
    return source.parent / f"{name or 'root'}-{'blemish' if method == 'mutual' else method}"


def require_same_method(out: Path, method: str) -> None:
    """Raises ``OutputError`` if ``out`` holds a run of photos that were compared with each other, and the new one is of
    another kind: what was decided and taught there would be lost."""
    if method == "mutual" or not (out / RUN_MANIFEST).is_file():
        return
    if read_manifest(out).get("config", {}).get("method", "mutual") == "mutual":
        raise OutputError(
            f"{str(out)!r} holds a run whose photos were compared with each other, with all that was decided and "
            f"taught there. A run by --method {method} needs a folder of its own; choose another with --out."
        )


def check_out(out: Path, source: Path | None, overwrite: bool) -> Path:
    """The absolute run folder, if a run may be written there. Raises ``OutputError``.

    ``source``: the scanned folder or CSV, which must lie neither above nor below the run."""
    out = out.expanduser().resolve()
    if source is not None:
        root = source.expanduser().resolve()
        if root.is_dir() and (out == root or root in out.parents):
            raise OutputError(
                f"The run folder {str(out)!r} lies inside the photos; its pictures would be scanned next time. "
                f"Choose another with --out, for example {str(default_out(root))!r}."
            )
        if out in root.parents:
            raise OutputError(
                f"{str(out)!r} holds the photos themselves. A run needs a folder of its own: --out "
                f"{str(default_out(root))!r}, for example."
            )
    if out.is_file():
        raise OutputError(f"{str(out)!r} is a file; --out names a folder.")
    _refuse_occupied(out, overwrite)
    return out


def _refuse_occupied(out: Path, overwrite: bool) -> None:
    """Only an absent or empty folder may be written, or one that holds a run and nothing else, if asked for."""
    if not out.is_dir():
        return
    there = {child.name for child in out.iterdir() if not _is_staging(child, out)} - LITTER
    if not there:
        return
    if foreign := sorted(there - WRITTEN):
        raise OutputError(
            f"{str(out)!r} holds files that blemish did not write ({', '.join(foreign[:3])}). "
            "Choose an empty or new folder with --out."
        )
    try:
        read_manifest(out)
    except InputError as error:
        raise OutputError(f"{error} Or choose an empty or new folder with --out.") from error
    if not overwrite:
        raise OutputError(f"{str(out)!r} holds a run already. Add --overwrite to replace it, or choose --out.")


def read_manifest(run: Path) -> dict[str, Any]:
    """``run.json`` of a finished run. Raises ``InputError`` if ``run`` is not one that this version can read."""
    file = run / RUN_MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        schema, _ = manifest["schema"], manifest["blemish"]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"{str(run)!r} is not a finished run: it has no {RUN_MANIFEST}. Give the folder that --out named."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{str(file)!r} is not the manifest of a run. Give the folder that --out named.") from error
    if schema != RUN_SCHEMA:
        raise InputError(f"{str(run)!r} has schema {schema!r}, this blemish reads {RUN_SCHEMA}. Scan again.")
    return manifest


def of_volumes(manifest: dict[str, Any]) -> bool:
    """Whether a run is one of volumes."""
    return bool(manifest.get("resolved", {}).get("volumes"))


def require_photos(manifest: dict[str, Any], run: Path, what: str) -> None:
    """Raises ``InputError`` for a run of volumes. ``what`` was to be done with it: extended, learned from."""
    if of_volumes(manifest):
        raise InputError(
            f"{run.name!r} cannot be {what}: it is a run of volumes, and this is for photos. What works with it: "
            "blemish verdict, decide, teach, freeze, eval, diagnose and scan --extend."
        )


def require_compared(manifest: dict[str, Any], run: Path, what: str) -> None:
    """Raises ``InputError`` for a run whose photos were judged one by one. ``what`` was to be done: taught, frozen."""
    told = manifest.get("resolved", {}).get("told")
    if told:
        raise InputError(
            f"{run.name!r} cannot be {what}: its photos were not compared with each other, but judged one by one, with "
            "words. Scan without --method for that. Other photos are judged the same way by the same command; good "
            "photos and defects are given to it by --good and --defect."
        )


@contextmanager
def staging(out: Path, overwrite: bool = False) -> Iterator[Path]:
    """A hidden folder that becomes ``out`` when the block ends well and vanishes when it does not.

    It stands beside ``out``; or inside, if ``out`` is a mount point, which cannot be moved onto. Whatever killed runs
    have left there is cleared. Raises ``OutputError`` if it cannot be made, ``RunError`` if it cannot be put in place.
    """
    mounted = out.is_dir() and os.path.ismount(out)
    beside = out if mounted else out.parent
    try:
        beside.mkdir(parents=True, exist_ok=True)
        partial = _hidden(out, beside)
    except OSError as error:
        raise OutputError(f"Cannot write to {str(beside)!r}: {error.strerror}. Choose another --out.") from error
    try:
        yield partial
        try:
            _refuse_occupied(out, overwrite)  # another scan may have finished here in the meantime
            (partial / RUN_MARKER).unlink()
            partial.chmod(0o777 & ~umask())  # mkdtemp's folders are private
            if mounted:
                _move_into(out, partial)
            else:
                _replace(out, partial)
        except OSError as error:
            raise RunError(why_not_written(error, out)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def replacing(run: Path) -> Iterator[Path]:
    """A hidden folder inside a finished ``run`` whose files and folders take the place of the run's own when the block
    ends well, ``run.json`` last. Everything else stays: nothing of a large run is copied or linked. What was killed
    while it did the same is cleared.

    Raises ``OutputError`` or ``RunError`` if the run cannot be written."""
    try:
        staged = _hidden(run, run)
    except OSError as error:
        raise OutputError(
            f"Cannot write to {str(run)!r}: {error.strerror}. Make it writable, or copy the run and name the copy."
        ) from error
    try:
        yield staged
        made = [child for child in staged.iterdir() if child.name != RUN_MARKER]  # which stays: see _is_left_over
        old = staged / ".old"
        old.mkdir()
        for child in sorted(made, key=lambda child: child.name == RUN_MANIFEST):
            _put(child, run / child.name, old / child.name)
    except OSError as error:
        raise RunError(why_not_written(error, run)) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _hidden(out: Path, where: Path) -> Path:
    """A new staging folder for ``out``, after those that were left by killed processes are cleared."""
    for child in where.iterdir():
        if _is_left_over(child, out):
            shutil.rmtree(child, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name[:100]}.", suffix=".partial", dir=where))
    (partial / RUN_MARKER).write_text(json.dumps({"host": socket.gethostname(), "process": os.getpid()}))
    return partial


def _is_staging(folder: Path, out: Path) -> bool:
    named = folder.name.startswith(f".{out.name[:100]}.") and folder.name.endswith(".partial")
    return named and (folder / RUN_MARKER).is_file()


def _is_left_over(folder: Path, out: Path) -> bool:
    """Whether ``folder`` is the staging folder of a run to ``out`` that was killed on this machine."""
    if not _is_staging(folder, out):
        return False
    try:
        owner = json.loads((folder / RUN_MARKER).read_text())
        if owner["host"] != socket.gethostname():
            return False
        os.kill(owner["process"], 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return False


def _replace(out: Path, partial: Path) -> None:
    """Put ``partial`` in the place of ``out``, which is absent, empty or an older run."""
    old = partial.with_suffix(".old")
    if out.exists():
        out.replace(old)
    try:
        partial.replace(out)
    except OSError:
        if old.exists():
            old.replace(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _put(new: Path, place: Path, aside: Path) -> None:
    """Move ``new`` to its ``place``. A folder cannot be moved onto another, so the one that is there goes aside."""
    moved = new.is_dir() and place.exists()
    if moved:
        place.replace(aside)
    try:
        new.replace(place)
    except OSError:
        if moved:
            aside.replace(place)
        raise


def _move_into(out: Path, partial: Path) -> None:
    """Move the files of a run into ``out``, its manifest last; an older run's go first, its manifest before all."""
    for name in sorted(WRITTEN, key=lambda name: name != RUN_MANIFEST):
        old = out / name
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
    for child in sorted(partial.iterdir(), key=lambda child: child.name == RUN_MANIFEST):
        child.replace(out / child.name)


def why_not_written(error: OSError, out: Path) -> str:
    """The sentence for a ``RunError``: which place could not be written, why, and what to do."""
    # Some libraries report a full disk without its error number.
    full = error.errno in {errno.ENOSPC, errno.EDQUOT} or (error.errno is None and _free(out.parent) < 2**20)
    if full:
        return f"The disk is full; nothing was left in {str(out)!r}. Free some space or choose --out on another disk."
    where = f" ({error.filename})" if error.filename else ""
    return f"Writing {str(out)!r} failed: {error.strerror or error}{where}. Nothing was left behind."


def _free(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0
