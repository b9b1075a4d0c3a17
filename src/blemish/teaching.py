"""Teaching: good photos and marked defects that the user has, put to use on a finished run.

The photos are not compared with each other again: each is compared with the examples, which takes seconds, and its own
map from the scan is kept beside. Every lesson is kept in the run, and the last one can be taken back.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish import taught
from blemish.decisions import read_decisions
from blemish.errors import ConfigError, InputError
from blemish.judgement import Call
from blemish.lessons import read_lesson
from blemish.paths import RUN_TAUGHT, RUN_TAUGHT_BEFORE
from blemish.progress import Progress, Silent
from blemish.renewing import Renewal, renew, require_renewable
from blemish.reopening import reopen
from blemish.result import Result
from blemish.scoring.defects import Resemblance, raised, resemblance
from blemish.scoring.examples import TRUST, Examples, to_good, to_typical
from blemish.scoring.fusion import mean_maps
from blemish.scoring.place_bank import Placed
from blemish.sinks.families import read as read_families
from blemish.taught import Example, Lesson, Taught
from blemish.visit import TYPICAL, Mark, Visit

__all__ = ["Teaching", "teach", "teach_again"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
NONE = np.zeros((0, 0), np.float32)  # the map of a photo that has nothing to be compared with


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
        unit = "volume" if self.result.volumes else "photo"
        moved = f"{self.moved} {unit}{' is' if self.moved == 1 else 's are'} judged differently"
        kinds = [example.kind for example in self.examples]
        if not kinds:
            return f"Nothing is taught any more; {moved}."
        counts = ((kinds.count("good"), "good"), (kinds.count("defect"), "defective"))
        said = " and ".join(f"{count} {name}" for count, name in counts if count)
        words = f"Taught by {said} example{'s' * (len(kinds) > 1)}; {moved}."
        return f"{words} {self.resemblance.sentence(unit)}" if self.resemblance else words


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
    visit = reopen(path, "taught")
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
        lessons = (*lessons, read_lesson(visit, good, defects, families, turned, trust, known, progress))
    return _apply(visit, lessons, before, progress)


def teach_again(run: Path, known: Taught, progress: Progress) -> Teaching | None:
    """Teach what an earlier run was taught (``known``); None if its features were others. Raises as ``teach``."""
    visit = reopen(run, "taught")
    if visit.features != known.features:
        return None
    done = _apply(visit, known.lessons, None, progress)
    shutil.rmtree(run / RUN_TAUGHT_BEFORE, ignore_errors=True)
    return done


def _apply(visit: Visit[Any], lessons: Sequence[Lesson], before: Taught | None, progress: Progress) -> Teaching:
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
    pixels, jpeg = visit.pictures
    result = renew(
        Renewal(
            run=visit.run,
            manifest=_manifest(visit, now.examples),
            rows=visit.rows,
            paths=paths,
            old_maps=old,
            new_maps=now.maps,
            scores=visit.scores(now.maps, paths, now.embeddings),
            shape=visit.shape,
            evidence=visit.evidence(now.embeddings, tuple(kept.maxima)),
            families=families,
            decisions=read_decisions(visit.run),
            said=now.said,
            pixels=pixels,
            jpeg=jpeg,
            volumes=visit.volumes,
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


def _manifest(visit: Visit[Any], examples: Sequence[Example]) -> dict[str, Any]:
    manifest = {name: value for name, value in visit.manifest.items() if name != "taught"}
    if examples:
        kinds = [example.kind for example in examples]
        manifest["taught"] = {"good": kinds.count("good"), "defects": kinds.count("defect")}
    return manifest


def _compared(
    visit: Visit[Any],
    lessons: Sequence[Lesson],
    base: Float32,
    paths: tuple[str, ...],
    progress: Progress,
) -> tuple[Taught, Resemblance | None]:
    """How far every token of the run is from the examples. Passes of different grids meet on the finest."""
    examples = [example for lesson in lessons for example in lesson.examples]
    passes = [Examples.joined(one) for one in zip(*(lesson.tokens for lesson in lessons if lesson.tokens), strict=True)]
    marked = any(len(one.defects) for one in passes)
    typical: dict[str, list[Placed]] = {}
    if marked:
        with progress.stage("reading typical photos", TYPICAL) as advance:
            digests = {example.sha256 for example in examples if example.kind == "defect"}
            shown = {path for path in paths if visit.sha256.get(path) in digests}  # copies of the photo, too
            typical = visit.typical(shown, advance)
    said: dict[str, Call] = {}
    good, near, usual, embeddings = [], [], [], []
    with progress.stage("comparing", len(paths)) as advance:
        for sight in visit.see([visit.photos[path] for path in paths], advance):
            path = sight.path
            own = [at for at, example in enumerate(examples) if example.sha256 == sight.sha256]
            for at in own:
                said[path] = "ok" if examples[at].kind == "good" else "blemished"
            tos: list[Float32] = []
            nears: list[Float32] = []
            ordinary: list[Float32] = []
            for at, all_examples in enumerate(passes):
                others = all_examples.without(own)
                to_near = partial(sight.near, at)
                if (to := to_good(to_near, others)) is not None:
                    tos.append(to[None])
                if len(others.defects):
                    away = to_typical(to_near, [by_pass[at] for name, by_pass in typical.items() if name != path])
                    away = away if to is None else np.minimum(away, to)
                    ordinary.append(away[None])
                    nears.append((away - sight.like(at, others.defects))[None])
            good.append(mean_maps(tos)[0] if tos else NONE)
            near.append(mean_maps(nears)[0] if nears else NONE)
            usual.append(mean_maps(ordinary)[0] if ordinary else NONE)
            embeddings.append(sight.embedding)
    nearer = _stacked(near)
    alike = None
    if nearer.size:
        unmarked = np.array([path not in said for path in paths])
        alike = resemblance(nearer[unmarked] if unmarked.any() else nearer)
        nearer = visit.lifted(_stacked(usual), raised(nearer, alike.margin), paths)
    now = Taught(
        features=visit.features,
        lessons=tuple(lessons),
        said=said,
        paths=paths,
        embeddings=np.stack(embeddings),
        base=base,
        good=_stacked(_weighed(visit, good, paths), base),
        lift=nearer,
    )
    return now, alike


def _weighed(visit: Visit[Any], maps: Sequence[Float32], paths: Sequence[str]) -> Sequence[Float32]:
    """Those that are there, on the scale of the run's maps."""
    there = [row for row, one in enumerate(maps) if one.size]
    if not there:
        return maps
    found = iter(visit.weighed(np.stack([maps[row] for row in there]), [paths[row] for row in there]))
    return [next(found) if one.size else one for one in maps]


def _stacked(maps: Sequence[Float32], otherwise: Float32 | None = None) -> Float32:
    """(B, h, w), and (B, 0, 0) if no photo has a map; one that has none, since it is the only example, has that of
    ``otherwise: (B, h, w)``, or zeros."""
    shapes = {one.shape for one in maps if one.size}
    if not shapes:
        return np.zeros((len(maps), 0, 0), np.float32)
    (shape,) = shapes
    fill = np.zeros((len(maps), *shape), np.float32) if otherwise is None else otherwise
    return np.stack([one if one.size else fill[row] for row, one in enumerate(maps)])
