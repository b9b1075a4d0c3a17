"""The folder ``taught/`` of a run: the examples that a user has given, and what they change.

Kept so that a decision about a family, another example or ``--undo`` can tell what the photos alone say from what was
taught. It knows files and arrays; how far a photo is from an example is computed in ``teaching``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError
from blemish.judgement import Call
from blemish.paths import RUN_TAUGHT, RUN_TAUGHT_BEFORE
from blemish.rescoring import write_arrays
from blemish.scoring.examples import TRUST, Examples, taught_maps

__all__ = ["Example", "Lesson", "Taught", "put_aside", "read", "said_in"]

Float32 = npt.NDArray[np.float32]
LESSONS, TOKENS, MAPS = "lessons.json", "tokens.npz", "maps.npz"
PER_MAP = ("base", "good", "lift")


@dataclass(frozen=True)
class Example:
    """One photo that was given, or a family of the run."""

    kind: Literal["good", "defect"]
    path: str  # in the run, or where it lies; "family 2"
    sha256: str  # of the file; empty for a family
    share: float = 0.0  # of the picture under the mask of a defect


@dataclass(frozen=True)
class Lesson:
    """What was taught in one go. ``tokens``: of each matching pass, numbered by ``examples``; of none where only the
    trust was changed. ``trust``: what good examples count against the batch from then on."""

    examples: tuple[Example, ...]
    tokens: tuple[Examples, ...]
    trust: float


@dataclass(frozen=True)
class Taught:
    """All that was taught, and its effect. ``paths`` are the photos in the order of the arrays."""

    features: str  # what made the tokens
    lessons: tuple[Lesson, ...]
    said: Mapping[str, Call]  # path -> what an example says about a photo of the run itself
    paths: tuple[str, ...]
    embeddings: Float32  # (B, E) of whole photos
    base: Float32  # (B, h, w) maps as the photos alone have them
    good: Float32  # (B, h, w) distance to the good examples; (B, 0, 0) where there are none
    lift: Float32  # (B, h, w) what likeness to the defects adds; (B, 0, 0) where none was marked

    @property
    def trust(self) -> float:
        """Weight of the good examples against the batch: the last word counts."""
        return self.lessons[-1].trust if self.lessons else TRUST

    @property
    def maps(self) -> Float32:
        """(B, h, w) as the photos and the examples together have them."""
        return taught_maps(self.base, self.good, self.lift, self.trust)

    @property
    def examples(self) -> tuple[Example, ...]:
        return tuple(example for lesson in self.lessons for example in lesson.examples)

    def base_of(self, paths: Sequence[str]) -> Float32:
        """(B, h, w) maps as the photos alone have them, of photos in another order. Raises ``InputError``."""
        return self.base[self._order(paths)]

    def _order(self, paths: Sequence[str]) -> npt.NDArray[np.intp]:
        row = {path: at for at, path in enumerate(self.paths)}
        if row.keys() != set(paths):
            raise InputError("What was taught is about other photos than those of the run. Scan again.")
        return np.array([row[path] for path in paths], dtype=np.intp)

    def with_base(self, base: Float32, paths: Sequence[str]) -> Taught:
        """The same examples over other maps, whose photos, ``paths``, may be in another order."""
        order = self._order(paths)
        return replace(
            self,
            paths=tuple(paths),
            base=base,
            embeddings=self.embeddings[order],
            good=self.good[order],
            lift=self.lift[order],
        )

    def forgotten(self) -> Taught:
        """Without any lesson."""
        none = np.zeros((len(self.paths), 0, 0), np.float32)
        return replace(self, lessons=(), said={}, good=none, lift=none)

    def write(self, folder: Path) -> None:
        """Fill a new ``folder``."""
        folder.mkdir()
        arrays = [(name, getattr(self, name)) for name in (*PER_MAP, "embeddings")]
        write_arrays(folder / MAPS, arrays)
        tokens = [
            (f"{field.name}{number}.{at}", getattr(one, field.name))
            for number, lesson in enumerate(self.lessons)
            for at, one in enumerate(lesson.tokens)
            for field in fields(one)
        ]
        write_arrays(folder / TOKENS, tokens)  # not rounded: --undo brings every number back to the bit
        facts = {
            "features": self.features,
            "lessons": [
                {
                    "trust": lesson.trust,
                    "passes": len(lesson.tokens),
                    "examples": [asdict(example) for example in lesson.examples],
                }
                for lesson in self.lessons
            ],
            "said": dict(self.said),
            "paths": list(self.paths),
        }
        (folder / LESSONS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def put_aside(run: Path, staged: Path) -> None:
    """Carry what ``run`` was taught, damaged or not, into the run that replaces it: nobody has to mark a defect twice
    because a scan was stopped."""
    for name in (RUN_TAUGHT, RUN_TAUGHT_BEFORE):
        if (run / name).is_dir():
            shutil.copytree(run / name, staged / RUN_TAUGHT_BEFORE)
            return


def read(run: Path, name: str = RUN_TAUGHT) -> Taught | None:
    """What the run was taught; None if nothing. Raises ``InputError`` if it is damaged."""
    folder = run / name
    if not folder.is_dir():
        return None
    try:
        facts = json.loads((folder / LESSONS).read_text(encoding="utf-8"))
        with (
            (folder / MAPS).open("rb") as of_maps,  # which numpy leaves open where they are damaged
            (folder / TOKENS).open("rb") as of_tokens,
            np.load(of_maps, allow_pickle=False) as maps,
            np.load(of_tokens, allow_pickle=False) as stored,
        ):
            return Taught(
                features=str(facts["features"]),
                lessons=tuple(
                    Lesson(
                        tuple(Example(**example) for example in lesson["examples"]),
                        tuple(_examples(stored, number, at) for at in range(int(lesson["passes"]))),
                        float(lesson["trust"]),
                    )
                    for number, lesson in enumerate(facts["lessons"])
                ),
                said=_said(facts),
                paths=tuple(facts["paths"]),
                embeddings=maps["embeddings"],
                **{name: maps[name] for name in PER_MAP},
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, BadZipFile) as error:
        raise _damaged(folder, error) from error


def said_in(run: Path) -> dict[str, Call]:
    """Only what the examples say about photos of the run. Raises as ``read``."""
    file = run / RUN_TAUGHT / LESSONS
    if not file.parent.is_dir():
        return {}
    try:
        return _said(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(file.parent, error) from error


def _examples(stored: Mapping[str, Any], number: int, at: int) -> Examples:
    name = f"{number}.{at}"
    found = {field.name: stored[f"{field.name}{name}"] for field in fields(Examples) if field.name != "good_at"}
    places = stored.get(f"good_at{name}", np.full(len(found["good"]), -1, np.int32))  # absent from before volumes
    return Examples(good_at=places, **found)


def _said(facts: Mapping[str, Mapping[str, Call]]) -> dict[str, Call]:
    said = dict(facts["said"])
    if not set(said.values()) <= {"ok", "blemished"}:
        raise ValueError("an example says neither ok nor blemished")
    return said


def _damaged(folder: Path, error: Exception) -> InputError:
    return InputError(
        f"{str(folder)!r} is missing a file or damaged ({error}). Scan again, then teach again; features "
        "are cached, so it is quicker than the first time."
    )
