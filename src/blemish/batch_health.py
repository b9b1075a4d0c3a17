"""Is this folder what mutual scoring assumes: photos of one product, alike in size, none of them twice?

Pure functions from facts about the batch to sentences for the user; they warn and never refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from blemish.inputs.images import Header
from blemish.result import Photo

__all__ = ["smallest_flaw", "two_products", "warnings", "white_level"]

FLAW_TOKENS = 1.5  # extent, in tokens, from which at least half of all flaws are seen (benchmarks/flaw_size.md)
SPLIT = 0.35  # silhouette from which two groups of photos are called two products
SAMPLE = 400  # photos looked at for groups; enough to see two products, and cheap in any batch


def warnings(
    headers: Sequence[Header],
    rows: Sequence[Photo],
    paths: Sequence[str],
    between: npt.NDArray[np.float32],
    cache_problems: Sequence[str],
) -> tuple[str, ...]:
    """Everything worth a sentence. ``between: (b, b)``: mean distance between the photos ``paths``, which are all or a
    fair sample."""
    cache = next((f"features could not be cached ({problem})" for problem in cache_problems if problem), "")
    found = (_sizes(headers), two_products(paths, between), _duplicates(rows), _few(len(headers)), cache)
    return tuple(sentence for sentence in found if sentence)


def white_level(headers: Iterable[Header], ceiling: int, clipped: Sequence[str]) -> tuple[str, ...]:
    """What was taken as white in 16-bit photos, if that needs saying, and which photos are brighter."""
    if ceiling == 65535 or not any(header.deep for header in headers):
        return ()
    sentence = f"the 16-bit photos stay below {ceiling + 1} in a sample, so {ceiling} was taken as white"
    if clipped:
        sentence += f"; {len(clipped)} are brighter and lost their highlights (first {clipped[0]})"
    return (sentence,)


def smallest_flaw(headers: Mapping[str, Header], grid: tuple[int, int]) -> int:
    """Extent, in pixels of a typical photo, of the smallest flaw that the working resolution still shows."""
    height = float(np.median([header.height for header in headers.values()]))
    width = float(np.median([header.width for header in headers.values()]))
    return max(1, round(FLAW_TOKENS * max(height / grid[0], width / grid[1])))


def two_products(paths: Sequence[str], between: npt.NDArray[np.float32]) -> str:
    """A sentence if the photos fall into two groups that hardly resemble each other, else empty.

    Two medoids, begun with the two photos that are furthest apart, judged by the mean silhouette; a group of fewer
    than three photos, or of less than a twentieth, is a flaw rather than a product."""
    if len(paths) < 6:
        return ""
    chosen = np.linspace(0, len(paths) - 1, min(len(paths), SAMPLE)).astype(int)
    distances = (between + between.T)[np.ix_(chosen, chosen)] / 2
    labels = _two_groups(distances)
    counts = np.bincount(labels, minlength=2)
    if counts.min() < max(3, 0.05 * len(chosen)) or _silhouette(distances, labels) < SPLIT:
        return ""
    examples = [paths[chosen[int(np.flatnonzero(labels == group)[0])]] for group in (0, 1)]
    share = counts / len(chosen) * len(paths)
    return (
        f"these look like two products: about {share[0]:.0f} photos like {examples[0]} and {share[1]:.0f} like "
        f"{examples[1]}. If they are, scan them apart; each group is normal to itself only"
    )


def _two_groups(distances: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """Labels 0 and 1 from two medoids: (n, n) -> (n,)."""
    medoids = np.array(np.unravel_index(int(distances.argmax()), distances.shape))
    labels = np.asarray(distances[:, medoids].argmin(axis=1))
    for _ in range(10):
        for group in (0, 1):
            members = np.flatnonzero(labels == group)
            if len(members):
                medoids[group] = members[distances[np.ix_(members, members)].sum(axis=1).argmin()]
        again = np.asarray(distances[:, medoids].argmin(axis=1))
        if (again == labels).all():
            break
        labels = again
    return labels


def _silhouette(distances: npt.NDArray[np.float32], labels: npt.NDArray[np.intp]) -> float:
    """Mean silhouette (Rousseeuw 1987) of two groups, each of two members or more."""
    own, other = (np.empty(len(labels)) for _ in range(2))
    for group in (0, 1):
        inside = labels == group
        own[inside] = distances[np.ix_(inside, inside)].sum(axis=1) / (inside.sum() - 1)
        other[inside] = distances[np.ix_(inside, ~inside)].mean(axis=1)
    return float(((other - own) / np.maximum(np.maximum(own, other), 1e-12)).mean())


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
