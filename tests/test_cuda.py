"""Matching on a GPU: the numbers of the fused kernel and of plain torch, and what surrounds them.

Every numeric test runs for every way there is here: plain torch on the CPU always, both ways on CUDA where there is a
device, and the fused kernel in Triton's interpreter, for which this file runs itself again with TRITON_INTERPRET=1.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blemish.errors import ConfigError, RunError
from blemish.matching import devices
from blemish.matching.cuda import Method, choose_method, match_pairs, prepare
from blemish.matching.devices import CudaExecutor
from blemish.matching.engine import match
from blemish.matching.executor import Job, LocalExecutor
from blemish.matching.pairs import Matcher, operands
from blemish.matching.store import ArrayStore, Budget
from blemish.matching.tiles import Tile, tiles

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
no_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed: pip install 'blemish[cuda]'"
)
no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the GPU was not tested")
WAYS = (
    [pytest.param("fused", "cpu", id="interpreted", marks=no_triton)]
    if INTERPRETED
    else [
        pytest.param("torch", "cpu", id="torch-cpu"),
        pytest.param("torch", "cuda", id="torch-cuda", marks=no_gpu),
        pytest.param("fused", "cuda", id="fused-cuda", marks=[no_gpu, no_triton]),
    ]
)
every_way = pytest.mark.parametrize(("method", "device"), WAYS)
only_here = pytest.mark.skipif(INTERPRETED, reason="not of the kernel")
SCRATCH = Path(tempfile.gettempdir())

# Rounding to half precision moves a unit vector by 2^-11 at most, and along the line between two by a fraction of that.
SLACK = 2**-11


def photo_like(images: int, tokens: int, channels: int, seed: int = 0) -> np.ndarray:
    """Unit tokens that lie near one another, as a photo's do: a few kinds of surface, and noise of many sizes."""
    random = np.random.default_rng(seed)
    kinds = random.normal(size=(4, channels))
    z = kinds[random.integers(0, 4, (images, tokens))] + random.normal(size=(images, tokens, channels)) * np.exp(
        random.uniform(-4, 0, (images, tokens, 1))
    )
    return (z / np.linalg.norm(z, axis=-1, keepdims=True)).astype(np.float32)


def found(
    z: np.ndarray, pairs: list[tuple[int, int]], method: Method, device: str, blocks: Any = None
) -> list[np.ndarray]:
    """Distances and numbers there, (n, N) each, and back."""
    side = prepare(torch.from_numpy(z).to(device), method, blocks)
    return [part.cpu().numpy() for part in match_pairs(side, side, torch.tensor(pairs, dtype=torch.int32).to(device))]


def exact(z: np.ndarray, i: int, j: int) -> np.ndarray:
    """(N, N) in double precision."""
    a, b = torch.from_numpy(z[i]).double(), torch.from_numpy(z[j]).double()
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").numpy()


@every_way
@pytest.mark.parametrize(
    ("tokens", "channels"),
    [
        (1, 3),  # a single token
        (40, 7),  # fewer than a block of either
        (128, 64),  # a block exactly
        (150, 168),  # the default backbone's channels; two blocks, the last half empty
        (300, 65),  # one channel too many for a block; three blocks, whose numbers take two bits
    ],
)
def test_distances_are_those_of_the_definition(tokens: int, channels: int, method: Method, device: str) -> None:
    z = photo_like(3, tokens, channels)
    pairs = [(0, 1), (1, 2), (2, 0)]
    forward, of_left, backward, of_right = found(z, pairs, method, device)
    for n, (i, j) in enumerate(pairs):
        d = exact(z, i, j)
        every = np.arange(tokens)
        np.testing.assert_allclose(forward[n], d[every, of_left[n]], atol=2e-7, rtol=1e-6)  # of that token, to the bit
        np.testing.assert_allclose(backward[n], d[of_right[n], every], atol=2e-7, rtol=1e-6)
        np.testing.assert_allclose(forward[n], d.min(1), atol=SLACK)  # which is as near as any
        np.testing.assert_allclose(backward[n], d.min(0), atol=SLACK)
        assert np.sum(of_left[n] != d.argmin(1)) <= 1 + tokens // 50


@every_way
def test_agrees_with_the_cpu(method: Method, device: str) -> None:
    z = photo_like(2, 150, 96)
    ready = operands(z, "float32")
    expected = [part[0] for part in Matcher(150, 96, "float32").match(ready, 0, ready, 1)]
    forward, of_left, backward, of_right = (part[0] for part in found(z, [(0, 1)], method, device))
    np.testing.assert_allclose(forward, expected[0], atol=SLACK)
    np.testing.assert_allclose(backward, expected[2], atol=SLACK)
    same = of_left == expected[1]
    assert same.mean() > 0.98
    np.testing.assert_allclose(forward[same], expected[0][same], rtol=1e-6)
    assert (of_right == expected[3]).mean() > 0.98


@every_way
def test_of_several_nearest_tokens_the_first_is_taken(method: Method, device: str) -> None:
    """Unit vectors along few axes: most have several equally near ones, in all blocks, and products are exact."""
    z = np.eye(4, dtype=np.float32)[np.random.default_rng(0).integers(0, 4, (2, 300))]
    _, of_left, _, of_right = found(z, [(0, 1)], method, device)
    product = z[0] @ z[1].T
    np.testing.assert_array_equal(of_left[0], product.argmax(1))
    np.testing.assert_array_equal(of_right[0], product.argmax(0))


@every_way
def test_copies_are_at_no_distance(method: Method, device: str) -> None:
    z = photo_like(1, 150, 96).repeat(2, axis=0)
    forward, of_left, backward, of_right = (part[0] for part in found(z, [(0, 1)], method, device))
    assert not forward.any()
    assert not backward.any()
    np.testing.assert_array_equal(of_left, np.arange(150))
    np.testing.assert_array_equal(of_right, np.arange(150))


@every_way
def test_a_pair_and_its_mirror_are_the_same(method: Method, device: str) -> None:
    z = photo_like(2, 150, 40)
    forward, of_left, backward, of_right = found(z, [(0, 1), (1, 0)], method, device)
    np.testing.assert_allclose(forward[0], backward[1], atol=SLACK)
    np.testing.assert_allclose(backward[0], forward[1], atol=SLACK)
    same = of_left[0] == of_right[1]
    np.testing.assert_array_equal(forward[0][same], backward[1][same])  # one distance, whichever way it is taken


@every_way
def test_company_changes_no_bit(method: Method, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    z = photo_like(4, 150, 24)
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    together = found(z, pairs, method, device)
    for n, pair in enumerate(pairs):
        for part, alone in zip(together, found(z, [pair], method, device), strict=True):
            np.testing.assert_array_equal(part[n], alone[0])
    if method == "fused":
        monkeypatch.setattr("blemish.matching.kernel.PARTIAL_BYTES", 1)  # a launch a pair
        for part, in_parts in zip(together, found(z, pairs, method, device), strict=True):
            np.testing.assert_array_equal(part, in_parts)


@every_way
def test_the_engine_gets_the_same_table_from_a_gpu(method: Method, device: str) -> None:
    z = photo_like(5, 40, 24)
    table = table_of(z, CudaExecutor((device,), method))
    np.testing.assert_allclose(table[0], table_of(z, LocalExecutor())[0], atol=SLACK)
    for block in (1, 2):
        for got, whole in zip(by_tiles(z, block, CudaExecutor((device,), method)), table, strict=True):
            np.testing.assert_array_equal(got, whole)


@pytest.mark.parametrize(("method", "device"), [way for way in WAYS if way.values[0] == "fused"])
def test_other_blocks_find_the_same(method: Method, device: str) -> None:
    """Blocks that are not square, so that rows and columns cannot be confused."""
    from blemish.matching.kernel import Blocks

    z = photo_like(2, 75, 40)
    forward, of_left, backward, of_right = found(z, [(0, 1)], method, device)
    for blocks in (Blocks(16, 64, 16, warps=4), Blocks(64, 16, 32, warps=4)):
        others = found(z, [(0, 1)], method, device, blocks)
        np.testing.assert_allclose(others[0], forward, atol=SLACK)
        np.testing.assert_allclose(others[2], backward, atol=SLACK)
        assert (others[1] == of_left).mean() > 0.95
        assert (others[3] == of_right).mean() > 0.95


def table_of(z: np.ndarray, executor: Any) -> tuple[np.ndarray, np.ndarray]:
    tokens = ArrayStore(z.shape, np.float32)
    tokens.write(0, z)
    table = match(tokens, Budget(2**32, SCRATCH), executor=executor)
    off = ~np.eye(len(z), dtype=bool)
    every = range(len(z))
    return np.stack([table.row(i) for i in every])[off], np.stack([table.index(i) for i in every])[off]


def by_tiles(z: np.ndarray, block: int, executor: CudaExecutor) -> tuple[np.ndarray, np.ndarray]:
    """The table, from tiles of ``block`` images a side that an executor was given, its tokens on disk."""
    B, N, _ = z.shape
    tokens = ArrayStore(z.shape, np.float32, SCRATCH)
    tokens.write(0, z)
    distance, index = np.full((B, B, N), np.nan, np.float32), np.zeros((B, B, N), np.int16)
    seen: list[int] = []
    for part in executor.run(tokens, jobs_of(B, block), seen.append):
        i, j = part.pairs.T
        distance[i, j], index[i, j] = part.forward, part.forward_index
        distance[j, i], index[j, i] = part.backward, part.backward_index
        assert part.forward_index.dtype == np.int16
    assert sum(seen) == B * (B - 1) // 2
    off = ~np.eye(B, dtype=bool)
    return distance[off], index[off]


def jobs_of(images: int, block: int) -> list[Job]:
    return [Job(tile, pairs) for tile in tiles(images, block) if len(pairs := tile.pairs())]


@only_here
@no_triton
def test_the_kernel_in_tritons_interpreter() -> None:
    """This file again, in a process where Triton interprets: it must be told before it is imported."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "interpreted", __file__],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-2000:]
    assert " passed" in ran.stdout


@only_here
@no_triton
def test_the_kernels_compile_without_a_gpu() -> None:
    """The interpreter accepts what the compiler does not. In a process of its own, which no setting of this
    one reaches."""
    ran = subprocess.run(
        [sys.executable, "-c", COMPILE, "80", "90"], capture_output=True, text=True, timeout=600, check=False
    )
    assert ran.returncode == 0, ran.stderr[-5000:]
    assert ran.stdout.split() == ["_nearest_kernel", "_rows_kernel", "_distance_kernel"] * 2


COMPILE = """
import sys
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from blemish.matching import kernel

def build(capability, fn, constants, halves=(), floats=()):
    def kind(name):
        if name in constants:
            return "constexpr"
        if name in halves:
            return "*fp16"
        if name in floats:
            return "*fp32"
        return "*i32" if name in ("pairs", "partial", "of_columns", "of_rows", "index") else "i32"

    source = ASTSource(fn, {name: kind(name) for name in fn.arg_names}, constants)
    options = {"num_warps": 8, "num_stages": 3, "enable_fp_fusion": True}
    if compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm["cubin"]:
        print(fn.__name__)

for capability in map(int, sys.argv[1:]):
    blocks = {"ROWS": 128, "COLUMNS": 128}
    more = {"CHANNELS": 64, "PLACES": 8}
    build(capability, kernel._nearest_kernel, blocks | more, ("a", "b"), ("norms_a", "norms_b"))
    build(capability, kernel._rows_kernel, blocks)
    build(capability, kernel._distance_kernel, {"ROWS": 32, "CHANNELS": 64}, (), ("a", "b", "distance"))
"""


@only_here
def test_the_choice_has_a_reason() -> None:
    assert choose_method("cpu") == ("torch", "plain torch: cpu is no CUDA device")
    assert CudaExecutor(("cpu", "cpu")).reason() == "cpu, cpu: plain torch: cpu is no CUDA device"


@only_here
@no_gpu
@no_triton
def test_triton_works_on_this_gpu() -> None:
    assert choose_method("cuda:0")[1].startswith("fused kernel: Triton ")


@only_here
def test_without_a_device_the_error_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="on the CPU instead"):
        table_of(photo_like(2, 4, 4), CudaExecutor(()))


@only_here
def test_memory_counts_every_process() -> None:
    one, two = (CudaExecutor(("cuda:0", "cuda:1")[:count]) for count in (1, 2))
    assert one.least_bytes(100, 10) == one.tile_bytes(1, 100, 10) < one.tile_bytes(2, 100, 10)
    assert two.tile_bytes(4, 100, 10) > 2 * one.tile_bytes(4, 100, 10)


@only_here
@pytest.mark.parametrize("wanted", [[(0, 3)], [(0, 2), (1, 3)]])
def test_a_tile_may_lack_pairs(wanted: list[tuple[int, int]]) -> None:
    """As it does when a scan goes on where it stopped."""
    z = photo_like(4, 20, 8)
    tokens = ArrayStore(z.shape, np.float32)
    tokens.write(0, z)
    (part,) = CudaExecutor(("cpu",)).run(tokens, [Job(Tile(0, 2, 2, 2), np.array(wanted))], lambda pairs: None)
    np.testing.assert_array_equal(part.pairs, wanted)
    for n, (i, j) in enumerate(wanted):
        np.testing.assert_allclose(part.forward[n], exact(z, i, j).min(1), atol=SLACK)


@only_here
def test_blocks_that_fit_are_read_once() -> None:
    z = torch.zeros(1, 3, 4)
    reads: list[int] = []

    def read(first: int, last: int) -> np.ndarray:
        reads.append(first)
        return z.numpy()

    device = devices._Device("cpu", "torch", read)
    device._room = 3 * device._side(0, 1, None).tokens.nbytes * 3  # three sides and a bit
    for first in (1, 2, 0, 1, 2):
        device._side(first, 1, None)
    assert reads == [0, 1, 2]
    device._room = 0  # now only the last two
    for first in (3, 2, 3, 1):
        device._side(first, 1, None)
    assert reads == [0, 1, 2, 3, 1]


@only_here
def test_several_processes_give_the_same_bits() -> None:
    z = photo_like(7, 40, 24)
    for got, alone in zip(
        by_tiles(z, 2, CudaExecutor(("cpu", "cpu"))), by_tiles(z, 3, CudaExecutor(("cpu",))), strict=True
    ):
        np.testing.assert_array_equal(got, alone)
    assert not active_children()


@pytest.fixture
def running() -> Iterator[Any]:
    """A match in another process that has given its first result and has many to go."""
    z = photo_like(12, 20, 8)
    tokens = ArrayStore(z.shape, np.float32)
    tokens.write(0, z)
    results = devices._in_processes(("cpu",), None, tokens, jobs_of(12, 1))
    next(results)
    yield results
    assert not active_children()


@only_here
def test_a_process_that_dies_ends_the_match(running: Any) -> None:
    started = time.monotonic()
    pid = active_children()[0].pid
    assert pid
    os.kill(pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    with pytest.raises(RunError, match=r"ended with code .*--memory"):
        list(running)
    assert time.monotonic() - started < 10


@only_here
def test_leaving_early_ends_the_processes(running: Any) -> None:
    started = time.monotonic()
    running.close()  # as an interrupt or a full disk does
    assert time.monotonic() - started < 10


@only_here
def test_an_error_in_a_process_is_told() -> None:
    z = photo_like(4, 5, 4)
    tokens = ArrayStore(z.shape, np.float32)
    tokens.write(0, z)
    with pytest.raises(RunError, match=r"Matching on nonsense:0 failed\. RuntimeError"):
        list(devices._in_processes(("nonsense:0",), None, tokens, jobs_of(4, 1)))
    assert not active_children()
