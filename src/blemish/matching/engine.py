"""The exact pair engine: for every token of every image, the distance to the nearest token of every other image.

It knows tensors and a byte budget, nothing of photos. Each unordered image pair is multiplied once: the row maxima
of the product serve one direction, the column maxima the other, which halves the work of the published loops.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from blemish.errors import ConfigError
from blemish.matching.store import ArrayStore, Budget

__all__ = ["NearestTable", "least_memory", "match", "pair_operations", "table_bytes"]

Float32 = npt.NDArray[np.float32]

COLUMN_BLOCK = 8  # rows whose maximum is taken first when looking for the largest entry of every column
BLOCK = 16  # images a block that must fit beside the table; with fewer, tokens on disk are read again and again


@dataclass(frozen=True)
class NearestTable:
    """``row(i)[j, p]``: distance of token p of image i to the nearest token of image j; infinite for j = i.

    ``index(i)[j, p]``: which token of image j that is; meaningless for j = i."""

    store: ArrayStore  # (B, B, N) float32
    index_store: ArrayStore | None = None  # (B, B, N) int32, or int16 where the tokens can be counted with it

    def row(self, image: int) -> Float32:
        """(B, N) float32."""
        row: Float32 = self.store.read(image, image + 1)[0]
        return row

    def index(self, image: int) -> npt.NDArray[np.integer[Any]]:
        """(B, N) integers. Only for a table that was made ``with_index``."""
        assert self.index_store is not None
        index: npt.NDArray[np.integer[Any]] = self.index_store.read(image, image + 1)[0]
        return index

    def release(self, budget: Budget) -> None:
        """Give the table's memory back."""
        for store in (self.store, self.index_store):
            if store is not None:
                budget.release(store)


def _working_bytes(tokens: int, channels: int, threads: int) -> tuple[int, int]:
    """Bytes beside the table: once (a product and a negated image a thread), and for every image of a block (its
    tokens as read, its operands on the left and on the right, a row of distances a thread)."""
    operand = 4 * tokens * (-(-(channels + 1) // 16) * 16)  # see _aligned
    return threads * (4 * tokens * tokens + operand), 3 * operand + threads * 8 * tokens


def least_memory(tokens: int, channels: int, threads: int) -> int:
    """Bytes without which ``match`` refuses."""
    products, per_image = _working_bytes(tokens, channels, threads)
    return products + per_image


def table_bytes(images: int, tokens: int, with_index: bool = False) -> int:
    """Size of the table of B images with N tokens each."""
    return (4 + (_index_type(tokens).itemsize if with_index else 0)) * images * images * tokens


def _index_type(tokens: int) -> np.dtype[Any]:
    return np.dtype(np.int16 if tokens <= np.iinfo(np.int16).max else np.int32)


def pair_operations(images: int, tokens: int, channels: int) -> float:
    """Floating-point operations of one pass: 2 N^2 (C + 1) for each of the B (B - 1) / 2 pairs."""
    return images * (images - 1) * float(tokens) ** 2 * (channels + 1)


def match(
    tokens: ArrayStore,
    budget: Budget,
    *,
    with_index: bool = False,
    threads: int | None = None,
    progress: Callable[[int], None] = lambda pairs: None,
) -> NearestTable:
    """Nearest-token distances between all images.

    ``tokens``: (B, N, C) float32 of unit length. ``budget``: bounds the table and the working copies; a table that
    does not fit goes to a scratch file. ``with_index``: also note which token was nearest, the first where several are
    (about a tenth slower). ``progress(n)`` is told of every n finished pairs, from several threads. The
    distance is Euclidean, d^2 = |a|^2 + |b|^2 - 2ab with the norms of the very numbers that are multiplied, so that
    rounding of the norms cannot enter (the norm-corrected form). Every pair is one product of the same shape, hence
    memory and threads change no bit, and the order of the batch nothing beyond rounding.
    Raises ``ConfigError`` if the budget holds fewer than two images. Give the table back with its ``release``.
    """
    images, count, channels = tokens.shape
    threads = threads or torch.get_num_threads()
    products, per_image = _working_bytes(count, channels, threads)
    wanted = products + min(images, BLOCK) * per_image
    shape = images, images, count
    distances = budget.array(shape, np.float32, share=max(0.0, 1 - wanted / max(budget.left, 1)))
    index = None
    if with_index:
        index = budget.array(shape, _index_type(count), share=max(0.0, 1 - wanted / max(budget.left, 1)))
    table = NearestTable(distances, index)
    block = min(images, (budget.left - products) // per_image)
    if block < 1:
        table.release(budget)
        raise ConfigError(
            f"{budget.left / 2**20:.0f} MiB are left for matching, too little for photos of {count} tokens. "
            "Allow more with --memory, or use a smaller --size."
        )
    for i in range(images):
        distances.write_part(i, i, np.full((1, count), np.inf, np.float32))
        if index:
            index.write_part(i, i, np.zeros((1, count), index.dtype))
    starts = range(0, images, block)
    for at, first in enumerate(starts):
        left_operands = _operands(tokens.read(first, min(first + block, images)))
        for second in starts[at:]:
            right = left_operands if second == first else _operands(tokens.read(second, min(second + block, images)))
            _match_blocks(left_operands, first, right, second, table, threads, progress)
    return table


def _operands(tokens: Float32) -> Tensor:
    """(n, N, C) -> (n, N, C + 1): every token z as [z, (1 + |z|^2) / 2].

    With the last column negated on one side, a product is z_a z_b - (1 + |z_a|^2)(1 + |z_b|^2) / 4, which for lengths
    of 1 + e is -d^2 / 2 up to e^2: the norm correction costs one column, and swapping a and b changes no bit."""
    z = torch.from_numpy(tokens)
    operands = _aligned(*z.shape[:2], z.shape[2] + 1)
    operands[..., :-1] = z
    for image, own in zip(z, operands, strict=True):  # one by one: the squares of a block would double its memory
        own[:, -1] = (image.square().sum(-1) + 1) / 2
    return operands


def _aligned(*shape: int) -> Tensor:
    """An uninitialised tensor whose rows start at multiples of 64 bytes: a matrix library may round differently for
    rows that do not, and then the block an image stands in would show in the last bit."""
    padded = -(-shape[-1] // 16) * 16
    return torch.empty(*shape[:-1], padded)[..., : shape[-1]]


def _match_blocks(
    left: Tensor,
    first: int,
    right: Tensor,
    second: int,
    table: NearestTable,
    threads: int,
    progress: Callable[[int], None],
) -> None:
    """All pairs (i, j), i < j, with i in the left block and j in the right one."""
    stop = threading.Event()
    rows = iter(range(first, first + len(left)))
    take = threading.Lock()

    def work() -> None:
        # One thread a core, each multiplying on its own, beats one product spread over all cores: no barrier.
        torch.set_num_threads(1)
        product = left.new_empty(left.shape[1], left.shape[1])
        while not stop.is_set():
            with take:
                i = next(rows, None)
            if i is None:
                return
            start = max(i + 1, second)
            others = right[start - second :]
            if len(others):
                _match_one(left[i - first], i, others, start, table, product, stop)
                progress(len(others))

    torch_threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads) as pool:
            running = [pool.submit(work) for _ in range(threads)]
            try:
                done, _ = wait(running, return_when=FIRST_EXCEPTION)
            finally:
                stop.set()  # an interrupt or a failed thread ends the others at their next row
            for future in done:
                future.result()
    finally:
        torch.set_num_threads(torch_threads)


def _match_one(
    image: Tensor, i: int, others: Tensor, start: int, table: NearestTable, product: Tensor, stop: threading.Event
) -> None:
    """Image i against images ``start``, ``start + 1``, ...: both directions into the table."""
    negated = _aligned(*image.shape)
    negated.copy_(image)
    negated[:, -1].neg_()
    nearest = image.new_empty(len(others), image.shape[0])
    index = np.empty(nearest.shape, table.index_store.dtype) if table.index_store else None
    for at, other in enumerate(others):
        if stop.is_set():
            return
        torch.mm(other, negated.T, out=product)
        table.store.write_part(start + at, i, _distance(product.amax(1))[None].numpy())
        torch.amax(product, 0, out=nearest[at])
        if table.index_store and index is not None:
            table.index_store.write_part(start + at, i, product.numpy().argmax(1)[None])
            index[at] = _argmax_of_columns(product)
    table.store.write_part(i, start, _distance(nearest).numpy())
    if table.index_store and index is not None:
        table.index_store.write_part(i, start, index)


def _argmax_of_columns(product: Tensor) -> npt.NDArray[np.intp]:
    """``product.argmax(0)``, many times as fast: first the best block of rows, whose maxima are quick to find because
    they are taken along rows, then the best row in that block."""
    rows, columns = product.shape
    blocks = rows // COLUMN_BLOCK
    whole = blocks * COLUMN_BLOCK
    maxima = product.new_empty(blocks + (whole < rows), columns)
    torch.amax(product[:whole].view(blocks, COLUMN_BLOCK, columns), 1, out=maxima[:blocks])
    if whole < rows:
        torch.amax(product[whole:], 0, out=maxima[-1])
    best = maxima.numpy().argmax(0)
    every = np.arange(columns)
    inside = np.minimum(best * COLUMN_BLOCK + np.arange(COLUMN_BLOCK)[:, None], rows - 1)
    values = np.take(product.numpy().reshape(-1), inside * columns + every)
    return np.asarray(inside[values.argmax(0), every])


def _distance(half_negative_square: Tensor) -> Tensor:
    return half_negative_square.mul_(-2).clamp_(min=0).sqrt_()
