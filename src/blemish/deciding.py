"""A decision about a family: the run is scored again from what it has kept, and its files are replaced in one move.

No photo is read and none is compared; torch is not even loaded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from blemish import run_cache, verdict_file
from blemish.config import ScanConfig, with_options
from blemish.decisions import read_decisions
from blemish.errors import InputError
from blemish.family_facts import decided, excluded, family_of
from blemish.judging import estimate_of, judged, seed_level
from blemish.paths import RUN_CACHE, RUN_DIAGNOSIS, RUN_VERDICT
from blemish.progress import Progress, Silent
from blemish.result import ColourScale, Decision, Family, Result, ranked
from blemish.run import Unchanged, check_out, read_manifest, read_rows, staging, write_sinks
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
    if run in (here := Path.cwd().resolve(), *here.parents):
        raise InputError("The run's folder is replaced as a whole, and you are in it. Change to another folder first.")
    check_out(run, None, overwrite=True)
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
    scale = ColourScale(**manifest["colour_scale"])
    scores = cache.rescoring.image_scores(new_maps)
    rows_before = read_rows(run)
    scored = {photo.path: photo for photo in rows_before if photo.status == "ok"}
    if not scored.keys() >= set(cache.paths):
        raise InputError(f"{str(run / 'results.jsonl')!r} does not fit the run's cache. Scan the photos again.")
    photos = [scored[path] for path in cache.paths]
    unreadable = [photo for photo in rows_before if photo.status != "ok"]
    rows, order = ranked(photos, scores, family_of(after))
    grids = new_maps[order]
    estimated = estimate_of(rows, order, grids, cache.rescoring, after)
    level = seed_level(estimated, grids)
    products = verdict_file.read(run / RUN_VERDICT).products
    config = with_options(ScanConfig(), {"verdict": manifest["config"]["verdict"]}).verdict
    verdict = judged(rows, grids, estimated, level, after, products, config, {})
    result = Result(
        photos=(*verdict.photos, *unreadable),
        grids=grids,
        judgement=verdict.judgement,
        regions=verdict.regions,
        keep_verdict=partial(verdict_file.write, estimated, grids, level, products, verdict.regions),
        shape=cache.rescoring.shape,
        pixels=lambda row: cache.pixels(int(order[row])),
        scale=scale,
        warnings=tuple(manifest["warnings"]),
        manifest=manifest,
        families=after,
        decisions=tuple(decisions),
        diagnosis=_diagnosis(run),
        jpeg=lambda row, longest: cache.jpeg(int(order[row]), longest),
    )
    with staging(run, overwrite=True) as folder:
        unchanged = _unchanged(run, cache.paths, old_maps, new_maps, scale)
        write_sinks(result, folder, run, manifest["config"]["maps"], progress or Silent(), unchanged)
    members = [cache.paths.index(path) for path in chosen.paths]
    old = {photo.path: photo.score for photo in photos}
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
        raise InputError(f"{str(run / 'families.json')!r} does not fit the run's cache. Scan the photos again.")


def _one(families: Sequence[Family], number: int, run: Path) -> Family:
    for family in families:
        if family.number == number:
            return family
    there = ", ".join(str(family.number) for family in families)
    raise InputError(
        f"{run.name!r} has no family {number}; " + (f"it has {there}." if there else "none were found or looked for.")
    )


def _diagnosis(run: Path) -> dict[str, Any] | None:
    try:
        diagnosis: dict[str, Any] = json.loads((run / RUN_DIAGNOSIS).read_text(encoding="utf-8"))
        return diagnosis
    except (OSError, ValueError):
        return None


def _unchanged(
    run: Path,
    paths: Sequence[str],
    old: npt.NDArray[np.float32],
    new: npt.NDArray[np.float32],
    scale: ColourScale,
) -> Unchanged:
    """A picture is the same if no value moves by as much as its finest shade; a map only if no bit does."""
    moved = np.abs(new - old).reshape(len(paths), -1).max(axis=1)
    shade = (scale.high - scale.low) / 255
    return Unchanged(
        run,
        maps=frozenset(path for path, move in zip(paths, moved, strict=True) if move == 0),
        overlays=frozenset(path for path, move in zip(paths, moved, strict=True) if move < shade),
    )
