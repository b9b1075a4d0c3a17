"""Where the work of a scan is done: this machine's cores, its GPUs, or a cluster; and why there.

It chooses; the places themselves are in ``matching`` and ``cluster``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from blemish import extraction
from blemish.config import ScanConfig
from blemish.extraction import Extracted
from blemish.matching.executor import Executor, Job, LocalExecutor
from blemish.matching.pairs import choose_precision
from blemish.matching.store import ArrayStore, Budget
from blemish.matching.tiles import tiles

__all__ = ["Workplace", "workplace"]

TOKENS, CHANNELS = 40, 168  # of the images that show how a place computes
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
def workplace(config: ScanConfig, device: str, budget: Budget) -> Iterator[Workplace]:
    """``device``: where the backbone runs. ``budget``: a cluster that is started here takes its share of it; what its
    workers need besides is theirs. Raises ``ConfigError`` if a cluster is asked for and cannot be joined."""
    if config.executor == "ray":
        with _cluster(config, device, budget) as place:
            yield place
    elif device == "cpu":
        precision, why = choose_precision()
        local = LocalExecutor()
        yield Workplace(local, extraction.extract, 1, _bits(local), f"matching in {precision}: {why}")
    else:
        from blemish.matching.devices import CudaExecutor

        # one GPU if the user named it, otherwise all there are
        executor = CudaExecutor() if config.device in ("auto", "cuda") else CudaExecutor((device,))
        why = executor.reason()
        yield Workplace(executor, extraction.extract, len(executor.devices), _bits(executor), f"matching on {why}")


@contextmanager
def _cluster(config: ScanConfig, device: str, budget: Budget) -> Iterator[Workplace]:
    from blemish.matching.cluster import connect
    from blemish.matching.devices import CudaExecutor
    from blemish.matching.ray_executor import RayExecutor
    from blemish.remote_features import extract_remotely

    cores = config.threads or torch.get_num_threads()
    store = 0 if config.ray_address else round(STORE * budget.left)
    budget.left -= store
    with connect(config.ray_address, cores, store or None) as cluster:
        if device == "cpu":
            executor, gpus = RayExecutor(cluster), 0
        else:
            executor, gpus = RayExecutor(cluster, CudaExecutor(("cuda:0",)), gpus=1), 1

        def extract(*args: Any, decoders: int, **options: Any) -> Extracted:
            return extract_remotely(cluster, *args, **options)  # how many are decoded at a time is the nodes' matter

        places = max(1, cluster.places(gpus))  # a cluster that grows by itself may have none yet
        where = f"{places} {'GPUs' if gpus else 'cores'} of {'this machine' if cluster.local else config.ray_address}"
        yield Workplace(executor, extract, places, _bits(executor), f"Ray: {where}")


def _bits(executor: Executor) -> str:
    """A digest of the distances of two made-up images: processors add in different orders."""
    tokens = ArrayStore((2, TOKENS, CHANNELS), np.float32)
    rng = np.random.default_rng(0)
    for image in range(2):
        z = rng.normal(size=(1, TOKENS, CHANNELS))
        tokens.write(image, z / np.linalg.norm(z, axis=-1, keepdims=True))
    (tile,) = tiles(2, 2)
    (found,) = executor.run(tokens, [Job(tile, tile.pairs())], lambda pairs: None)
    return hashlib.sha256(found.forward.tobytes() + found.backward.tobytes()).hexdigest()[:16]
