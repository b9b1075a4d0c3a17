"""A finished run whose photos or volumes can be seen again as the run saw them: what both kinds have in common.

How files are found and seen, and what a place means, is told in ``revisiting`` and ``volume_revisiting``; what for, in
``teaching`` and ``freezing``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from blemish import machine, verdict_file
from blemish.bundle import VolumeView
from blemish.comparing import features_of
from blemish.config import ScanConfig
from blemish.errors import BackboneError, InputError
from blemish.extraction import Branch
from blemish.features.registry import load_backbone
from blemish.paths import RUN_VERDICT
from blemish.progress import Advance
from blemish.rescoring import Evidence
from blemish.result import RGB, Photo
from blemish.run_folder import of_volumes
from blemish.scoring.memory import nearest
from blemish.scoring.place_bank import Placed, nearest_nearby
from blemish.scoring.places import Usual
from blemish.volume_space import Native, Volumes

__all__ = ["TYPICAL", "Mark", "Pictures", "Sight", "Visit", "branch_of", "check_manifest", "unfit"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]
File = TypeVar("File")
Mark = str | Path | Bools  # a mask's file, a box "left,top,right,bottom" on a photo, or the mask itself
Pictures = tuple[Callable[[int], RGB], Callable[[int, int], bytes] | None]

TYPICAL = 9  # photos that stand for the typical one; fifteen say hardly more (benchmarks/one_defect.md)


@dataclass(frozen=True)
class Sight:
    """One photo or volume as the run's backbone sees it. ``grids``: by pass, unit tokens (h, w, C) or (x, y, z, C).
    ``pixels``: of a photo in the working size. ``native``: of a volume, whose cells are matched within ``radius``."""

    path: str
    sha256: str
    grids: list[Float32]
    embedding: Float32  # (E,)
    pixels: RGB | None = None
    native: Native | None = None
    radius: int = -1

    def placed(self, number: int) -> Placed:
        """All tokens of a pass that count; of a photo, wherever they are."""
        tokens = self.grids[number].reshape(-1, self.grids[number].shape[-1])
        if self.native is None:
            return Placed.anywhere(tokens)
        cells = np.flatnonzero(self.native.inside)
        return Placed(tokens[cells], cells.astype(np.int32))

    def near(self, number: int, bank: Placed) -> Float32:
        """The distance of every token of a pass to the nearest of ``bank``, of a volume near its own place."""
        grid = self.grids[number]
        if self.native is None:
            return nearest(grid.reshape(-1, grid.shape[-1]), bank.tokens).reshape(grid.shape[:-1])
        return nearest_nearby(grid, self.native.inside, bank, self.radius)

    def taken(self, number: int, cells: npt.NDArray[np.intp]) -> Placed:
        """Some tokens of a pass, by their numbers."""
        tokens = self.grids[number].reshape(-1, self.grids[number].shape[-1])[cells]
        return Placed.anywhere(tokens) if self.native is None else Placed(tokens, cells.astype(np.int32))

    def like(self, number: int, defects: Float32) -> Float32:
        """The distance of every token of a pass to the nearest of ``defects: (d, C)``, which may be anywhere."""
        grid = self.grids[number]
        return nearest(grid.reshape(-1, grid.shape[-1]), defects).reshape(grid.shape[:-1])


@dataclass(frozen=True)
class Visit(ABC, Generic[File]):
    """A finished run with the backbone that it was made with."""

    unit: ClassVar[str]  # what one is called
    most: ClassVar[int]  # good ones whose tokens a detector is made of, and those that its scale is learnt from

    run: Path
    manifest: dict[str, Any]
    config: ScanConfig
    rows: tuple[Photo, ...]  # as the run has them, unreadable ones last
    photos: dict[str, File]  # path -> file, of those that were scored
    sha256: dict[str, str]  # path -> digest of the bytes that were scanned
    branch: Branch
    deep_ceiling: int  # white level of 16-bit photos

    @property
    def scored(self) -> tuple[Photo, ...]:
        """Most anomalous first."""
        return tuple(row for row in self.rows if row.status == "ok")

    def kept(self) -> verdict_file.Kept:
        """What the verdict of the run has kept. Raises ``InputError`` if it is damaged or of other photos."""
        kept = verdict_file.read(self.run / RUN_VERDICT)
        if [row.score for row in self.scored] != kept.estimated.scores.tolist():
            raise unfit(self.run)
        return kept

    @property
    def grids(self) -> list[tuple[int, ...]]:
        """(h, w), of volumes (x, y, z), of each matching pass."""
        return [tuple(int(side) for side in grid) for grid in self.manifest["backbones"][0]["grids"]]

    @property
    def features(self) -> str:
        """What makes the tokens: only those with the same can be compared."""
        return features_of(self.branch)

    def typical(self, leaving_out: Collection[str], advance: Advance) -> dict[str, list[Placed]]:
        """Path -> tokens by pass of a few, drawn at random, which stand for the typical one."""
        others = sorted(photo.path for photo in self.scored if photo.path not in leaving_out)  # whatever their scores
        drawn = sorted(np.random.default_rng(0).permutation(len(others))[:TYPICAL])
        return {
            sight.path: [sight.placed(number) for number in range(len(sight.grids))]
            for sight in self.see([self.photos[others[at]] for at in drawn], advance)
        }

    @abstractmethod
    def see(self, photos: Sequence[File], advance: Advance) -> Iterator[Sight]:
        """Files of the run or others, in their order. Raises ``InputError`` if one is not there any more, cannot be
        read, or is not what was scanned."""

    @abstractmethod
    def find(self, given: str | Path) -> File:
        """A file, or one that the run knows by this path, which keeps the path that it has there. Raises ``InputError``
        if there is none, or two."""

    @abstractmethod
    def listed(self, folder: Path) -> list[str | Path]:
        """What can be given of a folder."""

    @abstractmethod
    def mask(self, photo: File, mark: Mark) -> Bools:
        """Where a defect is, (H, W) or (X, Y, Z) in RAS order. Raises ``InputError`` for a mark that does not fit."""

    @abstractmethod
    def cover(self, sight: Sight, mask: Bools, number: int) -> Float32:
        """The share of every token of a pass that lies under ``mask``, in the shape of its grid."""

    @abstractmethod
    def turned(self, sight: Sight, mask: Bools | None) -> Iterator[tuple[Sight, Bools | None]]:
        """The same turned round, with its mask. Raises ``ConfigError`` where that means nothing."""

    @abstractmethod
    def weighed(self, maps: Float32, paths: Sequence[str]) -> Float32:
        """Maps (B, *grid) of distances, on the scale of the run's own."""

    @abstractmethod
    def lifted(self, usual: Float32, raised: Float32, paths: Sequence[str]) -> Float32:
        """(B, *grid): what ``raised``, added to the distances ``usual``, adds to maps on the scale of the run's own."""

    @abstractmethod
    def scores(self, maps: Float32, paths: Sequence[str], embeddings: Float32) -> Float32:
        """(B,) image scores by the run's rule."""

    @abstractmethod
    def evidence(self, embeddings: Float32, maxima: Sequence[Float32]) -> Evidence:
        """For a verdict on these scores."""

    @abstractmethod
    def candidates(self, allowed: Bools, paths: Sequence[str]) -> Ints:
        """Flat numbers of those of the tokens ``allowed: (n, N)`` that a bank may be chosen from."""

    @abstractmethod
    def chosen(self, candidates: Placed, size: int, progress: Advance) -> Ints:
        """Numbers of those that make a bank; ``size``: as many at most, where a place means nothing."""

    @abstractmethod
    def folds(self, count: int) -> Ints:
        """(count,) the part that each of so many different good ones belongs to, see ``coreset.folds``."""

    @abstractmethod
    def usual(self, maps: Float32, paths: Sequence[str]) -> Usual | None:
        """What is usual at every place, by which maps (B, *grid) are weighed; None where they are not."""

    @abstractmethod
    def view(self, gain: float) -> VolumeView | None:
        """How a detector for volumes is to look at one; ``gain``: from its maps to the run's scale. Raises
        ``ConfigError`` if the run's way of placing volumes has no answer for one more."""

    @abstractmethod
    def inside(self, paths: Sequence[str]) -> Bools | None:
        """(B, x, y, z): of volumes the cells that count."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Working resolution, as a result has it."""

    @property
    @abstractmethod
    def pictures(self) -> Pictures:
        """Row -> its pixels at the working resolution; and its encoded picture, where the run has some."""

    @property
    @abstractmethod
    def volumes(self) -> Volumes | None:
        """Of a run of volumes."""


def unfit(run: Path) -> InputError:
    """Files of the run do not belong together."""
    return InputError(f"{str(run / 'results.jsonl')!r} does not fit the run. Scan again.")


def branch_of(used: dict[str, Any]) -> Branch:
    """The backbone of a run, as its manifest describes it. Raises ``BackboneError`` if its weights are not there any
    more, ``KeyError``, ``TypeError`` or ``ValueError`` if the manifest was changed."""
    device, _ = machine.choose_device("auto")
    backbone = load_backbone(str(used["name"]), tuple(used["layers"]), torch.device(device))
    if backbone.weights_sha256 != used["weights_sha256"]:
        raise BackboneError(
            f"The run was made with weights {used['weights_sha256'][:12]} of {used['name']}; installed are "
            f"{backbone.weights_sha256[:12]}. Scan again with these."
        )
    shape = int(used["working_size"]["height"]), int(used["working_size"]["width"])
    return Branch(backbone, shape, tuple(used["radii"]), bool(used["join"]), device)


def check_manifest(manifest: dict[str, Any]) -> None:
    """Raises ``KeyError``, ``TypeError`` or ``ValueError`` if what is read from it later is not as it was written."""
    scale, said, used = manifest["colour_scale"], manifest["verdict"], manifest["backbones"][0]
    for number in (scale["low"], scale["high"], said["threshold"], *(side for grid in used["grids"] for side in grid)):
        float(number)
    views = 1 if of_volumes(manifest) else sum(int(radius) > 0 for radius in used["radii"])
    passes = views * (1 if used["join"] else len(used["layers"]))
    if not passes or len(used["grids"]) != passes or not isinstance(used["join"], bool):
        raise ValueError("its parts do not fit together")
    for name in ("config", "versions", "timings_s", "counts"):
        if not isinstance(manifest[name], dict):
            raise TypeError(name)
    if not {"rule", "sentence"} <= said.keys() or not {"source", "licence"} <= used.keys() or "note" not in manifest:
        raise KeyError("note, rule, sentence, source or licence")
    manifest["config"]["verdict"], list(manifest["warnings"])
    datetime.fromisoformat(manifest["created"])
