"""From what the search has found to what a user is shown: a family with its photos, place, effect and decision.

Pure functions on arrays and result types; no words for the user, no files.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from blemish.looks import Look, look_of
from blemish.rescoring import Rescoring
from blemish.result import Decision, Family, Member
from blemish.scoring.families import FoundFamily, Pass

__all__ = ["decided", "describe", "excluded", "family_of", "looks_of", "with_effect"]

Float32 = npt.NDArray[np.float32]


def describe(
    found: Sequence[FoundFamily],
    grid: tuple[int, ...],
    paths: Sequence[str],
    sha256: Sequence[str],
) -> tuple[Family, ...]:
    """Families with their places on ``grid``, that of their first pass; the effect is not known yet."""
    return tuple(
        Family(
            number=number,
            kind="unsure" if family.question else "defect",
            decided_by="blemish",
            members=tuple(
                _member(paths[photo], sha256[photo], tokens.reshape(grid))
                for photo, tokens in zip(family.members, family.tokens[0], strict=True)
            ),
            place=family.tokens[0].mean(axis=0, dtype=np.float32).reshape(grid),
            density=family.density,
            strength=family.strength,
            fence=family.fence,
            score_with=0.0,
            score_without=0.0,
            question=family.question if len(grid) == 2 else _of_volumes(family.question),
        )
        for number, family in enumerate(found, start=1)
    )


def _of_volumes(question: str) -> str:
    """The search does not know what it looks at."""
    return question.replace("the photos", "the volumes").replace("the picture", "the box around the brain")


def _member(path: str, sha256: str, tokens: npt.NDArray[np.bool_]) -> Member:
    if not tokens.any():  # the published rule may find that no token of a member depends on the others
        return Member(path, sha256, 0.0, 0.0, 1.0, 1.0)
    sides = [
        (float(there.min() / side), float((there.max() + 1) / side))
        for there, side in zip(np.nonzero(tokens), tokens.shape, strict=True)
    ]
    (top, bottom), (left, right) = sides[-2:]
    front, back = sides[0] if len(sides) > 2 else (0.0, 1.0)
    return Member(path, sha256, left=left, top=top, right=right, bottom=bottom, front=front, back=back)


def decided(
    families: Sequence[Family], decisions: Sequence[Decision], looks: Sequence[Look | None]
) -> tuple[Family, ...]:
    """``families`` as the user has decided, the latest decision last; the others as the batch decides. ``looks``: of
    each family, where it is known."""
    result = []
    for family, look in zip(families, looks, strict=True):
        said = [decision.kind for decision in decisions if decision.fits(family, look)]
        if said:
            result.append(replace(family, kind=said[-1], decided_by="user"))
        else:
            result.append(replace(family, kind="unsure" if family.question else "defect", decided_by="blemish"))
    return tuple(result)


def looks_of(found: Sequence[FoundFamily], one: Pass, features: str) -> list[Look | None]:
    """The look of each family in its first pass; None where no member's token carries it. A region of volumes may reach
    beyond a member's brain, where there are no tokens."""
    looks: list[Look | None] = []
    for family in found:
        members = [
            one.tokens.read(int(photo), int(photo) + 1)[0][carrying]
            for photo, tokens in zip(family.members, family.tokens[0], strict=True)
            if (carrying := tokens if one.inside is None else tokens & one.inside[photo]).any()
        ]
        looks.append(look_of(members, features) if len(members) > 1 else None)
    return looks


def excluded(families: Sequence[Family]) -> frozenset[int]:
    """The families, counted from 0, whose looks may not vouch for themselves."""
    return frozenset(family.number - 1 for family in families if family.kind == "defect")


def with_effect(families: Sequence[Family], rescoring: Rescoring, paths: Sequence[str]) -> tuple[Family, ...]:
    """``families`` with their members' median image score while all looks vouch, and when this one does not."""
    if not families:
        return ()
    row = {path: at for at, path in enumerate(paths)}
    plain = rescoring.maps(())
    result = []
    for family in families:
        members = np.array([row[path] for path in family.paths])
        alone = rescoring.maps({family.number - 1})
        result.append(
            replace(
                family,
                score_with=_median(rescoring.image_scores(plain, members)),
                score_without=_median(rescoring.image_scores(alone, members)),
            )
        )
    return tuple(result)


def _median(scores: Float32) -> float:
    return float(np.median(scores))


def family_of(families: Sequence[Family], kinds: Collection[str] = ("defect", "unsure", "variant")) -> dict[str, int]:
    """Path -> number of the family a photo belongs to, the strongest where there are several."""
    return {path: family.number for family in reversed(families) if family.kind in kinds for path in family.paths}
