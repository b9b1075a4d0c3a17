"""One part of a batch, from files to scores; or from what an earlier scan has left of it.

A scan that was killed has finished some parts, which are read, and was in the middle of one, whose tiles are. It knows
what makes these stale.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from blemish.comparing import compare
from blemish.extraction import Branch, Extracted, largest_shape
from blemish.inputs.images import PhotoFile
from blemish.matching.engine import NearestTable, match
from blemish.matching.screening import most_similar, references
from blemish.matching.tile_log import TileLog
from blemish.part_cache import digest, keep_part, kept_parts, not_kept, open_log, skip
from blemish.part_file import DonePart, read_part
from blemish.planning import FEWEST, Plan
from blemish.scoring.mutual import neighbours
from blemish.stages import Stages
from blemish.workplace import Workplace

__all__ = ["do_part"]


def do_part(
    plan: Plan, place: Workplace, number: int, first: int, earlier: Sequence[str], stages: Stages
) -> DonePart | None:
    """Part ``number`` of the plan, whose first photo is number ``first`` of the batch; None if too few of its photos
    can be read, which are then noted in the plan as unreadable.

    ``earlier``: names of tile logs of a run that is extended, one for each pass, from which pairs are taken over.
    Raises ``RunError`` if a part of many can be written nowhere."""
    photos = plan.parts[number]
    file = _file(plan, place, photos, first) if plan.divided else None
    if file and (done := read_part(file)):
        skip(done, stages, "photos")
        plan.unreadable |= done.unreadable
        return done
    branches = [replace(branch, token_sets=[], embeddings=[]) for branch in plan.branches]
    with stages.stage("reading photos", len(photos)) as advance:
        extracted = place.extract(
            photos,
            branches,
            plan.budget,
            deep_ceiling=plan.deep_ceiling,
            batch=1 if plan.device == "cpu" else 16,
            decoders=plan.decoders,
            progress=advance,
        )
    plan.unreadable |= extracted.unreadable
    if plan.divided:
        plan.budget.release(extracted.pixels)
    if len(extracted.photos) < FEWEST:
        for store in (tokens.store for branch in branches for tokens in branch.token_sets):
            plan.budget.release(store)
        lonely = "too few photos of its subset can be read to compare it with"
        plan.unreadable |= dict.fromkeys(extracted.paths, lonely)
        return None
    done = _compared(plan, place, branches, extracted, first, earlier, stages)
    return keep_part(done, file, plan.folder, last=number == len(plan.parts) - 1) if file else done


def _file(plan: Plan, place: Workplace, photos: Sequence[PhotoFile], first: int) -> Path:
    """Where a part of many is kept, in the cache or, without it, as long as the scan takes."""
    if not plan.config.cache:
        return plan.folder() / f"part-{first}.npz"
    settings = [plan.config.as_dict()["families"], plan.config.k, plan.screen, place.arithmetic, version("blemish")]
    return kept_parts() / f"{digest(_features(plan), settings, first, _stats(photos))}.npz"


def _compared(
    plan: Plan,
    place: Workplace,
    branches: Sequence[Branch],
    extracted: Extracted,
    first: int,
    earlier: Sequence[str],
    stages: Stages,
) -> DonePart:
    images = len(extracted.photos)
    embeddings = np.stack(branches[0].embeddings)
    wanted = most_similar(embeddings, plan.screen)
    pairs = images * (images - 1) // 2 if wanted is None else int(np.triu(wanted | wanted.T).sum())
    sets = [(branch, tokens) for branch in branches for tokens in branch.token_sets]
    tables: list[NearestTable] = []
    logs: list[TileLog] = []
    with ExitStack() as opened, stages.stage("comparing photos", pairs * len(sets)) as advance:
        for number, (branch, tokens) in enumerate(sets):
            known = earlier[number] if number < len(earlier) else ""
            log = _log(plan, place, branch, number, tokens.store.shape, extracted.sha256, known)
            if log:
                opened.callback(log.close)
                logs.append(log)
            tables.append(
                match(
                    tokens.store,
                    plan.budget,
                    executor=place.executor,
                    wanted=wanted,
                    log=log,
                    progress=advance,
                )
            )
    taken_over = sum(log.taken_over for log in logs)
    count = references(images, plan.screen)
    with stages.stage("finding families" if plan.config.families.rule != "off" else "scoring", len(sets)) as advance:
        compared = compare(
            branches,
            extracted.paths,
            tables,
            plan.config,
            plan.budget,
            k=neighbours(plan.config.k, count + 1),
            references=count,
            first=first if plan.divided else None,
            advance=advance,
        )
    return DonePart(
        paths=tuple(extracted.paths),
        sha256=tuple(extracted.sha256),
        embeddings=embeddings,
        unreadable=extracted.unreadable,
        clipped=tuple(extracted.clipped),
        compared=compared,
        from_cache=extracted.from_cache,
        pairs=pairs * len(sets) - taken_over,
        known_pairs=taken_over,
        tiles=tuple(log.folder.name for log in logs),
        not_kept=not_kept(logs, len(sets)) if plan.config.cache else "",
        pixels=None if plan.divided else extracted.pixels,
    )


def _log(
    plan: Plan,
    place: Workplace,
    branch: Branch,
    number: int,
    shape: tuple[int, ...],
    sha256: Sequence[str],
    earlier: str,
) -> TileLog | None:
    """The log of one pass over these photos, with what an ``earlier`` one knows. Photos are known by their bytes: the
    deal and the names do not matter."""
    if not plan.config.cache:
        return None
    features = digest(_features_of(plan, branch), number, shape[1:], place.arithmetic)
    return open_log(features, shape, sha256, earlier)


def _features(plan: Plan) -> list[Any]:
    return [_features_of(plan, branch) for branch in plan.branches]


def _features_of(plan: Plan, branch: Branch) -> list[Any]:
    """Everything that decides the tokens of a photo besides its bytes."""
    settings = branch.cache_settings(largest_shape(plan.branches), plan.deep_ceiling)
    return [settings, branch.radii, branch.join]


def _stats(photos: Sequence[PhotoFile]) -> list[Any]:
    """A part is known by its files as they lie there, so that they need not be read."""
    return [(photo.path, str(photo.file.absolute()), *_stat(photo.file)) for photo in photos]


def _stat(file: Path) -> tuple[int, int]:
    try:
        stat = file.stat()
    except OSError:  # it has gone since it was listed, and will be noted as unreadable
        return 0, 0
    return stat.st_size, stat.st_mtime_ns
