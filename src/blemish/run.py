"""What is written into a run and read from it: every sink in its order, ``run.json`` last, and the rows back.

What the files look like is the sinks' business; where they are staged and how they get in place is ``run_folder``'s.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blemish.decisions import write_decisions
from blemish.errors import InputError, RunError
from blemish.paths import (
    RUN_CACHE,
    RUN_DECISIONS,
    RUN_DIAGNOSIS,
    RUN_DIVISION,
    RUN_MANIFEST,
    RUN_PLOTS,
    RUN_TAUGHT_BEFORE,
)
from blemish.progress import Progress, Silent
from blemish.result import Photo, Result
from blemish.run_folder import check_out, require_same_method, staging, why_not_written
from blemish.sinks.names import beside

__all__ = [
    "Unchanged",
    "link",
    "read_rows",
    "save_result",
    "summary",
    "take_over",
    "write_exports",
    "write_maps",
    "write_sinks",
]


def save_result(
    result: Result,
    out: Path,
    *,
    maps: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write every sink of a result and the manifest, the manifest last. See ``Result.save``."""
    out = check_out(out, Path(result.manifest["source"]), overwrite)
    require_same_method(out, result.manifest["config"].get("method", "mutual"))
    with staging(out, overwrite) as folder:
        write_sinks(result, folder, out, maps or result.manifest["config"]["maps"], progress or Silent())
    return out


@dataclass(frozen=True)
class Unchanged:
    """Photos whose map, or whose picture of it, is the same as in an older ``run``, so that files are taken over."""

    run: Path
    maps: frozenset[str]
    overlays: frozenset[str]


def write_sinks(
    result: Result, folder: Path, out: Path, maps: str, progress: Progress, unchanged: Unchanged | None = None
) -> None:
    """All files of a run into ``folder``, ``run.json`` last: its existence means that the others are complete.

    ``out``: where the run will be, for paths in it and for the words of the ``RunError`` that a failing disk raises."""
    from blemish.sinks import csv, families, jsonl, report

    start = time.perf_counter()
    try:
        with progress.stage("writing results", _steps(result)) as advance:
            csv.write(result, folder / "results.csv")
            jsonl.write(result, folder / "results.jsonl")
            families.write(result, folder / "families.json")
            write_maps(result, folder, out, maps, advance, unchanged)
            report.write(result, folder / "report.html", out.name)
        if unchanged:
            take_over(unchanged, folder, result)
            _take_over_the_rest(unchanged, folder)
        for name, write in result.keep.items():
            write(folder / name)
        if result.decisions:
            write_decisions(result.decisions, folder / RUN_DECISIONS)
        if result.diagnosis:
            (folder / RUN_DIAGNOSIS).write_text(json.dumps(result.diagnosis) + "\n", encoding="utf-8")
        if result.division:
            (folder / RUN_DIVISION).write_text(json.dumps(result.division) + "\n", encoding="utf-8")
        timings = {**result.manifest["timings_s"], "writing results": round(time.perf_counter() - start, 3)}
        config = {**result.manifest["config"], "maps": maps}
        manifest = {**result.manifest, "timings_s": timings, "config": config, **summary(result)}
        (folder / RUN_MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise RunError(why_not_written(error, out)) from error


def _steps(result: Result) -> int:
    from blemish.sinks.masks import marked

    return len(result.scored) if result.volumes else 2 * len(result.scored) + len(marked(result))


def write_maps(
    result: Result,
    folder: Path,
    out: Path,
    maps: str,
    advance: Callable[[int], None],
    unchanged: Unchanged | None = None,
) -> None:
    """Maps, pictures and masks, as photos or volumes have them, but those that are ``unchanged``. ``out``: where
    ``folder`` will be."""
    paths = {photo.path for photo in result.scored}
    same_maps, same_overlays = (unchanged.maps, unchanged.overlays) if unchanged else (frozenset(), frozenset())
    exports = result.manifest["config"]["exports"]
    if result.volumes:
        from blemish.sinks import volumes

        volumes.write(
            result,
            folder / "maps",
            out / "maps",
            advance,
            maps=maps != "none",
            masks="masks" in exports,
            only=paths - same_maps,
        )
        return
    from blemish.sinks import maps as map_files
    from blemish.sinks import overlays

    map_files.write(result, folder / "maps", maps, advance, paths - same_maps)
    overlays.write(result, folder / "overlays", advance, paths - same_overlays)
    write_exports(result, folder, exports, advance)


def write_exports(
    result: Result,
    folder: Path,
    exports: Collection[str],
    advance: Callable[[int], None],
    only: Collection[str] | None = None,
) -> None:
    """Masks and annotations of photos that are not ok. ``only``: paths whose mask is written, by default all."""
    from blemish.sinks import coco, labelstudio, masks

    if result.judgement is None or not exports:
        return
    shapes = {"coco", "labelstudio"} & set(exports)
    wanted = only if "masks" in exports else ()
    outlines = masks.write(result, folder / "masks", advance, wanted, shapes=bool(shapes))
    if "coco" in shapes:
        coco.write(result, outlines, folder / "coco.json")
        coco.write_results(result, outlines, folder / "coco_results.json")
    if "labelstudio" in shapes:
        labelstudio.write(result, outlines, folder / "labelstudio.json")


def summary(result: Result) -> dict[str, Any]:
    """What ``run.json`` says of the verdict."""
    judgement = result.judgement
    if judgement is None:
        return {}
    calls = Counter(photo.verdict for photo in result.scored)
    verdict = {
        "sentence": judgement.sentence,
        "threshold": judgement.threshold,
        "rule": judgement.rule,
        "counts": {call: calls[call] for call in ("blemished", "unsure", "ok")},
        "false_alarms": asdict(judgement.false_alarms),
        "share": {**asdict(judgement.share), "at_least": judgement.at_least},
        "pixel_threshold": judgement.pixel_threshold,
    }
    return {"verdict": verdict}


def take_over(unchanged: Unchanged, folder: Path, result: Result) -> None:
    """Link the files of an older run that still hold, or copy them where the disk has no links."""
    for old, new in _same_files(unchanged, folder, result):
        if old.is_file():
            new.parent.mkdir(parents=True, exist_ok=True)
            link(old, new)


def _take_over_the_rest(unchanged: Unchanged, folder: Path) -> None:
    """What no decision changes."""
    if (unchanged.run / RUN_DIVISION).is_file():
        link(unchanged.run / RUN_DIVISION, folder / RUN_DIVISION)
    for name in (RUN_CACHE, RUN_PLOTS, RUN_TAUGHT_BEFORE):
        if (unchanged.run / name).is_dir():
            shutil.copytree(unchanged.run / name, folder / name, copy_function=link)


def _same_files(unchanged: Unchanged, folder: Path, result: Result) -> Iterator[tuple[Path, Path]]:
    """Where each lies in the older run, and where in this one."""
    if result.volumes:
        from blemish.sinks.volumes import map_files

        for path in unchanged.maps:
            yield from zip(*(map_files(result, run / "maps", path) for run in (unchanged.run, folder)), strict=True)
        return
    for name, suffix, paths in (("maps", ".tif", unchanged.maps), ("overlays", ".jpg", unchanged.overlays)):
        for path in paths:
            yield beside(unchanged.run / name, path, suffix), beside(folder / name, path, suffix)


def link(old: str | Path, new: str | Path) -> None:
    """The same file under another name, or a copy where the disk has no links."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copy2(old, new)


def read_rows(run: Path) -> list[Photo]:
    """The rows of a finished run, in its order. Raises ``InputError`` if they cannot be read."""
    file = run / "results.jsonl"
    try:
        with file.open(encoding="utf-8") as lines:
            return [Photo(**json.loads(line)) for line in lines]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{str(file)!r} was changed or damaged ({error}). Scan again.") from error
