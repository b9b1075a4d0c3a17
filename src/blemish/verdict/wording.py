"""A verdict in one sentence. It knows counts and rates, and how people read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blemish.judgement import Interval

__all__ = ["Said", "one_in", "percent", "sentence"]

FEW = 10  # photos below which nothing is certain


@dataclass(frozen=True)
class Said:
    """What a sentence is made of, for one threshold."""

    photos: int
    blemished: int
    above: int  # photos whose score exceeds the threshold, unsure ones too
    unsure: int  # photos to look at, of which
    asked: int  # belong to families that wait for a decision
    false_alarms: Interval
    share: Interval
    overlapping: bool  # good and bad ones do: only the lower end of ``share`` is known
    products: Sequence[int]  # sizes of the groups, if the photos look like several products
    by_hand: bool  # the user has named the threshold
    own: bool  # the batch itself has chosen it
    alike: bool  # all photos score the same
    unit: str = "photo"  # what one of them is called

    @property
    def counted(self) -> str:
        """``1 photo``, ``12 photos``"""
        return f"{self.photos} {self.unit}{'s' * (self.photos != 1)}"


def sentence(said: Said) -> str:
    """One sentence for people who are to act on it."""
    if said.photos < FEW and not said.by_hand:
        return f"Only {said.counted}: too few to be sure of anything; {_look(said)}."
    if said.alike and not said.by_hand:
        return f"All {said.counted} score the same: nothing can be said about them."
    parts = [_called(said)]
    if said.photos >= FEW:
        parts.append(_meaning(said.false_alarms))
    if said.overlapping and said.blemished:
        parts.append("good and bad ones overlap, so there may be many more")
    if said.unsure:
        parts.append(_look(said))
    words = "; ".join(parts) + "."
    if said.products:
        words += f" But {_products(said.products, said.unit)}"
    return words


def _called(said: Said) -> str:
    photos = said.counted
    if said.blemished:
        return f"{said.blemished} of {photos} {'is' if said.blemished == 1 else 'are'} blemished"
    if said.asked or said.above:
        return f"None of {photos} is surely blemished"
    if not said.own:
        return f"None of {photos} is called blemished"
    return f"Nothing here stands out: none of {photos} is called blemished"


def _meaning(rate: Interval) -> str:
    typical = one_in(rate.estimate)
    often, seldom = one_in(rate.high), one_in(rate.low)
    ends = f" (90 % interval {often} to {seldom})" if often != seldom else ""
    about = "" if typical.startswith("fewer") else "about "
    return f"{about}{typical} good ones would be called so{ends}"


def _look(said: Said) -> str:
    if not said.unsure:
        return "none stands out"
    words = f"{said.unsure} need{'s' if said.unsure == 1 else ''} a look"
    if said.asked:
        words += f", {'as' if said.asked == said.unsure else f'{said.asked} of them as'} flaw or variant"
    return words


def _products(sizes: Sequence[int], unit: str) -> str:
    if len(sizes) == 2 and min(sizes) > 0.4 * sum(sizes):
        return "half of these differ from the other half: are these two products?"
    return f"these look like {len(sizes)} products ({', '.join(map(str, sizes))} {unit}s): are they?"


def one_in(rate: float) -> str:
    """0.0033 -> "1 in 300"; 0.4 -> "40 in 100"."""
    if rate >= 0.3:
        return f"{100 * rate:.0f} in 100"
    if rate < 1e-4:
        return "fewer than 1 in 10,000"
    number = 1 / rate
    step = 10 ** max(len(str(int(number))) - 2, 0)
    return f"1 in {round(number / step) * step:,.0f}"


def percent(share: float) -> str:
    """0.123 -> "12 %"; 0.012 -> "1.2 %"; 0.0001 -> "0.01 %"."""
    return f"{float(f'{100 * share:.2g}'):g} %"
