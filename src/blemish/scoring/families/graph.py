"""The anomaly similarity graph: how many suspicious links join two photos, over all layers and neighbourhoods.

CoDeGraph (TMLR 10/2025, arXiv 2510.10456), stage 2. Layers have distances of different scale, so links are ranked and
selected within each pass, and the counts are added.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from blemish.scoring.families.family import Float32, Pass
from blemish.scoring.families.links import endurance_ratios, link_counts, rank_of, reference_distances

__all__ = ["similarity_graph"]


def similarity_graph(
    passes: Sequence[Pass], omega: float, *, weighted: bool, degree: int, coverage: float
) -> npt.NDArray[np.int64]:
    """W (B, B), symmetric: A + A^T with A the directed counts of suspicious links. ``omega``: share of the batch."""
    images = passes[0].images
    total = np.zeros((images, images), dtype=np.int64)
    for one in passes:
        rank = rank_of(omega, images)
        reference = np.stack([reference_distances(one.matches.row(i), rank) for i in range(images)])
        typical = float(np.median(reference)) if weighted else None
        counts, _ = link_counts(partial(_ratios, one, reference, typical), images, degree, coverage)
        total += counts
    return total + total.T


def _ratios(one: Pass, reference: Float32, typical: float | None, image: int) -> Float32:
    return endurance_ratios(one.matches.row(image), reference[image], typical)
