"""Students of the label-noise study: how they are trained, judged, and what is tried so that APRIL-GAN bears noise.

A remedy is what ``TrainConfig`` offers, or an APRIL-GAN with another loss or fewer free numbers; those exist here only.
It knows arrays and models; no files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from blemish.inputs.truth import fit_mask
from blemish.learning.anomalyclip import SMOOTH, AnomalyClip
from blemish.learning.aprilgan import AprilGan
from blemish.learning.prompt_file import Seen
from blemish.learning.training import TrainConfig, train
from blemish.learning.training_set import TrainingSet
from blemish.metrics.ranking import Undefined, auroc, auroc_of, average_precision_of, f1_max_of, rank_counts
from label_noise_data import BATCH, Product, Taught

Bools = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Model = AnomalyClip | AprilGan

FEW = 0.02  # of the truth's pixels, which differ by rounding alone
PUBLISHED_SIDE = 518  # pixels, in which the maps' smoothing is given


@dataclass(frozen=True)
class LowRank(AprilGan):
    """Layers that start as CLIP's own projection, to which ``up @ down`` of a low rank is added (Hu et al. 2022)."""

    base: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def around(cls, plain: AprilGan, rank: int) -> LowRank:
        """``down`` starts as the plain layers' first rows, ``up`` at 0."""
        vision, (layers, embedding, _) = plain.pair.vision, plain.learned["weight"].shape
        weight = (vision.ln_post.weight[:, None] * vision.proj).T.expand(layers, -1, -1)
        bias = (vision.ln_post.bias @ vision.proj).expand(layers, -1)
        learned = {
            "up": nn.Parameter(torch.zeros(layers, embedding, rank, device=weight.device)),
            "down": nn.Parameter(plain.learned["weight"][:, :rank].detach().clone()),
            "bias": nn.Parameter(torch.zeros_like(bias)),
        }
        return cls(plain.pair, plain.settings, learned, {"weight": weight, "bias": bias})

    def maps(self, seen: Seen, text: Tensor, size: tuple[int, int]) -> list[Tensor]:
        weight = self.base["weight"] + self.learned["up"] @ self.learned["down"]
        whole: Any = {"weight": weight, "bias": self.base["bias"] + self.learned["bias"]}
        return AprilGan(self.pair, self.settings, whole).maps(seen, text, size)


@dataclass(frozen=True)
class Shrunk(AprilGan):
    """The loss and ``pull`` times the squared distance of the layers from where they started."""

    start: Mapping[str, Tensor] = field(default_factory=dict)
    pull: float = 0.0

    def loss(
        self, seen: Seen, text: Tensor, target: Tensor, weights: Tensor | None = None, photos: Tensor | None = None
    ) -> Tensor:
        away = [(self.learned[name] - start).square().sum() for name, start in self.start.items()]
        return super().loss(seen, text, target, weights, photos) + self.pull * torch.stack(away).sum()


@dataclass(frozen=True)
class Bootstrapped(AprilGan):
    """Targets are mixed with what the model says by now, ``own`` of it (soft bootstrapping, Reed et al. 2015)."""

    own: float = 0.0

    def loss(
        self, seen: Seen, text: Tensor, target: Tensor, weights: Tensor | None = None, photos: Tensor | None = None
    ) -> Tensor:
        with torch.no_grad():
            said = torch.stack(self.maps(seen, text, (target.shape[1], target.shape[2])))[:, :, 1].mean(dim=0)
        return super().loss(seen, text, (1 - self.own) * target + self.own * said, weights, photos)


@dataclass(frozen=True)
class Remedy:
    model: Callable[[AprilGan], AprilGan] = lambda plain: plain
    config: Mapping[str, Any] = field(default_factory=dict)


def _shrunk(pull: float) -> Callable[[AprilGan], AprilGan]:
    return lambda plain: Shrunk(
        plain.pair, plain.settings, plain.learned, {n: t.detach().clone() for n, t in plain.learned.items()}, pull
    )


def _bootstrapped(own: float) -> Callable[[AprilGan], AprilGan]:
    return lambda plain: Bootstrapped(plain.pair, plain.settings, plain.learned, own)


REMEDIES: dict[str, Remedy] = {
    "none (as published)": Remedy(),
    "weighted by confidence": Remedy(config={"weigh": True}),
    "soft targets": Remedy(config={"targets": "soft"}),
    "average of the weights, decay .99": Remedy(config={"average": 0.99}),
    "3 epochs": Remedy(config={"epochs": 3}),
    "early stopping, a tenth held out": Remedy(config={"holdout": 0.1}),
    "low rank 4 around CLIP's projection": Remedy(lambda plain: LowRank.around(plain, 4)),
    "shrinkage to the start, 0.01": Remedy(_shrunk(0.01)),
    "bootstrapping, .3 its own": Remedy(_bootstrapped(0.3)),
}


def taught_set(seen: Sequence[Seen], told: Sequence[Taught], words: Sequence[str]) -> TrainingSet:
    """Of several products: what was seen of all their photos, and what is told of some."""
    rows = [torch.tensor(one.rows) for one in told]
    together = Seen(
        torch.cat([one.image[at] for one, at in zip(seen, rows, strict=True)]),
        tuple(
            torch.cat([one.patches[layer][at] for one, at in zip(seen, rows, strict=True)])
            for layer in range(len(seen[0].patches))
        ),
        seen[0].grid,
    )
    return TrainingSet.of(
        together,
        [mask for one in told for mask in one.masks],
        [label for one in told for label in one.labels],
        soft=[soft for one in told for soft in one.soft],
        confidence=[sure for one in told for sure in one.confidence],
        photo_weights=[weight for one in told for weight in one.photo_weights],
        words=[word for word, one in zip(words, told, strict=True) for _ in one.rows],
        groups=[number for number, one in enumerate(told) for _ in one.rows],
    )


def student(fresh: Model, data: TrainingSet, config: TrainConfig, remedy: Remedy | None = None) -> Model:
    if remedy is not None and isinstance(fresh, AprilGan):
        fresh, config = remedy.model(fresh), replace(config, **remedy.config)
    return train(fresh, data, config).model


@torch.no_grad()
def maps_of(model: Model, seen: Seen, words: str, target: int) -> tuple[Float32, Float32]:
    """(n, M, M) maps and (n,) scores of photos."""
    text = model.text() if isinstance(model, AnomalyClip) else _words_of(model, words)
    scores, maps = [], []
    for at in range(0, len(seen.image), BATCH):
        rows = slice(at, at + BATCH)
        some = Seen(
            seen.image[rows].to(text.device), tuple(one[rows].to(text.device) for one in seen.patches), seen.grid
        )
        smooth = {"smooth": SMOOTH * target / PUBLISHED_SIDE} if isinstance(model, AnomalyClip) else {}
        photos, found = model.scores(some, text, (target, target), **smooth)
        scores.append(photos.cpu().numpy())
        maps.append(found.cpu().numpy())
    return np.concatenate(maps), np.concatenate(scores)


_said: dict[tuple[str, str], Tensor] = {}


def _words_of(model: AprilGan, words: str) -> Tensor:
    """Of one CLIP and class always the same, and a hundred texts to encode."""
    key = (model.pair.weights_sha256, words)
    if key not in _said:
        _said[key] = model.text(words)
    return _said[key]


def judged(model: Model, item: Product, seen: Seen, target: int) -> npt.NDArray[np.float64]:
    """Pixel AP, F1-max and AUROC, image AUROC of the model's own score and of the map's highest value; NaN where the
    truth leaves it undefined."""
    maps, scores = maps_of(model, seen, item.words, target)
    truth = small(item, target)
    counts = rank_counts(maps, truth)
    return np.array(
        [
            _or_nan(lambda: average_precision_of(counts)),
            _or_nan(lambda: f1_max_of(counts)[0]),
            _or_nan(lambda: auroc_of(counts)),
            _or_nan(lambda: auroc(scores, item.labels)),
            _or_nan(lambda: auroc(maps.max(axis=(1, 2)), item.labels)),
        ]
    )


def repeats(model: Model, told: Taught, item: Product, seen: Seen, target: int) -> npt.NDArray[np.float64]:
    """On the photos that it was taught, cut where it agrees best with what it was taught: F1 with the truth; share of
    the teacher's false pixels, and of those that the teacher missed, that it makes its own (NaN where they are few)."""
    rows = list(told.rows)
    chosen = Seen(seen.image[rows], tuple(one[rows] for one in seen.patches), seen.grid)
    maps, _ = maps_of(model, chosen, item.words, target)
    taught, truth = np.stack(told.masks), small(item, target)[rows]
    level = _or_nan(lambda: f1_max_of(rank_counts(maps, taught))[1])
    said = maps >= level
    false, missed = taught & ~truth, truth & ~taught
    return np.array([f1(said, truth), *(_share(one, truth) for one in (said[false], ~said[missed]))])


def small(item: Product, target: int) -> Bools:
    """(n, M, M) truth."""
    return np.stack([fit_mask(mask, (target, target)) for mask in item.masks])


def f1(said: Bools, truth: Bools) -> float:
    marked = said.sum() + truth.sum()
    return float(2 * (said & truth).sum() / marked) if marked else float("nan")


def _share(values: Bools, truth: Bools) -> float:
    return float(values.mean()) if values.size > FEW * truth.sum() else float("nan")


def _or_nan(figure: Callable[[], float]) -> float:
    try:
        return figure()
    except Undefined:
        return float("nan")
