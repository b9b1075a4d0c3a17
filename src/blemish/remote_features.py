"""Photos read and turned into tokens by the machines of a Ray cluster, with the rows that this machine would make.

A shard of photos is a task: a node opens the files itself, so they must lie in a folder that every node sees under
the same path. This machine keeps the rows in order. It knows shards; what happens to a photo is ``extraction``'s.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from blemish.errors import RunError
from blemish.extraction import Branch, Extracted, TokenSet, extract, largest_shape
from blemish.features.cache import FeatureCache, half
from blemish.features.registry import Backbone, load_backbone
from blemish.inputs.images import PhotoFile
from blemish.matching.cluster import Cluster
from blemish.matching.store import ArrayStore, Budget

__all__ = ["extract_remotely"]

SHARD = 4  # photos a task on a core, about a second's work
DECODERS = 4  # threads that decode for a GPU, which would wait for one most of the time
UNBOUNDED = 2**62  # bytes: a shard is small, and lives in its worker's memory

RGB = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Settings:
    """All that a node has to know to make a branch."""

    backbone: str
    layers: tuple[int, ...]
    shape: tuple[int, int]
    radii: tuple[int, ...]
    join: bool
    device: str  # cpu or cuda
    cache: Path | None  # used on nodes that see it
    features: str  # digest of what this machine makes of a made-up photo
    cached: dict[str, Any]


@dataclass(frozen=True)
class _Shard:
    """What a node made of its photos, those that can be read in a row."""

    host: str
    read: list[int]  # numbers of the shard's photos
    sha256: list[str]
    clipped: list[int]
    from_cache: int
    pixels: RGB  # (n, H, W, 3)
    passes: list[list[tuple[Float32, tuple[int, ...]]]]  # by branch and layer: tokens (n, N, C), grid
    embeddings: list[list[Float32]]


def extract_remotely(
    cluster: Cluster,
    photos: Sequence[PhotoFile],
    branches: Sequence[Branch],
    budget: Budget,
    *,
    deep_ceiling: int = 65535,
    batch: int = 1,
    progress: Callable[[int], None] = lambda photos: None,
) -> Extracted:
    """``extraction.extract`` by a cluster: the same rows in the same order.

    ``batch``: photos a network call, which makes a shard on a GPU. Tasks take a core, or a GPU where the branches are
    on one. Raises ``RunError`` if a node cannot read what this machine can, or makes other features of a photo."""
    gpus = int(any(branch.device != "cpu" for branch in branches))
    size = batch if gpus else SHARD
    settings = [_settings(branch, largest_shape(branches), deep_ceiling) for branch in branches]
    shared = cluster.put(settings)
    shards = [list(photos[start : start + size]) for start in range(0, len(photos), size)]

    def arguments(shard: list[PhotoFile]) -> tuple[Any, ...]:
        return [replace(photo, file=photo.file.absolute()) for photo in shard], shared, deep_ceiling, batch

    result = Extracted(pixels=budget.array((len(photos), *branches[0].shape, 3), np.uint8, share=0.15))
    for shard, made in cluster.each(_extract, shards, arguments, gpus=gpus, in_order=True):
        for number in sorted(set(range(len(shard))) - set(made.read)):
            result.unreadable[shard[number].path] = _reason(shard[number], made.host, branches, deep_ceiling)
        _keep(shard, made, result, branches, budget, len(photos))
        progress(len(shard))
    for store in (result.pixels, *(tokens.store for branch in branches for tokens in branch.token_sets)):
        store.shrink(len(result.photos))
    return result


def _settings(branch: Branch, at_least: tuple[int, int], deep_ceiling: int) -> _Settings:
    return _Settings(
        backbone=branch.backbone.facts.name,
        layers=branch.backbone.layers,
        shape=branch.shape,
        radii=branch.radii,
        join=branch.join,
        device="cpu" if branch.device == "cpu" else "cuda",
        cache=branch.cache.folder.parent if branch.cache else None,
        features=_fingerprint(branch.backbone, branch.shape, branch.device),
        cached=branch.cache_settings(at_least, deep_ceiling),
    )


def _keep(
    shard: list[PhotoFile], made: _Shard, result: Extracted, branches: Sequence[Branch], budget: Budget, photos: int
) -> None:
    """Append a shard's rows to everything."""
    if not made.read:
        return
    row = len(result.photos)
    for branch, passes, embeddings in zip(branches, made.passes, made.embeddings, strict=True):
        if not branch.token_sets:
            share = 0.4 / len(passes)
            shapes = [(photos, *tokens.shape[1:]) for tokens, _ in passes]
            branch.token_sets += [
                TokenSet(budget.array(shape, np.float32, share), grid)
                for shape, (_, grid) in zip(shapes, passes, strict=True)
            ]
        for tokens, (rows, _) in zip(branch.token_sets, passes, strict=True):
            tokens.store.write(row, rows)
        branch.embeddings += embeddings
    result.pixels.write(row, made.pixels)
    result.photos += [shard[number] for number in made.read]
    result.sha256 += made.sha256
    result.clipped += [shard[number].path for number in made.clipped]
    result.from_cache += made.from_cache


def _reason(photo: PhotoFile, host: str, branches: Sequence[Branch], deep_ceiling: int) -> str:
    """Why a photo cannot be read, in this machine's words. Raises ``RunError`` if this machine can read it."""
    here = [replace(branch, token_sets=[], embeddings=[]) for branch in branches]
    again = extract([photo], here, Budget(UNBOUNDED, Path()), deep_ceiling=deep_ceiling)
    if photo.path in again.unreadable:
        return again.unreadable[photo.path]
    raise RunError(
        f"The node {host} cannot read {str(photo.file.absolute())!r}, which this machine can. The photos must lie in a "
        "folder that every node sees under the same path."
    )


def _extract(photos: list[PhotoFile], settings: list[_Settings], deep_ceiling: int, batch: int) -> _Shard:
    """The task: a shard of photos on one core or one GPU."""
    branches = [_branch(one) for one in settings]
    decoders = 1 if all(branch.device == "cpu" for branch in branches) else DECODERS
    budget = Budget(UNBOUNDED, Path())
    found = extract(photos, branches, budget, deep_ceiling=deep_ceiling, batch=batch, decoders=decoders)
    numbers = {photo.path: number for number, photo in enumerate(photos)}
    return _Shard(
        host=socket.gethostname(),
        read=[numbers[path] for path in found.paths],
        sha256=found.sha256,
        clipped=[numbers[path] for path in found.clipped],
        from_cache=found.from_cache,
        pixels=_rows(found.pixels),
        passes=[[(_rows(tokens.store), tokens.grid) for tokens in branch.token_sets] for branch in branches],
        embeddings=[branch.embeddings for branch in branches],
    )


def _rows(store: ArrayStore) -> Any:
    return store.read(0, store.shape[0])


def _branch(settings: _Settings) -> Branch:
    backbone = _backbone(settings.backbone, settings.layers, settings.device)
    found = _fingerprint(backbone, settings.shape, settings.device)
    if found != settings.features:
        raise RunError(
            f"The node {socket.gethostname()} makes other features of a photo than this machine: other weights of "
            f"{settings.backbone}, another version of torch, or another kind of processor. Set up all nodes alike."
        )
    seen = settings.cache is not None and settings.cache.is_dir()
    return Branch(
        backbone=backbone,
        shape=settings.shape,
        radii=settings.radii,
        join=settings.join,
        device=settings.device,
        cache=FeatureCache(settings.cache, settings.cached) if settings.cache and seen else None,
    )


@cache
def _backbone(name: str, layers: tuple[int, ...], device: str) -> Backbone:
    """Loaded once a worker."""
    return load_backbone(name, layers, device)


_fingerprints: dict[tuple[Any, ...], str] = {}


def _fingerprint(backbone: Backbone, shape: tuple[int, int], device: str) -> str:
    """The weights, and a digest of the features of a made-up photo; taken once a process."""
    key = (backbone.weights_sha256, backbone.layers, shape, device)
    if key not in _fingerprints:
        noise = np.random.default_rng(0).integers(0, 256, (1, 3, *shape), dtype=np.uint8)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        made = half(backbone.extract(torch.from_numpy(noise).to(device)))
        torch.set_num_threads(threads)
        digest = hashlib.sha256(backbone.weights_sha256.encode())
        for grid in made.grids:
            digest.update(grid.cpu().numpy().tobytes())
        _fingerprints[key] = digest.hexdigest()
    return _fingerprints[key]
