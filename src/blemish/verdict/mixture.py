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
REACH = 3.0  # standard deviations of the posterior that a grid is laid out to on either side
NARROWER = 0.7  # width of an axis, against the one before, from which it is worth another look


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
    units = (points - middle) / scale
    usual = math.log((usual_spread or scale) / scale)
    axes = CENTRES, SPREADS, SKEWS
    grid, posterior = _posterior(units, counts, axes, usual)
    while (finer := _finer(axes, grid, posterior)) is not None:
        axes = finer
        grid, posterior = _posterior(units, counts, axes, usual)
    defective, mean, variance = _membership(*_densities(units, *grid), counts, posterior)
    shares, share_weights = _realised(mean, variance, posterior)
    centre, spread, skew = grid
    return Fit(
        defective=np.maximum.accumulate(defective)[of_point],
        shares=shares,
        share_weights=share_weights,
        centre=middle + scale * centre,
        spread=scale * spread,
        skew=skew,
        weights=posterior.sum(axis=(0, 1)),
    )


Axes = tuple[Float64, Float64, Float64]  # of the good photos: centres, spreads, skews
Grid = tuple[Float64, Float64, Float64]  # the same of each of its P points


def _posterior(units: Float64, counts: Float64, axes: Axes, usual: float) -> tuple[Grid, Float64]:
    """The P points of a grid, and the posterior (S, D, P). ``usual``: logarithm of the usual spread."""
    centre, spread, skew = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    good, bad = _densities(units, centre, spread, skew)
    prior = -0.5 * ((np.log(spread) - usual) / LOOSENESS) ** 2
    logs = _likelihoods(good, bad, counts, SHARES) + prior
    posterior = np.exp(logs - logs.max())
    return (centre, spread, skew), posterior / posterior.sum()


def _finer(axes: Axes, grid: Grid, posterior: Float64) -> Axes | None:
    """Axes around the posterior, if the steps of these are too wide for it: it narrows as a batch grows."""
    weights = posterior.sum(axis=(0, 1))
    laid = []
    narrowed = False
    for axis, values, limits in zip(axes, grid, (CENTRES, SPREADS, SKEWS), strict=True):
        bent = np.log if limits is SPREADS else np.asarray
        unbent = np.exp if limits is SPREADS else np.asarray
        step = float(np.max(np.diff(bent(axis))))
        middle = float(weights @ bent(values))
        deviation = math.sqrt(max(float(weights @ (bent(values) - middle) ** 2), (step / 3) ** 2))
        low, high = (float(bent(end)) for end in (limits[0], limits[-1]))
        reach = REACH * deviation
        again = np.linspace(max(low, middle - reach), min(high, middle + reach), len(axis))
        narrowed = narrowed or bool(np.ptp(again) < NARROWER * np.ptp(bent(axis)))
        laid.append(np.asarray(unbent(again)))
    return (laid[0], laid[1], laid[2]) if narrowed else None


def _densities(units: Float64, centre: Float64, spread: Float64, skew: Float64) -> tuple[Float32, Float32]:
    """(P, n) of good photos and (D, P, n) of defective ones."""
    own = (units - centre[:, None]) / spread[:, None]
    width = spread[:, None].astype(np.float32)
    return _good(own, skew[:, None]) / width, _bad(own) / width


def _grouped(values: Float64) -> tuple[Float64, Float64, npt.NDArray[np.intp]]:
    """At most ``POINTS`` ascending values, how many photos each stands for, and the point of each photo. The upper half
    of the points are single photos; below them are means of ever more neighbours."""
    photos, single = len(values), POINTS // 2
    order = np.argsort(values, kind="stable")
    group = np.arange(photos)
    if photos > POINTS:
        edges = np.unique(np.geomspace(single, photos, POINTS - single + 1).round().astype(np.intp))
        from_top = np.where(group < single, group, single - 1 + np.searchsorted(edges, group, side="right"))
        group = (from_top.max() - from_top)[::-1]
    counts = np.bincount(group).astype(np.float64)
    points = np.bincount(group, weights=values[order]) / counts
    of_point = np.empty(len(values), np.intp)
    of_point[order] = group
    return points, counts, of_point


def _densest_half(points: Float64, counts: Float64, usual_spread: float | None) -> tuple[float, float]:
    """Median of the shortest interval that holds half of the photos, and the spread of a normal distribution whose
    middle half is as wide; a few photos' is drawn towards the usual spread."""
    values = np.repeat(points, counts.astype(int))
    half = min(len(values), max(2, (len(values) + 1) // 2))
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
