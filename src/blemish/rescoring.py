"""The scores of a batch for any choice of families that may not vouch for themselves, without comparing photos again.

It holds what such a choice can change: the tokens with a match in some family, their distances to all photos, and the
second choices of those matches. That is a small part of the table, so a run can keep it. It knows arrays, not photos.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import numpy.typing as npt

from blemish.scoring.families import Alternatives, Level, Pass
from blemish.scoring.fusion import fuse_backbones, mean_maps
from blemish.scoring.mutual import highest, image_scores, mean_of_first, msm, rscin
from blemish.scoring.places import beside, weighed_by_place

__all__ = [
    "Evidence",
    "Part",
    "Rescoring",
    "Sensitive",
    "Stored",
    "pass_arrays",
    "passes_of",
    "read_scores",
    "write_arrays",
]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
THREADS = 2  # that sort: more would wait for memory
Stored = Mapping[str, npt.NDArray[Any]]  # an opened .npz


@dataclass(frozen=True)
class Sensitive:
    """One pass: scores while every token may be matched, and the n tokens whose score depends on the choice."""

    scores: Float32  # (B, h, w), of volumes (B, x, y, z)
    slot: Int32  # (n,) ascending: photo times N plus token
    distances: Float32  # (n, B) to every photo, infinite to their own
    alternatives: Alternatives

    @classmethod
    def of(cls, one: Pass, k: int, alternatives: Alternatives) -> Sensitive:
        """Score one pass and keep what the alternatives can change."""
        images, tokens = one.images, one.size
        scores = np.empty((images, tokens), dtype=np.float32)
        slot = np.empty(0, dtype=np.int32)
        if alternatives.levels:
            first = alternatives.levels[0]
            slot = np.unique(first.image * np.int32(tokens) + first.token)
        distances = np.empty((len(slot), images), dtype=np.float32)

        def fill(i: int) -> None:
            row = one.matches.row(i)
            scores[i] = msm(row, k)
            start, stop = np.searchsorted(slot, [i * tokens, (i + 1) * tokens])
            distances[start:stop] = row[:, slot[start:stop] % tokens].T

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(fill, range(images)))
        return cls(scores.reshape(images, *one.grid), slot, distances, alternatives)

    def without(self, families: Collection[int], k: int) -> Float32:
        """(B, h, w): scores when the tokens of ``families`` may not be matched."""
        scores = self.scores.copy()
        if not families or not len(self.slot):
            return scores
        tokens = np.int32(scores[0].size)
        entries = [
            (np.searchsorted(self.slot, level.image[active] * tokens + level.token[active]), level, active)
            for level, active in self.alternatives.chosen(families)
        ]
        changed = np.unique(np.concatenate([at for at, _, _ in entries]))
        distances = self.distances[changed]  # a copy of these rows only: a batch can have many that stay
        for at, level, active in entries:
            distances[np.searchsorted(changed, at), level.other[active]] = level.distance[active]
        distances.sort(axis=1)
        scores.reshape(-1)[self.slot[changed]] = mean_of_first(distances, k)
        return scores


@dataclass(frozen=True)
class Part:
    """Photos that were compared with each other: all of a batch, or a subset of a large one."""

    scores: tuple[Float32, ...]  # (b, h, w) of each pass while every token may be matched
    passes: Callable[[], tuple[Sensitive, ...]]  # read where they are kept, when a family of this part is asked about
    k: int  # neighbours that vote
    numbers: tuple[tuple[int, ...], ...]  # of each family of the batch: those it has in the alternatives of this part

    def without(self, families: Collection[int]) -> list[Float32]:
        """Scores (b, h, w) of each pass when the tokens of ``families`` of the batch may not be matched."""
        own = {number for family in families for number in self.numbers[family]}
        if not own:
            return [scores.copy() for scores in self.scores]
        return [one.without(own, self.k) for one in self.passes()]


@dataclass(frozen=True)
class Evidence:
    """What scores leave unsaid and a verdict listens to besides them. Rows are photos, in one order or another."""

    embeddings: Float32  # (B, E)
    maxima: tuple[Float32, ...] = ()  # (B,) largest score in each pass, where there are several
    maps_are_distances: bool = True  # not those of several backbones, which are standardised before they are averaged
    scores_are_distances: bool = True  # whether an image score is a value of the map, too

    def ordered(self, order: npt.NDArray[np.intp]) -> Evidence:
        """Row r is then what row ``order[r]`` was."""
        return replace(self, embeddings=self.embeddings[order], maxima=tuple(one[order] for one in self.maxima))


@dataclass(frozen=True)
class Rescoring:
    """All parts of a batch, and how their scores become maps and image scores."""

    parts: tuple[Part, ...]
    of_backbone: tuple[int, ...]  # passes of each backbone
    shape: tuple[int, ...]  # working resolution, pixels; of volumes whatever grid their maxima are taken on
    image_score: str
    rscin: tuple[int, ...]
    embeddings: Float32  # (B, E)
    inside: npt.NDArray[np.bool_] | None = None  # of volumes: (B, x, y, z) the cells that count
    places: bool = False  # of volumes: whether scores are weighed by what is usual at their place
    grey: Float32 | None = None  # of volumes: (B, x, y, z) unusual grey levels that count beside the scores

    def maps(self, excluded: Collection[int]) -> Float32:
        """(B, h, w), of volumes (B, x, y, z), anomaly maps while the families ``excluded`` may not be matched."""
        whole = iter(self._passes(excluded))
        maps = fuse_backbones([mean_maps([next(whole) for _ in range(count)]) for count in self.of_backbone])
        if self.inside is None:
            return maps
        maps = np.where(self.inside, maps, np.float32(0))
        if self.places:
            maps = weighed_by_place(maps, self.inside)
        return maps if self.grey is None else beside(maps, self.grey, self.inside)

    def evidence(self, excluded: Collection[int]) -> Evidence:
        """For a verdict while the families ``excluded`` may not be matched."""
        maxima: list[Float32] = []
        if sum(self.of_backbone) > 1:  # of a single pass, the maps are its scores
            maxima = [scores.reshape(len(scores), -1).max(axis=1) for scores in self._passes(excluded)]
        distances = len(self.of_backbone) == 1 and not self.places and self.grey is None
        return Evidence(
            self.embeddings,
            tuple(maxima),
            maps_are_distances=distances,
            scores_are_distances=distances and self.image_score == "max" and not self.rscin,
        )

    def _passes(self, excluded: Collection[int]) -> list[Float32]:
        scores = zip(*(part.without(excluded) for part in self.parts), strict=True)
        return [parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in scores]

    def image_scores(self, maps: Float32, only: npt.NDArray[np.intp] | None = None) -> Float32:
        """Scores (B,) of all photos, or before re-scoring by similar images of the photos ``only``."""
        if self.image_score == "top":
            scores = highest(maps, self.inside, only)
        else:
            scores = image_scores(maps, self.shape, self.image_score, only)
        return rscin(scores, self.embeddings, self.rscin) if self.rscin and only is None else scores

    def save(self, file: Path) -> None:
        """One uncompressed ``.npz``, written a part at a time."""
        write_arrays(file, self._arrays())

    def _arrays(self) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        yield "of_backbone", np.array(self.of_backbone)
        yield "k", np.array([part.k for part in self.parts])
        yield "shape", np.array(self.shape)
        yield "image_score", np.array(self.image_score)
        yield "rscin", np.array(self.rscin, dtype=np.int64)
        yield "embeddings", self.embeddings
        yield "places", np.array(self.places)
        if self.inside is not None:
            yield "inside", self.inside
        if self.grey is not None:
            yield "grey", self.grey
        for number, part in enumerate(self.parts):
            owners = [(at, own) for at, numbers in enumerate(part.numbers) for own in numbers]
            yield f"families{number}", np.array(len(part.numbers))
            yield f"numbers{number}", np.array(owners, dtype=np.int32).reshape(-1, 2)
            yield from pass_arrays(part.passes(), f"{number}.").items()

    @classmethod
    def load(cls, file: Path) -> Rescoring:
        """What ``save`` wrote, which must stay where it is. Raises ``OSError``, ``ValueError`` or ``KeyError`` if it is
        something else."""
        with _opened(file) as stored:
            parts = tuple(_part(stored, number, int(k), file) for number, k in enumerate(stored["k"]))
            return cls(
                parts=parts,
                of_backbone=_integers(stored["of_backbone"]),
                shape=_integers(stored["shape"]),
                image_score=str(stored["image_score"]),
                rscin=_integers(stored["rscin"]),
                embeddings=stored["embeddings"],
                inside=stored.get("inside"),
                grey=stored.get("grey"),
                places=bool(stored.get("places", False)),  # absent in a run from before volumes
            )


def _part(stored: Stored, number: int, k: int, file: Path) -> Part:
    owners = stored[f"numbers{number}"]
    numbers = tuple(_integers(owners[owners[:, 0] == at, 1]) for at in range(int(stored[f"families{number}"])))
    return Part(read_scores(stored, f"{number}."), partial(passes_of, file, f"{number}."), k, numbers)


def passes_of(file: Path, prefix: str) -> tuple[Sensitive, ...]:
    """The passes that ``pass_arrays`` with the same ``prefix`` are in ``file``. Raises as ``Rescoring.load``."""
    with _opened(file) as stored:
        return read_passes(stored, prefix)


@contextmanager
def _opened(file: Path) -> Iterator[Stored]:
    try:
        with file.open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
            yield stored
    except (EOFError, BadZipFile) as error:
        raise ValueError(str(error)) from error


def write_arrays(file: Path, arrays: Iterable[tuple[str, npt.NDArray[Any]]]) -> None:
    """An uncompressed ``.npz`` of arrays that need not all be in memory."""
    with ZipFile(file, "w", allowZip64=True) as archive:
        for name, array in arrays:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)


def pass_arrays(passes: Sequence[Sensitive], prefix: str) -> dict[str, npt.NDArray[np.generic]]:
    """Plain arrays by name, for ``read_passes``."""
    arrays: dict[str, npt.NDArray[np.generic]] = {
        f"levels{prefix}": np.array([len(one.alternatives.levels) for one in passes], dtype=np.int32)
    }
    for at, one in enumerate(passes):
        name = f"{prefix}{at}"
        arrays |= {f"scores{name}": one.scores, f"slot{name}": one.slot, f"distances{name}": one.distances}
        for depth, level in enumerate(one.alternatives.levels):
            arrays |= {f"{field}{name}.{depth}": values for field, values in vars(level).items()}
    return arrays


def read_scores(stored: Stored, prefix: str) -> tuple[Float32, ...]:
    """Only the scores of the passes."""
    return tuple(stored[f"scores{prefix}{at}"] for at in range(len(stored[f"levels{prefix}"])))


def read_passes(stored: Stored, prefix: str) -> tuple[Sensitive, ...]:
    """Raises ``KeyError`` or ``ValueError`` if it is not there."""
    return tuple(
        Sensitive(
            stored[f"scores{prefix}{at}"],
            stored[f"slot{prefix}{at}"],
            stored[f"distances{prefix}{at}"],
            Alternatives(tuple(_level(stored, f"{prefix}{at}.{depth}") for depth in range(int(levels)))),
        )
        for at, levels in enumerate(stored[f"levels{prefix}"])
    )


def _level(stored: Stored, suffix: str) -> Level:
    return Level(**{name: stored[f"{name}{suffix}"] for name in Level.__dataclass_fields__})


def _integers(values: npt.NDArray[np.integer[Any]]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
