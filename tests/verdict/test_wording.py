"""The sentence: what people read who are to act on it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blemish.judgement import Interval
from blemish.verdict.wording import Said, one_in, percent, sentence

RATE = Interval(1 / 300, 1 / 900, 1 / 120)
MEANING = "about 1 in 300 good ones would be called so (90 % interval 1 in 120 to 1 in 900)"


def said(**more: Any) -> Said:
    values: dict[str, Any] = {
        "photos": 200,
        "blemished": 7,
        "above": 7,
        "unsure": 0,
        "asked": 0,
        "false_alarms": RATE,
        "share": Interval(0.05, 0.021, 0.12),
        "overlapping": False,
        "products": (),
        "by_hand": False,
        "own": True,
        "alike": False,
    }
    return Said(**(values | more))


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        # as it was asked for
        ({"unsure": 3}, f"7 of 200 photos are blemished; {MEANING}; 3 need a look."),
        # nobody is in doubt
        ({}, f"7 of 200 photos are blemished; {MEANING}."),
        # singular
        ({"blemished": 1, "unsure": 1}, f"1 of 200 photos is blemished; {MEANING}; 1 needs a look."),
        # nothing stands out
        ({"blemished": 0, "above": 0}, f"Nothing here stands out: none of 200 photos is called blemished; {MEANING}."),
        # no discovery where the threshold was typed
        (
            {"blemished": 0, "above": 0, "by_hand": True, "own": False},
            f"None of 200 photos is called blemished; {MEANING}.",
        ),
        # nor where nothing can be told apart
        ({"blemished": 0, "alike": True}, "All 200 photos score the same: nothing can be said about them."),
        # nor where all that stands out is doubtful
        (
            {"blemished": 0, "above": 2, "unsure": 3},
            f"None of 200 photos is surely blemished; {MEANING}; 3 need a look.",
        ),
        # nor where the user is asked about all that stands out
        (
            {"blemished": 0, "unsure": 6, "asked": 6},
            f"None of 200 photos is surely blemished; {MEANING}; 6 need a look, as flaw or variant.",
        ),
        # of those to look at some belong to a family
        (
            {"unsure": 9, "asked": 6},
            f"7 of 200 photos are blemished; {MEANING}; 9 need a look, 6 of them as flaw or variant.",
        ),
        # good and bad overlap: at least
        (
            {"overlapping": True},
            f"7 of 200 photos are blemished; {MEANING}; good and bad ones overlap, so there may be many more.",
        ),
        # two products, even
        (
            {"products": (104, 96)},
            f"7 of 200 photos are blemished; {MEANING}. "
            "But half of these differ from the other half: are these two products?",
        ),
        # several, or uneven
        (
            {"products": (150, 50)},
            f"7 of 200 photos are blemished; {MEANING}. But these look like 2 products (150, 50 photos): are they?",
        ),
        (
            {"products": (80, 60, 60)},
            f"7 of 200 photos are blemished; {MEANING}. But these look like 3 products (80, 60, 60 photos): are they?",
        ),
        # a rate too low to be told
        (
            {"false_alarms": Interval(1e-6, 0.0, 0.002)},
            "7 of 200 photos are blemished; fewer than 1 in 10,000 good ones would be called so "
            "(90 % interval 1 in 500 to fewer than 1 in 10,000).",
        ),
        # an interval that would say the same twice
        (
            {"false_alarms": Interval(1e-5, 0.0, 2e-5)},
            "7 of 200 photos are blemished; fewer than 1 in 10,000 good ones would be called so.",
        ),
        # a threshold that calls nearly everything
        (
            {"false_alarms": Interval(0.4, 0.25, 0.6)},
            "7 of 200 photos are blemished; about 40 in 100 good ones would be called so "
            "(90 % interval 60 in 100 to 1 in 4).",
        ),
        # 3 to 9 photos: no certainty, and no rate that pretends to some
        (
            {"photos": 3, "blemished": 0},
            "Only 3 photos: too few to be sure of anything; none stands out.",
        ),
        (
            {"photos": 9, "blemished": 0, "unsure": 1},
            "Only 9 photos: too few to be sure of anything; 1 needs a look.",
        ),
        (
            {"photos": 9, "blemished": 0, "unsure": 4},
            "Only 9 photos: too few to be sure of anything; 4 need a look.",
        ),
        # a typed threshold is obeyed
        ({"photos": 9, "blemished": 2, "by_hand": True}, "2 of 9 photos are blemished."),
        # the least that is enough
        ({"photos": 10, "blemished": 1}, f"1 of 10 photos is blemished; {MEANING}."),
    ],
)
def test_the_sentence(facts: dict[str, Any], words: str) -> None:
    assert sentence(said(**facts)) == words


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (1.0, "100 in 100"),
        (0.5, "50 in 100"),
        (0.3, "30 in 100"),  # "1 in 3" would be rounded too far
        (0.25, "1 in 4"),
        (0.2, "1 in 5"),
        (0.0999, "1 in 10"),
        (0.011, "1 in 91"),
        (0.01, "1 in 100"),
        (1 / 120, "1 in 120"),
        (1 / 300, "1 in 300"),
        (1 / 1234, "1 in 1,200"),
        (1 / 9876, "1 in 9,900"),
        (1e-5, "fewer than 1 in 10,000"),
        (0.0, "fewer than 1 in 10,000"),
    ],
)
def test_rates_are_told_as_people_count(rate: float, words: str) -> None:
    assert one_in(rate) == words


@given(st.floats(1e-4, 0.29))
def test_rates_are_rounded_to_two_figures(rate: float) -> None:
    number = float(one_in(rate).removeprefix("1 in ").replace(",", ""))
    assert number == pytest.approx(1 / rate, rel=0.17 if rate > 0.1 else 0.051)


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0, "0 %"),
        (0.0042, "0.42 %"),
        (0.01, "1 %"),
        (0.012, "1.2 %"),
        (0.0001, "0.01 %"),
        (0.099, "9.9 %"),
        (0.0999, "10 %"),
        (0.123, "12 %"),
        (1, "100 %"),
    ],
)
def test_shares_in_per_cent(share: float, words: str) -> None:
    assert percent(share) == words
