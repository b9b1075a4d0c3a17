"""Another threshold for a finished run: the photos are judged again, and not scored again.

Tables, report and masks change; pictures, maps and everything else stay where they are. torch is not loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from blemish import verdict_file, volume_file
from blemish.config import EXPORTS, ScanConfig, VerdictConfig, with_options
from blemish.decisions import read_decisions
from blemish.errors import ConfigError, InputError
from blemish.judgement import Lesion, Region
from blemish.judging import judged, judged_volumes
from blemish.paths import RUN_MANIFEST, RUN_VERDICT, RUN_VOLUMES
from blemish.progress import Progress, Silent
from blemish.result import ColourScale, Photo, Result
from blemish.run import Unchanged, link, read_rows, summary, take_over, write_exports, write_maps
from blemish.run_folder import read_manifest, replacing
from blemish.sinks import csv, jsonl, masks, report
from blemish.sinks.families import read as read_families
from blemish.sinks.names import beside
from blemish.taught import said_in

__all__ = ["rejudge"]


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
    manifest = read_manifest(run)
    before, shape, scale, warnings = _said(manifest, run)
    config = VerdictConfig(
        expect_defects, max_false_alarms, threshold, before.verdict.max_unsure if max_unsure is None else max_unsure
    )
    wanted = _exports(before.exports, exports)
    rows = read_rows(run)
    kept = verdict_file.read(run / RUN_VERDICT)
    scored = [photo for photo in rows if photo.status == "ok"]
    if [photo.score for photo in scored] != kept.estimated.scores.tolist():
        raise InputError(f"{str(run / 'results.jsonl')!r} does not fit the run's verdict. Scan again.")
    families = read_families(run / "families.json")
    if not {path for family in families for path in family.paths} <= {photo.path for photo in scored}:
        raise InputError(f"{str(run / 'families.json')!r} does not fit the run. Scan again.")
    manifest["config"] |= {"verdict": asdict(config), "exports": list(wanted)}
    result = Result(
        photos=tuple(rows),
        grids=kept.grids,
        shape=shape,
        pixels=_no_pixels,
        scale=scale,
        warnings=warnings,
        manifest=manifest,
        families=families,
        decisions=read_decisions(run),
    )
    judge = _of_volumes if manifest.get("resolved", {}).get("volumes") else _of_photos
    result, places = judge(result, kept, scored, config, run)
    result = replace(result, manifest=manifest | summary(result))
    _write(result, run, places, progress or Silent())
    return result


Places = Mapping[str, tuple[Region | Lesion, ...]]  # all that were ever looked for


def _of_photos(
    result: Result, kept: verdict_file.Kept, scored: Sequence[Photo], config: VerdictConfig, run: Path
) -> tuple[Result, Places]:
    alone = bool(result.manifest.get("resolved", {}).get("told"))
    estimated, level = kept.estimated, kept.level
    families, said = result.families, said_in(run)
    verdict = judged(
        scored, kept.grids, estimated, level, families, kept.products, config, kept.regions, said, alone=alone
    )
    photos = (*verdict.photos, *result.unreadable)
    result = replace(result, photos=photos, judgement=verdict.judgement, regions=verdict.regions)
    return result, {**kept.regions, **verdict.regions}


def _of_volumes(
    result: Result, kept: verdict_file.Kept, scored: Sequence[Photo], config: VerdictConfig, run: Path
) -> tuple[Result, Places]:
    volumes = volume_file.read(run / RUN_VOLUMES)
    if not {photo.path for photo in scored} <= volumes.by_path.keys():
        raise InputError(f"{str(run / RUN_VOLUMES)!r} does not fit the run. Scan the volumes again.")
    grids, families = kept.grids, result.families
    estimated, level, said = kept.estimated, kept.level, said_in(run)
    verdict = judged_volumes(volumes, scored, grids, estimated, level, families, config, kept.lesions, said)
    result = replace(
        result,
        photos=(*verdict.photos, *result.unreadable),
        judgement=verdict.judgement,
        lesions=verdict.regions,
        volumes=volumes,
        shape=grids.shape[1:],
    )
    return result, {**kept.lesions, **verdict.regions}


def _said(manifest: dict[str, Any], run: Path) -> tuple[ScanConfig, tuple[int, int], ColourScale, tuple[str, ...]]:
    """What the manifest says: what was asked of the verdict, (height, width) of the working size, scale, warnings."""
    try:
        asked = {name: manifest["config"].get(name) for name in ("verdict", "exports")}
        size = manifest["resolved"]["working_size"]
        return (
            with_options(ScanConfig(), asked),
            (int(size["height"]), int(size["width"])),
            ColourScale(**manifest["colour_scale"]),
            tuple(manifest["warnings"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{str(run / RUN_MANIFEST)!r} was changed or damaged ({error!r}). Scan again.") from error


def _no_pixels(row: int) -> Any:
    raise NotImplementedError(f"row {row}: a verdict shows no new picture")


def _exports(before: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    if unknown := sorted(set(more) - set(EXPORTS)):
        raise ConfigError(f"exports are {', '.join(EXPORTS)}; received {', '.join(unknown)}.")
    return tuple(name for name in EXPORTS if name in {*before, *more})


def _write(result: Result, run: Path, places: Places, progress: Progress) -> None:
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
