"""A run folder: written beside its final place, moved there when complete, with ``run.json`` as its last file.

It knows folders and the order of writing; what the files look like is the sinks' business.
"""

from __future__ import annotations

import errno
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from blemish.errors import OutputError, RunError
from blemish.progress import Progress, Silent
from blemish.result import Result

__all__ = ["MANIFEST", "default_out", "read_manifest", "save_result", "staging"]

MANIFEST = "run.json"
MARKER = "blemish.partial"  # in a folder that is still being written; a scan of photos passes it over


def default_out(source: Path) -> Path:
    """``parts/`` -> ``parts-blemish`` beside it."""
    source = source.expanduser().resolve()
    return source.with_name(f"{source.stem if source.suffix.lower() == '.csv' else source.name}-blemish")


def check_out(out: Path, source: Path | None, overwrite: bool) -> Path:
    """The absolute run folder, if a run may be written there. Raises ``OutputError``."""
    out = out.expanduser().resolve()
    root = source.expanduser().resolve() if source is not None else None
    if root is not None and root.is_dir() and (out == root or root in out.parents):
        raise OutputError(
            f"The run folder {str(out)!r} lies inside the photos; its pictures would be scanned next time. "
            f"Choose another with --out, for example {str(default_out(root))!r}."
        )
    if out.is_file():
        raise OutputError(f"{str(out)!r} is a file; --out names a folder.")
    if out.is_dir() and any(out.iterdir()):
        if not (out / MANIFEST).is_file():
            raise OutputError(f"{str(out)!r} holds other files and no run. Choose an empty or new folder with --out.")
        if not overwrite:
            raise OutputError(f"{str(out)!r} holds a run already. Add --overwrite to replace it, or choose --out.")
    return out


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that takes its place when the block ends well and vanishes when it does not.

    Raises ``OutputError`` if it cannot be created, ``RunError`` if the disk fills up in between.
    """
    partial = out.with_name(out.name + ".partial")
    try:
        if partial.exists():
            shutil.rmtree(partial)  # left by a run that was killed
        partial.mkdir(parents=True)
        (partial / MARKER).write_text(
            "This folder is being written by blemish, or was left by a run that was killed.\n"
        )
    except OSError as error:
        raise OutputError(f"Cannot write to {str(out.parent)!r}: {error.strerror}. Choose another --out.") from error
    try:
        yield partial
        (partial / MARKER).unlink()
        _replace(out, partial)
    except OSError as error:
        raise RunError(_words(error, out)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace(out: Path, partial: Path) -> None:
    """Put ``partial`` in the place of ``out``, which is absent, empty or an older run."""
    old = out.with_name(out.name + ".old")
    if out.exists():
        shutil.rmtree(old, ignore_errors=True)
        out.replace(old)
    partial.replace(out)
    shutil.rmtree(old, ignore_errors=True)


def _words(error: OSError, out: Path) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"The disk is full; nothing was left in {str(out)!r}. Free some space or choose --out on another disk."
    return f"Writing {str(out)!r} failed: {error.strerror or error} ({error.filename}). Nothing was left behind."


def save_result(
    result: Result,
    out: Path,
    *,
    maps: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    source: Path | None = None,
) -> Path:
    """Write every sink of a result and the manifest, the manifest last. See ``Result.save``."""
    out = check_out(out, source, overwrite)
    with staging(out) as folder:
        write_sinks(result, folder, maps or result.manifest["config"]["maps"], progress or Silent())
    return out


def write_sinks(result: Result, folder: Path, maps: str, progress: Progress) -> None:
    """All files of a run, ``run.json`` last: its existence means that the others are complete."""
    from blemish.sinks import csv, jsonl, overlays, report
    from blemish.sinks import maps as map_files

    start = time.perf_counter()
    with progress.stage("writing results", 2 * len(result.scored)) as advance:
        csv.write(result, folder / "results.csv")
        jsonl.write(result, folder / "results.jsonl")
        map_files.write(result, folder / "maps", maps, advance)
        overlays.write(result, folder / "overlays", advance)
        report.write(result, folder / "report.html")
    timings = {**result.manifest["timings_s"], "writing results": round(time.perf_counter() - start, 3)}
    manifest = {**result.manifest, "timings_s": timings}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def read_manifest(run: Path) -> dict[str, Any]:
    """``run.json`` of a finished run. Raises ``OutputError`` if ``run`` is not one."""
    file = run / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise OutputError(
            f"{str(run)!r} is not a finished run: it has no {MANIFEST}. Give the folder --out named."
        ) from error
    except (OSError, ValueError) as error:
        raise OutputError(f"Cannot read {str(file)!r}: {error}. Scan again to replace it.") from error
    return manifest
