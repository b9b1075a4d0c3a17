"""What a family looks like: the same again in other photos, and not another one in the same photos."""

from __future__ import annotations

import numpy as np
import pytest

from blemish.looks import Look, look_of
from blemish.result import Decision, Family, Member


def tokens(centre: int, seed: int, count: int = 12, noise: float = 0.05) -> np.ndarray:
    """(count, 16) unit tokens around a few directions that belong to ``centre``."""
    directions = np.random.default_rng(centre).normal(size=(4, 16))
    rng = np.random.default_rng(seed)
    z = directions[rng.integers(4, size=count)] + noise * rng.normal(size=(count, 16))
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


def look(centre: int, seed: int, features: str = "net 512") -> Look:
    return look_of([tokens(centre, 100 * seed + at) for at in range(5)], features)


def family(*sha256: str) -> Family:
    members = tuple(Member(f"{digest}.png", digest, 0, 0, 1, 1) for digest in sha256)
    return Family(1, "defect", "blemish", members, np.zeros((2, 2), np.float32), 1.0, 2.0, 1.0, 0.1, 0.2)


# look of the decision, look of the family, whether they are the same
@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (look(1, 1), look(1, 2), True),  # other photos of the same flaw
        (look(1, 1), look(2, 1), False),
        (look(1, 1), look(1, 2, "net 768"), False),  # tokens of another size cannot be compared
    ],
)
def test_a_look_is_known_again(one: Look, other: Look, same: bool) -> None:
    assert one.resembles(other) is same
    assert other.resembles(one) is same


def test_a_look_survives_a_text_file() -> None:
    one = look(1, 1)
    again = Look.decoded(one.encoded())
    np.testing.assert_allclose(again.tokens, one.tokens, atol=1e-3)
    assert again.resembles(one)
    assert (again.reach, again.features) == (one.reach, one.features)


def test_two_families_of_the_same_photos_are_two() -> None:
    said = Decision("variant", (("a.png", "a"), ("b.png", "b"), ("c.png", "c")), look(1, 1))
    assert said.fits(family("a", "b", "c"), look(1, 2))
    assert not said.fits(family("a", "b", "c"), look(2, 1))


def test_bytes_decide_where_looks_cannot() -> None:
    said = Decision("variant", (("a.png", "a"), ("b.png", "b"), ("c.png", "c")), look(1, 1))
    assert said.fits(family("a", "b", "x"), look(2, 1, "net 768"))
    assert said.fits(family("a", "b", "x"))
    assert not said.fits(family("a", "x", "y", "z"))
    assert said.fits(family("x", "y", "z"), look(1, 3)), "photos that nobody has seen yet"
