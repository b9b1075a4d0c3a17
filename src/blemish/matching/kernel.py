"""The fused kernels: nearest tokens of pairs of images without their product ever being written to memory.

Imported only where Triton is, and only from inside functions of ``cuda.py``: Triton wants itself among the globals of
the module that its kernels are written in. It knows tensors on one device; not tiles, streams or processes.
``TRITON_INTERPRET=1``, set before Triton is imported, runs the same kernels on the CPU.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["Blocks", "fused_distances", "fused_nearest"]

PARTIAL_BYTES = 2**26  # of the rows' minima that one launch writes


@dataclass(frozen=True)
class Blocks:
    """What one program works on at a time. Powers of two, 16 or more. The default's accumulator and running minima
    take half the registers of a thread; compiled by Triton 3.9 for compute capability 8, 9 and 12 none are spilled, for
    10 a few. ``benchmarks/gpu.py blocks`` compares others."""

    rows: int = 128
    columns: int = 128
    channels: int = 64
    warps: int = 8
    stages: int = 3

    def padded(self, tokens: int, channels: int) -> tuple[int, int]:
        """Tokens and channels, filled up to whole blocks: with them the kernel needs no masks."""
        block = max(self.rows, self.columns)
        return -(-tokens // block) * block, -(-channels // self.channels) * self.channels


# Tokens of a are rows, tokens of b are columns. Annotations are Triton's own, not strings: its compiler looks.
@triton.jit  # type: ignore[untyped-decorator]
def _nearest_kernel(
    a: tl.tensor,  # (l, N, C) float16
    b: tl.tensor,  # (r, N, C)
    norms_a: tl.tensor,  # (l, N) half the squared lengths of the rounded tokens, infinite for padding
    norms_b: tl.tensor,  # (r, N)
    pairs: tl.tensor,  # (n, 2)
    partial: tl.tensor,  # (n, N / COLUMNS, N) out: for every row the nearest of every block of columns, packed
    of_columns: tl.tensor,  # (n, N) out: number of the nearest row for every column
    N: tl.tensor,
    C: tl.tensor,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    CHANNELS: tl.constexpr,
    PLACES: tl.constexpr,  # a power of two, at least N / ROWS
) -> None:
    """One program: a block of columns of one pair against all rows.

    Value and place are one number. The value is -d^2 / 2; the bits of a negative float, read as unsigned, grow with
    its size, so the nearest has the smallest (the rare positive ones, where rounding has made d imaginary, are
    smaller still). The lowest bits give way to the place: 7 of 24 for 128 places, which is 2^-16 of d^2, far below
    what rounding the operands costs. One integer minimum then finds value and place, ties go to the first, and the
    order of a reduction cannot matter. Comparing (value, place) would take three times the instructions, more than
    the product itself where channels are few hundred.

    The columns' minima run along entry by entry, (ROWS, COLUMNS) in registers, and are reduced once at the end: a
    reduction over rows crosses threads. A block's rows lie within a few threads; their minima are written, N numbers
    for a block of columns (a 128th of the product), and reduced by a second kernel. Atomics would need 64 bits and
    initialised memory for the same."""
    column_blocks = N // COLUMNS
    pair = (tl.program_id(0) // column_blocks).to(tl.int64)
    column_block = tl.program_id(0) % column_blocks
    i = tl.load(pairs + 2 * pair).to(tl.int64)
    j = tl.load(pairs + 2 * pair + 1).to(tl.int64)
    in_rows = tl.arange(0, ROWS)
    in_columns = tl.arange(0, COLUMNS)
    channels = tl.arange(0, CHANNELS)
    columns = column_block * COLUMNS + in_columns
    right = b + j * N * C + columns[None, :] * C + channels[:, None]
    right_norms = tl.load(norms_b + j * N + columns)
    places = in_columns[None, :].to(tl.uint32)
    running = tl.full((ROWS, COLUMNS), 0xFFFFFFFF, tl.uint32)
    for row_block in range(0, N // ROWS):
        rows = row_block * ROWS + in_rows
        left = a + i * N * C + rows[:, None] * C + channels[None, :]
        left_norms = tl.load(norms_a + i * N + rows)
        value = -(left_norms[:, None] + right_norms[None, :])
        for at in range(0, C, CHANNELS):
            value = tl.dot(tl.load(left + at), tl.load(right + at), value)
        bits = value.to(tl.uint32, bitcast=True)
        running = tl.minimum(running, (bits & (0x100000000 - PLACES)) | row_block)
        of_rows = tl.min((bits & (0x100000000 - COLUMNS)) | places, axis=1)
        tl.store(partial + (pair * column_blocks + column_block) * N + rows, of_rows.to(tl.int32, bitcast=True))
    nearest = tl.min(running, axis=0)
    first = tl.min(tl.where(running == nearest[None, :], in_rows[:, None], ROWS), axis=0)
    tl.store(of_columns + pair * N + columns, (nearest & (PLACES - 1)).to(tl.int32) * ROWS + first)


@triton.jit  # type: ignore[untyped-decorator]
def _rows_kernel(
    partial: tl.tensor,  # (n, N / COLUMNS, N)
    of_rows: tl.tensor,  # (n, N) out: number of the nearest column for every row
    N: tl.tensor,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """The nearest of all blocks of columns; of equally near ones the first."""
    pair = (tl.program_id(0) // (N // ROWS)).to(tl.int64)
    rows = tl.program_id(0) % (N // ROWS) * ROWS + tl.arange(0, ROWS)
    best = tl.full((ROWS,), 0xFFFFFFFF, tl.uint32)
    best_block = tl.zeros((ROWS,), tl.int32)
    for block in range(0, N // COLUMNS):
        found = tl.load(partial + (pair * (N // COLUMNS) + block) * N + rows).to(tl.uint32, bitcast=True)
        nearer = (found & (0x100000000 - COLUMNS)) < (best & (0x100000000 - COLUMNS))
        best = tl.where(nearer, found, best)
        best_block = tl.where(nearer, block, best_block)
    tl.store(of_rows + pair * N + rows, best_block * COLUMNS + (best & (COLUMNS - 1)).to(tl.int32))


@triton.jit  # type: ignore[untyped-decorator]
def _distance_kernel(
    a: tl.tensor,  # (l, tokens, channels) float32
    b: tl.tensor,  # (r, tokens, channels)
    pairs: tl.tensor,  # (n, 2)
    a_side: tl.tensor,  # column of ``pairs`` that numbers the images of a: 0 or 1
    index: tl.tensor,  # (n, N)
    distance: tl.tensor,  # (n, tokens) out
    tokens: tl.tensor,
    channels: tl.tensor,
    N: tl.tensor,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    """Distance of every token of a to the token of b that ``index`` names, in float32 from their difference. In torch
    the gathered copies would go through memory and take longer than the product."""
    row_blocks = tl.cdiv(tokens, ROWS)
    pair = (tl.program_id(0) // row_blocks).to(tl.int64)
    rows = tl.program_id(0) % row_blocks * ROWS + tl.arange(0, ROWS)
    i = tl.load(pairs + 2 * pair + a_side).to(tl.int64)
    j = tl.load(pairs + 2 * pair + 1 - a_side).to(tl.int64)
    inside = rows < tokens
    nearest = tl.load(index + pair * N + rows, mask=inside, other=0)
    own = a + (i * tokens + rows)[:, None] * channels
    other = b + (j * tokens + nearest)[:, None] * channels
    square = tl.zeros((ROWS,), tl.float32)
    for at in range(0, channels, CHANNELS):
        columns = at + tl.arange(0, CHANNELS)
        wanted = inside[:, None] & (columns < channels)[None, :]
        x = tl.load(own + columns[None, :], mask=wanted, other=0.0)
        y = tl.load(other + columns[None, :], mask=wanted, other=0.0)
        square += tl.sum((x - y) * (x - y), axis=1)
    tl.store(distance + pair * tokens + rows, tl.sqrt_rn(square), mask=inside)


def fused_nearest(
    a: Tensor, b: Tensor, norms_a: Tensor, norms_b: Tensor, pairs: Tensor, blocks: Blocks
) -> tuple[Tensor, Tensor]:
    """Numbers of the nearest tokens, (n, N) int32 each: in ``b`` for those of ``a``, and in ``a`` for those of ``b``.

    ``a``: (l, N, C) and ``b``: (r, N, C) float16, contiguous, N and C as ``blocks.padded`` has them, filled up with
    zeros. ``norms_a``, ``norms_b``: (l, N) and (r, N) float32, half the squared lengths; infinite where ``a`` and
    ``b`` are filled up. ``pairs``: (n, 2) int32 rows of ``a`` and of ``b``."""
    N, C = a.shape[1:]
    row_blocks, column_blocks = N // blocks.rows, N // blocks.columns
    of_rows = torch.empty(len(pairs), N, dtype=torch.int32, device=a.device)
    of_columns = torch.empty_like(of_rows)
    group = max(1, min(len(pairs), PARTIAL_BYTES // (4 * column_blocks * N)))
    partial = torch.empty(group, column_blocks, N, dtype=torch.int32, device=a.device)
    for start in range(0, len(pairs), group):
        some = slice(start, start + group)
        count = len(pairs[some])
        _nearest_kernel[(count * column_blocks,)](
            a,
            b,
            norms_a,
            norms_b,
            pairs[some],
            partial,
            of_columns[some],
            N,
            C,
            ROWS=blocks.rows,
            COLUMNS=blocks.columns,
            CHANNELS=blocks.channels,
            PLACES=1 << (row_blocks - 1).bit_length(),
            num_warps=blocks.warps,
            num_stages=blocks.stages,
            enable_fp_fusion=True,  # named because the default is to change, and with it the last bit
        )
        _rows_kernel[(count * row_blocks,)](
            partial, of_rows[some], N, ROWS=blocks.rows, COLUMNS=blocks.columns, enable_fp_fusion=True
        )
    return of_rows, of_columns


def fused_distances(a: Tensor, b: Tensor, pairs: Tensor, a_side: int, index: Tensor) -> Tensor:
    """(n, tokens) float32. ``a``, ``b``: (l, tokens, channels) float32, contiguous; ``a_side``: the column of
    ``pairs`` that numbers the images of ``a``; ``index``: (n, N) as found by ``fused_nearest``."""
    tokens, channels = a.shape[1:]
    distance = torch.empty(len(pairs), tokens, dtype=torch.float32, device=a.device)
    rows = 32
    _distance_kernel[(len(pairs) * -(-tokens // rows),)](
        a,
        b,
        pairs,
        a_side,
        index,
        distance,
        tokens,
        channels,
        index.shape[1],
        ROWS=rows,
        CHANNELS=64,
        enable_fp_fusion=True,
    )
    return distance
