"""The verdict of a batch put on its photos: calls, reasons, regions. Pure functions on arrays and result types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic

import numpy as np
import numpy.typing as npt

from blemish.config import VerdictConfig
from blemish.judgement import Call, Judgement, Lesion, Mark, Region
from blemish.rescoring import Evidence
from blemish.result import Family, Photo
from blemish.verdict import Estimate, Groups, detectors, estimate, judge
from blemish.verdict.threshold import FEWEST_PHOTOS as FEWEST
from blemish.verdict.wording import FEW
from blemish.volume_space import Volumes

__all__ = ["Judged", "estimate_of", "judged", "judged_by", "judged_volumes", "seed_level"]

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Judged(Generic[Mark]):
    """``photos`` as they were given, each with its call; ``regions`` of those that are not ok."""

    photos: tuple[Photo, ...]
    judgement: Judgement
    regions: dict[str, tuple[Mark, ...]]


def estimate_of(
    photos: Sequence[Photo],
    grids: Float32,
    evidence: Evidence,
    families: Sequence[Family],
    said: Mapping[str, Call] | None = None,
) -> Estimate:
    """What the batch says about itself. ``photos``: the scored ones, most anomalous first, as are ``grids: (B, h, w)``
    (or of volumes) and ``evidence``. ``said``: path -> what the user has said that a photo is."""
    scores = np.array([photo.score for photo in photos], dtype=np.float32)
    found = detectors(
        scores,
        grids,
        evidence.maxima,
        evidence.embeddings,
        maps_are_distances=evidence.maps_are_distances,
        scores_are_distances=evidence.scores_are_distances,
    )
    asking, decided, variants = _families(families)
    copies = np.array([bool(photo.duplicate_of) for photo in photos])  # vouch for each other, whatever they show
    bad, good = _rows(photos, said, "blemished"), _rows(photos, said, "ok")
    known = (_members(photos, decided) & ~good) | bad
    # what the user vouches for is learnt from like any other photo: without it only the doubtful ones would be left
    return estimate(scores, found, known, (_members(photos, asking + variants) | copies) & ~bad & ~good)


def seed_level(estimated: Estimate, grids: Float32) -> float:
    """The map value that seeds a region, from photos that no family explains and the batch itself calls ok, whatever
    the user knows: a threshold that is moved does not move the regions."""
    from blemish.verdict.regions import pixel_threshold  # loads scipy

    ok = estimated.learnt & (estimated.scores <= estimated.best())
    sides = tuple(range(1, grids.ndim))
    return pixel_threshold(grids.max(axis=sides, keepdims=True)[ok])  # only the maxima count, and are small


def judged(
    photos: Sequence[Photo],
    grids: Float32,
    estimated: Estimate,
    level: float,
    families: Sequence[Family],
    products: Sequence[int],
    config: VerdictConfig,
    known: Mapping[str, tuple[Region, ...]],
    said: Mapping[str, Call] | None = None,
    alone: bool = False,
) -> Judged[Region]:
    """``photos``: the scored ones, most anomalous first, as are ``grids: (B, h, w)`` and ``estimated``. ``level``: see
    ``seed_level``. ``products``: sizes of the groups, if there seem to be several. ``known``: regions that were found
    before at the same level. ``said``: path -> what the user has said that a photo is, which nothing overrules.
    ``alone``: photos were scored one by one, so that all can be flawed."""

    def found(row: int) -> tuple[Region, ...]:
        photo = photos[row]
        assert photo.height is not None and photo.width is not None
        return _found(grids[row], (photo.height, photo.width), level)

    return judged_by(found, photos, estimated, level, families, products, config, known, said, alone)


def judged_volumes(
    volumes: Volumes,
    photos: Sequence[Photo],
    grids: Float32,
    estimated: Estimate,
    level: float,
    families: Sequence[Family],
    config: VerdictConfig,
    known: Mapping[str, tuple[Lesion, ...]],
    said: Mapping[str, Call] | None = None,
) -> Judged[Lesion]:
    """``judged`` for volumes, whose places are looked for on their own voxels."""

    def found(row: int) -> tuple[Lesion, ...]:
        return volumes.by_path[photos[row].path].lesions(grids[row], level)

    return judged_by(found, photos, estimated, level, families, (), config, known, said, unit="volume")


def judged_by(
    found: Callable[[int], tuple[Mark, ...]],
    photos: Sequence[Photo],
    estimated: Estimate,
    level: float,
    families: Sequence[Family],
    products: Sequence[int],
    config: VerdictConfig,
    known: Mapping[str, tuple[Mark, ...]],
    said: Mapping[str, Call] | None = None,
    alone: bool = False,
    unit: str = "photo",
) -> Judged[Mark]:
    """``judged`` for whatever has places: ``found(row)``: those of a photo or volume that is not ok. ``unit``: what one
    is called."""
    asking, decided, variants = _families(families)
    bad, good = _rows(photos, said, "blemished"), _rows(photos, said, "ok")
    usual = np.zeros(len(photos), dtype=bool)
    usual[[row for family in variants for row in _usual_of(photos, family, estimated)]] = True
    groups = Groups(
        carriers=_numbers((_members(photos, decided) & ~good) | bad),
        asked=_numbers(_members(photos, asking) & ~good & ~bad),
        spared=_numbers((usual & ~bad) | good),
        said=_numbers(good | bad),
        products=tuple(products),
        alone=alone,
        unit=unit,
    )
    judgement = judge(estimated, config, level, groups)
    why = {path: f"family {family.number}: a flaw or a variant?" for family in asking for path in family.paths}
    unsure, always = set(judgement.unsure), set(judgement.always)
    too_few = f"too few {unit}s to be sure" if len(photos) < FEW and config.threshold is None else ""
    if alone and config.threshold is None and (too_few or photos[0].score == photos[-1].score):
        too_few = "these photos alone do not say from which score on; give --threshold"
    rows, regions = [], {}
    for row, photo in enumerate(photos):
        low, high = float(estimated.low[row]), float(estimated.high[row])
        above = estimated.scores[row] > judgement.threshold and row not in judgement.spared
        blemished = above or row in always
        call: Call = "unsure" if row in unsure else "blemished" if blemished else "ok"
        reason = ""
        if call == "unsure":
            reason = why.get(photo.path, too_few or "near the threshold")
        elif said and photo.path in said:
            reason = "as you said"
        marks: tuple[Mark, ...] = ()
        if call != "ok":
            marks = known.get(photo.path) or found(row)
            regions[photo.path] = marks
        rows.append(
            replace(
                photo,
                verdict=call,
                low=low,
                high=high,
                reason=reason,
                regions=len(marks),
                area_share=sum(mark.share for mark in marks) if marks else 0.0,
                severity=sum(mark.severity for mark in marks) if marks else 0.0,
            )
        )
    return Judged(tuple(rows), judgement, regions)


def _found(grid: Float32, shape: tuple[int, int], level: float) -> tuple[Region, ...]:
    from blemish.verdict.regions import regions_of  # loads scipy, which most changes of a threshold need not

    return regions_of(grid, shape, level)


def _rows(photos: Sequence[Photo], said: Mapping[str, Call] | None, call: Call) -> npt.NDArray[np.bool_]:
    """(B,): the photos that the user has said are so."""
    return np.array([said is not None and said.get(photo.path) == call for photo in photos], dtype=bool)


def _numbers(rows: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(rows).tolist())


def _members(photos: Sequence[Photo], families: Sequence[Family]) -> npt.NDArray[np.bool_]:
    """(B,): whether each photo is in one of these families."""
    paths = {path for family in families for path in family.paths}
    return np.array([photo.path in paths for photo in photos], dtype=bool)


def _usual_of(photos: Sequence[Photo], variant: Family, estimated: Estimate) -> list[int]:
    """Rows of a variant's photos that are no worse than usual for it. There are fewer of its kind than vote, so all
    score high; a flaw on one of them has to exceed their own median by as much as on any other photo."""
    rows = np.flatnonzero(_members(photos, [variant]))
    scores, others = estimated.scores[rows], estimated.scores[estimated.learnt]
    usual, threshold = float(np.median(others)), estimated.best()
    if len(others) < FEWEST or usual <= 0:
        return []
    own = float(np.median(scores))
    limit = own * threshold / usual if estimated.logarithmic else own + threshold - usual
    return [int(row) for row in rows[scores <= limit]]


def _families(families: Sequence[Family]) -> tuple[list[Family], list[Family], list[Family]]:
    """Those that the user is asked about, those whose flaw is decided, and legitimate variants."""
    asking = [family for family in families if family.asks]
    decided = [family for family in families if family.kind == "defect" and not family.asks]
    return asking, decided, [family for family in families if family.kind == "variant"]
