"""A finished run as a result again, judged as it was or by another threshold; nothing is scored and nothing written.

Whatever shows or changes a finished run reads it here. It knows a run's files, not what becomes of the result. torch is
not loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blemish import reviewed, verdict_file, volume_file
from blemish.config import ScanConfig, VerdictConfig, with_options
from blemish.decisions import read_decisions
from blemish.errors import InputError
from blemish.judgement import Call, Lesion, Region
from blemish.judging import judged, judged_volumes
from blemish.paths import RUN_MANIFEST, RUN_VERDICT, RUN_VOLUMES
from blemish.result import ColourScale, Photo, Result
from blemish.run import read_rows, summary
from blemish.run_folder import read_manifest
from blemish.sinks.families import read as read_families
from blemish.taught import said_in

__all__ = ["Places", "Reread", "reread"]

Places = Mapping[str, tuple[Region | Lesion, ...]]  # all that were ever looked for


@dataclass(frozen=True)
class Reread:
    """``result`` shows no new picture: its ``pixels`` are not there. ``places``: path -> what stands out on a photo or
    volume that was ever called other than ok. ``reviews``: path -> a person's word about it."""

    result: Result
    places: Places
    config: ScanConfig  # as far as it concerns verdict and exports
    reviews: Mapping[str, Call]


def reread(
    run: Path,
    asked: Callable[[VerdictConfig], VerdictConfig] = lambda before: before,
    reviews: Mapping[str, Call] | None = None,
) -> Reread:
    """``asked``: what was asked of the verdict -> what is asked now. ``reviews``: in place of those that the run has.

    Raises ``InputError`` if the run is not there, damaged or of an older version."""
    manifest = read_manifest(run)
    before, shape, scale, warnings = _said(manifest, run)
    config = asked(before.verdict)
    rows = read_rows(run)
    kept = verdict_file.read(run / RUN_VERDICT)
    scored = [photo for photo in rows if photo.status == "ok"]
    if [photo.score for photo in scored] != kept.estimated.scores.tolist():
        raise InputError(f"{str(run / 'results.jsonl')!r} does not fit the run's verdict. Scan again.")
    families = read_families(run / "families.json")
    if not {path for family in families for path in family.paths} <= {photo.path for photo in scored}:
        raise InputError(f"{str(run / 'families.json')!r} does not fit the run. Scan again.")
    words = dict(reviewed.calls(run) if reviews is None else reviews)
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
    result, places = judge(result, kept, scored, config, run, words)
    result = replace(result, manifest=manifest | summary(result))
    return Reread(result, places, replace(before, verdict=config), words)


def _of_photos(
    result: Result,
    kept: verdict_file.Kept,
    scored: Sequence[Photo],
    config: VerdictConfig,
    run: Path,
    reviews: Mapping[str, Call],
) -> tuple[Result, Places]:
    alone = bool(result.manifest.get("resolved", {}).get("told"))
    estimated, level = kept.estimated, kept.level
    families, said = result.families, {**said_in(run), **reviews}
    verdict = judged(
        scored, kept.grids, estimated, level, families, kept.products, config, kept.regions, said, alone=alone
    )
    photos = (*verdict.photos, *result.unreadable)
    result = replace(result, photos=photos, judgement=verdict.judgement, regions=verdict.regions)
    return result, {**kept.regions, **verdict.regions}


def _of_volumes(
    result: Result,
    kept: verdict_file.Kept,
    scored: Sequence[Photo],
    config: VerdictConfig,
    run: Path,
    reviews: Mapping[str, Call],
) -> tuple[Result, Places]:
    volumes = volume_file.read(run / RUN_VOLUMES)
    if not {photo.path for photo in scored} <= volumes.by_path.keys():
        raise InputError(f"{str(run / RUN_VOLUMES)!r} does not fit the run. Scan the volumes again.")
    grids, families, said = kept.grids, result.families, {**said_in(run), **reviews}
    verdict = judged_volumes(volumes, scored, grids, kept.estimated, kept.level, families, config, kept.lesions, said)
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
