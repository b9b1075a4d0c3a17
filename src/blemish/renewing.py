"""A finished run whose maps have changed: its photos ranked and judged anew, and its files replaced in one move.

What has changed them (a decision about a family, something that was taught) is somebody else's business. torch is not
loaded here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish import verdict_file, volume_file
from blemish.config import ScanConfig, with_options
from blemish.errors import InputError
from blemish.family_facts import family_of
from blemish.judgement import Call
from blemish.judging import estimate_of, judged, judged_volumes, seed_level
from blemish.paths import RUN_DIAGNOSIS, RUN_VERDICT, RUN_VOLUMES
from blemish.progress import Progress
from blemish.rescoring import Evidence
from blemish.result import RGB, ColourScale, Decision, Family, Photo, Result, ranked
from blemish.run import Unchanged, write_sinks
from blemish.run_folder import check_out, staging
from blemish.volume_space import Volumes

__all__ = ["Renewal", "renew", "require_renewable"]

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Renewal:
    """What a run is to become. Arrays, ``paths`` and the numbers of photos are in one order, any."""

    run: Path
    manifest: dict[str, Any]
    rows: Sequence[Photo]  # as the run has them
    paths: Sequence[str]  # of the photos that were scored
    old_maps: Float32  # (B, h, w)
    new_maps: Float32
    scores: Float32  # (B,)
    shape: tuple[int, ...]  # working resolution
    evidence: Evidence
    families: tuple[Family, ...]
    decisions: tuple[Decision, ...]
    said: Mapping[str, Call]  # path -> what the user has said that a photo is
    pixels: Callable[[int], RGB]  # photo -> its picture at the working resolution
    jpeg: Callable[[int, int], bytes] | None = None  # photo, longest side -> its picture, where pictures are kept
    keep: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)  # folders that are written anew
    volumes: Volumes | None = None


def require_renewable(run: Path) -> None:
    """Raises ``InputError`` or ``OutputError`` if the files of ``run`` cannot be replaced, before work is wasted."""
    if run in (here := Path.cwd().resolve(), *here.parents):
        raise InputError("The run's folder is replaced as a whole, and you are in it. Change to another folder first.")
    check_out(run, None, overwrite=True)


def renew(to: Renewal, progress: Progress) -> Result:
    """Replace the run's files, all or none. Raises ``InputError`` if the run was damaged, ``RunError`` if it cannot be
    written."""
    scored = {photo.path: photo for photo in to.rows if photo.status == "ok"}
    if scored.keys() != set(to.paths):
        raise InputError(f"{str(to.run / 'results.jsonl')!r} does not fit the run. Scan again.")
    scale = ColourScale(**to.manifest["colour_scale"])
    rows, order = ranked([scored[path] for path in to.paths], to.scores, family_of(to.families))
    grids = to.new_maps[order]
    evidence = to.evidence.ordered(order)
    estimated = estimate_of(rows, grids, evidence, to.families, to.said)
    level = seed_level(estimated, grids)
    products = verdict_file.read(to.run / RUN_VERDICT).products
    config = with_options(ScanConfig(), {"verdict": to.manifest["config"]["verdict"]}).verdict
    jpeg = to.jpeg
    keep = dict(to.keep)
    marks: dict[str, Any]
    if to.volumes:
        found = judged_volumes(to.volumes, rows, grids, estimated, level, to.families, config, {}, to.said)
        photos, judgement, marks = found.photos, found.judgement, {"lesions": found.regions, "volumes": to.volumes}
        keep[RUN_VOLUMES] = partial(volume_file.write, to.volumes)
        regions: Mapping[str, Any] = found.regions
    else:
        verdict = judged(rows, grids, estimated, level, to.families, products, config, {}, to.said)
        photos, judgement, marks = verdict.photos, verdict.judgement, {"regions": verdict.regions}
        regions = verdict.regions
    keep[RUN_VERDICT] = partial(verdict_file.write, estimated, grids, evidence.maxima, level, products, regions)
    result = Result(
        photos=(*photos, *(photo for photo in to.rows if photo.status != "ok")),
        grids=grids,
        judgement=judgement,
        shape=to.shape,
        pixels=lambda row: to.pixels(int(order[row])),
        scale=scale,
        warnings=tuple(to.manifest["warnings"]),
        manifest=to.manifest,
        families=to.families,
        decisions=to.decisions,
        diagnosis=_diagnosis(to.run),
        jpeg=(lambda row, longest: jpeg(int(order[row]), longest)) if jpeg else None,
        keep=keep,
        **marks,
    )
    with staging(to.run, overwrite=True) as folder:
        write_sinks(result, folder, to.run, to.manifest["config"]["maps"], progress, _unchanged(to, scale))
    return result


def _diagnosis(run: Path) -> dict[str, Any] | None:
    try:
        diagnosis: dict[str, Any] = json.loads((run / RUN_DIAGNOSIS).read_text(encoding="utf-8"))
        return diagnosis
    except (OSError, ValueError):
        return None


def _unchanged(to: Renewal, scale: ColourScale) -> Unchanged:
    """A picture is the same if no value moves by as much as its finest shade; a map only if no bit does."""
    moved = np.abs(to.new_maps - to.old_maps).reshape(len(to.paths), -1).max(axis=1)
    shade = (scale.high - scale.low) / 255
    return Unchanged(
        to.run,
        maps=frozenset(path for path, move in zip(to.paths, moved, strict=True) if move == 0),
        overlays=frozenset(path for path, move in zip(to.paths, moved, strict=True) if move < shade),
    )
