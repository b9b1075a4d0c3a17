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
) -> tuple[npt.NDArray[np.int64], float]:
    """W (B, B), symmetric: A + A^T with A the directed counts of suspicious links; and lambda of the first pass.
    ``omega``: share of the batch."""
    images = passes[0].images
    total = np.zeros((images, images), dtype=np.int64)
    bounds: list[float] = []
    for one in passes:
        rank = rank_of(omega, one.references + 1)
        reference = np.stack([reference_distances(one.matches.row(i), rank) for i in range(images)])
        typical = float(np.median(reference)) if weighted else None
        counts, bound = link_counts(partial(_ratios, one, reference, typical), images, degree, coverage)
        bounds.append(bound)
        total += counts
    return total + total.T, bounds[0]


def _ratios(one: Pass, reference: Float32, typical: float | None, image: int) -> Float32:
    return endurance_ratios(one.matches.row(image), reference[image], typical)
