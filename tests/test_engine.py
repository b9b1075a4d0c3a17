"""The pair engine: exact, and the same whatever the batch order, the block size, the threads or the memory."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.errors import ConfigError, RunError
from blemish.matching import engine
from blemish.matching.engine import match, pair_operations, table_bytes
from blemish.matching.store import ArrayStore, Budget

SCRATCH = Path("/tmp") if Path("/tmp").is_dir() else Path()
PLENTY = 2**28


def unit_tokens(images: int, tokens: int, channels: int, seed: int = 0) -> np.ndarray:
    z = np.random.default_rng(seed).normal(size=(images, tokens, channels)).astype(np.float32)
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


def nearest(z: np.ndarray, memory: int = PLENTY, threads: int = 2, on_disk: bool = False) -> np.ndarray:
    """(B, B, N) table."""
    tokens = ArrayStore(z.shape, np.float32, SCRATCH if on_disk else None)
    tokens.write(0, z)
    table = match(tokens, Budget(memory, SCRATCH), threads=threads)
    return np.stack([table.row(i) for i in range(len(z))])


def reference(z: np.ndarray) -> np.ndarray:
    """The definition, in double precision."""
    x = torch.from_numpy(z).double()
    table = torch.cdist(x[:, None], x[None], compute_mode="donot_use_mm_for_euclid_dist").amin(-1)
    table[range(len(z)), range(len(z))] = math.inf
    return table.numpy()


shapes = st.tuples(st.integers(2, 9), st.integers(1, 12), st.integers(1, 20), st.integers(0, 1000))


@settings(max_examples=30)
@given(shapes)
def test_equals_the_definition(shape: tuple[int, int, int, int]) -> None:
    z = unit_tokens(*shape)
    np.testing.assert_allclose(nearest(z), reference(z), atol=1e-3)  # near zero d is the root of a rounding error
    far = reference(z) > 0.05
    np.testing.assert_allclose(nearest(z)[far], reference(z)[far], atol=1e-5)


@settings(max_examples=30)
@given(shapes, st.integers(1, 4), st.integers(1, 3), st.booleans())
def test_block_size_threads_and_disk_change_no_bit(
    shape: tuple[int, int, int, int], block: int, threads: int, on_disk: bool
) -> None:
    z = unit_tokens(*shape)
    products, per_image = engine._working_bytes(*z.shape[1:], threads)
    working = products + block * per_image
    tight = nearest(z, working, threads, on_disk)  # blocks of `block` images, the table in a file unless tiny
    np.testing.assert_array_equal(tight, nearest(z, PLENTY, 1))


@settings(max_examples=30)
@given(shapes, st.randoms(use_true_random=False))
def test_batch_order_only_reorders_the_table(shape: tuple[int, int, int, int], random: object) -> None:
    z = unit_tokens(*shape)
    order = list(range(len(z)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled, sorted_back = nearest(z[order]), nearest(z)[np.ix_(order, order)]
    np.testing.assert_allclose(shuffled**2, sorted_back**2, atol=1e-6)  # a product and its transpose may round apart


def table_and_index(z: np.ndarray, memory: int, threads: int, on_disk: bool) -> tuple[np.ndarray, np.ndarray]:
    """(B, B, N) distances and indices."""
    tokens = ArrayStore(z.shape, np.float32, SCRATCH if on_disk else None)
    tokens.write(0, z)
    table = match(tokens, Budget(memory, SCRATCH), with_index=True, threads=threads)
    everybody = range(len(z))
    return np.stack([table.row(i) for i in everybody]), np.stack([table.index(i) for i in everybody])


@settings(max_examples=40)
@given(shapes, st.sampled_from([None, 1, 3]), st.integers(1, 2), st.booleans())
def test_the_index_is_the_nearest_token(
    shape: tuple[int, int, int, int], block: int | None, threads: int, on_disk: bool
) -> None:
    """For token counts on both sides of the blocks of 8 rows that the columns' search goes through."""
    images, tokens, channels, seed = shape
    z = unit_tokens(images, tokens + seed % 14, channels, seed)
    products, per_image = engine._working_bytes(*z.shape[1:], threads)
    distances, index = table_and_index(z, products + block * per_image if block else PLENTY, threads, on_disk)
    exact = np.linalg.norm(z[:, None, :, None] - z[None, :, None].astype(np.float64), axis=-1)  # (B, B, N, N)
    off = ~np.eye(images, dtype=bool)
    found = np.take_along_axis(exact, index[..., None].astype(np.intp), axis=3)[..., 0]
    np.testing.assert_allclose(found[off] ** 2, exact.min(axis=3)[off] ** 2, atol=2e-6)  # nearest up to rounding
    clear = np.sort(exact, axis=3)
    clear = (clear[..., 1] ** 2 - clear[..., 0] ** 2 > 1e-5 if z.shape[1] > 1 else np.ones(found.shape, bool)) & (
        off[..., None]
    )
    np.testing.assert_array_equal(index[clear], exact.argmin(axis=3)[clear])
    np.testing.assert_array_equal(distances, nearest(z, PLENTY, 1), "noting the index changes no distance")


@pytest.mark.parametrize("tokens", [1, 7, 8, 9, 20, 24])
@pytest.mark.parametrize(("on_disk", "threads"), [(False, 1), (False, 2), (True, 1), (True, 2)])
def test_of_several_nearest_tokens_the_first_is_noted(tokens: int, on_disk: bool, threads: int) -> None:
    """Tokens are unit vectors along few axes, so that most have several equally near ones, and products are exact."""
    axes = np.random.default_rng(tokens).integers(0, 4, (5, tokens))
    z = np.eye(4, dtype=np.float32)[axes]
    _, index = table_and_index(z, PLENTY, threads, on_disk)
    for i in range(5):
        for j in range(5):
            if i != j:
                np.testing.assert_array_equal(index[i, j], (z[i] @ z[j].T).argmax(axis=1))


def test_the_index_is_the_same_to_the_bit_whatever_memory_threads_and_disk() -> None:
    z = unit_tokens(9, 21, 6)
    products, per_image = engine._working_bytes(*z.shape[1:], 2)
    _, plain = table_and_index(z, PLENTY, 1, False)
    assert plain.dtype == np.int16
    for memory, threads, on_disk in ((PLENTY, 2, False), (products + 2 * per_image, 2, True)):
        _, index = table_and_index(z, memory, threads, on_disk)
        np.testing.assert_array_equal(index[~np.eye(9, dtype=bool)], plain[~np.eye(9, dtype=bool)])


def test_an_index_is_made_only_if_asked_for_and_is_given_back() -> None:
    z = unit_tokens(4, 5, 6)
    tokens = ArrayStore(z.shape, np.float32)
    tokens.write(0, z)
    budget = Budget(PLENTY, SCRATCH)
    assert match(tokens, budget).index_store is None
    before = budget.left
    table = match(tokens, budget, with_index=True)
    assert budget.left == before - table_bytes(4, 5, with_index=True)
    table.release(budget)
    assert budget.left == before


def test_many_tokens_are_counted_with_more_bytes() -> None:
    assert table_bytes(10, 100, with_index=True) == (4 + 2) * 10 * 10 * 100
    assert table_bytes(10, 40_000, with_index=True) == (4 + 4) * 10 * 10 * 40_000


def test_progress_counts_every_pair_once() -> None:
    z = unit_tokens(7, 5, 4)
    tokens = ArrayStore(z.shape, np.float32)
    tokens.write(0, z)
    seen: list[int] = []
    match(tokens, Budget(PLENTY, SCRATCH), progress=seen.append)
    assert sum(seen) == 7 * 6 // 2


def test_too_little_memory_says_so() -> None:
    with pytest.raises(ConfigError, match=r"--memory.*--size"):
        nearest(unit_tokens(3, 50, 10), memory=4000)


def test_a_failing_thread_ends_the_match_with_its_error() -> None:
    z = unit_tokens(6, 5, 4)
    tokens = ArrayStore(z.shape, np.float32)
    tokens.write(0, z)

    def explode(pairs: int) -> None:
        raise RunError("disk full")

    with pytest.raises(RunError, match="disk full"):
        match(tokens, Budget(PLENTY, SCRATCH), progress=explode)


def test_threads_are_restored() -> None:
    before = torch.get_num_threads()
    nearest(unit_tokens(3, 4, 4))
    assert torch.get_num_threads() == before


def test_sizes() -> None:
    assert table_bytes(10, 100) == 4 * 10 * 10 * 100
    assert pair_operations(3, 10, 6) == 3 * (2 * 10 * 10 * 7)  # three pairs, two operations a product


@pytest.mark.parametrize("on_disk", [False, True])
def test_store(on_disk: bool) -> None:
    store = ArrayStore((4, 3, 2), np.float32, SCRATCH if on_disk else None)
    values = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    store.write(0, values[:2])
    store.write(2, values[2:])
    store.write_part(1, 1, np.full((2, 2), -1, np.float32))
    values[1, 1:] = -1
    np.testing.assert_array_equal(store.read(0, 4), values)
    np.testing.assert_array_equal(store.read(1, 3), values[1:3])
    store.shrink(2)
    assert store.shape == (2, 3, 2)
    assert store.nbytes == 2 * 3 * 2 * 4
    store.close()


def test_a_full_disk_is_worded(monkeypatch: pytest.MonkeyPatch) -> None:
    store = ArrayStore((4, 3), np.float32, SCRATCH)

    class Full:
        def seek(self, offset: int) -> None:
            pass

        def write(self, view: memoryview) -> int:
            raise OSError(28, "No space left on device")

    assert store._file is not None
    store._file.close()
    store._file = Full()  # type: ignore[assignment]
    with pytest.raises(RunError, match=r"No space left.*--memory"):
        store.write(0, np.zeros((1, 3), np.float32))


def test_budget_keeps_account() -> None:
    budget = Budget(1000, SCRATCH)
    small = budget.array((10, 10), np.uint8, share=0.5)
    assert small.in_memory
    assert budget.left == 900
    large = budget.array((50, 10), np.uint8, share=0.5)
    assert not large.in_memory
    budget.release(small)
    budget.release(large)
    assert budget.left == 1000
