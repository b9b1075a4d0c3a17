"""Which photos of a run count as defective, which as good, which as neither, how sure that is, and why.

What the user has said of a photo counts most, then what was decided about its family, then a rule: the run's own
verdict, or the plain one, Otsu's on scores alone. Pure functions on the values of a run; pixels are ``pseudo_masks``'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from blemish.errors import ConfigError
from blemish.judgement import Call
from blemish.result import Family, Photo

__all__ = ["PseudoPhoto", "Recipe", "called_by_otsu", "labelled", "otsu", "soundest"]

Float64 = npt.NDArray[np.float64]

LabelRule = Literal["verdict", "otsu"]
MaskRule = Literal["regions", "level"]
Unsure = Literal["leave out", "weigh"]

MIDDLE = (0.4, 0.6)  # Otsu: of the way from the good photos' mean score to the others', called unsure
UNCONFIRMED = 0.7  # confidence in the members of a family that nobody has looked at: 11 of 12 were right


@dataclass(frozen=True)
class Recipe:
    """How a run becomes labels and masks. The defaults are what did best (benchmarks/pseudo_masks.md); ``otsu`` and
    ``level`` are the plain recipe that studies of pseudo-masks start from.

    Raises ``ConfigError`` for a value out of its range."""

    labels: LabelRule = "verdict"  # or Otsu's threshold on the scores, where nobody has said anything
    masks: MaskRule = "regions"  # or all pixels above Q3 + 3 IQR of the photos labelled good
    unsure: Unsure = "leave out"  # or label them by what is likelier, with the little confidence that leaves
    sound: float = 0.5  # share of what is called ok that counts as good, lowest scores first: missed flaws lie above
    edge: float = 1.0  # tokens on either side of an outline over which a soft mask goes from 0 to 1
    smallest: float = 0.25  # tokens: a smaller piece is dropped, unless it is its photo's largest

    def __post_init__(self) -> None:
        for name, allowed in (("labels", LabelRule), ("masks", MaskRule), ("unsure", Unsure)):
            if (value := getattr(self, name)) not in get_args(allowed):
                raise ConfigError(f"{name} is {' or '.join(map(repr, get_args(allowed)))}; received {value!r}.")
        if not 0 < self.sound <= 1:
            raise ConfigError(f"sound is a share, above 0 and at most 1; received {self.sound}.")
        if not (0 < self.edge < np.inf and 0 <= self.smallest < np.inf):
            raise ConfigError(
                f"edge is a positive number of tokens and smallest at least 0; received {self.edge}, {self.smallest}."
            )


@dataclass(frozen=True, slots=True)
class PseudoPhoto:
    """``confidence``: 0 = the label could as well be wrong, 1 = sure; a weight for training. That is 2 p - 1, where p
    is how probable the label is."""

    path: str  # in the run
    label: bool  # True = defective
    kind: str  # good, defect, or family-3
    confidence: float
    why: str


def otsu(values: npt.NDArray[np.floating]) -> float:
    """The threshold between two sorted values that parts ``values: (n,)`` with the largest variance between the parts
    (Otsu 1979, without bins); at least two values."""
    ascending = np.sort(np.asarray(values, dtype=np.float64))
    below = np.arange(1, len(ascending))
    sums = np.cumsum(ascending)[:-1]
    gap = sums / below - (ascending.sum() - sums) / (len(ascending) - below)
    at = int(np.argmax(below * (len(ascending) - below) * gap**2))
    return float((ascending[at] + ascending[at + 1]) / 2)


def called_by_otsu(scores: Float64) -> tuple[list[Call], Float64]:
    """Each photo's call, and a probability as far as it lies between the means of the two sides."""
    above = scores > otsu(scores)
    low, high = float(scores[~above].mean()), float(scores[above].mean()) if above.any() else np.inf
    way = np.clip((scores - low) / (high - low), 0, 1)
    unsure = (way > MIDDLE[0]) & (way < MIDDLE[1])
    return ["unsure" if open_ else "blemished" if bad else "ok" for open_, bad in zip(unsure, above, strict=True)], way


def labelled(
    photos: Sequence[Photo],
    calls: Sequence[Call],
    probability: Float64,
    families: Sequence[Family],
    said: Mapping[str, Call],
    recipe: Recipe,
) -> tuple[list[PseudoPhoto], dict[str, str]]:
    """The photos with a label, and why the others have none. Families are sorted by their evidence, strongest first."""
    of: dict[str, Family] = {}
    for family in families:
        if not family.asks:
            for path in family.paths:
                of.setdefault(path, family)
    found, left_out = [], {}
    for photo, call, likely in zip(photos, calls, probability.tolist(), strict=True):
        mine = of.get(photo.path)
        user = mine is not None and mine.decided_by == "user"
        named = f"family {mine.number}" + (", as you decided" if user else "") if mine else ""
        kind = f"family-{mine.number}" if mine and mine.kind == "defect" else "defect"
        if photo.path in said:
            label, sure, why = said[photo.path] == "blemished", 1.0, "as you said"
        elif mine and mine.kind == "defect":
            label, sure, why = True, 1.0 if user else UNCONFIRMED, named
        elif mine and call == "blemished":
            left_out[photo.path] = f"called blemished, though {named} is a legitimate variant"
            continue
        elif mine:
            label, sure, why = False, 1.0 if user else _sure(1 - likely), f"{named}, a legitimate variant"
        elif call == "unsure" and recipe.unsure == "leave out":
            left_out[photo.path] = photo.reason or "unsure"
            continue
        elif call == "unsure":
            label = likely >= 0.5
            sure, why = _sure(likely if label else 1 - likely), "unsure"
        else:
            label = call == "blemished"
            sure, why = _sure(likely if label else 1 - likely), f"called {call}"
        found.append(PseudoPhoto(photo.path, label, kind if label else "good", sure, why))
    return found, left_out


def _sure(probability: float) -> float:
    return max(0.0, 2 * probability - 1)


def soundest(
    found: Sequence[PseudoPhoto], scores: Mapping[str, float], share: float
) -> tuple[list[PseudoPhoto], dict[str, str]]:
    """Of the good photos only the ``share`` that scores lowest; what nobody can doubt stays."""
    good = sorted((photo for photo in found if photo.why == "called ok"), key=lambda photo: scores[photo.path])
    dropped = [photo.path for photo in good[int(np.ceil(share * len(good))) :]]
    reasons = dict.fromkeys(dropped, f"called ok, but not among the {share:.0%} that score lowest")
    return [photo for photo in found if photo.path not in reasons], reasons
