"""Endurance ratios: how much closer a patch's i-th match is than its omega-th.

A patch of a recurring flaw has very small ratios towards the photos that share the flaw, an ordinary one has ratios
near 1 (CoDeGraph, TMLR 2025, arXiv 2510.10456). Families of photos are found from the links of small ratio; this file
counts ratios for the histogram, and selects nothing itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.diagnostics.scaling import FLOOR

__all__ = ["EnduranceHistogram", "endurance", "endurance_histogram", "weighted_endurance"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

BINS = 50


@dataclass(frozen=True, slots=True)
class EnduranceHistogram:
    """Counts of links by endurance ratio between ``edges`` (one more than counts): ``links`` all of them, ``selected``
    those whose weighted ratio is at most ``bound``; none if that is None."""

    edges: tuple[float, ...]
    links: tuple[int, ...]
    selected: tuple[int, ...]
    bound: float | None


def endurance(d: Float32, omega: int) -> Float64:
    """d(i) / d(omega) for i < omega: ascending distances ``d: (n, B - 1)`` -> (n, omega - 1), above 0 and at most 1.

    Distances are floored as in ``scaling.growth_rates``. Raises ``ValueError`` unless 2 <= omega <= B - 1."""
    if not 2 <= omega <= d.shape[1]:
        raise ValueError(f"omega must lie between 2 and {d.shape[1]}; received {omega}")
    floored = np.maximum(d[:, :omega], FLOOR).astype(np.float64)
    return floored[:, :-1] / floored[:, -1:]


def weighted_endurance(d: Float32, omega: int) -> Float64:
    """The endurance ratio times m / d(omega), m being the median of d(omega) over all tokens: shapes, errors as there.

    Ordinary patches have a chance close match now and then, and there are far more of them than flawed ones; the weight
    asks besides that the patch be unlike the typical photo."""
    reach = np.maximum(d[:, omega - 1 : omega], FLOOR).astype(np.float64)
    return endurance(d, omega) * (np.median(reach) / reach)


def endurance_histogram(d: Float32, omega: int, bound: float | None = None) -> EnduranceHistogram:
    """Histogram of ``endurance`` in 50 equal bins from 0 to 1. ``bound``: the largest *weighted* ratio of a link that
    is taken as suspicious, where one is known. Raises as ``endurance``."""
    ratios = endurance(d, omega)
    edges = np.linspace(0, 1, BINS + 1)
    links = np.histogram(ratios, edges)[0]
    taken = ratios[weighted_endurance(d, omega) <= bound] if bound is not None else ratios[:0]
    selected = np.histogram(taken, edges)[0]
    return EnduranceHistogram(tuple(edges.tolist()), tuple(links.tolist()), tuple(selected.tolist()), bound)
