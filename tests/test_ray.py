"""A real cluster of two nodes with one core each, on this machine: the bits of one process, whatever is killed."""

from __future__ import annotations

import json
import os
import posixpath
import re
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish import remote_features
from blemish.errors import ConfigError, RunError
from blemish.extraction import Branch, extract
from blemish.features.cache import FeatureCache
from blemish.features.registry import load_backbone
from blemish.inputs.images import PhotoFile
from blemish.matching import ray_executor
from blemish.matching.cluster import Cluster, connect
from blemish.matching.devices import CudaExecutor
from blemish.matching.engine import match
from blemish.matching.executor import Executor, Job, LocalExecutor
from blemish.matching.ray_executor import RayExecutor
from blemish.matching.store import ArrayStore, Budget
from blemish.matching.tiles import TileMatches, tiles
from blemish.remote_features import extract_remotely
from photos import write_parts

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'blemish[ray]'")
# Ray leaves sockets and child processes to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore")

IMAGES, TOKENS, CHANNELS = 24, 512, 64
# Loopback, but not 127.0.0.1: Ray puts the machine's own address in its place.
# A node that is gone is noticed in seconds instead of half a minute.
HEALTH = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 6}
NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "node_ip_address": "127.0.0.2"}


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Any]:
    """A cluster whose second node can be taken away."""
    from ray.cluster_utils import Cluster as RayCluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    nodes = RayCluster(
        initialize_head=True, head_node_args={**NODE, "include_dashboard": False, "_system_config": HEALTH}
    )
    nodes.add_node(**NODE)
    yield nodes
    nodes.shutdown()


@pytest.fixture(scope="module")
def cluster(two_nodes: Any) -> Iterator[Cluster]:
    with connect(two_nodes.address, cores=1) as joined:
        yield joined


@pytest.fixture(scope="module")
def tokens() -> ArrayStore:
    z = np.random.default_rng(0).normal(size=(IMAGES, TOKENS, CHANNELS)).astype(np.float32)
    store = ArrayStore(z.shape, np.float32)
    store.write(0, z / np.linalg.norm(z, axis=-1, keepdims=True))
    return store


@pytest.fixture(scope="module")
def expected(tokens: ArrayStore) -> dict[tuple[int, int], list[bytes]]:
    return by_pair(LocalExecutor(threads=1), tokens, jobs())


def jobs(block: int = 4, wanted: np.ndarray | None = None) -> list[Job]:
    return [Job(tile, pairs) for tile in tiles(IMAGES, block) if len(pairs := tile.pairs(wanted))]


def by_pair(executor: Executor, tokens: ArrayStore, todo: list[Job]) -> dict[tuple[int, int], list[bytes]]:
    """Everything that was found for a pair, byte for byte."""
    found: dict[tuple[int, int], list[bytes]] = {}
    told: list[int] = []
    for tile in executor.run(tokens, todo, told.append):
        collect(tile, found)
    assert sum(told) == len(found)
    return found


def collect(tile: TileMatches, found: dict[tuple[int, int], list[bytes]]) -> None:
    for at, (i, j) in enumerate(tile.pairs.tolist()):
        assert (i, j) not in found, "a pair came twice"
        arrays = (tile.forward, tile.forward_index, tile.backward, tile.backward_index)
        found[i, j] = [array[at].tobytes() for array in arrays]


def working(node: Any) -> list[int]:
    """Processes of a node that are doing a tile just now: Ray writes a worker's task over its name."""
    raylet = next(info.process.pid for name, (info, *_) in node.all_processes.items() if name == "raylet")
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == raylet and (folder / "cmdline").read_bytes().startswith(b"ray::_match"):
                found.append(int(folder.name))
    return found


def test_same_bits_as_one_process(
    cluster: Cluster, tokens: ArrayStore, expected: dict[tuple[int, int], list[bytes]]
) -> None:
    assert cluster.places() == 2
    assert by_pair(RayExecutor(cluster), tokens, jobs()) == expected
    assert len(expected) == IMAGES * (IMAGES - 1) // 2


@pytest.mark.parametrize(
    "on_node", [LocalExecutor(1, "float32"), LocalExecutor(1, "bfloat16"), CudaExecutor(("cpu",), "torch")]
)
def test_how_a_tile_is_done_is_the_callers_choice(cluster: Cluster, tokens: ArrayStore, on_node: Executor) -> None:
    assert by_pair(RayExecutor(cluster, on_node), tokens, jobs()[:3]) == by_pair(on_node, tokens, jobs()[:3])


def test_blocks_that_do_not_fit_are_put_again(
    cluster: Cluster, tokens: ArrayStore, expected: dict[tuple[int, int], list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_executor, "KEPT", 0)  # two blocks stay
    puts: list[int] = []
    put = cluster.put
    monkeypatch.setattr(cluster, "put", lambda value: puts.append(len(value)) or put(value))
    assert by_pair(RayExecutor(cluster), tokens, jobs()) == expected
    assert len(puts) > IMAGES / 4


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_table_of_wanted_pairs(cluster: Cluster, tokens: ArrayStore, on_disk: bool, tmp_path: Path) -> None:
    wanted = np.random.default_rng(1).random((IMAGES, IMAGES)) < 0.3
    if on_disk:
        memory, tokens = tokens, ArrayStore(tokens.shape, np.float32, tmp_path)
        tokens.write(0, memory.read(0, IMAGES))
    budget = Budget(2**28, tmp_path)
    here = match(tokens, budget, executor=LocalExecutor(threads=1), wanted=wanted)
    there = match(tokens, budget, executor=RayExecutor(cluster), wanted=wanted)
    for image in range(IMAGES):
        np.testing.assert_array_equal(here.row(image), there.row(image))
        seen = np.isfinite(here.row(image))
        np.testing.assert_array_equal(here.index(image)[seen], there.index(image)[seen])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="workers are found in /proc")
def test_a_killed_worker_loses_nothing(
    cluster: Cluster, two_nodes: Any, tokens: ArrayStore, expected: dict[tuple[int, int], list[bytes]]
) -> None:
    found: dict[tuple[int, int], list[bytes]] = {}
    before = cluster.lost
    killed = []
    for tile in RayExecutor(cluster).run(tokens, jobs(), lambda pairs: None):
        collect(tile, found)
        if cluster.lost == before and (pids := working(next(iter(two_nodes.worker_nodes)))):
            os.kill(pids[0], signal.SIGKILL)
            killed.append(pids[0])
    assert cluster.lost > before, f"killed {killed}, none in the middle of a tile"
    assert found == expected


def test_a_node_that_leaves_loses_nothing(
    cluster: Cluster, two_nodes: Any, tokens: ArrayStore, expected: dict[tuple[int, int], list[bytes]]
) -> None:
    node = next(iter(two_nodes.worker_nodes))
    found: dict[tuple[int, int], list[bytes]] = {}
    try:
        for tile in RayExecutor(cluster).run(tokens, jobs(), lambda pairs: None):
            if not found:
                two_nodes.remove_node(node, allow_graceful=False)
            collect(tile, found)
        assert found == expected
    finally:
        two_nodes.add_node(**NODE)


def test_a_node_that_computes_otherwise_is_refused(
    cluster: Cluster, tokens: ArrayStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_executor, "_fingerprint", lambda *args: "blemish 0, 0123")
    with pytest.raises(RunError, match=r"does not compute as the others.*0123"):
        by_pair(RayExecutor(cluster), tokens, jobs())


def test_whoever_stops_leaves_no_tasks(cluster: Cluster, tokens: ArrayStore) -> None:
    run = RayExecutor(cluster).run(tokens, jobs(), lambda pairs: None)
    next(run)
    run.close()
    assert by_pair(RayExecutor(cluster), tokens, jobs()[:1])  # there is room for the next at once


@pytest.fixture
def folder(tmp_path: Path) -> list[PhotoFile]:
    """Ten photos, two of which cannot be read and one of which is another one's copy."""
    write_parts(tmp_path, 9)
    (tmp_path / "3.png").write_bytes(b"no photo")
    (tmp_path / "7.png").unlink()
    (tmp_path / "9.png").write_bytes((tmp_path / "2.png").read_bytes())
    return [PhotoFile(f"{number}.png", tmp_path / f"{number}.png") for number in range(10)]


@pytest.mark.parametrize("cached", [False, True])
def test_the_rows_of_one_process(cluster: Cluster, folder: list[PhotoFile], cached: bool, tmp_path: Path) -> None:
    def branch() -> Branch:
        made = Branch(load_backbone("effnet-lite2"), (64, 64), (3,), True)
        made.cache = FeatureCache(tmp_path, made.cache_settings((64, 64), 65535)) if cached else None
        return made

    here, there = branch(), branch()
    told: list[int] = []
    expected = extract(folder, [here], Budget(2**28, tmp_path))
    found = extract_remotely(cluster, folder, [there], Budget(2**28, tmp_path), progress=told.append)
    assert sum(told) == 10
    assert (found.paths, found.sha256, found.unreadable) == (expected.paths, expected.sha256, expected.unreadable)
    assert set(found.unreadable) == {"3.png", "7.png"}
    assert found.from_cache == (8 if cached else 0)
    np.testing.assert_array_equal(found.pixels.read(0, 8), expected.pixels.read(0, 8))
    np.testing.assert_array_equal(there.embeddings, here.embeddings)
    for one, other in zip(there.token_sets, here.token_sets, strict=True):
        assert one.grid == other.grid
        assert one.store.shape == other.store.shape
        np.testing.assert_array_equal(one.store.read(0, 8), other.store.read(0, 8))


def test_a_node_that_does_not_see_the_photos_is_named(cluster: Cluster, folder: list[PhotoFile]) -> None:
    branches = [Branch(load_backbone("mock"), (64, 64), (3,), False)]
    assert remote_features._reason(folder[3], "far", branches, 65535)
    with pytest.raises(RunError, match=r"node far cannot read.*every node sees"):
        remote_features._reason(folder[0], "far", branches, 65535)


def test_results_in_order(cluster: Cluster) -> None:
    names = [f"a/{number}" for number in range(20)]
    done = list(cluster.each(posixpath.split, names, lambda name: (name,), in_order=True))
    assert done == [(name, posixpath.split(name)) for name in names]


def test_what_a_task_raises_is_told(cluster: Cluster) -> None:
    with pytest.raises(RunError, match=r"failed on a node.*TypeError"):
        list(cluster.each(posixpath.split, [1], lambda number: (number,)))


def test_a_node_without_a_module_is_told(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    here_only = types.ModuleType("here_only")
    exec("def task():\n    return 1", here_only.__dict__)
    monkeypatch.setitem(sys.modules, "here_only", here_only)
    with pytest.raises(RunError, match=r"lacks a module.*here_only.*Install"):
        list(cluster.each(here_only.task, [1], lambda number: ()))


def deadly() -> Any:
    """A function without a module, which is sent as it is."""
    found: dict[str, Any] = {"__name__": "__main__"}
    exec("def task():\n    import os\n    os._exit(1)", found)
    return found["task"]


def test_a_task_that_kills_its_workers_is_given_up(cluster: Cluster) -> None:
    before = cluster.lost
    with pytest.raises(RunError, match="lost 4 times"):
        list(cluster.each(deadly(), [1], lambda number: ()))
    assert cluster.lost == before + 3


def test_nothing_is_printed_and_nothing_stays(tmp_path: Path) -> None:
    """A process of its own that starts Ray on this machine, loses a worker and ends."""
    code = """
import json, os, signal
from blemish.matching.cluster import connect
def work(fatal):
    if fatal and not os.path.exists("killed"):
        open("killed", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    print("work on", fatal)
    return os.getpid()
before = signal.getsignal(signal.SIGTERM)
with connect(None, cores=1, store_bytes=100 * 2**20) as cluster:
    pids = [pid for _, pid in cluster.each(work, [False, True, False], lambda fatal: (fatal,))]
    assert cluster.local and cluster.places() == 1
assert signal.getsignal(signal.SIGTERM) is before
print(json.dumps({"pids": pids, "lost": cluster.lost}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=80
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["lost"] == 1
    for pid in told["pids"]:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_cluster_that_is_not_there() -> None:
    """In a process that has not joined one."""
    code = """
from blemish.matching.cluster import connect
from blemish.errors import ConfigError
for address in ("127.0.0.1:9", "somewhere", "ray://127.0.0.1:10001", "auto"):
    try:
        with connect(address, cores=1):
            pass
    except ConfigError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {"RAY_TMPDIR": "/nowhere"},
    )
    nobody, malformed, client, *_ = done.stdout.splitlines()
    assert re.match("Cannot join.*ray start --head", nobody)
    assert re.search("host:port.*'somewhere'", malformed)
    assert "not supported" in client
    assert done.stderr == ""


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'blemish\[ray\]'"), connect(None, cores=1):
        pass
