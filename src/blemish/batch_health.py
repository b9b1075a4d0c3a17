"""Is this folder what mutual scoring assumes: photos of one product, alike in size, none of them twice?

Pure functions from facts about the batch to sentences for the user; they warn and never refuse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from blemish.inputs.images import Header
from blemish.result import Photo

__all__ = ["smallest_flaw", "two_products", "warnings"]

FLAW_TOKENS = 1.0  # extent of the smallest flaw that is still seen, in tokens (benchmarks/defaults.md)
SPLIT = 0.35  # silhouette from which two groups of photos are called two products
SAMPLE = 400  # photos looked at for groups; enough to see two products, and cheap in any batch


def warnings(
    headers: Sequence[Header],
    paths: Sequence[str],
    rows: Sequence[Photo],
    between: npt.NDArray[np.float32],
    deep_ceiling: int,
    cache_problems: Sequence[str],
) -> tuple[str, ...]:
    """Everything worth a sentence. ``between: (B, B)``: mean distance between the photos ``paths``."""
    found = [
        _sizes(headers),
        two_products(paths, between),
        _duplicates(rows),
        _few(len(paths)),
        ""
        if deep_ceiling == 65535 or not any(header.deep for header in headers)
        else f"the 16-bit photos stay below {deep_ceiling + 1}, so {deep_ceiling} was taken as white",
        next((f"features could not be cached ({problem})" for problem in cache_problems if problem), ""),
    ]
    return tuple(sentence for sentence in found if sentence)


def smallest_flaw(headers: Mapping[str, Header], grid: tuple[int, int]) -> int:
    """Extent, in pixels of a typical photo, of the smallest flaw that the working resolution still shows."""
    height = float(np.median([header.height for header in headers.values()]))
    width = float(np.median([header.width for header in headers.values()]))
    return max(1, round(FLAW_TOKENS * max(height / grid[0], width / grid[1])))


def two_products(paths: Sequence[str], between: npt.NDArray[np.float32]) -> str:
    """A sentence if the photos fall into two groups that hardly resemble each other, else empty.

    Average-linkage clustering into two, judged by the mean silhouette; a group of fewer than three photos, or of
    less than a twentieth, is a flaw rather than a product."""
    from sklearn.cluster import AgglomerativeClustering
    from sklearn.metrics import silhouette_score

    if len(paths) < 6:
        return ""
    chosen = np.linspace(0, len(paths) - 1, min(len(paths), SAMPLE)).astype(int)
    distances = (between + between.T)[np.ix_(chosen, chosen)] / 2
    labels = AgglomerativeClustering(2, metric="precomputed", linkage="average").fit_predict(distances)
    counts = np.bincount(labels, minlength=2)
    if counts.min() < max(3, 0.05 * len(chosen)) or distances.max() == 0:
        return ""
    if silhouette_score(distances, labels, metric="precomputed") < SPLIT:
        return ""
    examples = [paths[chosen[int(np.flatnonzero(labels == group)[0])]] for group in (0, 1)]
    share = counts / len(chosen) * len(paths)
    return (
        f"these look like two products: about {share[0]:.0f} photos like {examples[0]} and {share[1]:.0f} like "
        f"{examples[1]}. If they are, scan them apart; each group is normal to itself only"
    )


def _sizes(headers: Sequence[Header]) -> str:
    areas = np.array([header.width * header.height for header in headers], dtype=float)
    aspects = np.array([header.width / header.height for header in headers])
    small, large = headers[int(areas.argmin())], headers[int(areas.argmax())]
    if areas.max() > 4 * areas.min():
        return (
            f"sizes differ widely, from {small.width} x {small.height} to {large.width} x {large.height}; "
            "all were brought to one size, and the small ones are blurrier than the others"
        )
    if aspects.max() > 1.5 * aspects.min():
        return (
            f"shapes differ, from {aspects.min():.2f} to {aspects.max():.2f} times as wide as high; "
            "all were stretched to the median shape"
        )
    return ""


def _duplicates(rows: Sequence[Photo]) -> str:
    copies = [row for row in rows if row.duplicate_of]
    if not copies:
        return ""
    return (
        f"{len(copies)} photo{'s are exact copies' if len(copies) > 1 else ' is an exact copy'} of another "
        f"({copies[0].path} = {copies[0].duplicate_of}); a copied flaw looks like a recurring one and scores lower"
    )


def _few(photos: int) -> str:
    if photos >= 10:
        return ""
    return f"only {photos} photos: the order is a hint, not evidence; with 30 or more it becomes reliable"
