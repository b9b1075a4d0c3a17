"""What the parts of a scan of volumes come to: rows, warnings, a verdict, and the result with all that its run keeps.

It knows a batch that was looked at and the scores of its parts; how they were made is told in ``volume_scanning``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish import extending, manifest, run_cache, verdict_file, volume_file
from blemish.comparing import Compared, searched
from blemish.config import ScanConfig
from blemish.extraction import Branch
from blemish.family_facts import excluded, family_of
from blemish.inputs.volume_checks import Placing
from blemish.inputs.volume_layouts import VolumeListing
from blemish.judging import estimate_of, judged_volumes, seed_level
from blemish.part_file import DonePart
from blemish.paths import RUN_CACHE, RUN_VERDICT, RUN_VOLUMES
from blemish.progress import Progress
from blemish.result import ColourScale, Photo, Result, ranked
from blemish.stages import Clock
from blemish.volume_extraction import Looked
from blemish.volume_parts import VolumePlan
from blemish.volume_space import Native, Volumes

__all__ = ["Batch", "Done", "facts_of", "result_of"]


@dataclass(frozen=True)
class Batch:
    """Volumes that were looked at, in the order of the listing."""

    listing: VolumeListing
    looked: list[Looked]
    placing: Placing
    unreadable: dict[str, str]  # path -> reason
    differences: list[str]


@dataclass(frozen=True)
class Done:
    """All parts, and the volumes of all in a row."""

    parts: list[DonePart]
    natives: list[Native]
    sha256: list[str]


def facts_of(batch: Batch, config: ScanConfig, done: Done) -> dict[str, Any]:
    """What was chosen, for ``run.json``."""
    pairs = zip(batch.placing.boxes, batch.looked, strict=True)
    sides = np.median([box.sides(one.geometry.spacing) for box, one in pairs], axis=0)
    cube = config.volumes.cube
    return {
        "volumes": len(done.natives),
        "ct": batch.looked[0].facts.modality == "CT",  # of one as of all: others were left out
        "k": done.parts[0].compared.k,
        "subsets": len(done.parts),
        "image_score": "the mean of its highest thousandth" if config.image_score == "max" else config.image_score,
        "compared_with": len(done.parts[0].paths) - 1,
        "pairs": {
            "compared": sum(part.pairs for part in done.parts),
            "taken_over": sum(part.known_pairs for part in done.parts),
        },
        "placing": batch.placing.reason,
        "brain_masks": sorted({one.how for one in batch.looked}),
        "cell_mm": [round(float(side), 2) for side in sides / config.volumes.grid],
        "working_size": {"height": cube, "width": cube, "depth": cube},
        "families_searched": searched(config, len(done.natives)),
    }


def _rows(batch: Batch, done: Done, compared: Compared) -> tuple[list[Photo], npt.NDArray[np.intp]]:
    """Rows of the result, most anomalous first, unreadable ones last; and the order of the scored ones."""
    firsts: dict[str, str] = {}
    photos = []
    for one, digest in zip(done.natives, done.sha256, strict=True):
        first = firsts.setdefault(digest, one.file.path)
        x, y, z = one.geometry.shape
        copy = "" if first == one.file.path else first
        photos.append(Photo(one.file.path, "ok", width=x, height=y, depth=z, duplicate_of=copy))
    rows, order = ranked(photos, compared.scores, family_of(compared.families))
    rows += [
        Photo(path=one.path, status="unreadable", reason=batch.unreadable[one.path])
        for one in batch.listing.volumes
        if one.path in batch.unreadable
    ]
    return rows, order


def result_of(
    plan: VolumePlan,
    batch: Batch,
    done: Done,
    compared: Compared,
    facts: dict[str, Any],
    clock: Clock,
    progress: Progress,
) -> Result:
    config, branch = plan.config, plan.branch
    rows, order = _rows(batch, done, compared)
    warnings = _warnings(batch, branch, rows, done.parts)
    for warning in warnings:
        progress.note(f"Note: {warning}")
    volumes = Volumes(
        {one.file.path: one for one in done.natives},
        (batch.listing.root / "dataset_description.json").is_file(),
    )
    grids = compared.grids[order]
    scored = rows[: len(order)]
    inside = np.stack([done.natives[at].inside for at in order])
    # weighed by place, half of the cells are at 0, which says nothing of how usual values spread
    scale = ColourScale.of(grids[inside & (grids > 0)])
    with clock.quiet("deciding"):
        evidence = compared.rescoring.evidence(excluded(compared.families)).ordered(order)
        learnt = estimate_of(scored, grids, evidence, compared.families)
        level = seed_level(learnt, grids)
        verdict = judged_volumes(volumes, scored, grids, learnt, level, compared.families, config.verdict, {})
    keep = {
        RUN_VERDICT: partial(verdict_file.write, learnt, grids, evidence.maxima, level, (), verdict.regions),
        RUN_VOLUMES: partial(volume_file.write, volumes),
    }
    if compared.families:
        paths = [one.file.path for one in done.natives]
        keep[RUN_CACHE] = partial(run_cache.write, paths, compared.rescoring, compared.looks, None)
    return Result(
        photos=(*verdict.photos, *rows[len(order) :]),
        judgement=verdict.judgement,
        lesions=verdict.regions,
        volumes=volumes,
        grids=grids,
        shape=grids.shape[1:],
        pixels=partial(_no_pixels, plan),
        families=compared.families,
        division=extending.describe(
            [part.paths for part in done.parts],
            {one.file.path: one.file.files[0] for one in done.natives},
            {one.file.path: digest for one, digest in zip(done.natives, done.sha256, strict=True)},
            done.parts[-1].tiles,
        ),
        diagnosis=done.parts[0].compared.diagnosis,
        keep=keep,
        scale=scale,
        warnings=warnings,
        manifest=manifest.build(
            source=str(batch.listing.root.resolve()),
            note="; ".join(batch.listing.notes),
            config=config,
            resolved=facts,
            branches=[branch],
            grids=done.parts[0].compared.grids,
            scale=scale,
            photos=rows,
            from_cache=sum(part.from_cache for part in done.parts),
            timings=clock.timings,
            warnings=warnings,
        ),
    )


def _warnings(batch: Batch, branch: Branch, rows: Sequence[Photo], parts: Sequence[DonePart]) -> tuple[str, ...]:
    """Is the batch what this assumes: volumes of one kind at one place, none twice?"""
    found = list(batch.differences)
    copies = [photo for photo in rows if photo.duplicate_of]
    if copies:
        found.append(
            f"{len(copies)} of the volumes have the same bytes as another, for example {copies[0].path}; what is "
            "unusual in both finds itself in the other and scores low"
        )
    if branch.cache and branch.cache.broken:
        found.append(f"tokens could not be cached ({branch.cache.broken})")
    if reason := next((part.not_kept for part in parts if part.not_kept), ""):
        found.append(f"comparisons could not be kept for a scan that goes on or a run that grows ({reason})")
    return tuple(found)


def _no_pixels(plan: VolumePlan, row: int) -> Any:
    """Never called; it holds on to the ``plan``, whose folder has what the result may still read."""
    raise NotImplementedError(f"row {row} of {len(plan.looked)}: a volume has no picture; its voxels are read again")
