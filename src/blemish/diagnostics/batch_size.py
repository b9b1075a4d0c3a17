"""How few photos would still do: the batch is thinned out until its matches no longer follow the power law."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.diagnostics.hill import robust_alpha
from blemish.diagnostics.sample import Sample, sub_batch
from blemish.diagnostics.scaling import fit_power_law, growth_rates, last_rank, pooled_rates

__all__ = ["HOLDS", "BatchRow", "smallest_batch", "thin_out"]

HOLDS = 0.95  # R^2 from which the power law is said to hold; good features reach 0.98 and more
DRAWS = 5  # sub-batches of each size; their medians are told
TOKENS = 4_000  # at most, of a sub-batch: enough to know the pooled rate of a rank to about 2 %
LEAST = 6  # photos: four ranks are the fewest that are fitted


@dataclass(frozen=True, slots=True)
class BatchRow:
    """Medians over the draws of ``batch`` photos; None where no draw could be fitted."""

    batch: int
    exponent: float | None
    r2: float | None
    alpha: float | None


def thin_out(drawn: Sample, omega: int, *, holds: float = HOLDS, seed: int = 0) -> tuple[BatchRow, ...]:
    """Fits for B, B/2, B/4, ... photos, down to the first size whose R^2 is under ``holds`` or to six photos.

    Ranks are fitted to the same share of the batch throughout (``scaling.last_rank``, with omega in proportion)."""
    rows: list[BatchRow] = []
    batch = drawn.images
    while batch >= LEAST:
        part = max(2, round(omega * batch / drawn.images))
        whole = batch == drawn.images
        rows.append(
            _row(
                [drawn.d] if whole else [sub_batch(drawn, batch, size=TOKENS, seed=seed + n) for n in range(DRAWS)],
                part,
            )
        )
        if not _holds(rows[-1], holds):
            break
        batch //= 2
    return tuple(rows)


def smallest_batch(rows: Sequence[BatchRow], *, holds: float = HOLDS) -> int | None:
    """The last size of ``thin_out`` that holds; None if not even the whole batch does."""
    return min((row.batch for row in rows if _holds(row, holds)), default=None)


def _holds(row: BatchRow, holds: float) -> bool:
    return row.r2 is not None and row.r2 >= holds


def _row(batches: Sequence[npt.NDArray[np.float32]], omega: int) -> BatchRow:
    images = batches[0].shape[1] + 1
    rates = [growth_rates(d) for d in batches]
    fits = [fit_power_law(pooled_rates(each), last_rank(images, omega)) for each in rates]
    return BatchRow(
        images,
        _median([fit.exponent if fit else None for fit in fits]),
        _median([fit.r2 if fit else None for fit in fits]),
        _median([robust_alpha(each, omega) for each in rates]),
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
