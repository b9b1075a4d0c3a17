"""The engine: exact, and the same to the bit whatever the batch order, the tiles, the threads or the memory."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.errors import ConfigError, RunError
from blemish.matching import engine
from blemish.matching.engine import match, table_bytes
from blemish.matching.executor import Job, LocalExecutor
from blemish.matching.store import ArrayStore, Budget
from blemish.matching.tile_log import TileLog
from blemish.matching.tiles import Tile, match_tile, tile_bytes, tiles
from token_batches import (
    PLENTY,
    PRECISIONS,
    SCRATCH,
    Recording,
    Tables,
    assert_nearest,
    assert_same_bits,
    clustered_tokens,
    stored,
    tables,
    true_distances,
    unit_tokens,
)

precisions = pytest.mark.parametrize("precision", PRECISIONS)
shapes = st.tuples(st.integers(2, 9), st.integers(1, 12), st.integers(1, 20), st.integers(0, 1000))


@settings(max_examples=30)
@given(shapes, st.sampled_from(PRECISIONS), st.integers(1, 2), st.booleans())
def test_equals_the_definition(shape: tuple[int, int, int, int], precision: str, threads: int, on_disk: bool) -> None:
    z = unit_tokens(*shape)
    found = tables(z, executor=LocalExecutor(threads, precision), on_disk=on_disk)
    for i, one in enumerate(z):
        for j, other in enumerate(z):
            if i == j:
                assert np.isinf(found.distances[i, i]).all()
            else:
                assert_nearest(found.distances[i, j], found.index[i, j], true_distances(one, other))


@settings(max_examples=40)
@given(shapes, st.sampled_from(PRECISIONS), st.integers(1, 4), st.integers(1, 3), st.booleans())
def test_tiles_threads_and_disk_change_no_bit(
    shape: tuple[int, int, int, int], precision: str, block: int, threads: int, on_disk: bool
) -> None:
    z = unit_tokens(*shape)
    executor = Recording(threads, precision)
    memory = executor.tile_bytes(block, *z.shape[1:])  # the table is in a file unless all images are one tile
    tight = tables(z, executor=executor, memory=memory, on_disk=on_disk)
    if block < len(z):
        assert {job.tile.left for job in executor.jobs} <= {block, len(z) % block}
    assert_same_bits(tight, tables(z, executor=LocalExecutor(1, precision)))


@settings(max_examples=40)
@given(shapes, st.sampled_from([1.0, 0.2, 0.02]), st.sampled_from(PRECISIONS), st.randoms(use_true_random=False))
def test_batch_order_only_reorders_the_table(
    shape: tuple[int, int, int, int], spread: float, precision: str, random: object
) -> None:
    images, tokens, channels, seed = shape
    z = clustered_tokens(images, tokens, channels + 3, spread, seed)
    order = list(range(len(z)))
    random.shuffle(order)  # type: ignore[attr-defined]
    executor = LocalExecutor(1, precision)
    assert_same_bits(tables(z[order], executor=executor), reordered(tables(z, executor=executor), order))


def reordered(found: Tables, order: list[int]) -> Tables:
    return Tables(*(array[np.ix_(order, order)] for array in found))


@precisions
def test_a_duplicate_image_is_at_distance_zero(precision: str) -> None:
    z = unit_tokens(4, 30, 12)
    z[3] = z[1]
    found = tables(z, executor=LocalExecutor(2, precision))
    np.testing.assert_array_equal(found.distances[[1, 3], [3, 1]], 0)
    np.testing.assert_array_equal(found.index[[1, 3], [3, 1]], [range(30)] * 2)
    np.testing.assert_array_equal(found.distances[1, [0, 2]], found.distances[3, [0, 2]])


@pytest.mark.parametrize("images", [1, 2])
def test_the_smallest_batches(images: int) -> None:
    """One image has nobody to be compared with; two are one pair."""
    found = tables(unit_tokens(images, 5, 4))
    assert np.isfinite(found.distances).sum() == images * (images - 1) * 5


def wanted_masks() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    one_way = np.zeros((7, 7), dtype=bool)
    one_way[2] = True
    return {
        # everybody with everybody, themselves too
        "all": np.ones((7, 7), dtype=bool),
        # nobody: no pair is computed
        "none": np.zeros((7, 7), dtype=bool),
        # one image looks at all others, which do not look back
        "one way": one_way,
        # all others look at one image, which looks at nobody
        "the other way": one_way.T,
        # neighbours in the batch
        "band": np.abs(np.subtract.outer(range(7), range(7))) == 1,
        # as screening makes it: some others for everyone, not mutual
        "few": rng.random((7, 7)) < 0.3,
        "most": rng.random((7, 7)) < 0.8,
    }


def halves(wanted: np.ndarray) -> set[tuple[int, int]]:
    """Pairs i < j that somebody wants."""
    return {(i, j) for i in range(len(wanted)) for j in range(i + 1, len(wanted)) if wanted[i, j] or wanted[j, i]}


def assert_screened(found: Tables, plain: Tables, wanted: np.ndarray) -> None:
    seen = wanted & ~np.eye(len(wanted), dtype=bool)
    assert np.isinf(found.distances[~seen]).all()
    np.testing.assert_array_equal(found.distances[seen], plain.distances[seen])
    np.testing.assert_array_equal(found.index[seen], plain.index[seen])


@pytest.mark.parametrize("mask", wanted_masks())
@pytest.mark.parametrize(("block", "on_disk"), [(16, False), (2, True)])
def test_unwanted_directions_are_infinite_and_unwanted_pairs_not_computed(
    mask: str, block: int, on_disk: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BLOCK", block)
    z, wanted = unit_tokens(7, 9, 5), wanted_masks()[mask]
    executor, seen = Recording(2), list[int]()
    memory = executor.tile_bytes(block, 9, 5) if on_disk else PLENTY
    found = tables(z, memory=memory, executor=executor, wanted=wanted, progress=seen.append)
    assert_screened(found, tables(z), wanted)
    assert sorted(executor.pairs) == sorted(halves(wanted))
    assert sum(seen) == len(halves(wanted))


@pytest.mark.parametrize("mask", wanted_masks())
def test_of_a_log_only_what_is_wanted_is_used_and_counted(mask: str, tmp_path: Path) -> None:
    """The log knows all pairs, from a scan without screening."""
    z, wanted = unit_tokens(7, 9, 5), wanted_masks()[mask]
    plain = logged(z, tmp_path)
    seen: list[int] = []
    assert_screened(logged(z, tmp_path, wanted=wanted, progress=seen.append), plain, wanted)
    assert sum(seen) == len(halves(wanted))


@pytest.mark.parametrize("mask", wanted_masks())
def test_a_log_of_a_screened_scan_serves_a_full_one(mask: str, tmp_path: Path) -> None:
    z, wanted = unit_tokens(7, 9, 5), wanted_masks()[mask]
    logged(z, tmp_path, wanted=wanted)
    executor, seen = Recording(), list[int]()
    assert_same_bits(logged(z, tmp_path, executor=executor, progress=seen.append), tables(z))
    assert len(executor.pairs) == 7 * 6 // 2 - len(halves(wanted))
    assert sum(seen) == 7 * 6 // 2


def logged(z: np.ndarray, folder: Path, **options: object) -> Tables:
    log = TileLog.open(folder / "log", [f"image {i}" for i in range(len(z))])
    assert log
    try:
        return tables(z, log=log, **options)
    finally:
        log.close()


def test_a_table_is_given_back() -> None:
    budget = Budget(PLENTY, SCRATCH)
    table = match(stored(unit_tokens(4, 5, 6)), budget)
    assert budget.left == PLENTY - table_bytes(4, 5)
    table.release(budget)
    assert budget.left == PLENTY


def test_sizes() -> None:
    assert table_bytes(10, 100) == (4 + 2) * 10 * 10 * 100
    assert table_bytes(10, 40_000) == (4 + 4) * 10 * 10 * 40_000  # too many tokens to be counted with two bytes


@pytest.mark.parametrize("block", [1, 2, 3, 16])
def test_progress_counts_every_pair_once(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BLOCK", block)
    executor, seen = Recording(2), list[int]()
    tables(unit_tokens(7, 5, 4), executor=executor, progress=seen.append)
    assert sum(seen) == 7 * 6 // 2
    assert set(Counter(executor.pairs).values()) == {1}


@precisions
def test_too_little_memory_says_so(precision: str) -> None:
    executor = LocalExecutor(1, precision)
    least = executor.least_bytes(50, 10)
    z = unit_tokens(3, 50, 10)
    budget = Budget(least - 1, SCRATCH)
    with pytest.raises(ConfigError, match=r"50 tokens.*--memory.*--size"):
        match(stored(z), budget, executor=executor)
    assert budget.left == least - 1
    assert_same_bits(tables(z, memory=least, executor=executor), tables(z, executor=executor))  # just enough


def test_a_failing_thread_ends_the_match_with_its_error() -> None:
    def explode(pairs: int) -> None:
        raise RunError("disk full")

    budget, threads = Budget(PLENTY, SCRATCH), torch.get_num_threads()
    with pytest.raises(RunError, match="disk full"):
        match(stored(unit_tokens(6, 5, 4)), budget, executor=LocalExecutor(2), progress=explode)
    assert budget.left == PLENTY
    assert torch.get_num_threads() == threads


def test_an_interrupt_leaves_what_is_finished_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BLOCK", 2)
    z, done = unit_tokens(8, 5, 4), list[int]()

    def interrupt(pairs: int) -> None:
        done.append(pairs)
        if sum(done) > 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        logged(z, tmp_path, progress=interrupt)
    executor = Recording()
    assert_same_bits(logged(z, tmp_path, executor=executor), tables(z))
    assert 28 - 14 <= len(executor.pairs) <= 28 - 14 + 4  # the tile that was interrupted is done again


def test_threads_are_restored() -> None:
    before = torch.get_num_threads()
    tables(unit_tokens(3, 4, 4), executor=LocalExecutor(2))
    assert torch.get_num_threads() == before


@given(st.integers(1, 40), st.integers(1, 12))
def test_every_pair_is_in_one_tile(images: int, block: int) -> None:
    cut = list(tiles(images, block))
    pairs = Counter((int(i), int(j)) for tile in cut for i, j in tile.pairs())
    assert pairs == Counter((i, j) for i in range(images) for j in range(i + 1, images))
    assert max(max(tile.left, tile.right) for tile in cut) <= block


def test_a_job_knows_its_pairs_by_the_sides_of_its_tile() -> None:
    job = Job(Tile(4, 2, 8, 3), Tile(4, 2, 8, 3).pairs())
    assert job.local().tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert not job.one_sided
    assert Job(Tile(4, 2, 4, 2), Tile(4, 2, 4, 2).pairs()).one_sided


@precisions
def test_a_tile_does_not_depend_on_which_pairs_come_together(precision: str) -> None:
    z = unit_tokens(6, 40, 9)
    left, right = z[:3], z[3:]
    pairs = np.array([(i, j) for i in range(3) for j in range(3)])
    together = match_tile(left, right, pairs, threads=1, precision=precision)
    order = np.random.default_rng(0).permutation(9)[:7]
    for threads in (1, 3):
        some = match_tile(left, right, pairs[order], threads=threads, precision=precision)
        for name in ("pairs", "forward", "forward_index", "backward", "backward_index"):
            np.testing.assert_array_equal(getattr(some, name), getattr(together, name)[order])
    one_sided = match_tile(z, None, pairs + np.array([0, 3]), threads=2, precision=precision)
    np.testing.assert_array_equal(one_sided.forward, together.forward)
    np.testing.assert_array_equal(one_sided.backward, together.backward)
    assert not len(match_tile(left, right, pairs[:0], threads=2, precision=precision).forward)


@precisions
def test_a_larger_tile_takes_more_memory(precision: str) -> None:
    least = tile_bytes(1, 100, 30, 1, precision)
    for larger in ((2, 100, 30, 1), (1, 101, 30, 1), (1, 100, 31, 1), (1, 100, 30, 2)):
        assert tile_bytes(*larger, precision) > least


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
