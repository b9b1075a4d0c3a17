"""Volumes become tokens: each is read twice, first to learn where its brain lies, then, once the batch has a frame, to
be looked at; no more are in memory than there are threads.

It knows files and the backbone, nothing of matching or scores.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from blemish.config import VolumeConfig
from blemish.errors import UnreadablePhoto
from blemish.extraction import Branch, TokenSet, in_order, prepare_thread
from blemish.features.cache import FeatureCache, half
from blemish.features.neighbourhood import unit_norm
from blemish.features.registry import Features
from blemish.features.volume_tokens import cell_means, cells_inside, volume_tokens
from blemish.inputs.volume_checks import VolumeFacts
from blemish.inputs.volume_geometry import Geometry
from blemish.inputs.volume_grid import Box, Tilted, brain_box, to_cube
from blemish.inputs.volume_layouts import VolumeFile
from blemish.inputs.volumes import clipped, read_again, read_brain, read_volume
from blemish.matching.store import Budget
from blemish.paths import cache_dir
from blemish.volume_space import Native, packed_mask

__all__ = [
    "SHARE",
    "Looked",
    "SeenVolume",
    "SeenVolumes",
    "identity",
    "look",
    "open_cache",
    "see",
    "see_one",
    "token_settings",
    "view_of",
]

SHARE = 0.2  # of a cell that has to be brain: less, and its token is mostly of the dark around
MARGIN = 1.0  # of the channel that tells cells outside from those inside, see ``_dense``

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Looked:
    """What the first look at a volume leaves. ``packed``: its brain mask. ``how``: where that is from."""

    file: VolumeFile
    facts: VolumeFacts
    sha256: str
    packed: bytes
    how: str

    @property
    def geometry(self) -> Geometry:
        return self.facts.geometry


@dataclass
class SeenVolumes:
    """Row b of everything belongs to ``natives[b]``."""

    natives: list[Native] = field(default_factory=list)
    sha256: list[str] = field(default_factory=list)
    identities: list[str] = field(default_factory=list)
    embeddings: list[Float32] = field(default_factory=list)
    greys: list[Float32] = field(default_factory=list)  # (g, g, g) mean grey levels of cells, 0..1
    from_cache: int = 0


def look(
    files: Sequence[VolumeFile], unreadable: dict[str, str], workers: int, advance: Callable[[int], None]
) -> list[Looked]:
    """Read every volume once and find its brain; what cannot be used goes into ``unreadable``, path -> reason."""
    found = []
    with closing(in_order(_look, files, workers, threading.Event(), prepare_thread)) as steps:
        for file, one in zip(files, steps, strict=True):
            if isinstance(one, str):
                unreadable[file.path] = one
            else:
                found.append(one)
            advance(1)
    return found


def _look(file: VolumeFile) -> Looked | str:
    """What is known then, or the reason why it cannot be used."""
    try:
        volume = read_volume(file)
        brain = read_brain(file, volume)
        if not brain.inside.any():
            return "no brain was found in it; give brain masks with --masks"
        clipped(volume.values, brain.inside)  # whose reason, if there is one, is due before the batch is placed
    except UnreadablePhoto as reason:
        return str(reason)
    facts = VolumeFacts(file.path, volume.geometry, brain_box(brain.inside), volume.modality)
    return Looked(file, facts, volume.sha256, packed_mask(brain.inside), brain.how)


def open_cache(branch: Branch, config: VolumeConfig) -> FeatureCache:
    """Where this branch's tokens of volumes are kept: by a volume's identity and by these settings."""
    return FeatureCache(cache_dir(), token_settings(branch, config))


def token_settings(branch: Branch, config: VolumeConfig) -> dict[str, Any]:
    """Everything that decides the tokens of a volume besides its identity."""
    settings = [config.grid, config.cube, config.slices, config.axes, SHARE, "grey"]
    return {**branch.cache_settings(branch.shape, 0), "volumes": settings}


def identity(one: Looked, box: Box | Tilted) -> str:
    """A digest of what tokens are made from: a volume's bytes, its box and its brain."""
    where = f"{box.box} {box.matrix}" if isinstance(box, Tilted) else f"{box.start} {box.stop}"
    return hashlib.sha256(f"{one.sha256} {where}".encode() + one.packed).hexdigest()


def view_of(config: VolumeConfig) -> str:
    """What makes the tokens of volumes and their places, besides the backbone and its settings: only those with the
    same can be compared."""
    where = "anywhere" if config.radius < 0 else "near"
    return f"grid {config.grid} slices {config.slices} axes {config.axes} {config.align} {where}"


def see(
    looked: Sequence[Looked],
    boxes: Sequence[Box | Tilted],
    branch: Branch,
    config: VolumeConfig,
    budget: Budget,
    unreadable: dict[str, str],
    workers: int,
    advance: Callable[[int], None],
) -> SeenVolumes:
    """Fill ``branch`` with the tokens of all volumes, on grids of cells; those outside of the brains say nothing.

    ``workers``: threads, each with a volume of its own; how many changes no bit. What cannot be read any more goes
    into ``unreadable``, path -> reason. ``advance(1)``: a volume."""
    stop = threading.Event()

    def work(at: int) -> _Tokens | str:
        if stop.is_set():
            raise CancelledError
        try:
            return _tokens(looked[at], boxes[at], branch, config)
        except UnreadablePhoto as reason:
            return str(reason)

    seen = SeenVolumes()
    with closing(in_order(work, range(len(looked)), workers, stop, prepare_thread)) as steps:
        for one, box, found in zip(looked, boxes, steps, strict=True):
            if isinstance(found, str):
                unreadable[one.file.path] = found
            else:
                seen.sha256.append(one.sha256)
                seen.identities.append(identity(one, box))
                _keep(found, seen, branch, budget, len(looked), apart=config.radius < 0)
            advance(1)
    for tokens in branch.token_sets:
        tokens.store.shrink(len(seen.natives))
    return seen


@dataclass(frozen=True)
class SeenVolume:
    """One volume. ``grids``: by pass unit tokens (g, g, g, C), nothing outside of the brain. ``embedding: (E,)``."""

    native: Native
    grids: list[Float32]
    embedding: Float32
    cached: bool


def see_one(one: Looked, box: Box | Tilted, branch: Branch, config: VolumeConfig) -> SeenVolume:
    """As ``see``, and nothing kept. Raises ``UnreadablePhoto``."""
    found = _tokens(one, box, branch, config)
    dense = _dense(found.layers, found.native.inside, branch.join, apart=config.radius < 0)
    grids = [tokens.reshape(*found.native.inside.shape, -1) for tokens in dense]
    return SeenVolume(found.native, grids, _embedding(found), found.cached)


def _embedding(found: _Tokens) -> Float32:
    return unit_norm(torch.cat([layer.mean(dim=0) for layer in found.layers])).numpy()


def _keep(found: _Tokens, seen: SeenVolumes, branch: Branch, budget: Budget, volumes: int, *, apart: bool) -> None:
    """Make ``found`` the next row of everything."""
    dense = _dense(found.layers, found.native.inside, branch.join, apart=apart)
    if not branch.token_sets:
        for grid in dense:
            store = budget.array((volumes, *grid.shape), np.float32, share=0.4 / len(dense))
            branch.token_sets.append(TokenSet(store, found.native.inside.shape))
    for kept, grid in zip(branch.token_sets, dense, strict=True):
        kept.store.write(len(seen.natives), grid[None])
    seen.embeddings.append(_embedding(found))
    grey = np.zeros(found.native.inside.shape, np.float32)
    grey[found.native.inside] = found.grey
    seen.greys.append(grey)
    seen.natives.append(found.native)
    seen.from_cache += found.cached


@dataclass(frozen=True)
class _Tokens:
    """``layers``: (n, C) float32 of the cells inside. ``grey``: (n,) their mean grey level, 0..1."""

    native: Native
    layers: list[torch.Tensor]
    grey: Float32
    cached: bool

    @classmethod
    def of(cls, native: Native, features: Features, *, cached: bool) -> _Tokens:
        """``features``: a grid for every layer, and the grey levels behind them."""
        *layers, grey = (grid.float() for grid in features.grids)
        return cls(native, layers, grey[:, 0].numpy(), cached)


def _tokens(one: Looked, box: Box | Tilted, branch: Branch, config: VolumeConfig) -> _Tokens:
    """Raises ``UnreadablePhoto``."""
    cells = (config.grid,) * 3
    native = Native(one.file, one.geometry, box, np.zeros(cells, np.bool_), one.packed, one.sha256)
    brain = native.brain
    share = torch.from_numpy(to_cube(brain, box, config.cube))
    inside = cells_inside(share, config.grid, SHARE)
    if not inside.any():
        raise UnreadablePhoto("its brain is smaller than a cell of the grid; use a finer --grid")
    native = replace(native, inside=inside.numpy())
    key = identity(one, box)
    found = branch.cache.get(key) if branch.cache else None
    if found is not None:
        return _Tokens.of(native, found, cached=True)
    values = to_cube(clipped(read_again(one.file, one.sha256).values, brain), box, config.cube)
    made = volume_tokens(
        torch.from_numpy(values).to(branch.device),
        branch.backbone,
        grid=config.grid,
        inside=inside,
        slice_step=config.slices,
        axes=config.axes,
    )
    grey = cell_means(torch.from_numpy(values), share, config.grid).reshape(-1)[made.cells]
    fresh = half(Features([*(layer.cpu() for layer in made.layers), grey[:, None]], torch.zeros(1)))
    if branch.cache:
        branch.cache.put(key, fresh)
    return _Tokens.of(native, fresh, cached=False)


def _dense(layers: Sequence[torch.Tensor], inside: Bools, join: bool, *, apart: bool) -> list[Float32]:
    """(n, C) of every layer -> (N, C) of every pass, unit vectors inside and 0 outside; one pass of all layers, each
    with the same say, if ``join``.

    ``apart``: cells outside get a channel of their own, which makes them alike, and no match for one inside, where
    they are not left out of the comparison."""
    passes = [torch.cat([unit_norm(layer) for layer in layers], dim=1)] if join else list(layers)
    cells = np.flatnonzero(inside)
    dense = []
    for tokens in passes:
        unit = unit_norm(tokens).numpy()
        whole = np.zeros((inside.size, unit.shape[1] + apart), np.float32)
        whole[cells, : unit.shape[1]] = unit
        if apart:
            whole[~inside.reshape(-1), -1] = MARGIN
        dense.append(whole)
    return dense
