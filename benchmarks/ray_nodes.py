"""Two Ray nodes of one core each against one: the engine on the same tokens, and whether the bits are the same.

    python benchmarks/ray_nodes.py > benchmarks/ray_nodes.md

Both clusters run all the time on this machine; sides take turns, each run is a process of its own that joins a
cluster, has every worker do a tile so that it has loaded torch, and then matches all pairs. One process without Ray is
measured beside them.
"""

from __future__ import annotations

import hashlib
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from batches import synthetic
from blemish.features.neighbourhood import token_grids
from blemish.features.registry import load_backbone
from blemish.matching.cluster import connect
from blemish.matching.engine import match
from blemish.matching.executor import Executor, LocalExecutor
from blemish.matching.pairs import choose_precision
from blemish.matching.ray_executor import RayExecutor
from blemish.matching.store import ArrayStore, Budget

IMAGES = 112
ROUNDS = 7
LOOPBACK = "127.0.0.{}"  # one address a cluster


def main() -> None:
    import ray

    pairs = IMAGES * (IMAGES - 1) // 2
    print(
        f"# Ray: two nodes against one\n\nMeasured {date.today()}: {os.cpu_count()} cores, {platform.machine()}, ",
        end="",
    )
    print(f"torch {torch.__version__}, ray {ray.__version__}, product in {choose_precision()[0]}.")
    print("Command: `python benchmarks/ray_nodes.py > benchmarks/ray_nodes.md`\n")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        tokens = Path(folder) / "tokens.npy"
        np.save(tokens, washers())
        sides = {
            "one process, no Ray": "",
            "1 node of 1 core": opened.enter_context(cluster(2, nodes=1)),
            "2 nodes of 1 core": opened.enter_context(cluster(3, nodes=2)),
        }
        rounds = [[run(address, tokens) for address in sides.values()] for _ in range(ROUNDS)]
    print(f"{IMAGES} washers at 512 x 512, 1024 tokens of 168 channels: {pairs} pairs, {ROUNDS} rounds by turns.\n")
    print("| | median s | min to max | ms a pair |\n|---|---|---|---|")
    for side, name in enumerate(sides):
        times = sorted(seconds[side][0] for seconds in rounds)
        middle = statistics.median(times)
        print(f"| {name} | {middle:.2f} | {times[0]:.2f} to {times[-1]:.2f} | {1e3 * middle / pairs:.2f} |")
    ratios = sorted(one / two for _, (one, _), (two, _) in rounds)
    print(f"\n2 nodes against 1: {statistics.median(ratios):.2f} times ", end="")
    print(f"(of {ROUNDS} rounds: {ratios[0]:.2f} to {ratios[-1]:.2f}; bar 1.7).")
    digests = {digest for seconds in rounds for _, digest in seconds}
    print(f"Distances and indices: {'the same bits in all runs' if len(digests) == 1 else 'DIFFERENT BITS'}.")
    print(f"Load average before {load:.1f}, after {os.getloadavg()[0]:.1f}; the runs themselves make up to 2.")


def washers() -> np.ndarray:
    """(B, N, C) tokens of the default backbone, float32."""
    backbone = load_backbone("effnet-lite2")
    batch = synthetic("washer", IMAGES, size=512, sporadic=5, flaw_size=(0.03, 0.15))
    photos = torch.from_numpy(np.stack(batch.photos)).permute(0, 3, 1, 2)
    grids = [token_grids(backbone.extract(photo[None]).grids, (3,), join=True)[0] for photo in photos]
    return torch.cat(grids).flatten(1, 2).numpy()


@contextmanager
def cluster(number: int, nodes: int) -> Iterator[str]:
    """The address of a cluster on this machine."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    node: dict[str, Any] = {
        "num_cpus": 1,
        "object_store_memory": 400 * 2**20,
        "node_ip_address": LOOPBACK.format(number),
    }
    made = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            made.add_node(**node)
        yield made.address
    finally:
        made.shutdown()


def run(address: str, tokens: Path) -> tuple[float, str]:
    """Seconds and a digest of the table; in a process of its own."""
    command = [sys.executable, __file__, address, str(tokens)]
    seconds, digest = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), digest


def work(address: str, file: Path) -> None:
    torch.set_num_threads(1)
    z = np.load(file)
    if not address:
        measure(LocalExecutor(threads=1, precision=choose_precision()[0]), z)
        return
    with connect(address, cores=1) as joined:
        measure(RayExecutor(joined), z)


def measure(executor: Executor, z: np.ndarray) -> None:
    tokens = ArrayStore(z.shape, np.float32)
    tokens.write(0, z)
    few = ArrayStore((48, *z.shape[1:]), np.float32)
    few.write(0, z[:48])
    match(few, Budget(2**31, Path(tempfile.gettempdir())), executor=executor)  # six tiles: everybody gets some
    start = time.perf_counter()
    table = match(tokens, Budget(2**31, Path(tempfile.gettempdir())), executor=executor)
    seconds = time.perf_counter() - start
    digest = hashlib.sha256()
    for image in range(len(z)):
        others = np.arange(len(z)) != image
        digest.update(table.row(image)[others].tobytes())
        digest.update(table.index(image)[others].tobytes())
    print(seconds, digest.hexdigest())


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
