"""One pair of images: exact whatever the product's precision, both ways round, for any number of tokens."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.matching.pairs import (
    MOST,
    Matcher,
    _parts,
    choose_precision,
    index_type,
    operand_bytes,
    operands,
)
from token_batches import PRECISIONS, assert_nearest, clustered_tokens, true_distances, unit, unit_tokens

Matches = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
precisions = pytest.mark.parametrize("precision", PRECISIONS)


def matched(z: np.ndarray, precision: str, i: int = 0, j: int = 1) -> Matches:
    ready = operands(z, precision)
    return tuple(part[0] for part in Matcher(z.shape[1], z.shape[2], precision).match(ready, i, ready, j))


def assert_exact(z: np.ndarray, precision: str) -> None:
    """For all pairs of ``z`` (B, N, C), with one matcher."""
    ready = operands(z, precision)
    matcher = Matcher(z.shape[1], z.shape[2], precision)
    for i in range(len(z)):
        for j in range(i + 1, len(z)):
            exact = true_distances(z[i], z[j])
            forward, forward_index, backward, backward_index = (part[0] for part in matcher.match(ready, i, ready, j))
            assert_nearest(forward, forward_index, exact)
            assert_nearest(backward, backward_index, exact.T)


def assert_symmetric(z: np.ndarray, precision: str) -> None:
    there, back = matched(z, precision), matched(z, precision, 1, 0)
    for one, other in zip(there, (*back[2:], *back[:2]), strict=True):
        np.testing.assert_array_equal(one, other)


def near_copies() -> np.ndarray:
    """Every token is in each image, moved by 0.001 to 0.05."""
    rng = np.random.default_rng(0)
    moved = np.geomspace(1e-3, 5e-2, 100)[:, None] * unit(rng.normal(size=(3, 100, 60)))
    return unit(unit_tokens(1, 100, 60) + moved)


def with_zeros() -> np.ndarray:
    z = unit_tokens(3, 20, 12)
    z[:, ::5] = 0
    return z


def massive_channel() -> np.ndarray:
    z = np.random.default_rng(0).normal(size=(3, 90, 60))
    z[..., 7] += 60
    return unit(z)


def sparse() -> np.ndarray:
    z = np.random.default_rng(0).normal(size=(3, 90, 60))
    return unit(np.maximum(z - 1.3, 0) + 1e-6)


BATCHES: dict[str, Callable[[], np.ndarray]] = {
    # one token: one row, one column
    "N=1": lambda: unit_tokens(4, 1, 5),
    # either side of the 8 rows whose maxima are taken first
    "N=7": lambda: unit_tokens(4, 7, 5),
    "N=8": lambda: unit_tokens(4, 8, 5),
    "N=9": lambda: unit_tokens(4, 9, 5),
    # either side of the 64 rows that are compared with their bounds at once
    "N=63": lambda: unit_tokens(3, 63, 20),
    "N=64": lambda: unit_tokens(3, 64, 20),
    "N=65": lambda: unit_tokens(3, 65, 20),
    "N=200": lambda: unit_tokens(3, 200, 20),
    # tokens are 1 or -1: nothing but distances 0 and 2
    "C=1": lambda: unit_tokens(3, 50, 1),
    # no whole vector register
    "C=7": lambda: unit_tokens(3, 120, 7),
    # as backbones have them; with the columns of the norms no longer a multiple of 64 bytes
    "C=168": lambda: unit_tokens(3, 120, 168),
    "C=768": lambda: unit_tokens(2, 70, 768),
    # a batch of copies that differ by little: distances far below what bfloat16 can tell apart
    "near copies": near_copies,
    # clusters narrower than bfloat16's steps of d, and so full of proposals
    "clusters": lambda: clustered_tokens(3, 100, 30, 0.2),
    # a flat photo without a direction, were it not for unit_norm
    "zeros": with_zeros,
    # as vision transformers have it: one channel outweighs all others, so that all products are near 1
    "one massive channel": massive_channel,
    # after a rectifier: most channels are 0
    "sparse": sparse,
}


@precisions
@pytest.mark.parametrize("batch", BATCHES)
def test_equals_the_definition(batch: str, precision: str) -> None:
    assert_exact(BATCHES[batch](), precision)


@settings(max_examples=40)
@given(st.integers(1, 24), st.integers(1, 20), st.integers(0, 10_000), st.sampled_from(PRECISIONS))
def test_equals_the_definition_for_any_shape(tokens: int, channels: int, seed: int, precision: str) -> None:
    assert_exact(unit_tokens(2, tokens, channels, seed), precision)


@precisions
@pytest.mark.parametrize("spread", [0.001, 0.003, 0.01, 0.05])
def test_near_duplicates_are_told_apart(spread: float, precision: str) -> None:
    """Clusters so narrow that a float32 product cannot rank their tokens: sky, cloth, a polished face."""
    assert_exact(clustered_tokens(3, 150, 60, spread), precision)


@precisions
def test_a_background_with_noise_is_exact(precision: str) -> None:
    """One cluster: everything is proposed, and the finer product decides."""
    rng = np.random.default_rng(0)
    assert_exact(unit(unit_tokens(1, 1, 60) + 1e-3 * rng.normal(size=(3, 100, 60)) / 60**0.5), precision)


@precisions
@pytest.mark.parametrize("strong", [2, 3, 5])
def test_few_strong_channels_are_exact(strong: int, precision: str) -> None:
    """Rounding errors that lie in few channels are larger along the line between two tokens than if they were spread
    over all of them."""
    scale = np.where(np.arange(168) < strong, 1, 0.01)
    assert_exact(unit(np.random.default_rng(0).normal(size=(5, 256, 168)) * scale), precision)


@precisions
@pytest.mark.parametrize("spread", [1.0, 0.05, 0.015, 0.005])
def test_the_other_way_round_is_the_same_to_the_bit(spread: float, precision: str) -> None:
    for seed in range(100):
        tokens, channels = np.random.default_rng(seed).integers((10, 4), (60, 40))
        assert_symmetric(clustered_tokens(2, int(tokens), int(channels), spread, seed), precision)


def test_the_other_way_round_is_the_same_at_the_edge_of_too_many_proposals() -> None:
    """One way round there is one proposal too many for the coarse product, and the finer one decides."""
    assert_symmetric(clustered_tokens(2, 24, 20, 0.006, 3725), "bfloat16")


@pytest.mark.parametrize("batch", ["N=65", "C=7", "C=168", "near copies", "zeros", "sparse"])
def test_precision_changes_no_bit_where_both_are_sure(batch: str) -> None:
    z = BATCHES[batch]()
    for one, other in zip(matched(z, "bfloat16"), matched(z, "float32"), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


@pytest.mark.parametrize("batch", ["N=1", "N=65", "C=7", "C=168", "near copies"])
def test_a_processor_without_bfloat16_is_slow_and_not_wrong(batch: str) -> None:
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)  # torch.backends.mkldnn.flags warns of another flag
    try:
        assert_exact(BATCHES[batch](), "bfloat16")
    finally:
        torch._C._set_mkldnn_enabled(before)


@precisions
@pytest.mark.parametrize("tokens", [1, 7, 8, 9, 20, 24, 65])
def test_of_several_nearest_tokens_the_first_is_noted(tokens: int, precision: str) -> None:
    """Tokens are unit vectors along few axes, so that most have several equally near ones, and products are exact."""
    z = np.eye(12, dtype=np.float32)[np.random.default_rng(tokens).integers(0, 12, (2, tokens))]
    forward, forward_index, backward, backward_index = matched(z, precision)
    exact = true_distances(z[0], z[1])
    np.testing.assert_array_equal(forward_index, exact.argmin(axis=1))
    np.testing.assert_array_equal(backward_index, exact.argmin(axis=0))
    np.testing.assert_array_equal(forward[exact.min(axis=1) == 0], 0)
    np.testing.assert_array_equal(backward[exact.min(axis=0) == 0], 0)


@pytest.mark.parametrize(
    ("z", "falls_back"),
    [
        # all tokens of both images alike: everything is proposed
        (np.broadcast_to(unit_tokens(1, 1, 9), (2, 30, 9)).copy(), True),
        # two flat images of different colours
        (np.repeat(unit_tokens(2, 1, 9), 30, axis=1), True),
        # alike, but as few as may be proposed anyway
        (np.broadcast_to(unit_tokens(1, 1, 9), (2, MOST, 9)).copy(), False),
        # random tokens are decided by the coarse product
        (unit_tokens(2, 30, 9), False),
        # and so are copies
        (np.repeat(unit_tokens(1, 30, 9), 2, axis=0), False),
    ],
)
def test_flat_images_are_left_to_a_finer_product(
    z: np.ndarray, falls_back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    finely = Matcher._propose_finely
    monkeypatch.setattr(Matcher, "_propose_finely", lambda *given: calls.append(1) or finely(*given))
    assert_exact(z, "bfloat16")
    assert bool(calls) == falls_back


def test_a_matcher_remembers_nothing() -> None:
    """Its buffers are used for a flat pair, and then for others."""
    z = unit_tokens(4, 30, 9)
    z[1] = z[0] = z[0, 0]
    ready = operands(z, "bfloat16")
    used = Matcher(30, 9, "bfloat16")
    first = used.match(ready, 0, ready, 1)
    kept = [array.copy() for array in first]
    for pair in ((0, 2), (2, 3)):
        again = (part[0] for part in used.match(ready, pair[0], ready, pair[1]))
        for one, other in zip(again, matched(z, "bfloat16", *pair), strict=True):
            np.testing.assert_array_equal(one, other)
    for one, other in zip(first, kept, strict=True):
        np.testing.assert_array_equal(one, other, "what was handed out is not written to again")


@precisions
@pytest.mark.parametrize("channels", [1, 7, 15, 16, 25, 26, 32, 58, 168])
def test_operands_multiply_to_minus_half_the_square(channels: int, precision: str) -> None:
    z = unit_tokens(2, 11, channels)
    ready = operands(z, precision)
    rounded = torch.from_numpy(z).bfloat16().float().numpy() if precision == "bfloat16" else z
    product = ready.left[0].double() @ ready.right[1].double().T
    np.testing.assert_allclose(-product.numpy(), true_distances(rounded[0], rounded[1]) ** 2 / 2, atol=1e-7)
    for side in (ready.left, ready.right):
        assert side.data_ptr() % 64 == 0
        assert side.stride(1) * side.element_size() % 64 == 0
        assert side.stride(1) * side.element_size() * 2 * 11 == operand_bytes(11, channels, precision)


def test_three_bfloat16_numbers_hold_a_float32() -> None:
    values = torch.rand(1000, 1, generator=torch.Generator().manual_seed(0)) + 0.3
    np.testing.assert_allclose(_parts(values).double().sum(1), values[:, 0].double(), rtol=2**-24)


@pytest.mark.parametrize(("tokens", "size"), [(1, 2), (32_767, 2), (32_768, 4)])
def test_tokens_are_counted_with_few_bytes(tokens: int, size: int) -> None:
    assert index_type(tokens).itemsize == size


def test_the_choice_of_precision_has_a_reason() -> None:
    precision, reason = choose_precision()
    assert precision in PRECISIONS
    assert "bfloat16" in reason


def one_strong_direction(channels: int, strength: float, spread: float) -> np.ndarray:
    """All channels alike but the first few, by which alone tokens differ."""
    z = np.ones((2, 300, 168))
    z[..., :channels] = strength + spread * np.random.default_rng(0).normal(size=(2, 300, channels))
    return unit(z)


@precisions
@pytest.mark.parametrize(
    ("channels", "strength", "spread"),
    [
        # two strong channels: bfloat16 does not see most of the differences
        (2, 30, 3),
        # one channel, some distances below the steps of bfloat16
        (1, 3, 1),
        # two channels no stronger than the others
        (2, 1, 4),
    ],
)
def test_tokens_that_differ_in_few_channels_are_exact(
    channels: int, strength: float, spread: float, precision: str
) -> None:
    assert_exact(one_strong_direction(channels, strength, spread), precision)


def test_many_tokens_of_two_channels_are_exact() -> None:
    """On a circle, as close as tokens can be without being alike."""
    assert_exact(unit_tokens(3, 700, 2), "bfloat16")


@precisions
@pytest.mark.parametrize("spread", [1.0, 0.05, 0.001])
def test_images_matched_together_are_as_alone_to_the_bit(spread: float, precision: str) -> None:
    """Also where some of them propose too much, and are then looked at alone."""
    z = clustered_tokens(9, 37, 24, spread, seed=3)
    z[4] = z[4, :1]  # a flat image among them
    ready = operands(z, precision)
    matcher = Matcher(37, 24, precision)
    assert matcher.together >= 8
    together = matcher.match(ready, 0, ready, 1, 8)
    for at in range(8):
        for part, alone in zip(together, matched(z, precision, 0, 1 + at), strict=True):
            np.testing.assert_array_equal(part[at], alone)
