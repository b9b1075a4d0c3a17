"""THE result of a scan: scores, anomaly maps and what is needed to show them.

Every sink and every front end reads this and nothing else. It knows numpy arrays and plain values; it does not
know how they were computed (no torch), nor any file format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from blemish.judgement import Call, Judgement, Lesion, Region
from blemish.looks import Look

__all__ = [
    "AnomalyMaps",
    "ColourScale",
    "Decision",
    "Family",
    "Member",
    "Native",
    "Photo",
    "Result",
    "Volumes",
    "ranked",
    "upsample",
]

Float32 = npt.NDArray[np.float32]
RGB = npt.NDArray[np.uint8]

ALL_OVER = 0.15  # share of the picture from which a look that recurs may be another variant of the part


@dataclass(frozen=True, slots=True)
class Photo:
    """One row of the result. Everything below ``status`` that a photo lacks is None (or empty)."""

    path: str  # relative to the scanned folder, forward slashes
    status: Literal["ok", "unreadable"]
    score: float | None = None  # higher = more anomalous
    rank: int | None = None  # 1 = most anomalous
    percentile: float | None = None  # share (in %) of the scored photos that do not score higher than this one
    width: int | None = None  # pixels, after the camera's orientation was applied
    height: int | None = None
    reason: str = ""  # why a photo is unreadable, or why a person should look at it
    duplicate_of: str = ""  # path of the first photo with the same bytes, if there is one
    family: int | None = None  # number of the family it belongs to; of several the one with the strongest evidence
    verdict: Call | None = None
    low: float | None = None  # the score's 90 % interval: how much the ways of scoring disagree about this photo
    high: float | None = None
    regions: int | None = None  # places marked on it; of a photo called ok none
    area_share: float | None = None  # of the picture, under these places
    severity: float | None = None  # area share x excess over the pixel threshold, summed over the regions
    depth: int | None = None  # of a volume: voxels along the third axis of its file; the others are width and height


def ranked(
    photos: Sequence[Photo], scores: Float32, families: Mapping[str, int]
) -> tuple[list[Photo], npt.NDArray[np.intp]]:
    """``photos`` with these ``scores: (B,)``, most anomalous first, and their order: row r of the one is
    ``photos[order[r]]``. ``families``: path -> number."""
    order = np.argsort(-scores, kind="stable")
    ascending = np.sort(scores)
    rows = []
    for rank, at in enumerate(order, start=1):
        not_higher = int(np.searchsorted(ascending, scores[at], side="right"))
        rows.append(
            replace(
                photos[at],
                score=float(scores[at]),
                rank=rank,
                percentile=round(100 * not_higher / len(scores), 2),
                family=families.get(photos[at].path),
            )
        )
    return rows, order


@dataclass(frozen=True, slots=True)
class Member:
    """One photo of a family, and where on it the family's look is: a box in shares of width and height.

    Of a volume: ``front`` to ``back`` along the first axis of its grid, ``top`` to ``bottom`` along the second, and
    ``left`` to ``right`` along the last."""

    path: str
    sha256: str  # of the file's bytes, so that a decision finds its photos again
    left: float
    top: float
    right: float
    bottom: float
    front: float = 0.0
    back: float = 1.0


@dataclass(frozen=True, slots=True)
class Decision:
    """What the user said about a family. It is known again by its photos' bytes, or in other photos by its look."""

    kind: Literal["defect", "variant"]
    photos: tuple[tuple[str, str], ...]  # path, sha256
    look: Look | None = None

    def fits(self, family: Family, look: Look | None = None) -> bool:
        """Whether this family is meant. Looks decide where both are known in the same features, since two families can
        share their photos; otherwise at least half of the photos must be the same."""
        if self.look is not None and look is not None and self.look.features == look.features:
            return self.look.resembles(look)
        meant = {sha256 for _, sha256 in self.photos}
        return 2 * sum(member.sha256 in meant for member in family.members) >= len(family.members)


@dataclass(frozen=True)
class Family:
    """Photos that share a look at some place which the other photos do not have.

    ``defect``: the look may not vouch for itself, its tokens are out of the references. ``variant``: it is legitimate
    and vouches for itself. ``unsure``: the batch alone cannot tell, the user is asked, and meanwhile nothing is taken
    out.
    """

    number: int  # 1 = strongest evidence
    kind: Literal["defect", "variant", "unsure"]
    decided_by: Literal["blemish", "user"]
    members: tuple[Member, ...]
    place: Float32  # (h, w), of volumes (x, y, z): share of the members whose token there carries the look
    density: float  # of links among the members; 1 = every member's look matches every other's, for the auto rule
    strength: float  # auto: times as far from other photos as 95 % of the batch; published: the density
    fence: float  # what the strength had to exceed
    score_with: float  # median image score of the members while the look vouches for itself
    score_without: float  # the same once it does not
    question: str = ""  # why the user is asked; empty where the batch alone decides

    @property
    def asks(self) -> str:
        """Why the user should say what it is; empty where somebody has, or where it is plain. A look all over the part
        may be another variant, however unlike the others it is: it counts as a flaw, but condemns nothing."""
        if self.kind == "unsure":
            return self.question or f"the {self.noun}s alone cannot tell"
        cover = float(self.place.mean())
        if self.kind == "defect" and self.decided_by == "blemish" and cover > ALL_OVER:
            where = "picture" if self.noun == "photo" else "box around the brain"
            return f"it covers {cover:.0%} of the {where}, as another variant would"
        return ""

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(member.path for member in self.members)

    @property
    def noun(self) -> str:
        """What one of its members is called."""
        return "volume" if self.place.ndim == 3 else "photo"

    def evidence(self, photos: int) -> str:
        """One sentence in plain words; ``photos``: how many were scored."""
        count, others = len(self.members), photos - len(self.members)
        return (
            f"These {count} {self.noun}s share a look here that the other {others} do not have: its good matches are "
            f"all among the {count}, and then they run out."
        )


@dataclass(frozen=True, slots=True)
class ColourScale:
    """The one range of map values that every picture of a run is coloured with."""

    low: float
    high: float

    @classmethod
    def of(cls, grids: Float32) -> ColourScale:
        """From the run's own maps ``grids: (B, h, w)``; of volumes, from their values inside the brain. The ordinary
        spread of values is taken from the lower half of the batch (median minus 10th percentile), where no flaw lies:
        the coldest colour is two spreads above the median, so that sound surface stays clear; the hottest is the 99.9th
        percentile, but at least four spreads above the coldest, so that the noise of a clean batch does not glow."""
        if grids.size == 0:
            return cls(0.0, 1.0)
        p10, median, p999 = (float(v) for v in np.percentile(grids, [10, 50, 99.9]))
        low = median + 2 * (median - p10)
        high = max(p999, low + 4 * (median - p10))
        return cls(low, high if high > low else low + 1.0)

    def apply(self, anomaly_map: Float32) -> Float32:
        """Map values to [0, 1], clipped."""
        return np.asarray(np.clip((anomaly_map - self.low) / (self.high - self.low), 0, 1), dtype=np.float32)


def upsample(grid: Float32, shape: tuple[int, ...]) -> Float32:
    """Linear enlargement of ``grid: (h, w)`` or ``(x, y, z)`` to ``shape`` with aligned corners, as published for
    mutual scoring (MuSc: ``interpolate(mode="bilinear", align_corners=True)``). Also takes a stack ``(..., h, w)``."""
    left, right, weight = _neighbours(grid.shape[-1], shape[-1])
    values = grid[..., left] + weight * (grid[..., right] - grid[..., left])
    for axis in range(2, len(shape) + 1):  # the first axis last: what is copied whole is quick
        behind: tuple[Any, ...] = (slice(None),) * (axis - 1)
        above, below, weight = _neighbours(grid.shape[-axis], shape[-axis])
        longer = values[(..., above, *behind)]
        longer += weight.reshape(-1, *(1,) * (axis - 1)) * (values[(..., below, *behind)] - longer)
        values = longer
    return np.asarray(values, dtype=np.float32)


def _neighbours(n_in: int, n_out: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Float32]:
    """For each of ``n_out`` places: the two of ``n_in`` it lies between, and the weight of the second."""
    position = np.linspace(0, n_in - 1, n_out) if n_out > 1 else np.zeros(1)
    first = np.minimum(position.astype(np.intp), max(n_in - 2, 0))
    return first, np.minimum(first + 1, n_in - 1), (position - first).astype(np.float32)


class Native(Protocol):
    """A volume's own space, see ``blemish.volume_space``; made or read again when it is asked for. Arrays (X, Y, Z) in
    RAS order; ``grid`` is its map as scored."""

    @property
    def geometry(self) -> Any: ...  # ``blemish.inputs.volume_geometry.Geometry``

    @property
    def inside(self) -> npt.NDArray[np.bool_]: ...  # the cells of the map that count

    def scores(self, grid: Float32) -> Float32: ...  # the map; 0 outside the brain

    def mask(self, grid: Float32, level: float) -> npt.NDArray[np.bool_]: ...  # of what stands out

    def values(self) -> Float32: ...  # grey levels, 0 to 1, for pictures


class Volumes(Protocol):
    """What a result of volumes has besides its maps."""

    @property
    def by_path(self) -> Mapping[str, Native]: ...

    @property
    def bids(self) -> bool: ...  # whether the scanned folder is such a data set


class AnomalyMaps(Mapping[str, Float32]):
    """Path -> anomaly map ``(H, W)``, of volumes ``(X, Y, Z)``, float32 at the working resolution, made when asked."""

    def __init__(self, paths: tuple[str, ...], grids: Float32, shape: tuple[int, ...]) -> None:
        self._row = {path: row for row, path in enumerate(paths)}
        self._grids = grids
        self.shape = shape

    def __getitem__(self, path: str) -> Float32:
        return self.at(path, self.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def at(self, path: str, shape: tuple[int, ...]) -> Float32:
        """The map of ``path`` at any other shape, for example the photo's own (height, width)."""
        return upsample(self._grids[self._row[path]], shape)

    def grid(self, path: str) -> Float32:
        """The map of ``path`` as it was scored: one value a token, ``(h, w)``."""
        return np.asarray(self._grids[self._row[path]])


@dataclass(frozen=True)
class Result:
    """What a scan found. ``photos`` are ordered most anomalous first, unreadable ones last.

    ``grids: (B, h, w)`` float32 and ``pixels(b) -> (H, W, 3)`` uint8 count the scored photos in that order.
    ``manifest`` is what ``run.json`` holds: resolved configuration, versions, weights, timings, counts. ``families``
    are groups of photos that share a flaw, or a question about one.
    """

    photos: tuple[Photo, ...]
    grids: Float32
    shape: tuple[int, ...]  # working resolution: (height, width) in pixels; of volumes the cells of their maps
    pixels: Callable[[int], RGB]
    scale: ColourScale
    warnings: tuple[str, ...] = ()
    manifest: dict[str, Any] = field(default_factory=dict)
    families: tuple[Family, ...] = ()  # strongest evidence first
    decisions: tuple[Decision, ...] = ()  # the user's, also of families that this run has not found
    diagnosis: dict[str, Any] | None = None  # see ``blemish.diagnostics.Diagnosis``
    judgement: Judgement | None = None  # which photos are blemished, and what that means
    regions: Mapping[str, tuple[Region, ...]] = field(default_factory=dict)  # path -> of photos that are not ok
    lesions: Mapping[str, tuple[Lesion, ...]] = field(
        default_factory=dict
    )  # the same of volumes, which have no regions
    volumes: Volumes | None = None  # None: photos
    division: dict[str, Any] | None = None  # who was compared with whom, see ``blemish.extending``
    jpeg: Callable[[int, int], bytes] | None = None  # row, longest side -> its picture, where pictures are kept
    keep: Mapping[str, Callable[[Path], None]] = field(
        default_factory=dict
    )  # name -> writes that file or folder of the run

    @property
    def scored(self) -> tuple[Photo, ...]:
        return tuple(photo for photo in self.photos if photo.status == "ok")

    @property
    def unreadable(self) -> tuple[Photo, ...]:
        return tuple(photo for photo in self.photos if photo.status == "unreadable")

    @property
    def scores(self) -> dict[str, float]:
        """Path -> image score, most anomalous first."""
        return {photo.path: photo.score for photo in self.photos if photo.score is not None}

    @property
    def maps(self) -> AnomalyMaps:
        """Path -> anomaly map at the working resolution."""
        return AnomalyMaps(tuple(photo.path for photo in self.scored), self.grids, self.shape)

    def save(self, out: str | Path, *, maps: str | None = None, overwrite: bool = False) -> Path:
        """Write the run folder (tables, maps, overlays, report) and return its path.

        ``maps`` is ``working``, ``original`` or ``none``; by default as the scan was configured.
        Raises ``OutputError`` if ``out`` holds another run and ``overwrite`` is False, ``RunError`` if the disk
        is full. Nothing appears under ``out`` before everything is written.
        """
        from blemish.run import save_result

        return save_result(self, Path(out), maps=maps, overwrite=overwrite)
