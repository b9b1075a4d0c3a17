"""Other ways to find a threshold and doubtful photos without labels, which `verdict.py` compares ours with."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.mixture import BayesianGaussianMixture

from blemish.verdict import Estimate
from blemish.verdict.detectors import Detector
from blemish.verdict.mixture import fit
from blemish.verdict.threshold import MISSED, between

Float64 = npt.NDArray[np.float64]

TAIL = 0.5  # photos that a forward search allows to be called by chance in a clean batch


def thresholds(estimated: Estimate, detectors: Sequence[Detector], flawed: npt.NDArray[np.bool_]) -> dict[str, float]:
    """On the score, of every rival."""
    scores = estimated.scores
    values = detectors[0].values
    back = np.exp if estimated.logarithmic else np.asarray
    middle, mad = np.median(values), stats.median_abs_deviation(values, scale="normal")
    own = fit(values, detectors[0].usual_spread).defective
    return {
        "median + 3 MAD": float(back(middle + 3 * mad)),
        "forward search, Gumbel tail": float(back(forward(values))),
        "Dirichlet process over the detectors (Perini et al.)": quantile(scores, contamination(detectors)),
        "the score's mixture alone": least_cost(scores, own),
        "pooled, without the whole photo": least_cost(scores, _pooled(detectors[:-1])),
        "pooled by the mean alone": least_cost(scores, _pooled(detectors[:-1], mean_only=True)),
    }


def forward(values: Float64) -> float:
    """Begin with the lower half; add the next photo while a Gumbel distribution of those before it does not make it
    rarer than half a photo in such a batch."""
    ascending = np.sort(values)
    photos = len(ascending)
    for count in range(max(3, photos // 2), photos):
        inside = ascending[:count]
        scale = max(float(inside.std()) * np.sqrt(6) / np.pi, 1e-6) * (1 + 3 / count)
        # what is seen of the distribution is cut off above: its spread is larger
        scale /= 1 - 0.5 * (1 - count / photos)
        place = float(inside.mean()) - 0.5772 * scale
        if stats.gumbel_r.sf(ascending[count], place, scale) * photos < TAIL:
            return float((ascending[count - 1] + ascending[count]) / 2)
    return float(ascending[-1])


def contamination(detectors: Sequence[Detector]) -> float:
    """The share of defective photos after Perini, Buerkner and Klami (ICML 2023), from one mixture instead of samples:
    standardised detectors as a representation, a Dirichlet process mixture over it, its components ordered by how far
    all detectors put them up. The first is anomalous with probability 0.99, each further one only if those before it
    are, less probably the lower it lies, so that a share of a quarter or more has probability 0.01."""
    z = np.stack([(d.values - np.mean(d.values)) / (np.std(d.values) + 1e-9) for d in detectors], axis=1)
    components = min(20, max(2, len(z) // 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mixture = BayesianGaussianMixture(
            n_components=components, weight_concentration_prior=0.01, max_iter=200, random_state=0, reg_covar=1e-3
        ).fit(z)
    deviation = np.sqrt(np.stack([np.diag(covariance) for covariance in mixture.covariances_]))
    height = (mixture.means_ / (1 + deviation)).mean(axis=1)
    order = np.argsort(-height)
    share, height = np.cumsum(mixture.weights_[order]), height[order]
    quarter = int(np.searchsorted(share, 0.25))

    def joint(slope: float) -> Float64:
        return np.cumprod(1 / (1 + np.exp(-(np.log(99) - slope * (height[0] - height)))))

    slopes = np.geomspace(1e-3, 1e3, 200)
    slope = slopes[int(np.argmin([abs(joint(one)[quarter] - 0.01) for one in slopes]))]
    upto = joint(slope)
    exactly = upto - np.append(upto[1:], 0.0)
    return float(exactly @ share)


def quantile(scores: Float64, share: float) -> float:
    return between(-np.sort(-scores), round(share * len(scores)))


def least_cost(scores: Float64, defective: Float64) -> float:
    order = np.argsort(-scores, kind="stable")
    probability = defective[order]
    alarms = np.concatenate([[0.0], np.cumsum(1 - probability)])
    missed = probability.sum() - np.concatenate([[0.0], np.cumsum(probability)])
    return between(scores[order], int(np.argmin(alarms + MISSED * missed)))


def _pooled(detectors: Sequence[Detector], mean_only: bool = False) -> Float64:
    odds = np.stack([_odds(fit(one.values, one.usual_spread).defective) for one in detectors])
    mean = odds.mean(axis=0)
    return 1 / (1 + np.exp(-(mean if mean_only else np.maximum(odds[0], mean))))


def _odds(probability: Float64) -> Float64:
    held = np.clip(probability, 1e-4, 1 - 1e-4)
    return np.log(held / (1 - held))


def bands(estimated: Estimate, threshold: float, most: int) -> dict[str, npt.NDArray[np.intp]]:
    """The ``most`` photos nearest to the threshold, by several measures."""
    scores = estimated.scores
    spread = (estimated.high - estimated.low) / 2 + 0.1 * np.std(scores)
    stability = exceed(scores, float((scores > threshold).mean()))
    distance = {
        "nearest score": np.abs(scores - threshold),
        "nearest score, in units of the detectors' disagreement": np.abs(scores - threshold) / spread,
        "ExCeeD": np.abs(stability - 0.5),
    }
    return {name: np.argsort(far, kind="stable")[:most] for name, far in distance.items()}


def exceed(scores: Float64, share: float) -> Float64:
    """Probability that a photo would be called blemished after resampling (Perini, Vercruyssen and Davis 2020)."""
    photos = len(scores)
    below = np.array([(scores <= score).sum() for score in scores])
    share = max(share, 1 / photos)
    return stats.binom.sf(photos * (1 - share), photos, (1 + below) / (2 + photos))
