"""A list of photo files becomes tokens: each file decoded once, then through cache and backbone.

It joins inputs to features and keeps what later stages need of each photo (tokens, embedding, working pixels).
It knows nothing of distances, scores or outputs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from blemish.errors import UnreadablePhoto
from blemish.features.cache import FeatureCache, half
from blemish.features.neighbourhood import token_grids, unit_norm
from blemish.features.registry import Backbone, Features
from blemish.inputs.images import PhotoFile, read_photo, resize
from blemish.matching.store import ArrayStore, Budget

__all__ = ["Branch", "Extracted", "TokenSet", "extract", "largest_shape"]

PREFETCH = 4  # photos decoded ahead of the backbone

Float32 = npt.NDArray[np.float32]
RGB = npt.NDArray[np.uint8]


@dataclass
class TokenSet:
    """One matching pass: unit tokens (B, N, C) float32 on a grid (h, w) with N = h * w."""

    store: ArrayStore
    grid: tuple[int, int]


@dataclass
class Branch:
    """One backbone with its settings, and after ``extract`` what it made of the photos."""

    backbone: Backbone
    shape: tuple[int, int]  # working (height, width)
    radii: tuple[int, ...]
    join: bool
    device: str = "cpu"
    cache: FeatureCache | None = None
    token_sets: list[TokenSet] = field(default_factory=list)
    embeddings: list[Float32] = field(default_factory=list)  # per photo: (E,), unit length

    def cache_settings(self, at_least: tuple[int, int], deep_ceiling: int) -> dict[str, Any]:
        """What decides this branch's features besides a photo's bytes. ``at_least``: the size that JPEGs are decoded
        for, which is the largest of all branches."""
        return {
            "at_least": at_least,
            "backbone": self.backbone.facts.name,
            "weights": self.backbone.weights_sha256,
            "layers": self.backbone.layers,
            "shape": self.shape,
            "resize": self.backbone.facts.resize,
            "mean": self.backbone.facts.mean,
            "std": self.backbone.facts.std,
            "deep_ceiling": deep_ceiling,
        }

    def tokens(self, features: Features) -> list[Float32]:
        """Features of one photo -> its token grids, each (h, w, C)."""
        grids = [grid.float()[None] for grid in features.grids]
        return [tokens[0].numpy() for tokens in token_grids(grids, self.radii, self.join)]

    def keep(self, row: int, features: Features, budget: Budget, photos: int) -> None:
        """Store one photo's tokens and embedding as row ``row`` of ``photos``."""
        grids = self.tokens(features)
        if not self.token_sets:
            for h, w, channels in (grid.shape for grid in grids):
                store = budget.array((photos, h * w, channels), np.float32, share=0.4 / len(grids))
                self.token_sets.append(TokenSet(store, (h, w)))
        for tokens, grid in zip(self.token_sets, grids, strict=True):
            tokens.store.write(row, grid.reshape(1, -1, grid.shape[-1]))
        self.embeddings.append(unit_norm(features.embedding.float()).numpy())


@dataclass
class Extracted:
    """What extraction leaves behind; row b of everything belongs to ``photos[b]``."""

    pixels: ArrayStore  # (B, H, W, 3) uint8 at the first branch's working resolution
    photos: list[PhotoFile] = field(default_factory=list)
    sha256: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)  # path -> reason
    clipped: list[str] = field(default_factory=list)  # paths of deep photos brighter than the white level
    from_cache: int = 0

    @property
    def paths(self) -> list[str]:
        return [photo.path for photo in self.photos]


def extract(
    photos: Sequence[PhotoFile],
    branches: Sequence[Branch],
    budget: Budget,
    *,
    deep_ceiling: int = 65535,
    batch: int = 1,
    decoders: int = 2,
    progress: Callable[[int], None] = lambda photos: None,
) -> Extracted:
    """Decode ``photos`` once each and fill the branches with their tokens; unreadable photos are recorded.

    ``deep_ceiling``: the white level of 16-bit greyscale photos. ``batch``: photos a network call; on a CPU one at a
    time is fastest, its activations stay in the processor's cache. ``decoders``: photos decoded at the same time.
    ``progress(n)``: n more photos are finished.
    """
    result = Extracted(pixels=budget.array((len(photos), *branches[0].shape, 3), np.uint8, share=0.15))
    for group in _groups(_prefetch(photos, branches, deep_ceiling, decoders), batch):
        ready = [item for item in group if isinstance(item, _ReadyPhoto)]
        for failed in (item for item in group if isinstance(item, _Failed)):
            result.unreadable[failed.path] = failed.reason
        first = len(result.photos)
        for index, branch in enumerate(branches):
            for at, (features, cached) in enumerate(_features(ready, index, branch)):
                branch.keep(first + at, features, budget, len(photos))
                result.from_cache += cached and index == 0
        for at, photo in enumerate(ready):
            result.pixels.write(first + at, photo.pixels[0][None])
            result.photos.append(photo.file)
            result.sha256.append(photo.sha256)
            if photo.clipped:
                result.clipped.append(photo.file.path)
        progress(len(group))
    for store in (result.pixels, *(tokens.store for branch in branches for tokens in branch.token_sets)):
        store.shrink(len(result.photos))
    return result


@dataclass(frozen=True)
class _ReadyPhoto:
    file: PhotoFile
    sha256: str
    pixels: list[RGB]  # (H, W, 3) at each branch's working resolution
    clipped: bool


@dataclass(frozen=True)
class _Failed:
    path: str
    reason: str


def _prepare(photo: PhotoFile, branches: Sequence[Branch], deep_ceiling: int) -> _ReadyPhoto | _Failed:
    """Decode, hash and resize one photo."""
    try:
        decoded = read_photo(photo, at_least=largest_shape(branches), deep_ceiling=deep_ceiling)
    except UnreadablePhoto as error:
        return _Failed(photo.path, str(error))
    pixels = [resize(decoded.pixels, branch.shape, branch.backbone.facts.resize) for branch in branches]
    return _ReadyPhoto(photo, decoded.sha256, pixels, decoded.clipped)


def largest_shape(branches: Sequence[Branch]) -> tuple[int, int]:
    """The working (height, width) that JPEGs have to be decoded for."""
    return max((branch.shape for branch in branches), key=lambda shape: shape[0] * shape[1])


def _prefetch(
    photos: Sequence[PhotoFile], branches: Sequence[Branch], deep_ceiling: int, decoders: int
) -> Iterator[_ReadyPhoto | _Failed]:
    """Prepared photos in order; a few are decoded ahead in threads while the backbone works."""
    waiting = iter(photos)
    with ThreadPoolExecutor(decoders, thread_name_prefix="decode") as pool:
        ahead = deque(pool.submit(_prepare, photo, branches, deep_ceiling) for photo in islice(waiting, PREFETCH))
        try:
            while ahead:
                prepared = ahead.popleft().result()
                if (photo := next(waiting, None)) is not None:
                    ahead.append(pool.submit(_prepare, photo, branches, deep_ceiling))
                yield prepared
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupted scan does not decode the rest first


def _groups(items: Iterator[_ReadyPhoto | _Failed], size: int) -> Iterator[list[_ReadyPhoto | _Failed]]:
    while group := list(islice(items, size)):
        yield group


def _features(photos: list[_ReadyPhoto], index: int, branch: Branch) -> list[tuple[Features, bool]]:
    """One branch's features of each photo and whether they were cached; the others in one network call."""
    found: list[Features | None] = [branch.cache.get(photo.sha256) if branch.cache else None for photo in photos]
    missing = [at for at, features in enumerate(found) if features is None]
    if missing:
        stack = torch.from_numpy(np.stack([photos[at].pixels[index] for at in missing]))
        fresh = half(branch.backbone.extract(stack.permute(0, 3, 1, 2).to(branch.device)))
        for row, at in enumerate(missing):
            found[at] = one = Features([grid[row].cpu() for grid in fresh.grids], fresh.embedding[row].cpu())
            if branch.cache:
                branch.cache.put(photos[at].sha256, one)
    return [(features, at not in missing) for at, features in enumerate(found) if features is not None]
