"""What a user gives as examples, read and checked: photos and marks become the tokens of a lesson.

It knows files, masks, families and how the run sees; what a lesson changes is told in ``teaching``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish import run_cache
from blemish.errors import InputError
from blemish.paths import RUN_CACHE, is_folder
from blemish.progress import Progress
from blemish.scoring.coreset import farthest_first, thinned
from blemish.scoring.defects import members
from blemish.scoring.examples import Examples
from blemish.scoring.place_bank import thinned_by_place
from blemish.sinks.families import read as read_families
from blemish.taught import Example, Lesson
from blemish.visit import Mark, Sight, Visit

__all__ = ["Mark", "read_lesson"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
MOST_AT_A_PLACE = 8  # good tokens of a lesson of volumes, in each cell
MOST = 8192  # good tokens of a lesson, eight photos' worth; of more, those farthest from each other


def read_lesson(
    visit: Visit[Any],
    good: Sequence[str | Path],
    defects: Sequence[tuple[str | Path, Mark]],
    families: Sequence[int],
    turned: bool,
    trust: float,
    known: Sequence[Example],
    progress: Progress,
) -> Lesson:
    """``good``, ``defects``, ``families``, ``turned`` and ``trust`` as ``teaching.teach`` takes them; ``known``: the
    examples of earlier lessons, after which these are numbered. Raises ``InputError`` if one cannot be used."""
    photos = [visit.find(one) for one in _listed(good, visit)]
    marked = [visit.find(one) for one, _ in defects]
    masks: list[Bools | None] = [None] * len(photos)
    masks += [visit.mask(photo, mark) for photo, (_, mark) in zip(marked, defects, strict=True)]
    photos += marked
    said = {example.sha256: example for example in known}
    examples: list[Example] = []
    tokens: list[list[Examples]] = []
    with progress.stage("reading examples", len(photos)) as advance:
        for mask, sight in zip(masks, visit.see(photos, advance), strict=True):
            sha256, number = sight.sha256, len(known) + len(examples)
            if earlier := said.get(sha256):
                raise InputError(
                    f"{sight.path!r} was given before, as {earlier.kind} ({earlier.path!r}). Leave it out, or take the "
                    "last lesson back with --undo."
                )
            share = 0.0 if mask is None else float(mask.mean())
            said[sha256] = example = Example("good" if mask is None else "defect", sight.path, sha256, share)
            examples.append(example)
            tokens.append(_tokens(visit, number, sight, mask))
            if turned:
                tokens += [_tokens(visit, number, copy, under) for copy, under in visit.turned(sight, mask)]
    for family in dict.fromkeys(families):
        number = len(known) + len(examples)
        examples.append(Example("defect", f"family {family}", ""))
        tokens.append(_of_family(number, family, visit))
    return Lesson(tuple(examples), tuple(_thinned(Examples.joined(one)) for one in zip(*tokens, strict=True)), trust)


def _thinned(examples: Examples) -> Examples:
    """With no more good tokens than every photo of a run can be compared with in a moment; of volumes, no more at each
    place."""
    good = examples.placed
    if len(good.at) and good.at[0] >= 0:
        return examples.keeping(thinned_by_place(good, MOST_AT_A_PLACE))
    if len(examples.good) <= MOST:
        return examples
    drawn = thinned(np.ones((1, len(examples.good)), np.bool_), limit=2 * MOST)
    return examples.keeping(np.sort(drawn[farthest_first(examples.good[drawn], MOST)]))


def _listed(good: Sequence[str | Path], visit: Visit[Any]) -> list[str | Path]:
    """Folders of good photos become their photos."""
    found: list[str | Path] = []
    for one in good:
        folder = Path(one).expanduser()
        if str(one) and str(one) not in visit.photos and is_folder(folder):
            found += visit.listed(folder)
        else:
            found.append(one)
    return found


def _tokens(visit: Visit[Any], number: int, sight: Sight, mask: Bools | None) -> list[Examples]:
    """Of one example, by pass: all tokens of a good photo, those under the mask of a defect."""
    passes = range(len(sight.grids))
    if mask is None:
        return [Examples.of(number, good=sight.placed(at)) for at in passes]
    found = []
    for at in passes:
        under, _ = members(visit.cover(sight, mask, at))
        found.append(Examples.of(number, defects=sight.grids[at][under]))
    return found


def _of_family(number: int, family: int, visit: Visit[Any]) -> list[Examples]:
    """The look of a family; it is known in the first pass only."""
    families = {one.number: one for one in read_families(visit.run / "families.json")}
    if family not in families:
        there = ", ".join(map(str, families)) or "none"
        raise InputError(f"{visit.run.name!r} has no family {family}; it has {there}.")
    if families[family].kind != "defect":
        raise InputError(
            f"Family {family} is a {'legitimate variant' if families[family].kind == 'variant' else 'question'} in "
            f"this run. If it is a defect, say so first: blemish decide {visit.run.name} {family} --is defect"
        )
    look = run_cache.read(visit.run / RUN_CACHE).looks[family - 1]
    if look is None or look.features != visit.features:
        raise InputError(f"The look of family {family} is not known. Mark it on one of its photos: --defect, --mask.")
    others = len(visit.grids) - 1
    return [Examples.of(number, defects=tokens) for tokens in (look.tokens, *[look.tokens[:0]] * others)]
