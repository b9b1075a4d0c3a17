"""A decision about a family: the run is scored again from what it has kept, and its files are replaced in one move.

No photo is read and none is compared; torch is not even loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from blemish import run_cache, taught, volume_file
from blemish.decisions import read_decisions
from blemish.errors import InputError
from blemish.family_facts import decided, excluded
from blemish.paths import RUN_CACHE, RUN_TAUGHT, RUN_VOLUMES
from blemish.progress import Progress, Silent
from blemish.renewing import Renewal, renew, require_renewable
from blemish.result import Decision, Family, Result
from blemish.run import read_rows
from blemish.run_folder import read_manifest
from blemish.sinks.families import read as read_families

__all__ = ["Decided", "decide"]


@dataclass(frozen=True)
class Decided:
    """What a decision did. ``before`` and ``after``: median image score of the family's photos."""

    family: Family
    before: float
    after: float
    result: Result


def decide(
    run: str | Path,
    family: int,
    is_: Literal["defect", "variant"] | None = None,
    *,
    undo: bool = False,
    progress: Progress | None = None,
) -> Decided:
    """Say that ``family`` of a finished ``run`` is a ``defect`` or a legitimate ``variant``, or ``undo`` what was said.

    A variant's look vouches for itself again, so its photos score lower. The run's files change together or not at
    all. Raises ``InputError`` if the run or the family is not there, ``OutputError`` or ``RunError`` if the run cannot
    be written.
    """
    if undo == (is_ is not None):
        raise InputError("Say either what the family is, defect or variant, or undo.")
    if is_ not in (None, "defect", "variant"):
        raise InputError(f"A family is a defect or a variant, not {is_!r}.")
    run = Path(run).expanduser().resolve()
    manifest = read_manifest(run)
    require_renewable(run)
    families = read_families(run / "families.json")
    chosen = _one(families, family, run)
    cache = run_cache.read(run / RUN_CACHE)
    _check(families, cache, run)
    look = cache.looks[family - 1]
    made = read_decisions(run)
    decisions = [decision for decision in made if not decision.fits(chosen, look)]
    if undo and len(decisions) == len(made):
        raise InputError(f"Nothing was said about family {family}, so there is nothing to undo.")
    if is_ is not None:
        decisions.append(Decision(is_, tuple((member.path, member.sha256) for member in chosen.members), look))
    after = decided(families, decisions, cache.looks)
    old_maps = cache.maps(excluded(families))
    new_maps = cache.maps(excluded(after))
    evidence = cache.rescoring.evidence(excluded(after))
    keep: dict[str, Callable[[Path], None]] = {}
    known = taught.read(run)
    if known:
        old_maps = known.with_base(old_maps, cache.paths).maps
        known = known.with_base(new_maps, cache.paths)
        new_maps = known.maps
        keep[RUN_TAUGHT] = known.write
    of_volumes = bool(manifest.get("resolved", {}).get("volumes"))
    volumes = volume_file.read(run / RUN_VOLUMES) if of_volumes else None
    scores = cache.rescoring.image_scores(new_maps)
    rows = read_rows(run)
    result = renew(
        Renewal(
            run=run,
            manifest=manifest,
            rows=rows,
            paths=cache.paths,
            old_maps=old_maps,
            new_maps=new_maps,
            scores=scores,
            shape=cache.rescoring.shape,
            evidence=evidence,
            families=after,
            decisions=tuple(decisions),
            said=known.said if known else {},
            pixels=cache.pixels,
            jpeg=None if of_volumes else cache.jpeg,
            keep=keep,
            volumes=volumes,
        ),
        progress or Silent(),
    )
    members = [cache.paths.index(path) for path in chosen.paths]
    old = {photo.path: photo.score for photo in rows}
    return Decided(
        family=after[family - 1],
        before=float(np.median([old[path] or 0.0 for path in chosen.paths])),
        after=float(np.median(scores[members])),
        result=result,
    )


def _check(families: Sequence[Family], cache: run_cache.RunCache, run: Path) -> None:
    """The files of a run belong together; one that was edited does not."""
    numbers = [family.number for family in families]
    known = set(cache.paths)
    whole = all(family.members and known.issuperset(family.paths) for family in families)
    if numbers != list(range(1, len(cache.looks) + 1)) or not whole:
        raise InputError(f"{str(run / 'families.json')!r} does not fit the run's cache. Scan again.")


def _one(families: Sequence[Family], number: int, run: Path) -> Family:
    for family in families:
        if family.number == number:
            return family
    there = ", ".join(str(family.number) for family in families)
    raise InputError(
        f"{run.name!r} has no family {number}; " + (f"it has {there}." if there else "none were found or looked for.")
    )
