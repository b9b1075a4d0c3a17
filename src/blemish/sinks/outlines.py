"""The shape of every region of a result, as the two things that labelling tools read: polygons and run lengths.

It knows masks of pixels; the files that shapes are written into are other sinks' business. Coordinates are those of
COCO: pixel (row r, column c) is the square from (c, r) to (c + 1, r + 1), x to the right and y down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.judgement import Region

__all__ = ["Outline", "outlines", "polygons", "rings", "run_lengths", "simplified"]

Bools = npt.NDArray[np.bool_]
Points = npt.NDArray[np.int64]  # (n, 2) x, y
Pieces = tuple[npt.NDArray[np.int32], int]  # connected pieces of a mask, numbered from 1, and how many there are
Window = tuple[slice, slice]  # rows, columns
ROUGHEST = 2.0  # pixels that a polygon may be off, at most


@dataclass(frozen=True, slots=True)
class Outline:
    """One region's shape. ``left`` to ``bottom`` and ``area`` are those of its pixels, to the pixel.

    ``polygons``: one for each connected piece, which is one in all but odd cases, closed without repeating the first
    point, within two pixels of the true rim and on small regions much closer. ``counts``: every pixel, exactly, as
    COCO's compressed run lengths over the whole photo."""

    left: int
    top: int
    right: int  # outside, as is bottom
    bottom: int
    area: int
    polygons: tuple[Points, ...]
    counts: str


def outlines(mask: Bools, regions: Sequence[Region], reach: tuple[int, int]) -> tuple[Outline, ...]:
    """The shapes of ``regions`` in the photo's ``mask: (H, W)``, in their order.

    ``reach``: how far (rows, columns) a region's pixels may lie outside its box, which was taken from the coarse map:
    the pixels of a token."""
    windows = [_window(region, mask.shape, reach) for region in regions]
    pieces = [_pieces(mask[window]) for window in windows]
    claims = _claims(regions, windows, pieces, mask.shape)
    shapes = []
    for region, window, (labels, _), claimed in zip(regions, windows, pieces, claims, strict=True):
        if claimed:
            shapes.append(_outline(np.isin(labels, claimed), window, mask.shape))
        else:  # regions that have run together, or fallen between two pixels: what is in the box, or else all of it
            box = _window(region, mask.shape, (0, 0))
            shapes.append(_outline(mask[box] if mask[box].any() else np.ones_like(mask[box]), box, mask.shape))
    return tuple(shapes)


def _window(region: Region, shape: tuple[int, ...], reach: tuple[int, int]) -> Window:
    rows = slice(max(region.top - reach[0], 0), min(region.bottom + reach[0], shape[0]))
    return rows, slice(max(region.left - reach[1], 0), min(region.right + reach[1], shape[1]))


def _claims(
    regions: Sequence[Region], windows: Sequence[Window], pieces: Sequence[Pieces], shape: tuple[int, ...]
) -> list[list[int]]:
    """For each region the numbers of its own pieces. Windows overlap: a piece is the region's whose box fits best."""
    from scipy import ndimage

    best: dict[tuple[int, int, int, int], tuple[float, int, int]] = {}
    for number, (region, (rows, columns), (labels, _)) in enumerate(zip(regions, windows, pieces, strict=True)):
        for piece, (down, across) in enumerate(ndimage.find_objects(labels), start=1):
            box = (
                rows.start + down.start,
                columns.start + across.start,
                rows.start + down.stop,
                columns.start + across.stop,
            )
            cut = (
                (box[0] == rows.start > 0)
                or (box[1] == columns.start > 0)
                or (box[2] == rows.stop < shape[0])
                or (box[3] == columns.stop < shape[1])
            )
            fit = _overlap(box, (region.top, region.left, region.bottom, region.right))
            if not cut and (box not in best or fit > best[box][0]):  # what goes on outside belongs to another region
                best[box] = (fit, number, piece)
    claims: list[list[int]] = [[] for _ in regions]
    for _, number, piece in best.values():
        claims[number].append(piece)
    return claims


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Of two boxes (top, left, bottom, right): their common area as a share of the area of both."""
    common = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    both = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - common
    return common / both


def _outline(inside: Bools, window: Window, shape: tuple[int, ...]) -> Outline:
    """The shape of ``inside: (h, w)``, which is this window of a photo of ``shape``."""
    ys, xs = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    inside = inside[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
    left, top = window[1].start + int(xs[0]), window[0].start + int(ys[0])
    height, width = inside.shape
    corner = np.array([left, top])
    traced = tuple(polygon + corner for polygon in polygons(inside))
    counts = run_lengths(inside, left, top, shape)
    return Outline(left, top, left + width, top + height, int(inside.sum()), traced, counts)


def _pieces(mask: Bools) -> Pieces:
    from scipy import ndimage  # takes its time to load, which runs without a verdict need not

    # pixels that touch at a corner belong together, as in regions
    labels, count = ndimage.label(mask, structure=np.ones((3, 3), dtype=bool))
    return labels, count


def polygons(mask: Bools) -> list[Points]:
    """One polygon for each connected piece of ``mask: (h, w)``.

    Polygons of COCO have no holes. A hole is joined to the rim by a seam, there and back along one line, which has no
    area under any rule of filling."""
    labels, count = _pieces(mask)
    found = []
    for piece in range(1, count + 1):
        own = labels == piece
        rim, *holes = rings(own)
        steps = np.abs(np.diff(np.concatenate([rim, rim[:1]]), axis=0)).sum()  # its length along the pixels' sides
        tolerance = min(own.sum() / steps / 10, ROUGHEST)  # a share of the thickness: thin scratches must not vanish
        polygon = simplified(rim, tolerance)
        for hole in holes:
            ring = simplified(hole, tolerance)
            if len(ring) >= 3:  # one of a few pixels may have become a line
                polygon = _with_seam(polygon, ring[::-1])
        found.append(polygon)
    return found


def rings(mask: Bools) -> list[Points]:
    """The closed lines between the pixels of ``mask: (h, w)`` and the others, as their corners; a piece's rim before
    its holes, all clockwise.

    Going along a row of pixel corners, a side of the outline begins at every odd corner and ends at the next; the same
    holds for columns. So sorting the corners by row gives the sides to left and right, by column those up and down."""
    padded = np.pad(mask, 1)
    above_left, above_right = padded[:-1, :-1], padded[:-1, 1:]
    below_left, below_right = padded[1:, :-1], padded[1:, 1:]
    corner = above_left ^ above_right ^ below_left ^ below_right
    # Where two pixels touch at a corner only, two lines meet: the corner counts twice, once for each.
    touching = (above_left == below_right) & (above_right == below_left) & (above_left != above_right)
    times = corner.astype(np.int64) + 2 * touching
    ys, xs = (at.repeat(times[times > 0]) for at in np.nonzero(times))
    number = np.arange(len(xs))
    across = number ^ 1  # corners are sorted by row: 0 and 1 are one side, 2 and 3 the next
    # Of a doubled corner the first has the side to the left. If the pixels that touch lie above left and below right,
    # it must get the side down, so that the line goes around the two as one piece.
    order = np.lexsort((np.where(touching[ys, xs] & above_left[ys, xs], -number, number), ys, xs))
    along = np.empty_like(number)
    along[order] = order[number ^ 1]
    rims: list[Points] = []
    holes: list[Points] = []
    for ring in _walks(across.tolist(), along.tolist()):
        line = np.stack([xs[ring], ys[ring]], axis=1)
        x, y = line[0]  # the upmost, and of these the leftmost
        (rims if below_right[y, x] else holes).append(line)
    return rims + holes


def _walks(across: list[int], along: list[int]) -> list[list[int]]:
    """The closed walks that take a side across and one along in turn."""
    left = [True] * len(across)
    walks = []
    for start in range(len(across)):
        walk, at = [], start
        while left[at]:
            over = across[at]
            left[at] = left[over] = False
            walk += [at, over]
            at = along[over]
        if walk:
            walks.append(walk)
    return walks


def simplified(ring: Points, tolerance: float) -> Points:
    """Fewer of the points of a closed ``ring: (n, 2)``, such that no left-out one lies further than ``tolerance``
    pixels from the line between its neighbours (Douglas and Peucker, 1973)."""
    closed = np.concatenate([ring, ring[:1]]).astype(np.float64)
    last = len(ring)
    furthest = int(np.square(closed - closed[0]).sum(axis=1).argmax())
    kept = np.zeros(last + 1, dtype=bool)
    kept[[0, furthest]] = True
    todo = [(0, furthest), (furthest, last)]
    while todo:
        first, end = todo.pop()
        if end - first < 2:
            continue
        base, way = closed[first], closed[end] - closed[first]
        apart = closed[first + 1 : end] - base
        # to the segment, not to its endless line: a spike beyond an end counts
        share = np.clip(apart @ way / max(way @ way, 1.0), 0, 1)
        distance = np.square(apart - share[:, None] * way).sum(axis=1)
        at = int(distance.argmax())
        if distance[at] > tolerance**2:
            middle = first + 1 + at
            kept[middle] = True
            todo += [(first, middle), (middle, end)]
    return ring[kept[:-1]]


def _with_seam(polygon: Points, hole: Points) -> Points:
    """``polygon`` walked to the point nearest to ``hole``, around it the other way, and on."""
    gaps = np.square(polygon[:, None] - hole[None]).sum(axis=2)
    here, there = np.unravel_index(gaps.argmin(), gaps.shape)
    around = np.roll(hole, -int(there), axis=0)
    return np.concatenate([polygon[: here + 1], around, around[:1], polygon[here:]])


def run_lengths(inside: Bools, left: int, top: int, shape: tuple[int, ...]) -> str:
    """COCO's compressed run lengths of a mask of ``shape`` (H, W) that is ``inside: (h, w)`` at ``left``, ``top`` and
    false elsewhere. Pixels are counted down the columns, false ones first."""
    height, width = shape
    columns = np.pad(inside.T, ((0, 0), (1, 1))).astype(np.int8)
    at, begins = np.nonzero(np.diff(columns, axis=1) == 1)
    _, ends = np.nonzero(np.diff(columns, axis=1) == -1)
    begins, ends = ((left + at) * height + top + rows for rows in (begins, ends))
    apart = np.ones(len(begins) + 1, dtype=bool)
    apart[1:-1] = begins[1:] != ends[:-1]  # a run at a column's foot goes on at the next one's head
    edges = np.stack([begins[apart[:-1]], ends[apart[1:]]], axis=1).ravel()
    counts = np.diff(edges, prepend=0, append=height * width)
    return _compressed(counts if counts[-1] else counts[:-1])


def _compressed(counts: npt.NDArray[np.int64]) -> str:
    """Five bits a letter, the low ones first; from the fourth on differences to the last but one (pycocotools'
    ``rleToString``)."""
    values = counts.copy()
    values[3:] -= counts[1:-2]
    shifts = 5 * np.arange(13)  # 64 bits are thirteen letters at most
    rest = values[:, None] >> shifts
    # Done when nothing but the sign is left, and the letter's own highest bit shows that sign.
    done = (rest >> 4 == 0) | (rest >> 4 == -1)
    before = np.cumsum(done, axis=1) - done
    letters = (rest & 31) + np.where(done, 0, 32) + 48
    return bytes(letters[before == 0].astype(np.uint8)).decode("ascii")
