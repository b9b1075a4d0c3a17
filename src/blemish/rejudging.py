"""Another threshold for a finished run: the photos are judged again, and not scored again.

Tables, report and masks change; pictures, maps and everything else stay where they are. torch is not loaded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from blemish import reviewed, verdict_file
from blemish.config import EXPORTS, VerdictConfig
from blemish.errors import ConfigError, InputError
from blemish.paths import RUN_MANIFEST, RUN_REVIEWS, RUN_VERDICT
from blemish.progress import Progress, Silent
from blemish.rereading import Places, reread
from blemish.result import Result
from blemish.run import Unchanged, link, take_over, write_exports, write_maps
from blemish.run_folder import replacing
from blemish.sinks import csv, jsonl, masks, report
from blemish.sinks.names import beside

__all__ = ["export", "rejudge", "write_judged"]


def rejudge(
    run: str | Path,
    *,
    expect_defects: float | None = None,
    max_false_alarms: float | None = None,
    threshold: float | None = None,
    max_unsure: float | None = None,
    exports: Sequence[str] = (),
    progress: Progress | None = None,
) -> Result:
    """Judge the photos of a finished ``run`` again and replace its tables, report and masks.

    At most one of ``expect_defects`` (share), ``max_false_alarms`` (share) and ``threshold`` (image score); with none
    of them the batch decides again. ``max_unsure``: share that may be sent to a person; by default as before.
    ``exports``: written besides those that the run has, ``coco`` or ``labelstudio`` for example.
    Raises ``ConfigError`` for a bad value, ``InputError`` if the run is not there or of an older version,
    ``OutputError`` or ``RunError`` if it cannot be written.
    """
    run = Path(run).expanduser().resolve()

    def asked(before: VerdictConfig) -> VerdictConfig:
        most = before.max_unsure if max_unsure is None else max_unsure
        return VerdictConfig(expect_defects, max_false_alarms, threshold, most)

    found = reread(run, asked)
    wanted = _exports(found.config.exports, exports)
    config = {"verdict": asdict(found.config.verdict), "exports": list(wanted)}
    manifest = found.result.manifest
    result = replace(found.result, manifest={**manifest, "config": {**manifest["config"], **config}})
    write_judged(result, run, found.places, progress or Silent())
    return result


def export(run: Path, exports: Sequence[str], *, progress: Progress | None = None) -> Result:
    """Write ``exports`` besides those that the run has, by the verdict that it has. Raises as ``rejudge``."""
    found = reread(run)
    manifest = found.result.manifest
    config = {**manifest["config"], "exports": list(_exports(found.config.exports, exports))}
    result = replace(found.result, manifest={**manifest, "config": config})
    write_judged(result, run, found.places, progress or Silent())
    return result


def _exports(before: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    if unknown := sorted(set(more) - set(EXPORTS)):
        raise ConfigError(f"exports are {', '.join(EXPORTS)}; received {', '.join(unknown)}.")
    return tuple(name for name in EXPORTS if name in {*before, *more})


def write_judged(
    result: Result, run: Path, places: Places, progress: Progress, reviews: tuple[reviewed.Review, ...] | None = None
) -> None:
    """Put tables, report and masks of ``result``, judged anew, in place of those of ``run``. ``reviews``: what a person
    says of single photos, where that has changed. Raises ``OutputError`` or ``RunError`` if it cannot be written."""
    exports = result.manifest["config"]["exports"]
    with replacing(run) as folder:
        csv.write(result, folder / "results.csv")
        jsonl.write(result, folder / "results.jsonl")
        try:
            report.replace_verdict(run / "report.html", folder / "report.html", result)
        except (FileNotFoundError, ValueError) as error:
            why = "it is missing" if isinstance(error, FileNotFoundError) else error
            raise InputError(f"{str(run / 'report.html')!r}: {why}. Scan again.") from error
        if result.volumes:
            _write_volumes(result, run, folder, progress)
        else:
            missing = _without_mask(result, run / "masks", folder / "masks")
            if (missing and "masks" in exports) or {"coco", "labelstudio"} & set(exports):
                with progress.stage("writing masks", len(masks.marked(result))) as advance:
                    write_exports(result, folder, exports, advance, missing)
        if reviews is not None:
            reviewed.write(reviews, folder / RUN_REVIEWS)
        (folder / RUN_MANIFEST).write_text(json.dumps(result.manifest, indent=2) + "\n", encoding="utf-8")
    verdict_file.write_regions(places, run / RUN_VERDICT)


def _write_volumes(result: Result, run: Path, folder: Path, progress: Progress) -> None:
    """Masks, which lie among the maps, and the table of patients; the maps are those that the run has."""
    unchanged = Unchanged(run, maps=frozenset(photo.path for photo in result.scored), overlays=frozenset())
    with progress.stage("writing masks", len(result.scored)) as advance:
        write_maps(result, folder, run, result.manifest["config"]["maps"], advance, unchanged)
    take_over(unchanged, folder, result)


def _without_mask(result: Result, old: Path, new: Path) -> set[str]:
    """Take over the masks that the run has; regions do not depend on the threshold. Returns the paths that lack one."""
    missing = set()
    if old.is_dir():
        new.mkdir()  # also where no photo has a mask any more
    for photo in masks.marked(result):
        mask = beside(old, photo.path, ".png")
        if not mask.is_file():
            missing.add(photo.path)
            continue
        file = beside(new, photo.path, ".png")
        file.parent.mkdir(parents=True, exist_ok=True)
        link(mask, file)
    return missing
