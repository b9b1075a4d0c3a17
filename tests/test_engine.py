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
