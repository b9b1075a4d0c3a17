"""One part of a batch, from files to scores; or from what an earlier scan has left of it.

A scan that was killed has finished some parts, which are read, and was in the middle of one, whose tiles are. It knows
where these lie and what makes them stale.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from blemish.comparing import compare
from blemish.extraction import Branch, Extracted, largest_shape
from blemish.inputs.images import PhotoFile
from blemish.matching.engine import NearestTable, match
from blemish.matching.screening import most_similar, references
from blemish.matching.tile_log import TileLog
from blemish.part_file import DonePart, read_part, write_part
from blemish.paths import cache_dir
from blemish.planning import Plan, require_enough
from blemish.progress import Advance
from blemish.scoring.mutual import neighbours
from blemish.workplace import Workplace

__all__ = ["Stages", "do_part", "drop_tiles", "kept_parts", "kept_tiles", "prune"]

LIMIT = 4 * 2**30  # bytes
VERSION = 1  # raised when tiles or parts of earlier versions must not be taken over


class Stages(Protocol):
    """How a part tells of itself."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Advance]: ...


def kept_tiles() -> Path:
    """The folder of tile logs."""
    return cache_dir() / "tiles"


def kept_parts() -> Path:
    """The folder of finished parts of large batches."""
    return cache_dir() / "parts"


def do_part(plan: Plan, place: Workplace, number: int, first: int, earlier: Sequence[str], stages: Stages) -> DonePart:
    """Part ``number`` of the plan, whose first photo is number ``first`` of the batch.

    ``earlier``: names of tile logs of a run that is extended, one for each pass, from which pairs are taken over."""
    photos = plan.parts[number]
    settings = [plan.config.as_dict()["families"], plan.config.k, plan.screen, place.arithmetic]
    name = _name(_features(plan), settings, first, _stats(photos))
    file = kept_parts() / f"{name}.npz" if plan.config.cache and plan.divided else None
    if file and (done := read_part(file)):
        _skip(done, stages)
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
    require_enough(len(extracted.photos), plan.unreadable | extracted.unreadable, plan.listing)
    if plan.divided:
        plan.budget.release(extracted.pixels)
    done = _compared(plan, place, branches, extracted, first, earlier, stages)
    if file:
        write_part(done, file)
    return done


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
        pixels=None if plan.divided else extracted.pixels,
    )


def _skip(done: DonePart, stages: Stages) -> None:
    """Tell of a part that was finished before as if it had been done now."""
    photos, passes = len(done.paths), len(done.compared.passes)
    for name, total in (("reading photos", photos), ("comparing photos", photos * (photos - 1) // 2 * passes)):
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
                entries.append((max(stat.st_mtime for stat in files), sum(stat.st_size for stat in files), child))
        excess = sum(size for _, size, _ in entries) - limit
        for _, size, child in sorted(entries, key=lambda entry: entry[0]):
            if excess <= 0:
                break
            shutil.rmtree(child, ignore_errors=True) if child.is_dir() else child.unlink(missing_ok=True)
            excess -= size


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
    features = _name(_features_of(plan, branch), number, shape[1:], place.arithmetic)
    log = TileLog.open(kept_tiles() / f"{features[:16]}-{_name(sorted(sha256))[:16]}", sha256)
    # of other features, or matched by another kind of processor, the distances are others
    if log and earlier and earlier.partition("-")[0] == features[:16]:
        log.take_over(kept_tiles() / earlier, sha256, shape[1])
    return log


def _features(plan: Plan) -> list[Any]:
    return [_features_of(plan, branch) for branch in plan.branches]


def _features_of(plan: Plan, branch: Branch) -> list[Any]:
    """Everything that decides the tokens of a photo besides its bytes."""
    settings = branch.cache_settings(largest_shape(plan.branches), plan.deep_ceiling)
    return [settings, branch.radii, branch.join]


def _stats(photos: Sequence[PhotoFile]) -> list[Any]:
    """A part is known by its files as they lie there, so that they need not be read."""
    stats = ((photo, photo.file.stat()) for photo in photos)
    return [(photo.path, str(photo.file), stat.st_size, stat.st_mtime_ns) for photo, stat in stats]


def _name(*values: Any) -> str:
    return hashlib.sha256(json.dumps([VERSION, *values], sort_keys=True).encode()).hexdigest()[:32]
