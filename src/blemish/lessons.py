"""What a user gives as examples, read and checked: photos and marks become the tokens of a lesson.

It knows files, masks, families and how the run sees; what a lesson changes is told in ``teaching``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blemish import run_cache
from blemish.errors import InputError, UnreadablePhoto
from blemish.inputs.augment import turned as turned_copies
from blemish.inputs.images import PhotoFile, find_photos, probe
from blemish.inputs.marks import read_mark
from blemish.inputs.truth import fit_mask
from blemish.paths import RUN_CACHE
from blemish.progress import Progress
from blemish.result import RGB
from blemish.revisiting import Revisit
from blemish.scoring.coreset import farthest_first, thinned
from blemish.scoring.defects import cover, members
from blemish.scoring.examples import Examples
from blemish.sinks.families import read as read_families
from blemish.taught import Example, Lesson

__all__ = ["Mark", "read_lesson"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Mark = str | Path | Bools  # a mask's file, a box "left,top,right,bottom", or the mask itself

MOST = 8192  # good tokens of a lesson, eight photos' worth; of more, those farthest from each other


def read_lesson(
    visit: Revisit,
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
    photos = [_photo(one, visit) for one in _listed(good, visit)]
    marked = [_photo(one, visit) for one, _ in defects]
    masks: list[Bools | None] = [None] * len(photos)
    masks += [_mask(photo, mark) for photo, (_, mark) in zip(marked, defects, strict=True)]
    photos += marked
    said = {example.sha256: example for example in known}
    examples: list[Example] = []
    tokens: list[list[Examples]] = []
    with progress.stage("reading examples", len(photos)) as advance:
        for photo, mask, done in zip(photos, masks, visit.see(photos, advance), strict=True):
            sha256, number = done.ready.sha256, len(known) + len(examples)
            if earlier := said.get(sha256):
                raise InputError(
                    f"{photo.path!r} was given before, as {earlier.kind} ({earlier.path!r}). Leave it out, or take the "
                    "last lesson back with --undo."
                )
            share = 0.0 if mask is None else float(mask.mean())
            said[sha256] = example = Example("good" if mask is None else "defect", photo.path, sha256, share)
            examples.append(example)
            tokens.append([_tokens(number, grid, mask) for grid in done.seen[0].grids])
            if turned:
                tokens += _turned(visit, number, done.ready.pixels[0], mask)
    for family in dict.fromkeys(families):
        number = len(known) + len(examples)
        examples.append(Example("defect", f"family {family}", ""))
        tokens.append(_of_family(number, family, visit))
    return Lesson(tuple(examples), tuple(_thinned(Examples.joined(one)) for one in zip(*tokens, strict=True)), trust)


def _thinned(examples: Examples) -> Examples:
    """With no more good tokens than every photo of a run can be compared with in a moment."""
    if len(examples.good) <= MOST:
        return examples
    drawn = thinned(np.ones((1, len(examples.good)), np.bool_), limit=2 * MOST)
    kept = np.sort(drawn[farthest_first(examples.good[drawn], MOST)])
    return replace(examples, good=examples.good[kept], good_of=examples.good_of[kept])


def _listed(good: Sequence[str | Path], visit: Revisit) -> list[str | Path]:
    """Folders of good photos become their photos."""
    found: list[str | Path] = []
    for one in good:
        folder = Path(one).expanduser()
        if str(one) and str(one) not in visit.photos and os.path.isdir(folder):  # noqa: PTH112 - see _photo
            found += [photo.file for photo in find_photos(folder)[0]]
        else:
            found.append(one)
    return found


def _photo(given: str | Path, visit: Revisit) -> PhotoFile:
    """A photo of the run keeps the path that it has there. Raises ``InputError`` if there is none, or two."""
    of_run, file = visit.photos.get(str(given)), Path(given).expanduser()
    there = os.path.isfile(file)  # noqa: PTH113 - Path.is_file raises where a name is too long
    if of_run and (not there or file.resolve() == of_run.file.resolve()):
        return of_run
    if of_run:
        raise InputError(
            f"{str(given)!r} is a photo of the run, and another file is called so. Type {str(of_run.file)!r} or "
            f"{str(file.resolve())!r}."
        )
    if not there:
        raise InputError(
            f"There is no photo {str(given)!r}, neither as a file nor in the run {visit.run.name!r}. "
            "Type the path of a file, or a path as results.csv has it."
        )
    real = file.resolve()
    for photo in visit.photos.values():
        if photo.file.name == file.name and photo.file.resolve() == real:
            return photo
    return PhotoFile(str(given), file)


def _mask(photo: PhotoFile, mark: Mark) -> Bools:
    try:
        header = probe(photo)
    except UnreadablePhoto as error:
        raise InputError(f"Cannot read {photo.path!r}: {error}.") from error
    return read_mark(mark, photo.path, (header.height, header.width))


def _tokens(number: int, grid: Float32, mask: Bools | None) -> Examples:
    """Of one example, whose tokens are ``grid: (h, w, C)``: all of a good photo, those under the mask of a defect."""
    if mask is None:
        return Examples.of(number, good=grid.reshape(-1, grid.shape[2]))
    under, _ = members(cover(mask, (grid.shape[0], grid.shape[1])))
    return Examples.of(number, defects=grid[under])


def _turned(visit: Revisit, number: int, pixels: RGB, mask: Bools | None) -> Iterator[list[Examples]]:
    """The same of an example turned round. ``pixels``: in the working size."""
    marked = np.zeros(pixels.shape[:2], np.bool_) if mask is None else fit_mask(mask, pixels.shape[:2])
    for copy in turned_copies(pixels, marked):
        if mask is None or copy.mask.any():  # a flaw at the rim can be turned out of the picture
            yield [_tokens(number, grid, None if mask is None else copy.mask) for grid in visit.grids_of(copy.pixels)]


def _of_family(number: int, family: int, visit: Revisit) -> list[Examples]:
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
    others = len(visit.manifest["backbones"][0]["grids"]) - 1
    return [Examples.of(number, defects=tokens) for tokens in (look.tokens, *[look.tokens[:0]] * others)]
