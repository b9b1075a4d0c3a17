"""Where the work of a scan is done: this machine's cores, its GPUs, or a cluster; and why there.

It chooses; the places themselves are in ``matching`` and ``cluster``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from blemish import extraction
from blemish.config import ScanConfig
from blemish.extraction import Extracted
from blemish.matching.executor import Executor, LocalExecutor
from blemish.matching.pairs import choose_precision

__all__ = ["Workplace", "workplace"]

STORE = 0.3  # share of the memory that a cluster of this machine alone keeps tokens and results in


@dataclass(frozen=True)
class Workplace:
    """``extract``: like ``extraction.extract``. ``arithmetic``: what decides the last bits of a distance, so that tiles
    of different kinds of processors are not mixed."""

    executor: Executor
    extract: Callable[..., Extracted]
    places: int  # tiles that are done at the same time
    arithmetic: str
    reason: str


@contextmanager
def workplace(config: ScanConfig, device: str, memory: int) -> Iterator[Workplace]:
    """``device``: where the backbone runs. ``memory``: bytes this process may take. Raises ``ConfigError`` if a cluster
    is asked for and cannot be joined."""
    if config.executor == "ray":
        with _cluster(config, device, memory) as place:
            yield place
    elif device == "cpu":
        precision, why = choose_precision()
        yield Workplace(LocalExecutor(), extraction.extract, 1, f"cpu {precision}", f"matching in {precision}: {why}")
    else:
        from blemish.matching.devices import CudaExecutor

        # one GPU if the user named it, otherwise all there are
        executor = CudaExecutor() if config.device in ("auto", "cuda") else CudaExecutor((device,))
        why = executor.reason()
        yield Workplace(executor, extraction.extract, len(executor.devices), f"cuda {why}", f"matching on {why}")


@contextmanager
def _cluster(config: ScanConfig, device: str, memory: int) -> Iterator[Workplace]:
    from blemish.matching.cluster import connect
    from blemish.matching.devices import CudaExecutor
    from blemish.matching.ray_executor import RayExecutor
    from blemish.remote_features import extract_remotely

    cores = config.threads or torch.get_num_threads()
    with connect(config.ray_address, cores, None if config.ray_address else round(STORE * memory)) as cluster:
        if device == "cpu":
            executor, arithmetic, gpus = RayExecutor(cluster), f"cpu {choose_precision()[0]}", 0
        else:
            executor, arithmetic, gpus = RayExecutor(cluster, CudaExecutor(("cuda:0",)), gpus=1), "cuda by ray", 1

        def extract(*args: Any, decoders: int, **options: Any) -> Extracted:
            return extract_remotely(cluster, *args, **options)  # how many are decoded at a time is the nodes' matter

        places = max(1, cluster.places(gpus))  # a cluster that grows by itself may have none yet
        where = f"{places} {'GPUs' if gpus else 'cores'} of {'this machine' if cluster.local else config.ray_address}"
        yield Workplace(executor, extract, places, arithmetic, f"Ray: {where}")
