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
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from blemish.comparing import compare
from blemish.errors import RunError
from blemish.extraction import Branch, Extracted, largest_shape
from blemish.inputs.images import PhotoFile
from blemish.matching.engine import NearestTable, match, table_bytes
from blemish.matching.screening import most_similar, references
from blemish.matching.tile_log import TileLog
from blemish.part_file import DonePart, read_part, write_part
from blemish.paths import cache_dir
from blemish.planning import FEWEST, Plan
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
        _skip(done, stages)
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
    return _kept(done, file, plan, last=number == len(plan.parts) - 1) if file else done


def _file(plan: Plan, place: Workplace, photos: Sequence[PhotoFile], first: int) -> Path:
    """Where a part of many is kept, in the cache or, without it, as long as the scan takes."""
    if not plan.config.cache:
        return plan.folder() / f"part-{first}.npz"
    settings = [plan.config.as_dict()["families"], plan.config.k, plan.screen, place.arithmetic, version("blemish")]
    return kept_parts() / f"{_name(_features(plan), settings, first, _stats(photos))}.npz"


def _kept(done: DonePart, file: Path, plan: Plan, last: bool) -> DonePart:
    """The part with its second choices on disk. Its tiles are not needed any more, unless a run that grows will deal
    its photos anew."""
    try:
        done = write_part(done, file)
    except OSError as error:
        # no place in the cache: it lasts as long as the scan, and the next one does it again
        done = replace(done, not_kept=error.strerror or str(error))
        return _in_scratch(done, plan.folder() / file.name)
    if not last:
        drop_tiles(done.tiles)
    return done


def _in_scratch(done: DonePart, file: Path) -> DonePart:
    try:
        return write_part(done, file)
    except OSError as error:
        raise RunError(
            f"Cannot write scratch data to {str(file.parent)!r}: {error.strerror}. Free some space, or set TMPDIR to a "
            "folder on a larger disk, and type the same command to go on."
        ) from error


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
        not_kept=_not_kept(plan, logs, len(sets)),
        pixels=None if plan.divided else extracted.pixels,
    )


def _not_kept(plan: Plan, logs: Sequence[TileLog], passes: int) -> str:
    """Why a scan that is killed would compare these photos again, if it would although the cache is on."""
    if not plan.config.cache or (all(log.broken == "" for log in logs) and len(logs) == passes):
        return ""
    broken = next((log.broken for log in logs if log.broken), "")
    return broken or "the cache cannot be written, is in use by another scan, or would be too small"


def _skip(done: DonePart, stages: Stages) -> None:
    """Tell of a part that was finished before as if it had been done now."""
    photos, passes = len(done.paths), len(done.compared.scores)
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
                used = max((stat.st_mtime for stat in files), default=0.0)
                entries.append((used, sum(stat.st_size for stat in files), child))
        excess = sum(size for _, size, _ in entries) - limit
        for _, size, child in sorted(entries, key=lambda entry: entry[0]):
            if excess <= 0:
                break
            with suppress(OSError):
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
    if table_bytes(shape[0], shape[1]) > LIMIT / 2:
        return None  # it would push everything else out of the cache
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
    return [(photo.path, str(photo.file.absolute()), *_stat(photo.file)) for photo in photos]


def _stat(file: Path) -> tuple[int, int]:
    try:
        stat = file.stat()
    except OSError:  # it has gone since it was listed, and will be noted as unreadable
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def _name(*values: Any) -> str:
    return hashlib.sha256(json.dumps([VERSION, *values], sort_keys=True).encode()).hexdigest()[:32]
