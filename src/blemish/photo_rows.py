"""The photos of a scan as rows of its result, and their pictures.

It knows the plan and scores, not how these were computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from blemish.errors import UnreadablePhoto
from blemish.inputs.images import read_photo, resize
from blemish.matching.store import ArrayStore
from blemish.planning import Plan
from blemish.result import Photo, ranked

__all__ = ["pixels_of", "rows_of"]

Float32 = npt.NDArray[np.float32]
RGB = npt.NDArray[np.uint8]


def rows_of(
    plan: Plan, paths: Sequence[str], sha256: Sequence[str], scores: Float32, families: Mapping[str, int]
) -> tuple[tuple[Photo, ...], npt.NDArray[np.intp]]:
    """Rows of the result, most anomalous first, unreadable last; and the order of the scored ones, of which ``paths``,
    ``sha256`` and ``scores: (B,)`` are. ``families``: path -> number."""
    firsts: dict[str, str] = {}
    photos = []
    for path, digest in zip(paths, sha256, strict=True):
        first = firsts.setdefault(digest, path)
        header = plan.headers[path]
        photos.append(
            Photo(
                path=path,
                status="ok",
                width=header.width,
                height=header.height,
                duplicate_of="" if first == path else first,
            )
        )
    rows, order = ranked(photos, scores, families)
    rows += [
        Photo(path=photo.path, status="unreadable", reason=plan.unreadable[photo.path])
        for photo in plan.listing.photos
        if photo.path in plan.unreadable
    ]
    return tuple(rows), order


def pixels_of(plan: Plan, paths: Sequence[str], store: ArrayStore | None) -> Callable[[int], RGB]:
    """Photo number -> (H, W, 3) at the first backbone's working resolution. Those of a large batch are not kept but
    read again: they would take a gigabyte for 1,300 photos."""
    if store is not None:
        return lambda photo: np.asarray(store.read(photo, photo + 1)[0])
    files = {photo.path: photo for photo in plan.listing.photos}
    branch = plan.branches[0]

    def read(photo: int) -> RGB:
        try:
            decoded = read_photo(files[paths[photo]], at_least=branch.shape, deep_ceiling=plan.deep_ceiling)
        except UnreadablePhoto:  # removed while the others were scanned: its scores stand, its picture is grey
            return np.full((*branch.shape, 3), 128, np.uint8)
        return resize(decoded.pixels, branch.shape, branch.backbone.facts.resize)

    return read
