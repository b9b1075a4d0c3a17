"""Which photos count as what: the user's word before families before the rule, and how sure each label is."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blemish.errors import ConfigError
from blemish.learning.pseudo_calls import UNCONFIRMED, PseudoPhoto, Recipe, called_by_otsu, labelled, otsu, soundest
from blemish.result import Family, Member, Photo

SURE = 0.9  # probability of a defect where the rule calls one
PAIRS = {"blemished": SURE, "ok": 1 - SURE, "unsure": 0.6}


def family(kind: str, decided_by: str, *paths: str, number: int = 1, question: str = "") -> Family:
    members = tuple(Member(path, "", 0, 0, 0.5, 0.5) for path in paths)
    place = np.full((4, 4), 0.1, np.float32)
    return Family(number, kind, decided_by, members, place, 1.0, 2.0, 1.0, 1.0, 2.0, question)  # type: ignore[arg-type]


def label(call: str, families: tuple[Family, ...] = (), said: str | None = None, **recipe: object) -> PseudoPhoto | str:
    """Of one photo with this call; or why it is left out."""
    photo = Photo("a.png", "ok", score=1.0, reason="near the threshold" if call == "unsure" else "")
    words = {} if said is None else {"a.png": said}
    found, left = labelled([photo], [call], np.array([PAIRS[call]]), families, words, Recipe(**recipe))  # type: ignore
    assert len(found) + len(left) == 1
    return found[0] if found else left["a.png"]


def photo(label: bool, kind: str, confidence: float, why: str) -> PseudoPhoto:
    return PseudoPhoto("a.png", label, kind, pytest.approx(confidence), why)  # type: ignore[arg-type]


MINE = family("defect", "user", "a.png", number=3)
FOUND = family("defect", "blemish", "a.png", number=2)
ASKED = family("unsure", "blemish", "a.png")
VARIANT = family("variant", "user", "a.png")


@pytest.mark.parametrize(
    ("call", "families", "said", "expected"),
    [
        # the rule, where nobody has said anything
        ("blemished", (), None, photo(True, "defect", 0.8, "called blemished")),
        ("ok", (), None, photo(False, "good", 0.8, "called ok")),
        ("unsure", (), None, "near the threshold"),
        # a family of defects: its kind, and as sure as whoever decided it
        ("blemished", (MINE,), None, photo(True, "family-3", 1.0, "family 3, as you decided")),
        ("blemished", (FOUND,), None, photo(True, "family-2", UNCONFIRMED, "family 2")),
        ("ok", (MINE,), None, photo(True, "family-3", 1.0, "family 3, as you decided")),
        # of two families the one with the stronger evidence
        ("blemished", (FOUND, MINE), None, photo(True, "family-2", UNCONFIRMED, "family 2")),
        # a family that is asked about decides nothing
        ("unsure", (ASKED,), None, "near the threshold"),
        ("blemished", (ASKED,), None, photo(True, "defect", 0.8, "called blemished")),
        # a legitimate variant is good, unless it has a flaw besides: then nobody knows where
        ("ok", (VARIANT,), None, photo(False, "good", 1.0, "family 1, as you decided, a legitimate variant")),
        ("unsure", (VARIANT,), None, photo(False, "good", 1.0, "family 1, as you decided, a legitimate variant")),
        ("blemished", (VARIANT,), None, "called blemished, though family 1, as you decided is a legitimate variant"),
        # what was said of the photo itself counts most
        ("ok", (), "blemished", photo(True, "defect", 1.0, "as you said")),
        ("unsure", (), "ok", photo(False, "good", 1.0, "as you said")),
        ("blemished", (MINE,), "ok", photo(False, "good", 1.0, "as you said")),
        ("ok", (VARIANT,), "blemished", photo(True, "defect", 1.0, "as you said")),
        ("blemished", (MINE,), "blemished", photo(True, "family-3", 1.0, "as you said")),
    ],
)
def test_who_decides(call, families, said, expected):
    assert label(call, families, said) == expected


def test_unsure_photos_can_be_weighed():
    assert label("unsure", unsure="weigh") == photo(True, "defect", 0.2, "unsure")


def test_a_call_against_the_odds_weighs_nothing():
    one = Photo("a.png", "ok", score=1.0)
    (found,), _ = labelled([one], ["blemished"], np.array([0.4]), (), {}, Recipe())
    assert (found.label, found.confidence) == (True, 0.0)


@pytest.mark.parametrize(("share", "kept"), [(1.0, 4), (0.5, 2), (0.3, 2), (0.01, 1)])
def test_of_the_good_ones_the_soundest(share, kept):
    good = [PseudoPhoto(f"{n}", False, "good", 1.0, "called ok") for n in range(4)]
    others = [
        replace(good[0], path="bad", label=True, kind="defect", why="called blemished"),
        replace(good[0], path="said", why="as you said"),  # nobody doubts that one
    ]
    scores = {"0": 4.0, "1": 3.0, "2": 2.0, "3": 1.0, "bad": 9.0, "said": 8.0}
    found, left = soundest([*good, *others], scores, share)
    assert [one.path for one in found] == [*"0123"[4 - kept :], "bad", "said"]
    assert "".join(left) == "210"[kept - 1 :]  # the next best first
    assert all("score lowest" in why for why in left.values())


@given(st.lists(st.floats(0, 100), min_size=2, max_size=30))
def test_otsu_parts_with_the_largest_variance_between(values):
    def between(threshold: float) -> float:
        low = [v for v in values if v <= threshold]
        high = [v for v in values if v > threshold]
        if not low or not high:
            return 0.0
        return len(low) * len(high) * (np.mean(low) - np.mean(high)) ** 2

    best = max(between(v) for v in values)
    assert between(otsu(np.array(values))) == pytest.approx(best, rel=1e-6, abs=1e-6)


def test_calls_by_otsu():
    scores = np.array([1.0, 1.2, 0.8, 3.1, 5.0, 5.2, 4.8])
    calls, probability = called_by_otsu(scores)
    assert calls == ["ok", "ok", "ok", "unsure", "blemished", "blemished", "blemished"]  # the middle one is neither
    assert probability[[2, 5]].tolist() == [0.0, 1.0]


def test_calls_by_otsu_where_all_scores_are_equal():
    assert called_by_otsu(np.ones(4))[0] == ["ok"] * 4


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"labels": "kmeans"}, "labels is 'verdict' or 'otsu'; received 'kmeans'"),
        ({"masks": "crf"}, "masks is 'regions' or 'level'; received 'crf'"),
        ({"unsure": "keep"}, "unsure is 'leave out' or 'weigh'; received 'keep'"),
        ({"sound": 0.0}, "sound is a share, above 0 and at most 1; received 0.0"),
        ({"edge": 0.0}, "edge is a positive number of tokens and smallest at least 0; received 0.0"),
        ({"smallest": math.nan}, "smallest at least 0; received 1.0, nan"),
    ],
)
def test_bad_settings(settings, says):
    with pytest.raises(ConfigError, match=says):
        Recipe(**settings)
