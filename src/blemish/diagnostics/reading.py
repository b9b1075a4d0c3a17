"""A diagnosis in words, for whoever looks after the quality of a product rather than after statistics.

Two to five sentences, which say as plainly where the numbers are weak.
"""

from __future__ import annotations

import math

from blemish.diagnostics.batch_size import HOLDS
from blemish.diagnostics.burnout import BurnOutSummary
from blemish.diagnostics.diagnosis import Diagnosis
from blemish.diagnostics.scaling import PowerLaw

__all__ = ["reading"]

GOOD = 0.98  # R^2 that published features reach
SLOPES = (-1.3, -0.7)  # exponents for which chance levels, which assume -1, are about right
OF_VOLUMES = (  # what is said of photos, and of volumes instead; longer pieces first
    ("parts that were photographed twice", "patients who were scanned twice"),
    ("a good part, or one part photographed", "sound anatomy, or one patient scanned"),
    ("photos", "volumes"),
    ("photo", "volume"),
    ("patches", "cells"),
    ("patch", "cell"),
    ("flaw", "lesion"),
)
FEW = 30  # photos under which everything here is a hint


def reading(diagnosis: Diagnosis, families: int = 0, volumes: bool = False) -> str:
    """The diagnosis in two to five sentences; its own ``reading`` is not looked at. ``families``: how many were found,
    which these numbers, taken over all patches, may be too coarse to show. ``volumes``: whether it is of such."""
    words = _read(diagnosis, families)
    for photos, of_volumes in OF_VOLUMES if volumes else ():
        words = words.replace(photos, of_volumes)
    return words


def _read(diagnosis: Diagnosis, families: int) -> str:
    law = diagnosis.power_law
    if law is None:
        return _unreadable(diagnosis)
    sentences = (
        _scaling(law),
        _tail(diagnosis),
        _burn_out(diagnosis, diagnosis.burn_out, families) if diagnosis.burn_out else "",
        _batch(diagnosis),
    )
    return " ".join(sentence for sentence in sentences if sentence)


def _unreadable(diagnosis: Diagnosis) -> str:
    if diagnosis.photos < 6:
        return (
            f"{diagnosis.photos} photos are too few to see how the matches of a patch thin out. "
            f"Six are the least for a first look, {FEW} and more for one to rely on."
        )
    return (
        "Most patches have equally good matches in many photos, so there is nothing to see in how their matches thin "
        "out. Usually the same photo is in the folder many times, or the photos are almost empty."
    )


def _scaling(law: PowerLaw) -> str:
    measured = f"R² {int(100 * law.r2) / 100:.2f}, slope {law.exponent:.2f} where theory has -1"
    if law.r2 < HOLDS:
        return (
            f"The matches of an ordinary patch do not thin out by a power law ({measured}), so take burn-out as an "
            "order of patches and not as evidence."
        )
    if not SLOPES[0] <= law.exponent <= SLOPES[1]:
        return (
            f"The matches of an ordinary patch thin out by a power law, but not the one of the theory ({measured}), so "
            "what chance does by itself is known roughly only."
        )
    if law.r2 < GOOD:
        return (
            f"The matches of an ordinary patch thin out about as the theory says ({measured}), so burn-out can be "
            "told from chance with some care."
        )
    return (
        f"The matches of an ordinary patch thin out as the theory says ({measured}), so burn-out can be told from "
        "chance."
    )


def _tail(diagnosis: Diagnosis) -> str:
    alpha = diagnosis.plateau.alpha if diagnosis.plateau else diagnosis.alpha
    if alpha is None:
        return ""
    reach = (
        f"by chance alone, match number {diagnosis.omega} of a patch is about {diagnosis.omega ** (1 / alpha):.1f} "
        "times as far as its best one"
    )
    if diagnosis.plateau:
        return f"The tail index is {alpha:.1f}: {reach}."
    return f"The tail index depends on how many matches are used, {alpha:.1f} on average; roughly, {reach}."


def _burn_out(diagnosis: Diagnosis, found: BurnOutSummary, families: int) -> str:
    if found.stands_out:
        return _peak(diagnosis, found)
    share = f"{found.share:.1%} of the sampled patches run out of matches abruptly"
    if families:
        shown = (
            "the family is too small a part of all patches"
            if families == 1
            else "the families are too small a part of them"
        )
        return f"{share}; {shown} to stand out in that number."
    # Twice the chance, and beyond the scatter of the sample.
    if found.share > max(2 * found.chance, found.chance + 3 * math.sqrt(found.chance / diagnosis.sampled)):
        return (
            f"{share}, where theory allows {found.chance:.0%}, but at no number of photos in particular: the patches "
            "of these photos differ more than the theory has it, no sign of one recurring flaw, but it can hide one."
        )
    return (
        f"{share}, no more than chance explains: no sign of a flaw that recurs in 2 to {diagnosis.omega} photos, "
        "though a small one can slip through a sample."
    )


def _peak(diagnosis: Diagnosis, found: BurnOutSummary) -> str:
    others = found.most_often
    typical = sorted(found.counts)[(len(found.counts) - 1) // 2]
    compared = f"; for other numbers of photos it is about {typical / diagnosis.sampled:.1%} each"
    share = f"{found.counts[others - 1] / diagnosis.sampled:.1%} of the sampled patches match"
    if others == 1:
        return (
            f"{share} one other photo and no second{compared}. Look for parts that were photographed twice, or for a "
            "flaw that two photos share."
        )
    return (
        f"{share} {others} other photos and no more{compared}. That is a recurring flaw, a rare variant of a good "
        f"part, or one part photographed {others + 1} times, and only a look at the photos can tell which."
    )


def _batch(diagnosis: Diagnosis) -> str:
    if diagnosis.photos < FEW:
        return f"With {diagnosis.photos} photos all of this is a hint; {FEW} and more make it reliable."
    if diagnosis.smallest_batch is None:
        return ""
    if diagnosis.smallest_batch == diagnosis.batches[-1].batch:
        return f"The law still holds with {diagnosis.smallest_batch} of these photos, the fewest that were tried."
    return (
        f"The law still holds with {diagnosis.smallest_batch} of these photos but not with "
        f"{diagnosis.batches[-1].batch}, so scan at least {diagnosis.smallest_batch} at a time."
    )
