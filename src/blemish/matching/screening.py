"""Large batches: with whom a photo is compared, so that its cost does not grow with the batch.

Subset division deals photos at random into parts that are compared within (MuSc, section on large batches; its
published deal is stratified by the folder of the defect and so leaks labels: not offered). Screening compares a photo
only with those of its part that are most similar as a whole (CoDeGraph). Knows counts and embeddings.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["LARGEST", "deal", "most_similar", "references"]

Ints = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]

LARGEST = 250  # photos that are compared all with all when nothing else is asked for, give or take a fifth: beyond,
# twice the photos would take four times as long, and benchmarks/large.md sees hardly a gain in them


def deal(images: int, largest: int, seed: int) -> tuple[Ints, ...]:
    """The numbers 0 to ``images`` - 1 in random parts that differ by one photo at most, each ascending.

    The parts are as near to ``largest`` photos as even parts can be. They may have up to a fifth more, so that a batch
    little above ``largest`` is not halved; a photo then costs up to 1.2 times as much. Of two counts of parts that are
    equally near, the larger is taken."""
    most = largest * 6 // 5
    fewest = max(1, -(-images // most))
    counts = range(fewest, max(fewest, -(-images // largest)) + 1)  # with more, the parts only become smaller
    count = min(counts, key=lambda count: (abs(images / count - largest), -count))
    order = np.random.default_rng(seed).permutation(images)
    return tuple(np.sort(part) for part in np.array_split(order, count))


def references(images: int, share: float) -> int:
    """R: how many of the other photos of a part of ``images`` each is compared with, at least 2."""
    return min(images - 1, max(2, round(share * (images - 1))))


def most_similar(embeddings: npt.NDArray[np.float32], share: float) -> Bools | None:
    """(B, B): whether photo i is to be compared with photo j, the R most similar embeddings (B, E) of unit length in
    every row; None if that is all others."""
    images = len(embeddings)
    count = references(images, share)
    if count == images - 1:
        return None
    similarity = embeddings @ embeddings.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :count]
    wanted = np.zeros((images, images), dtype=bool)
    np.put_along_axis(wanted, nearest, True, axis=1)
    return wanted
