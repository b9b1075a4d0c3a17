"""Teaching: good photos and marked defects that the user has, put to use on a finished run.

The photos are not compared with each other again: each is compared with the examples, which takes seconds, and its own
map from the scan is kept beside. Every lesson is kept in the run, and the last one can be taken back.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish import run_cache, taught
from blemish.decisions import read_decisions
from blemish.errors import ConfigError, InputError, UnreadablePhoto
from blemish.inputs.augment import turned as turned_copies
from blemish.inputs.images import PhotoFile, find_photos, probe
from blemish.inputs.marks import read_mark
from blemish.inputs.truth import fit_mask
from blemish.judgement import Call
from blemish.paths import RUN_CACHE, RUN_TAUGHT, RUN_TAUGHT_BEFORE
from blemish.progress import Progress, Silent
from blemish.renewing import Renewal, renew, require_renewable
from blemish.rescoring import Evidence
from blemish.result import RGB, Result
from blemish.revisiting import TYPICAL, Revisit
from blemish.scoring.coreset import farthest_first, thinned
from blemish.scoring.defects import Resemblance, cover, members, raised, resemblance
from blemish.scoring.examples import TRUST, Examples, to_good, to_typical
from blemish.scoring.fusion import mean_maps
from blemish.scoring.memory import nearest
from blemish.scoring.mutual import image_scores, rscin
from blemish.sinks.families import read as read_families
from blemish.taught import Example, Lesson, Taught

__all__ = ["Teaching", "teach", "teach_again"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
MOST = 8192  # good tokens of a lesson, eight photos' worth; of more, those farthest from each other
NONE = np.zeros((0, 0), np.float32)  # the map of a photo that has nothing to be compared with

Mark = str | Path | Bools  # a mask's file, a box "left,top,right,bottom", or the mask itself


@dataclass(frozen=True)
class Teaching:
    """What a lesson did. ``resemblance``: how much of the batch looks like the marked defects, where some were.
    ``moved``: photos whose call has changed."""

    result: Result
    examples: tuple[Example, ...]
    resemblance: Resemblance | None
    moved: int

    @property
    def sentence(self) -> str:
        """For people."""
        moved = f"{self.moved} photo{' is' if self.moved == 1 else 's are'} judged differently"
        kinds = [example.kind for example in self.examples]
        if not kinds:
            return f"Nothing is taught any more; {moved}."
        counts = ((kinds.count("good"), "good"), (kinds.count("defect"), "defective"))
        said = " and ".join(f"{count} {name}" for count, name in counts if count)
        words = f"Taught by {said} example{'s' * (len(kinds) > 1)}; {moved}."
        return f"{words} {self.resemblance.sentence}" if self.resemblance else words


def teach(
    run: str | Path,
    *,
    good: Sequence[str | Path] = (),
    defects: Sequence[tuple[str | Path, Mark]] = (),
    families: Sequence[int] = (),
    turned: bool = False,
    trust: float | None = None,
    undo: bool = False,
    progress: Progress | None = None,
) -> Teaching:
    """Score the photos of a finished ``run`` again with what the user knows, and replace its files.

    ``good``: photos without any flaw, or folders of them. ``defects``: photos with a mask of the defect, a box
    ``"left,top,right,bottom"`` in pixels, or an array (H, W). ``families``: numbers of recurring flaws of the run.
    A photo is a file, or the path of one of the run's. ``turned``: the examples also count turned by 45 degrees, 90 and
    so on, for parts that lie as they fall. ``trust``: what the good photos count against the batch, 0 to
    1; by default as before, or a quarter: more helps where most of the batch is flawed, and hurts where a few photos do
    not show all that is normal (benchmarks/teaching.md). ``undo``: the last lesson is taken back instead.
    Raises ``InputError`` for a mask that is empty or of another size, a photo that was given before, and a run that is
    not there; ``OutputError`` or ``RunError`` if the run cannot be written."""
    progress = progress or Silent()
    given = bool(good or defects or families or trust is not None)
    if trust is not None and not 0 <= trust <= 1:
        raise ConfigError(f"trust is a share from 0 to 1; received {trust}.")
    if undo == given:
        raise InputError("Give good photos, a defect with its mask or a family; or undo the last lesson.")
    path = Path(run).expanduser().resolve()
    require_renewable(path)
    visit = Revisit.open(path, "taught")
    before = taught.read(path)
    lessons = before.lessons if before else ()
    if undo:
        if not lessons:
            raise InputError(f"{path.name!r} was not taught anything, so there is nothing to undo.")
        lessons = lessons[:-1]
    else:
        if not (good or defects or families or lessons):
            raise InputError(f"{path.name!r} was not taught anything yet. Give good photos, or a defect with its mask.")
        if trust is None:
            trust = before.trust if before else TRUST
        known = before.examples if before else ()
        lessons = (*lessons, _lesson(visit, good, defects, families, turned, trust, known, progress))
    return _apply(visit, lessons, before, progress)


def teach_again(run: Path, known: Taught, progress: Progress) -> Teaching | None:
    """Teach what an earlier run was taught (``known``); None if its features were others. Raises as ``teach``."""
    visit = Revisit.open(run, "taught")
    if visit.features != known.features:
        return None
    done = _apply(visit, known.lessons, None, progress)
    shutil.rmtree(run / RUN_TAUGHT_BEFORE, ignore_errors=True)
    return done


def _lesson(
    visit: Revisit,
    good: Sequence[str | Path],
    defects: Sequence[tuple[str | Path, Mark]],
    families: Sequence[int],
    turned: bool,
    trust: float,
    known: Sequence[Example],
    progress: Progress,
) -> Lesson:
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


def _apply(visit: Revisit, lessons: Sequence[Lesson], before: Taught | None, progress: Progress) -> Teaching:
    """Compare every photo of the run with the examples of all lessons, and write the run anew."""
    families = read_families(visit.run / "families.json")
    rows = visit.scored
    paths = tuple(row.path for row in rows)
    kept = visit.kept()
    old = np.asarray(kept.grids)
    base = before.base_of(paths) if before else old
    if before and not lessons:
        now, alike = before.with_base(base, paths).forgotten(), None
    else:
        now, alike = _compared(visit, lessons, base, paths, progress)
    shape = visit.branch.shape
    scores = image_scores(now.maps, shape, visit.config.image_score)
    if visit.config.rscin:
        scores = rscin(scores, now.embeddings, visit.config.rscin)
    pixels, jpeg = visit.pictures
    result = renew(
        Renewal(
            run=visit.run,
            manifest=_manifest(visit, now.examples),
            rows=visit.rows,
            paths=paths,
            old_maps=old,
            new_maps=now.maps,
            scores=scores,
            shape=shape,
            evidence=Evidence(
                now.embeddings,
                tuple(kept.maxima),
                scores_are_distances=visit.config.image_score == "max" and not visit.config.rscin,
            ),
            families=families,
            decisions=read_decisions(visit.run),
            said=now.said,
            pixels=pixels,
            jpeg=jpeg,
            keep={RUN_TAUGHT: now.write} if lessons else {},
        ),
        progress,
    )
    calls = {row.path: row.verdict for row in rows}
    return Teaching(
        result=result,
        examples=now.examples,
        resemblance=alike,
        moved=sum(photo.verdict != calls[photo.path] for photo in result.scored),
    )


def _manifest(visit: Revisit, examples: Sequence[Example]) -> dict[str, Any]:
    manifest = {name: value for name, value in visit.manifest.items() if name != "taught"}
    if examples:
        kinds = [example.kind for example in examples]
        manifest["taught"] = {"good": kinds.count("good"), "defects": kinds.count("defect")}
    return manifest


def _compared(
    visit: Revisit,
    lessons: Sequence[Lesson],
    base: Float32,
    paths: tuple[str, ...],
    progress: Progress,
) -> tuple[Taught, Resemblance | None]:
    """How far every token of the run is from the examples. Passes of different grids meet on the finest."""
    examples = [example for lesson in lessons for example in lesson.examples]
    passes = [Examples.joined(one) for one in zip(*(lesson.tokens for lesson in lessons if lesson.tokens), strict=True)]
    marked = any(len(one.defects) for one in passes)
    typical: dict[str, list[Float32]] = {}
    if marked:
        with progress.stage("reading typical photos", TYPICAL) as advance:
            digests = {example.sha256 for example in examples if example.kind == "defect"}
            shown = {path for path in paths if visit.sha256.get(path) in digests}  # copies of the photo, too
            typical = visit.typical(shown, advance)
    said: dict[str, Call] = {}
    good, near, embeddings = [], [], []
    with progress.stage("comparing", len(paths)) as advance:
        for done in visit.see([visit.photos[path] for path in paths], advance):
            (seen,) = done.seen
            path = done.ready.file.path
            own = [at for at, example in enumerate(examples) if example.sha256 == done.ready.sha256]
            for at in own:
                said[path] = "ok" if examples[at].kind == "good" else "blemished"
            tos: list[Float32] = []
            nears: list[Float32] = []
            for at, (grid, all_examples) in enumerate(zip(seen.grids, passes, strict=False)):
                tokens, others = grid.reshape(-1, grid.shape[2]), all_examples.without(own)
                shape = (1, *grid.shape[:2])
                if (to := to_good(tokens, others)) is not None:
                    tos.append(to.reshape(shape))
                if len(others.defects):
                    usual = to_typical(tokens, [by_pass[at] for name, by_pass in typical.items() if name != path])
                    usual = usual if to is None else np.minimum(usual, to)
                    nears.append((usual - nearest(tokens, others.defects)).reshape(shape))
            good.append(mean_maps(tos)[0] if tos else NONE)
            near.append(mean_maps(nears)[0] if nears else NONE)
            embeddings.append(seen.embedding)
    nearer = _stacked(near)
    alike = None
    if nearer.size:
        unmarked = np.array([path not in said for path in paths])
        alike = resemblance(nearer[unmarked] if unmarked.any() else nearer)
        nearer = raised(nearer, alike.margin)
    now = Taught(
        features=visit.features,
        lessons=tuple(lessons),
        said=said,
        paths=paths,
        embeddings=np.stack(embeddings),
        base=base,
        good=_stacked(good, base),
        lift=nearer,
    )
    return now, alike


def _stacked(maps: Sequence[Float32], otherwise: Float32 | None = None) -> Float32:
    """(B, h, w), and (B, 0, 0) if no photo has a map; one that has none, since it is the only example, has that of
    ``otherwise: (B, h, w)``, or zeros."""
    shapes = {one.shape for one in maps if one.size}
    if not shapes:
        return np.zeros((len(maps), 0, 0), np.float32)
    (shape,) = shapes
    fill = np.zeros((len(maps), *shape), np.float32) if otherwise is None else otherwise
    return np.stack([one if one.size else fill[row] for row, one in enumerate(maps)])
