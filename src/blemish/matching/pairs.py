"""Pairs of images on a CPU: the nearest token of the other image for every token, both ways, from one product.

The product only proposes: every distance is taken anew, in float32, from the difference of the two tokens, so that
neither cancellation nor the precision of the product enters (methods: norm-corrected form, arg-min re-evaluated).
It knows arrays of two images and nothing of batches, threads or memory.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Matcher", "Operands", "Precision", "choose_precision", "index_type", "operand_bytes", "operands"]

Float32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.intp]

Matched = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]
Precision = str  # of the product's operands: "bfloat16" or "float32"

ENTRIES = 2**20  # of a product, which with its codes stays in the cache
ROWS = 32  # rows of a product that are compared with their bounds at once: they and the result stay in the cache
EQUAL = 1e-13  # difference of float64 products up to which tokens are the same
PARTS = 3  # bfloat16 numbers that hold the digits of a float32
MOST = 8  # proposals a token, on average; with more, as on a flat background, a finer product decides


def index_type(tokens: int) -> np.dtype[Any]:
    """The smallest type that counts tokens: int16 up to 32,767."""
    return np.dtype(np.int16 if tokens <= np.iinfo(np.int16).max else np.int32)


@cache
def choose_precision() -> tuple[Precision, str]:
    """Precision of the product on this processor, and why. It changes the time, not the distances."""
    if _multiplies_bfloat16():
        return "bfloat16", "the processor multiplies bfloat16, twice as fast; distances are taken in float32"
    return "float32", "the processor does not multiply bfloat16"


def _multiplies_bfloat16() -> bool:
    # PyTorch has no public question for it; where these are missing, float32 is always right.
    if platform.machine() not in {"x86_64", "AMD64"}:
        return False
    asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(supported is not None and bool(supported()) for supported in asked)


@dataclass(frozen=True)
class Operands:
    """Images ready to be multiplied. ``left[i] @ right[j].T`` is -d^2 / 2 of the tokens as they were rounded."""

    tokens: Float32  # (n, N, C)
    left: Tensor  # (n, N, C + extra) in the product's precision
    right: Tensor
    rounding: Float32  # (n, N): how far each token was moved when it was rounded

    def __len__(self) -> int:
        return len(self.tokens)


def operands(tokens: Float32, precision: Precision) -> Operands:
    """(n, N, C) -> operands, with the norms of the very numbers that are multiplied.

    float32: [z, -c] and [z, c] with c = (1 + |z|^2) / 2. For lengths of 1 + e the product is -d^2 / 2 up to e^2, and
    swapping the images changes no bit. bfloat16: rounded tokens are not of unit length, so it is [z, -n, -1] and
    [z, 1, n] with n = |z|^2 / 2, and n split over three columns."""
    z = torch.from_numpy(tokens)
    channels = z.shape[2]
    dtype, extra = (torch.bfloat16, 2 * PARTS) if precision == "bfloat16" else (torch.float32, 1)
    left, right = (_aligned(*z.shape[:2], channels + extra, dtype=dtype) for _ in range(2))
    rounding = np.empty(tokens.shape[:2], dtype=np.float32)
    # one by one: copies of a block would be large
    for image, on_left, on_right, moved in zip(z, left, right, rounding, strict=True):
        on_left[:, :channels] = on_right[:, :channels] = rounded = image.to(dtype)
        moved[:] = torch.linalg.vector_norm(image - rounded.float(), dim=1).numpy()
        half_norm = rounded.float().square().sum(-1, keepdim=True) / 2
        if precision == "float32":
            on_right[:, channels:] = half_norm + 0.5
            on_left[:, channels:] = -half_norm - 0.5
        else:
            parts = _parts(half_norm)
            on_left[:, channels:] = torch.cat([-parts, torch.full_like(parts, -1)], dim=1)
            on_right[:, channels:] = torch.cat([torch.ones_like(parts), parts], dim=1)
    return Operands(tokens, left, right, rounding)


def operand_bytes(tokens: int, channels: int, precision: Precision) -> int:
    """Bytes of both operands of one image."""
    extra, size = (2 * PARTS, 2) if precision == "bfloat16" else (1, 4)
    return 2 * tokens * _padded(channels + extra, size) * size


def _parts(values: Tensor) -> Tensor:
    """(N, 1) -> (N, 3) bfloat16 whose sum is as good as the float32 ``values``."""
    found = []
    for _ in range(PARTS):
        found.append(values.bfloat16())
        values = values - found[-1].float()
    return torch.cat(found, dim=1)


def _aligned(*shape: int, dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor whose rows start at multiples of 64 bytes: a matrix library may round differently for
    rows that do not, and then the block an image stands in would show in the last bit."""
    return torch.empty(*shape[:-1], _padded(shape[-1], dtype.itemsize), dtype=dtype)[..., : shape[-1]]


def _padded(columns: int, size: int) -> int:
    step = 64 // size
    return -(-columns // step) * step


class Matcher:
    """Matches images one after the other; its buffers are used again. Not to be shared between threads."""

    def __init__(self, tokens: int, channels: int, precision: Precision) -> None:
        self.together = _together(tokens)
        entries = self.together * tokens * tokens
        coarse = precision == "bfloat16"
        self._coarse = torch.empty(entries, dtype=torch.bfloat16) if coarse else None
        self._fine = None if coarse else torch.empty(entries)
        self._proposed = np.empty(entries, dtype=bool)
        self._a, self._b = (np.empty((MOST * self.together * tokens, channels), dtype=np.float32) for _ in range(2))

    @staticmethod
    def nbytes(tokens: int, channels: int) -> int:
        """Bytes that a matcher takes at most."""
        together = _together(tokens)
        product = (4 + 1) * together * tokens * tokens
        in_float64 = 8 * tokens * (2 * channels + 4 * ROWS)
        return product + 8 * MOST * together * tokens * channels + in_float64

    def match(self, left: Operands, i: int, right: Operands, first: int, count: int = 1) -> Matched:
        """Image ``left[i]`` against the images ``first`` to ``first + count`` of ``right``, at most ``together``.

        Distances (count, N) from the tokens of ``left[i]`` to each of the others and the nearest token's number
        (count, N), and the same from each of the others to ``left[i]``. Of several equally near tokens it is the
        first. Which images are matched together changes no bit."""
        tokens, channels = left.tokens.shape[1:]
        shape = tokens, count, tokens
        a, b = left.tokens[i], right.tokens[first : first + count]
        on_right = right.right[first : first + count].flatten(0, 1)
        if self._coarse is not None:
            product = self._coarse[: tokens * count * tokens].view(tokens, count * tokens)
            torch.mm(left.left[i], on_right.T, out=product)
            # A negative number's bits grow with its size, so the nearest has the smallest; the rare positive ones,
            # where rounding has made a distance imaginary, are smaller still.
            closeness: npt.NDArray[Any] = product.view(torch.int16).numpy().view(np.uint16).reshape(shape)
            of_left, of_right = left.rounding[i], right.rounding[first : first + count]
            of_rows = _bound(closeness.min(axis=2), of_left[:, None] + of_right.max(axis=1), channels)
            of_columns = _bound(closeness.min(axis=0), of_right + of_left.max(), channels)
        else:
            assert self._fine is not None
            product = self._fine[: tokens * count * tokens].view(tokens, count * tokens)
            closeness = torch.mm(left.left[i], on_right.T, out=product).neg_().numpy().reshape(shape)
            of_rows, of_columns = (closeness.min(axis=axis) + _accumulated(channels) for axis in (2, 0))
        if self._propose(closeness, of_rows, of_columns):
            return self._verify(a, b)
        if count > 1:
            alone = [self.match(left, i, right, j) for j in range(first, first + count)]
            forward, forward_index, backward, backward_index = (
                np.concatenate(part) for part in zip(*alone, strict=True)
            )
            return forward, forward_index, backward, backward_index
        self._propose_finely(a, b[0])
        return self._verify(a, b)

    def _propose(self, closeness: npt.NDArray[Any], of_rows: npt.NDArray[Any], of_columns: npt.NDArray[Any]) -> bool:
        """Note all entries (N, count, N) up to the bound of their row (N, count) or column (count, N): what may be
        nearest. False if they are too many."""
        tokens, count, _ = closeness.shape
        proposed = self._proposed[: closeness.size].reshape(closeness.shape)
        for start in range(0, tokens, ROWS):
            rows = slice(start, start + ROWS)
            bound = np.maximum(of_rows[rows, :, None], of_columns)
            np.less_equal(closeness[rows], bound, out=proposed[rows])
        return bool(np.count_nonzero(proposed) <= MOST * count * tokens)

    def _propose_finely(self, a: Float32, b: Float32) -> None:
        """Note the nearest entries of two images by a product in float64, four times as slow, in which nothing but
        equal tokens is equally near: for flat backgrounds, where every token is nearly the nearest of every other."""
        y = torch.from_numpy(b).double()
        half_norms = y.square().sum(1) / 2
        proposed = self._proposed[: len(a) * len(b)].reshape(len(a), len(b))
        proposed[:] = False
        every = np.arange(len(b))
        nearest, row_of = np.full(len(b), np.inf), np.zeros(len(b), dtype=np.intp)
        for start in range(0, len(a), ROWS):
            x = torch.from_numpy(a[start : start + ROWS]).double()
            half_squares = (half_norms - torch.mm(x, y.T) + x.square().sum(1, keepdim=True) / 2).numpy()
            # the first of equal tokens, whose products may differ in the last bits
            in_row = half_squares <= half_squares.min(axis=1, keepdims=True) + EQUAL
            proposed[np.arange(start, start + len(x)), in_row.argmax(axis=1)] = True
            least = half_squares.min(axis=0)
            row = (half_squares <= least + EQUAL).argmax(axis=0)
            nearer = least < nearest - EQUAL
            row_of[nearer] = start + row[nearer]
            nearest[nearer] = least[nearer]
        proposed[row_of, every] = True

    def _verify(self, a: Float32, b: Float32) -> Matched:
        """The nearest among what is proposed, at least one entry for every token of ``a`` (N, C) in every image of
        ``b`` (count, N, C) and the other way round."""
        count, tokens = b.shape[:2]
        row, column = np.divmod(np.flatnonzero(self._proposed[: tokens * count * tokens]), count * tokens)
        other, token = np.divmod(column, tokens) if count > 1 else (0, column)
        place = row * count + other  # ascending
        distance = self._distances(a, b.reshape(count * tokens, -1), row, column)
        forward = np.minimum.reduceat(distance, np.searchsorted(place, np.arange(tokens * count)))
        backward = np.full(count * tokens, np.inf, dtype=np.float32)
        np.minimum.at(backward, column, distance)
        dtype = index_type(tokens)
        forward_index = _first(token, place, distance == forward[place], tokens * count, dtype)
        backward_index = _first(row, column, distance == backward[column], count * tokens, dtype)
        return (
            forward.reshape(tokens, count).T,
            forward_index.reshape(tokens, count).T,
            backward.reshape(count, tokens),
            backward_index.reshape(count, tokens),
        )

    def _distances(self, a: Float32, b: Float32, row: Ints, column: Ints) -> Float32:
        # "clip" because numpy would otherwise copy the buffer to be safe from an index error half-way
        difference = np.take(a, row, axis=0, out=self._a[: len(row)], mode="clip")
        difference -= np.take(b, column, axis=0, out=self._b[: len(row)], mode="clip")
        return np.asarray(np.sqrt(np.einsum("ij,ij->i", difference, difference)))


def _together(tokens: int) -> int:
    """How many images are matched with one at a time: with few tokens a call takes longer than its work."""
    return max(1, min(16, ENTRIES // tokens**2))


def _bound(nearest: npt.NDArray[Any], moved: Float32, channels: int) -> npt.NDArray[np.uint16]:
    """Codes of the nearest entries -> codes up to which an entry may be nearer in truth, whatever the tokens.

    ``moved``: how far a token and its match can have been moved together. By the triangle inequality the distance
    found is off by that much, and so is the distance that it is compared with."""
    error = _accumulated(channels)
    half_squares = np.maximum(-(nearest.astype(np.uint32) << 16).view(np.float32), 0)
    largest = np.sqrt(2 * (half_squares * np.float32(1 + 2**-8) + error)) + 2 * moved
    bits = (-(largest * largest / 2 * np.float32(1 + 2**-20) + error)).view(np.uint32)
    return np.asarray((bits + 0x8000) >> 16, dtype=np.uint16)


def _accumulated(channels: int) -> np.float32:
    """Error of a float32 sum of products of unit vectors, at most."""
    return np.float32((channels + 2 * PARTS) * 2**-23)


def _first(value: Ints, place: Ints, chosen: npt.NDArray[np.bool_], count: int, dtype: np.dtype[Any]) -> Any:
    """(count,) of ``place`` the first chosen ``value``."""
    at = np.flatnonzero(chosen)[::-1]
    first = np.empty(count, dtype=dtype)
    first[place[at]] = value[at]
    return first
