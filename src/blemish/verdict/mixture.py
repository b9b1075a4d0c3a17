"""One way of scoring as a mixture: good photos, and perhaps defective ones above them, in unknown shares.

    p(x) = (1 - share) g(x; centre, spread, skew) + share b(x; centre, spread, shape, reach)

``g`` is a g-distribution (Tukey 1977): normal at skew 0, log-normal in its tail above. ``b`` is a gamma distribution
of the distance above the centre. Everything unknown is on a grid whose posterior is summed, nothing is sampled, so a
batch gives the same answer every time, and what is not known stays spread out. The grid's priors are what keeps a
batch of ten from being split in two. It knows numbers, one a photo; not what they measure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["SHARES", "Fit", "fit"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

SHARES = np.concatenate([[0.0], np.geomspace(0.004, 0.6, 16)])  # of defective photos
REALISED = np.linspace(0, 1, 401) ** 2  # shares to tell apart, closer together where they are small
CLEAN = 0.4  # prior that there are none; the rest is even over the logarithms of the shares
CENTRES, SPREADS, SKEWS = np.linspace(-1.2, 1.2, 9), np.geomspace(0.45, 2.2, 9), np.array([0.0, 0.15, 0.3, 0.45])
SHAPES, REACHES = (1.0, 3.0, 12.0), (5.0, 8.0, 13.0, 25.0)  # of the gamma; its mean, in spreads
LOOSENESS = 0.5  # of the prior of the spread: its standard deviation, in logarithms
PSEUDO = 8  # photos that the prior of the spread counts for where the grid is laid
FLOOR = 1e-3  # density of good photos far below: copies of one photo score next to nothing and are no evidence
NEVER = 1e-7  # density of defective photos where the gamma has none
POINTS = 256  # scores that are kept apart; of more, those in the lower part are grouped
SMALL = 16.0  # nats below the best from which a grid point is left out


@dataclass(frozen=True)
class Fit:
    """The posterior of one way of scoring over P points of the grid of good photos."""

    defective: Float64  # (n,) probability that a photo is
    shares: Float64  # (S,) possible shares of defective photos among these, and
    share_weights: Float64  # (S,) their posterior
    centre: Float64  # (P,)
    spread: Float64  # (P,)
    skew: Float64  # (P,)
    weights: Float64  # (P,)

    def false_alarms(self, thresholds: Float64) -> Float64:
        """(P, T): share of good photos above each threshold, for every point of the grid; see ``weights``."""
        from scipy.special import ndtr  # takes longer to load than this to work out

        units = (thresholds[None] - self.centre[:, None]) / self.spread[:, None]
        return np.asarray(1 - ndtr(_normal(units, self.skew[:, None])))

    @property
    def typical(self) -> tuple[float, float]:
        """Centre and spread of the good photos, on average."""
        return float(self.weights @ self.centre), float(self.weights @ self.spread)


def fit(values: Float64, usual_spread: float | None) -> Fit:
    """The mixture of ``values: (n,)``, higher = more anomalous.

    ``usual_spread``: what good photos of any product spread by, roughly; None where nothing is known of the unit."""
    points, counts, of_point = _grouped(values)
    middle, scale = _densest_half(points, counts, usual_spread)
    if scale <= 0:
        return _nothing(len(values), middle)
    centre, spread, skew = (axis.ravel() for axis in np.meshgrid(CENTRES, SPREADS, SKEWS, indexing="ij"))
    prior = -0.5 * (np.log(spread * scale / (usual_spread or scale)) / LOOSENESS) ** 2
    units = ((points - middle) / scale - centre[:, None]) / spread[:, None]
    good, bad = _good(units, skew[:, None]) / spread[:, None], _bad(units) / spread[:, None]
    # most of the grid is out of the question: a look at few shares tells
    rough = _likelihoods(good, bad, counts, SHARES[[0, 6, 11, 14]]) + prior
    kept = rough.max(axis=(0, 1)) > rough.max() - SMALL
    good, bad, prior = good[kept], bad[:, kept], prior[kept]
    log_posterior = _likelihoods(good, bad, counts, SHARES) + prior
    posterior = np.exp(log_posterior - log_posterior.max())
    posterior /= posterior.sum()
    defective, mean, variance = _membership(good, bad, counts, posterior)
    shares, share_weights = _realised(mean, variance, posterior)
    return Fit(
        defective=np.maximum.accumulate(defective)[of_point],
        shares=shares,
        share_weights=share_weights,
        centre=middle + scale * centre[kept],
        spread=scale * spread[kept],
        skew=skew[kept],
        weights=posterior.sum(axis=(0, 1)),
    )


def _grouped(values: Float64) -> tuple[Float64, Float64, npt.NDArray[np.intp]]:
    """At most ``POINTS`` ascending values, how many photos each stands for, and the point of each photo. The upper half
    of the points are single photos; the lower are means of neighbours."""
    order = np.argsort(values, kind="stable")
    below = max(len(values) - POINTS // 2, 0)
    group = np.arange(len(values))
    if len(values) > POINTS:
        group[:below] = np.arange(below) * (POINTS // 2) // below
        group[below:] = POINTS // 2 + np.arange(len(values) - below)
    counts = np.bincount(group).astype(np.float64)
    points = np.bincount(group, weights=values[order]) / counts
    of_point = np.empty(len(values), np.intp)
    of_point[order] = group
    return points, counts, of_point


def _densest_half(points: Float64, counts: Float64, usual_spread: float | None) -> tuple[float, float]:
    """Median of the shortest interval that holds half of the photos, and the spread of a normal distribution whose
    middle half is as wide; a few photos' is drawn towards the usual spread."""
    values = np.repeat(points, counts.astype(int))
    half = max(2, (len(values) + 1) // 2)
    widths = values[half - 1 :] - values[: len(values) - half + 1]
    first = int(np.argmin(widths))
    scale = float(widths[first]) / 1.349
    if usual_spread is not None:
        weight = len(values) / (len(values) + PSEUDO)
        scale = math.exp(weight * math.log(max(scale, usual_spread / 50)) + (1 - weight) * math.log(usual_spread))
    return float(np.median(values[first : first + half])), scale


def _normal(units: Float64, skew: Float64) -> Float64:
    """The normal deviate that a g-distribution turns into ``units``; minus infinity below its support."""
    stretched = 1 + skew * units
    with np.errstate(divide="ignore", invalid="ignore"):
        bent = np.log(np.maximum(stretched, 0)) / skew
    return np.asarray(np.where(skew > 0, bent, units))


def _good(units: Float64, skew: Float64) -> Float32:
    """(P, n) density of good photos."""
    normal = _normal(units, skew)
    inside = np.isfinite(normal)
    density = np.exp(-0.5 * np.where(inside, normal, 0) ** 2) / (math.sqrt(2 * math.pi) * (1 + skew * units))
    density = np.where(inside, density, 0)
    return np.where(units < 0, np.maximum(density, FLOOR), density).astype(np.float32)


def _bad(units: Float64) -> Float32:
    """(D, P, n) densities of defective photos; none of them scores below the good ones' centre."""
    above = np.log(np.maximum(units, 1e-6))
    densities = []
    for shape in SHAPES:
        for reach in REACHES:
            scale = reach / shape
            logs = (shape - 1) * above - np.maximum(units, 0) / scale - math.lgamma(shape) - shape * math.log(scale)
            densities.append(np.where(units > 0, np.exp(logs), 0) + NEVER)
    return np.array(densities, dtype=np.float32)


def _likelihoods(good: Float32, bad: Float32, counts: Float64, shares: Float64) -> Float64:
    """(S, D, P) log-likelihoods with the prior of the shares."""
    weights = counts.astype(np.float32)
    found = np.empty((len(shares), len(bad), len(good)))
    even = (1 - CLEAN) / (len(SHARES) - 1)
    for at, share in enumerate(shares):
        mixed = np.float32(1 - share) * good + np.float32(share) * bad if share else good[None]
        found[at] = np.log(mixed + np.float32(1e-12)) @ weights + math.log(even if share else CLEAN)
    return found


def _membership(good: Float32, bad: Float32, counts: Float64, posterior: Float64) -> tuple[Float64, Float64, Float64]:
    """(n,) probability that each point is defective; and for each point of the grid, (S, D, P), mean and variance of
    the share that are."""
    total = counts.sum()
    defective = np.zeros(good.shape[1])
    mean, variance = np.zeros(posterior.shape), np.zeros(posterior.shape)
    for at, share in enumerate(SHARES[1:], start=1):
        d, p = np.nonzero(posterior[at] > 1e-7)
        upper = share * bad[d, p].astype(np.float64)
        each = upper / (upper + (1 - share) * good[p] + 1e-12)
        defective += posterior[at, d, p] @ each
        mean[at, d, p] = each @ counts / total
        variance[at, d, p] = (each * (1 - each)) @ counts / total**2
    return defective, mean, variance


def _realised(mean: Float64, variance: Float64, posterior: Float64) -> tuple[Float64, Float64]:
    """The posterior of the share among these photos: each point of the grid spread by its own variance."""
    deviates = np.array([-1.28, -0.52, 0.0, 0.52, 1.28])  # the middles of five equal parts of a normal distribution
    kept = posterior > 1e-7
    values = np.clip(mean[kept][:, None] + np.sqrt(variance[kept])[:, None] * deviates, 0, 1)
    weights = np.repeat(posterior[kept] / len(deviates), len(deviates))
    below = (np.sqrt(values.ravel()) * (len(REALISED) - 1) + 1e-9).astype(np.intp)  # never above what it stands for
    found = np.bincount(below, weights=weights / weights.sum(), minlength=len(REALISED))
    return REALISED, found.astype(np.float64)


def _nothing(photos: int, middle: float) -> Fit:
    """All photos score the same."""
    one = np.ones(1)
    return Fit(np.zeros(photos), np.zeros(1), one, np.array([middle]), one * 1e-12, np.zeros(1), one)
