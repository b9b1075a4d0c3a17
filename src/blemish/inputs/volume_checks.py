"""What the volumes of a batch have in common, and where each one's working cube lies.

It sees facts about volumes, not voxels; it changes nothing and words what a user should know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.errors import ConfigError, UnreadablePhoto
from blemish.inputs.volume_geometry import Geometry
from blemish.inputs.volume_grid import Box, Tilted
from blemish.inputs.volume_layouts import subject_of
from blemish.volume_config import ALIGNMENTS

__all__ = ["Frame", "Placing", "VolumeFacts", "differences", "other_scanner", "other_scanners", "place"]

Float64 = npt.NDArray[np.float64]
Turn = tuple[tuple[float, ...], ...]  # 3 x 3

SPACING_APART = 0.1  # of the usual spacing by which one differs
FLAT = 2.5  # ratio of a brain's longest to its shortest side in mm that no brain has
NO_MR = {"CT", "ct", "PT", "pet"}  # modalities, as tags and names have them
ONE_PLACE = 0.6  # overlap of a brain's box with the batch's median box, above which it counts as registered
STRAIGHT = 0.02  # by which the directions of axes that point the same way may differ


@dataclass(frozen=True)
class VolumeFacts:
    """``box``: around the brain. ``modality``: "" if not known."""

    path: str
    geometry: Geometry
    box: Box
    modality: str = ""


@dataclass(frozen=True)
class Placing:
    """``boxes``: which part of every volume becomes its cube. ``reason``: how they were placed, for the user."""

    boxes: Sequence[Box | Tilted]
    reason: str


def other_scanners(facts: Sequence[VolumeFacts]) -> dict[str, str]:
    """Path and reason of the volumes that cannot be compared with the rest: CT among MR, or MR among CT.

    The majority stays; of two equal halves MR."""
    tomograms = [one.path for one in facts if one.modality == "CT"]
    if not tomograms or len(tomograms) == len(facts):
        return {}
    if len(tomograms) > len(facts) / 2:
        kept = set(tomograms)
        return {one.path: other_scanner(one, ct=True) for one in facts if one.path not in kept}
    return {one.path: other_scanner(one, ct=False) for one in facts if one.path in tomograms}


def other_scanner(one: VolumeFacts, *, ct: bool) -> str:
    """Why a volume cannot be compared with others that are all ``ct``, or none of them; "" if it can."""
    if (one.modality == "CT") == ct:
        return ""
    return "not a CT, as the others are" if ct else "a CT among MR volumes; scan it with others of its kind"


def differences(facts: Sequence[VolumeFacts], align: str) -> list[str]:
    """Sentences on what differs in the batch: modality, spacing, shape, orientation, place; and on
    what does not: the patient. Empty if there is nothing to say."""
    said = [*_same_patients(facts)]
    kinds = Counter(one.modality for one in facts if one.modality)
    if not kinds.keys() & NO_MR:
        kinds.pop("MR", None)  # what a DICOM tag has to say of every contrast
    if len(kinds) > 1:
        listed = ", ".join(f"{count} {name}" for name, count in kinds.most_common())
        said.append(
            f"The volumes are of different modalities ({listed}); each will look odd to the others. "
            "Choose one by --modality."
        )
    spacing = np.array([one.geometry.spacing for one in facts])
    odd = (np.abs(spacing / np.median(spacing, axis=0) - 1) > SPACING_APART).any(axis=1)
    if odd.any():
        said.append(
            f"{_of(odd)} have another spacing than the rest, for example {facts[int(odd.argmax())].path} "
            f"({_mm(spacing[int(odd.argmax())])}; usual {_mm(np.median(spacing, axis=0))})."
        )
    extent = np.array([one.box.extent for one in facts]) * spacing
    flat = extent.max(axis=1) > FLAT * extent.min(axis=1)
    if flat.any():
        said.append(
            f"{_of(flat)} hold a brain of {_mm(extent[int(flat.argmax())])} by their headers, which no brain has: the "
            "spacing is likely wrong." + ("" if align != "none" else " Use --align box, which does without it.")
        )
    shapes = Counter(one.geometry.ras_shape for one in facts)
    if len(shapes) > 1:
        said.append(f"The volumes have {len(shapes)} different shapes.")
    axes = Counter(one.geometry.axes for one in facts)
    if len(axes) > 1:
        listed = ", ".join(f"{count} {name}" for name, count in axes.most_common())
        said.append(f"The volumes are stored in different orientations ({listed}); all are turned to RAS.")
    if align == "none" and not _registered(facts):
        said.append(
            "The brains do not lie at one place: the volumes are not registered. Use --align box, or register them."
        )
    return said


def place(facts: Sequence[VolumeFacts], align: str, margin: float = 0.04) -> Placing:
    """Where every volume's cube lies.

    ``box``: the box of each brain is stretched to the cube, each axis by its own, with ``margin`` of its extent
    around it: brains of different sizes then agree roughly, whatever their headers say of spacing.
    ``affine``: the same; it is where registration begins (``volume_aligning``).
    ``none``: one scale in mm for all axes and volumes. Registered volumes keep their places in the scanner's (or
    template's) coordinates; if their brains do not lie at one place, each is centred.
    Raises ``ConfigError`` for another ``align``.
    """
    if align not in ALIGNMENTS:
        raise ConfigError(f"--align is one of {', '.join(ALIGNMENTS)}; received {align!r}.")
    if align != "none":
        return Placing(
            [one.box.enlarged(2 * margin) for one in facts], "the box around each brain, stretched to a cube"
        )
    low, high = _boxes_in_mm(facts)
    if _registered(facts):
        centres = np.broadcast_to((low.min(axis=0) + high.max(axis=0)) / 2, low.shape)
        side = (high.max(axis=0) - low.min(axis=0)).max() * (1 + 2 * margin)
        reason = "one cube in the volumes' common coordinates"
    else:
        centres = (low + high) / 2
        side = (high - low).max() * (1 + 2 * margin)
        reason = "a cube of one size around the middle of each brain, as they do not lie at one place"
    boxes = [_cube(one.geometry, centre, side) for one, centre in zip(facts, centres, strict=True)]
    return Placing(boxes, reason)


@dataclass(frozen=True)
class Frame:
    """How volumes of a batch were placed, for those that come later. ``side``: of their cube in mm, 0 where each
    brain's box is stretched to it. ``middle``: of the cube in mm along the volumes' axes, where they were registered.
    ``turn``: the directions of these axes, one a column; None if they are not known."""

    side: float
    middle: tuple[float, float, float] | None
    turn: Turn | None = None

    @classmethod
    def of(cls, placed: Sequence[tuple[Geometry, Box | Tilted]], align: str) -> Frame:
        """From the boxes of ``place``. Raises ``ConfigError`` for an ``align`` that places volumes by each other in
        another way."""
        if align == "box":
            return cls(0.0, None)
        if align != "none":
            raise ConfigError(
                f"With --align {align} a volume's place is found together with those of its batch, so another one has "
                "none. Scan with --align box, or none for registered volumes."
            )
        straight = [(geometry, box) for geometry, box in placed if isinstance(box, Box)]  # all, unless registered
        middles = [_in_mm(geometry, (np.array(box.start) + box.stop) / 2) for geometry, box in straight]
        side = float(straight[0][1].extent[0] * straight[0][0].spacing[0])
        x, y, z = (float(at) for at in middles[0])
        together = np.abs(np.array(middles) - middles[0]).max() < 0.01 * side
        return cls(side, (x, y, z), _turn(straight[0][0])) if together else cls(side, None)

    def box(self, one: VolumeFacts, margin: float = 0.04) -> Box:
        """Where the cube of one more volume lies, as ``place`` would have it. Raises ``UnreadablePhoto`` if its brain
        does not lie where those of registered volumes do."""
        if not self.side:
            return one.box.enlarged(2 * margin)
        its = _in_mm(one.geometry, (np.array(one.box.start) + one.box.stop) / 2)
        if self.middle is None:
            return _cube(one.geometry, its, self.side)
        if self.turn is not None and np.abs(np.array(_turn(one.geometry)) - self.turn).max() > STRAIGHT:
            raise UnreadablePhoto(
                "its axes point another way than those of the registered volumes that it would be compared with; "
                "register it to them"
            )
        cube = _cube(one.geometry, np.array(self.middle), self.side)
        shared = np.minimum(one.box.stop, cube.stop) - np.maximum(one.box.start, cube.start)
        if np.clip(shared, 0, None).prod() < ONE_PLACE * np.prod(one.box.extent):
            away = np.linalg.norm(its - self.middle)
            raise UnreadablePhoto(
                f"its brain lies {away:.0f} mm from where those of the registered volumes lie that it would be "
                "compared with; register it to them"
            )
        return cube


def _cube(geometry: Geometry, middle: Float64, side: float) -> Box:
    """Around ``middle``, mm along the volume's own axes, ``side`` mm wide."""
    origin, spacing = _origin(geometry), np.array(geometry.spacing)
    start = ((middle - side / 2 - origin) / spacing + 0.5).tolist()
    stop = ((middle + side / 2 - origin) / spacing + 0.5).tolist()
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _in_mm(geometry: Geometry, at: Float64) -> Float64:
    """``at`` (3,) in voxels as ``Box`` counts them -> mm along the volume's own axes, from the scanner's origin."""
    return np.asarray(_origin(geometry) + (at - 0.5) * np.array(geometry.spacing))


def _turn(geometry: Geometry) -> Turn:
    """The directions of the axes in RAS order, one a column."""
    return tuple(map(tuple, (geometry.ras_affine[:3, :3] / geometry.spacing).tolist()))


def _same_patients(facts: Sequence[VolumeFacts]) -> Iterator[str]:
    """A patient's other session or run has the same lesion at the same place, and vouches for it."""
    times = Counter(filter(None, (subject_of(one.path) for one in facts)))
    often = [(subject, count) for subject, count in times.items() if count > 1]
    if often:
        many = f"{len(often)} patients have" if len(often) > 1 else "One patient has"
        yield (
            f"{many} several volumes here, for example sub-{often[0][0]} ({often[0][1]}); what is unusual in one of "
            "them finds itself in the other and scores low. Scan one volume of each patient."
        )


def _registered(facts: Sequence[VolumeFacts]) -> bool:
    """Whether the axes point the same way and every brain's box covers most of the batch's median box."""
    turns = np.array([_turn(one.geometry) for one in facts])
    if np.abs(turns - turns[0]).max() > STRAIGHT:
        return False
    low, high = _boxes_in_mm(facts)
    usual_low, usual_high = np.median(low, axis=0), np.median(high, axis=0)
    shared = np.clip(np.minimum(high, usual_high) - np.maximum(low, usual_low), 0, None).prod(axis=1)
    joined = (high - low).prod(axis=1) + (usual_high - usual_low).prod() - shared
    return bool((shared / joined).min() >= ONE_PLACE)


def _boxes_in_mm(facts: Sequence[VolumeFacts]) -> tuple[Float64, Float64]:
    """Both ends of every brain's box, (n, 3) mm along the volume's own axes, from the scanner's origin."""
    both = np.array([[_in_mm(one.geometry, np.array(end)) for end in (one.box.start, one.box.stop)] for one in facts])
    return both[:, 0], both[:, 1]


def _origin(geometry: Geometry) -> Float64:
    """(3,): the first voxel's centre in mm along the volume's own axes (oblique ones too)."""
    affine = geometry.ras_affine
    return np.asarray(np.linalg.solve(affine[:3, :3] / geometry.spacing, affine[:3, 3]))


def _of(odd: npt.NDArray[np.bool_]) -> str:
    return f"{int(odd.sum())} of {odd.size} volumes"


def _mm(sides: Float64) -> str:
    return " x ".join(f"{side:.3g}" for side in sides) + " mm"
