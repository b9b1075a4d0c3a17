"""One part of a batch of volumes, from files to scores; or from what an earlier scan has left of it.

The same for volumes as ``parts`` is for photos, on the same cache: a volume is known by its bytes, the box that its
cube holds and its brain mask, so neither names nor the deal matter. It knows what makes tiles and parts stale.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from blemish.comparing import compare
from blemish.config import ScanConfig
from blemish.extraction import Branch
from blemish.inputs.volume_grid import Box, Tilted
from blemish.matching.engine import NearestTable, match
from blemish.matching.nearby import match_nearby
from blemish.matching.screening import deal
from blemish.matching.store import Budget
from blemish.matching.tile_log import TileLog
from blemish.part_cache import digest, keep_part, kept_parts, not_kept, open_log, skip
from blemish.part_file import DonePart, read_part
from blemish.paths import temporary_folder
from blemish.scoring.mutual import neighbours
from blemish.stages import Stages
from blemish.volume_extraction import Looked, SeenVolumes, identity, see, token_settings
from blemish.volume_space import Native
from blemish.workplace import Workplace

__all__ = ["FEWEST", "LARGEST", "VolumePlan", "deal_volumes", "do_volume_part"]

FEWEST = 3  # volumes: with two, each is the other's only judge
LARGEST = 60  # volumes that are compared all with all when nothing else is asked for, give or take a fifth: their table
# and tokens take 4 GB at 32 cells a side, and their tile log still fits the cache
DEAL = 0  # seed of the deal: the same volumes are dealt alike, so that a killed scan goes on where it stopped
SHARE = 0.1  # of the other volumes that vote, as published for volumes: of a dozen the nearest alone


@dataclass
class VolumePlan:
    """What is known and chosen before the first slice is looked at."""

    config: ScanConfig
    branch: Branch
    looked: Sequence[Looked]
    boxes: Sequence[Box | Tilted]
    workers: int  # volumes that are looked at at the same time
    budget: Budget
    parts: list[list[int]]  # numbers of volumes that are compared with each other
    unreadable: dict[str, str]  # path -> reason
    _folder: Path | None = None

    @property
    def divided(self) -> bool:
        return len(self.parts) > 1

    def folder(self) -> Path:
        """See ``temporary_folder``."""
        if self._folder is None:
            self._folder = temporary_folder(self)
        return self._folder


def deal_volumes(count: int, subset: int | None, kept: Sequence[Sequence[int]] = ()) -> list[list[int]]:
    """Numbers 0 to ``count`` - 1 of volumes in the parts that are compared within. ``subset``: as in ``ScanConfig``.
    ``kept``: parts of an earlier run that stay; the others are dealt."""
    stay = [list(part) for part in kept if len(part) >= FEWEST]
    taken = {number for part in stay for number in part}
    rest = [number for number in range(count) if number not in taken]
    dealt = deal(len(rest), LARGEST if subset is None else subset or count, DEAL) if rest else ()
    return stay + [[rest[at] for at in part] for part in dealt]


def do_volume_part(
    plan: VolumePlan, place: Workplace, number: int, first: int, earlier: Sequence[str], stages: Stages
) -> tuple[DonePart, list[Native]] | None:
    """Part ``number`` of the plan, whose first volume is number ``first`` of the batch, and where its volumes lie; None
    if too few of them can be read, which are then noted in the plan as unreadable.

    ``earlier``: names of tile logs of a run that is extended, one for each pass, from which pairs are taken over.
    Raises ``RunError`` if a part of many can be written nowhere."""
    looked = [plan.looked[at] for at in plan.parts[number]]
    boxes = [plan.boxes[at] for at in plan.parts[number]]
    file = _file(plan, place, looked, boxes, first) if plan.divided else None
    if file and (done := read_part(file)) and done.inside is not None:
        skip(done, stages, "volumes")
        plan.unreadable |= done.unreadable
        return done, _natives(done, looked, boxes)
    branch = replace(plan.branch, token_sets=[])
    unreadable: dict[str, str] = {}
    with stages.stage("reading volumes", len(looked)) as advance:
        seen = see(looked, boxes, branch, plan.config.volumes, plan.budget, unreadable, plan.workers, advance)
    plan.unreadable |= unreadable
    if len(seen.natives) < FEWEST:
        for tokens in branch.token_sets:
            plan.budget.release(tokens.store)
        if plan.divided:
            lonely = "too few volumes of its subset can be read to compare it with"
            plan.unreadable |= {one.file.path: lonely for one in seen.natives}
        return None
    done = _compared(plan, place, branch, seen, first, earlier, stages)
    done = replace(done, unreadable=unreadable)
    last = number == len(plan.parts) - 1
    return (keep_part(done, file, plan.folder, last=last) if file else done), seen.natives


def _natives(done: DonePart, looked: Sequence[Looked], boxes: Sequence[Box | Tilted]) -> list[Native]:
    """Where the volumes of a part that was read lie."""
    assert done.inside is not None
    by_path = {one.file.path: (one, box) for one, box in zip(looked, boxes, strict=True)}
    natives = []
    for path, inside in zip(done.paths, done.inside, strict=True):
        one, box = by_path[path]
        natives.append(Native(one.file, one.geometry, box, inside, one.packed, one.sha256))
    return natives


def _file(
    plan: VolumePlan, place: Workplace, looked: Sequence[Looked], boxes: Sequence[Box | Tilted], first: int
) -> Path:
    """Where a part of many is kept, in the cache or, without it, as long as the scan takes."""
    if not plan.config.cache:
        return plan.folder() / f"part-{first}.npz"
    volumes = [(one.file.path, identity(one, box)) for one, box in zip(looked, boxes, strict=True)]
    settings = [plan.config.as_dict()["families"], _voters(plan.config), place.arithmetic, version("blemish")]
    return kept_parts() / f"{digest(_features(plan), settings, first, volumes)}.npz"


def _features(plan: VolumePlan) -> list[Any]:
    """Everything that decides tokens and distances besides the volumes."""
    settings = token_settings(plan.branch, plan.config.volumes)
    return [settings, plan.branch.join, plan.config.volumes.radius]


def _voters(config: ScanConfig) -> float:
    """Share of the others that vote, if the user has not named one."""
    return SHARE if config.k == ScanConfig().k else config.k


def _compared(
    plan: VolumePlan,
    place: Workplace,
    branch: Branch,
    seen: SeenVolumes,
    first: int,
    earlier: Sequence[str],
    stages: Stages,
) -> DonePart:
    images = len(seen.natives)
    pairs = images * (images - 1) // 2 * len(branch.token_sets)
    cells = np.stack([one.inside for one in seen.natives])
    inside = cells.reshape(images, -1)
    radius = plan.config.volumes.radius
    tables: list[NearestTable] = []
    logs: list[TileLog] = []
    with ExitStack() as opened, stages.stage("comparing volumes", pairs) as advance:
        for number, tokens in enumerate(branch.token_sets):
            log = None
            if plan.config.cache:
                known = earlier[number] if number < len(earlier) else ""
                features = digest(_features(plan), number, tokens.store.shape[1:], place.arithmetic)
                log = open_log(features, tokens.store.shape, seen.identities, known)
            if log:
                opened.callback(log.close)
                logs.append(log)
            if radius < 0:
                tables.append(match(tokens.store, plan.budget, executor=place.executor, log=log, progress=advance))
                continue
            table = match_nearby(
                tokens.store, tokens.grid, plan.budget, radius=radius, inside=inside, log=log, progress=advance
            )
            tables.append(table)
    taken_over = sum(log.taken_over for log in logs)
    name = "finding families" if plan.config.families.rule != "off" else "scoring"
    with stages.stage(name, len(tables)) as advance:
        compared = compare(
            [branch],
            [one.file.path for one in seen.natives],
            tables,
            plan.config,
            plan.budget,
            k=neighbours(_voters(plan.config), images),
            references=images - 1,
            first=first if plan.divided else None,
            inside=inside,
            radius=None if radius < 0 else radius,
            advance=advance,
        )
    return DonePart(
        paths=tuple(one.file.path for one in seen.natives),
        sha256=tuple(seen.sha256),
        embeddings=np.stack(seen.embeddings),
        unreadable={},
        clipped=(),
        compared=compared,
        from_cache=seen.from_cache,
        pairs=pairs - taken_over,
        known_pairs=taken_over,
        tiles=tuple(log.folder.name for log in logs),
        not_kept=not_kept(logs, len(tables)) if plan.config.cache else "",
        inside=cells,
        grey=np.stack(seen.greys),
    )
