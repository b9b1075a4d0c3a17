"""A list of photo files becomes tokens: each file decoded once, then through cache and backbone.

It joins inputs to features and keeps what later stages need of each photo (tokens, embedding, working pixels).
On a CPU every thread takes one photo all the way on one core; for a GPU, threads decode and photos go in batches.
It knows nothing of distances, scores or outputs.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from blemish.errors import UnreadablePhoto
from blemish.features.cache import FeatureCache, half
from blemish.features.neighbourhood import token_grids, unit_norm
from blemish.features.registry import Backbone, Features
from blemish.inputs.images import PhotoFile, read_photo
from blemish.matching.store import ArrayStore, Budget

__all__ = [
    "Branch",
    "Extracted",
    "Failed",
    "Finished",
    "Ready",
    "Seen",
    "TokenSet",
    "activations",
    "each",
    "extract",
    "in_order",
    "largest_shape",
    "prepare_thread",
]

AHEAD = 4  # photos begun beyond one a thread, so that no thread waits while a slow photo holds up the order

Float32 = npt.NDArray[np.float32]
RGB = npt.NDArray[np.uint8]
T = TypeVar("T")
One = TypeVar("One")


@dataclass
class TokenSet:
    """One matching pass: unit tokens (B, N, C) float32 on a grid (h, w) or, of volumes, (x, y, z) with N cells."""

    store: ArrayStore
    grid: tuple[int, ...]


@dataclass
class Branch:
    """One backbone with its settings, and after ``extract`` what it made of the photos."""

    backbone: Backbone
    shape: tuple[int, int]  # working (height, width)
    radii: tuple[int, ...]
    join: bool
    device: str = "cpu"
    cache: FeatureCache | None = None
    view: str = ""  # of volumes: what else makes their tokens
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
            **({"reading": self.backbone.facts.reading} if self.backbone.facts.reading else {}),
        }

    def tokens(self, features: Features) -> list[Float32]:
        """Features of one photo -> its token grids, each (h, w, C): unit vectors of neighbourhoods, or the features as
        they are where there are no ``radii``."""
        if not self.radii:
            return [grid.float().numpy() for grid in features.grids]
        grids = [grid.float()[None] for grid in features.grids]
        return [tokens[0].numpy() for tokens in token_grids(grids, self.radii, self.join)]

    def see(self, features: Features, cached: bool) -> Seen:
        return Seen(self.tokens(features), unit_norm(features.embedding.float()).numpy(), cached)

    def keep(self, row: int, seen: Seen, budget: Budget, photos: int) -> None:
        """Store one photo's tokens and embedding as row ``row`` of ``photos``."""
        if not self.token_sets:
            for h, w, channels in (grid.shape for grid in seen.grids):
                store = budget.array((photos, h * w, channels), np.float32, share=0.4 / len(seen.grids))
                self.token_sets.append(TokenSet(store, (h, w)))
        for tokens, grid in zip(self.token_sets, seen.grids, strict=True):
            tokens.store.write(row, grid.reshape(1, -1, grid.shape[-1]))
        self.embeddings.append(seen.embedding)


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

    ``deep_ceiling``: the white level of 16-bit greyscale photos. ``batch``: photos a network call where calls are not
    made in many threads. ``decoders``: photos decoded at the same time, each held at its full size. On a CPU as many
    photos are worked on as torch has threads and ``budget`` has room for; how many changes no bit, since each is
    computed by one thread. ``progress(n)``: n more photos are finished.
    """
    result = Extracted(pixels=budget.array((len(photos), *branches[0].shape, 3), np.uint8, share=0.15))
    steps = each(photos, branches, budget, deep_ceiling=deep_ceiling, batch=batch, decoders=decoders)
    with closing(steps):
        for done in steps:
            if isinstance(done, Failed):
                result.unreadable[done.path] = done.reason
            else:
                _keep(done, result, branches, budget, len(photos))
            progress(1)
    for store in (result.pixels, *(tokens.store for branch in branches for tokens in branch.token_sets)):
        store.shrink(len(result.photos))
    return result


def each(
    photos: Sequence[PhotoFile],
    branches: Sequence[Branch],
    budget: Budget,
    *,
    deep_ceiling: int = 65535,
    batch: int = 1,
    decoders: int = 2,
) -> Generator[Finished | Failed, None, None]:
    """The same, one photo after the other in their order, and nothing kept: for batches of any size. Close it if it is
    left early."""
    read = partial(_read, branches=branches, deep_ceiling=deep_ceiling, room=threading.BoundedSemaphore(decoders))
    if all(branch.device == "cpu" and branch.backbone.facts.concurrent for branch in branches):
        return _one_a_thread(photos, branches, read, budget)
    return _batched(photos, branches, read, batch, decoders)


def _keep(done: Finished, result: Extracted, branches: Sequence[Branch], budget: Budget, photos: int) -> None:
    """Make ``done`` the next row of everything."""
    row = len(result.photos)
    for branch, seen in zip(branches, done.seen, strict=True):
        branch.keep(row, seen, budget, photos)
    result.pixels.write(row, done.ready.pixels[0][None])
    result.photos.append(done.ready.file)
    result.sha256.append(done.ready.sha256)
    result.from_cache += done.seen[0].cached
    if done.ready.clipped:
        result.clipped.append(done.ready.file.path)


@dataclass(frozen=True)
class Ready:
    file: PhotoFile
    sha256: str
    pixels: list[RGB]  # (H, W, 3) at each branch's working resolution
    clipped: bool


@dataclass(frozen=True)
class Failed:
    path: str
    reason: str


@dataclass(frozen=True)
class Seen:
    """What one branch makes of one photo."""

    grids: list[Float32]  # unit tokens, each (h, w, C)
    embedding: Float32  # (E,), unit length
    cached: bool


@dataclass(frozen=True)
class Finished:
    ready: Ready
    seen: list[Seen]  # by branch


def _read(
    photo: PhotoFile, branches: Sequence[Branch], deep_ceiling: int, room: threading.BoundedSemaphore
) -> Ready | Failed:
    """Decode, hash and resize one photo; whatever is wrong with it is recorded, not raised. ``room`` bounds the photos
    that are held at their full size."""
    try:
        with room:
            decoded = read_photo(photo, at_least=largest_shape(branches), deep_ceiling=deep_ceiling)
            pixels = [_resized(decoded.pixels, branch.shape, branch.backbone.facts.resize) for branch in branches]
    except UnreadablePhoto as error:
        return Failed(photo.path, str(error))
    except Exception as error:  # what no decoder has foreseen: one file never ends a scan
        return Failed(photo.path, f"damaged: {str(error) or type(error).__name__}")
    return Ready(photo, decoded.sha256, pixels, decoded.clipped)


_Read = Callable[[PhotoFile], Ready | Failed]


def activations(branch: Branch) -> int:
    """Bytes that its network takes at its peak, in every thread that runs one."""
    return branch.backbone.facts.activations * branch.shape[0] * branch.shape[1]


def largest_shape(branches: Sequence[Branch]) -> tuple[int, int]:
    """The working (height, width) that JPEGs have to be decoded for."""
    return max((branch.shape for branch in branches), key=lambda shape: shape[0] * shape[1])


def _resized(photo: RGB, shape: tuple[int, int], how: str) -> RGB:
    """(h, w, 3) -> (H, W, 3) antialiased: what Pillow gives, give or take one level, in a third of the time."""
    if photo.shape[:2] == shape:
        return photo
    x = torch.from_numpy(np.require(photo, requirements=["W"]))  # torch warns of arrays that may not be written
    y = F.interpolate(x.permute(2, 0, 1)[None], size=shape, mode=how, antialias=True)
    return y[0].permute(1, 2, 0).contiguous().numpy()


def _one_a_thread(
    photos: Sequence[PhotoFile], branches: Sequence[Branch], read: _Read, budget: Budget
) -> Generator[Finished | Failed, None, None]:
    """Every photo is taken from file to tokens and cache entry by one thread: no core waits for another, neither for
    the next decoded photo nor at the end of every layer."""
    stop = threading.Event()
    turns: dict[str, threading.Lock] = {}
    cached = any(branch.cache for branch in branches)

    def work(photo: PhotoFile) -> Finished | Failed:
        ready = read(photo)
        if isinstance(ready, Failed):
            return ready
        seen: list[Seen] = []
        # Copies of one file wait for each other: how many come from the cache is then not left to chance.
        with turns.setdefault(ready.sha256, threading.Lock()) if cached else nullcontext():
            for index in range(len(branches)):
                if stop.is_set():
                    raise CancelledError
                seen += _seen([ready], index, branches[index])
        return Finished(ready, seen)

    torch_threads = torch.get_num_threads()
    with _room_for_networks(branches, budget) as workers:
        try:
            yield from in_order(work, photos, workers, stop, prepare=prepare_thread)
        finally:
            torch.set_num_threads(torch_threads)


def prepare_thread() -> None:
    """For threads that each work on a photo, or volume, of their own: see ``_one_a_thread``."""
    torch.set_num_threads(1)
    # glibc gives freed memory back to the system, and gets it again page by page for the next photo (5 ms), unless a
    # block of nearly 32 MiB has been freed before: then it keeps as much.
    torch.empty(2**25 - 2**16, dtype=torch.uint8)


@contextmanager
def _room_for_networks(branches: Sequence[Branch], budget: Budget) -> Iterator[int]:
    """As many threads as torch has and a quarter of ``budget`` has room for, taken out of it for a while. The first
    one's activations are not the budget's matter."""
    each = max(activations(branch) for branch in branches)
    further = min(torch.get_num_threads() - 1, max(0, budget.left) // 4 // each)
    budget.left -= further * each
    try:
        yield 1 + further
    finally:
        budget.left += further * each


def _batched(
    photos: Sequence[PhotoFile], branches: Sequence[Branch], read: _Read, size: int, decoders: int
) -> Generator[Finished | Failed, None, None]:
    """Threads decode ahead; the network takes ``size`` photos a call."""
    with closing(in_order(read, photos, decoders, threading.Event())) as items:
        while group := list(islice(items, size)):
            ready = [item for item in group if isinstance(item, Ready)]
            seen = [_seen(ready, index, branch) for index, branch in enumerate(branches)]
            finished = (Finished(item, list(by_branch)) for item, *by_branch in zip(ready, *seen, strict=True))
            yield from (item if isinstance(item, Failed) else next(finished) for item in group)


def in_order(
    work: Callable[[One], T],
    photos: Sequence[One],
    workers: int,
    stop: threading.Event,
    prepare: Callable[[], None] = lambda: None,
) -> Generator[T, None, None]:
    """``work`` of every photo, or whatever they are, in their order. ``workers`` threads, each ``prepare``d, are a few
    ahead."""
    waiting = iter(photos)
    with ThreadPoolExecutor(workers, thread_name_prefix="photo", initializer=prepare) as pool:
        ahead = deque(pool.submit(work, photo) for photo in islice(waiting, workers + AHEAD))
        try:
            while ahead:
                done = ahead.popleft().result()
                if (photo := next(waiting, None)) is not None:
                    ahead.append(pool.submit(work, photo))
                yield done
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)  # an interrupted scan does not decode the rest first


def _seen(photos: list[Ready], index: int, branch: Branch) -> list[Seen]:
    """What one branch makes of each photo: from its cache, the others in one network call."""
    found: list[Features | None] = [branch.cache.get(photo.sha256) if branch.cache else None for photo in photos]
    missing = [at for at, features in enumerate(found) if features is None]
    if missing:
        stack = torch.from_numpy(np.stack([photos[at].pixels[index] for at in missing]))
        fresh = half(branch.backbone.extract(stack.permute(0, 3, 1, 2).to(branch.device)))
        for row, at in enumerate(missing):
            found[at] = one = Features([grid[row].cpu() for grid in fresh.grids], fresh.embedding[row].cpu())
            if branch.cache:
                branch.cache.put(photos[at].sha256, one)
    return [branch.see(features, at not in missing) for at, features in enumerate(found) if features is not None]
