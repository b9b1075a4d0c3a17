"""Does this batch match itself as the theory of recurring flaws assumes, and what follows from it?

``sample``       a seeded sample of patches and their distances to the other photos
``scaling``      growth rates of the distances and the power law through them
``hill``         the tail index, from few matches to many
``burnout``      patches that run out of good matches abruptly
``endurance``    how much closer the first matches are than the omega-th
``batch_size``   how few photos would do
``reading``      all of it in words
``plots``, ``family_plots``   pictures, which need matplotlib

Functions on distances (CoDeGraph, TMLR 2025, arXiv 2510.10456). They know nothing of photos, features or families,
and change no score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from blemish.diagnostics import burnout, hill, reading, sample, scaling
from blemish.diagnostics.batch_size import smallest_batch, thin_out
from blemish.diagnostics.diagnosis import Diagnosis
from blemish.diagnostics.endurance import endurance_histogram

__all__ = ["Diagnosis", "diagnose"]


def diagnose(
    row: Callable[[int], npt.NDArray[np.float32]],
    images: int,
    tokens: int,
    *,
    omega: int,
    bound: float | None = None,
    seed: int = 0,
) -> Diagnosis:
    """Everything this room can say about one batch, from a sample of at most 20,000 of its tokens.

    ``row(i)``: (B, N) distances of token p of image i to its nearest token in image j; the entry j = i is not read.
    ``images``, ``tokens``: B and N. ``omega``: the reference rank of endurance ratios, brought between 2 and B - 1,
    which a very small batch needs. ``bound``: the largest weighted endurance ratio of a suspicious link, if links were
    selected. The order of the batch changes nothing beyond rounding.
    Raises ``InputError`` for fewer than three images, ``ValueError`` as ``sample.sample``.
    """
    drawn = sample.sample(row, images, tokens, seed=seed)
    omega = min(max(2, omega), images - 1)
    rates = scaling.growth_rates(drawn.d)
    growth = scaling.pooled_rates(rates)
    last = scaling.last_rank(images, omega)
    alpha = hill.robust_alpha(rates, omega)
    curve = hill.hill_curve(rates, max(images // 2, last))
    batches = thin_out(drawn, omega, seed=seed)
    found = Diagnosis(
        photos=images,
        tokens=tokens,
        sampled=len(drawn.d),
        omega=omega,
        seed=seed,
        growth=tuple(growth.tolist()),
        power_law=scaling.fit_power_law(growth, last),
        alpha=alpha,
        hill=curve,
        plateau=hill.plateau(curve),
        burn_out=(
            burnout.summary(burnout.burn_out(rates, burnout.typical_rates(growth, omega, alpha)), omega)
            if alpha
            else None
        ),
        endurance=endurance_histogram(drawn.d, omega, bound),
        batches=batches,
        smallest_batch=smallest_batch(batches),
    )
    return replace(found, reading=reading.reading(found))
