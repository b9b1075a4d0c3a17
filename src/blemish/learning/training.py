"""The loop that trains a prompt model on photos that were seen once: batches, steps of Adam, when to stop, going on.

As published: Adam, rate 1e-3, betas (0.5, 0.999), batches of 8, 15 epochs, no augmentation. Beyond that: early stopping
by pseudo-labels that are held out, weights by confidence, soft targets, and an average of the weights over the steps.
It knows arrays and models; not where photos and masks come from.

The same data, settings and start give the same bits on one CPU, also when interrupted. On a GPU they differ in the last
digits: there torch adds up the gradient of an enlarged map in any order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from blemish.errors import ConfigError, InputError
from blemish.learning import checkpoint as file_of
from blemish.learning.anomalyclip import AnomalyClip
from blemish.learning.checkpoint import Epoch
from blemish.learning.course import Course, best
from blemish.learning.losses import finite
from blemish.learning.prompt_file import SEED, manner
from blemish.learning.prompt_view import PromptModel
from blemish.learning.training_set import Batch, Targets, TrainingSet
from blemish.progress import Progress, Silent

__all__ = ["Epoch", "TrainConfig", "Trained", "train"]

Rows = npt.NDArray[np.intp]

HELD_OUT, MANY = 0.1, 300  # share, and photos from which it is large enough to say when to stop


@dataclass(frozen=True)
class TrainConfig:
    """How to train. The published training has ``holdout=0`` and ``balance=False``; on its data sets, where most photos
    are defective, the latter changes nothing. Why these defaults: benchmarks/label_noise.md. Raises ``ConfigError`` for
    a value out of its range."""

    epochs: int = 15
    batch: int = 8
    rate: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.999)
    seed: int = SEED  # of the first weights, the order of photos, and what is held out
    size: int | None = None  # pixels a side that photos are seen at; None: 518, or CLIP's own if that is below 224
    targets: Targets = "hard"  # masks, or the belief in each pixel
    weigh: bool = False  # each pixel and photo by the confidence in it
    balance: bool = True  # an epoch has no more good photos than defective ones, drawn anew each time
    holdout: float | None = None  # share of both kinds that only says when to stop; None: a tenth of 300 photos or more
    patience: int = 3  # epochs without a lower loss on what is held out, after which it stops
    average: float = 0.0  # decay a step of an average of the weights, which then is the model; 0: none

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "patience", *(() if self.size is None else ("size",))):
            if not isinstance(value := getattr(self, name), int) or value < 1:
                raise ConfigError(f"{name} is a whole number from 1 on; received {value!r}.")
        if self.size is not None and not 32 <= self.size <= 4096:
            raise ConfigError(f"size is 32 to 4096 pixels; received {self.size}.")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise ConfigError(f"seed is a whole number from 0 on; received {self.seed!r}.")
        for name, value in (("average", self.average), ("holdout", self.holdout or 0.0)):
            if not 0 <= value < 1:
                raise ConfigError(f"{name} is a number from 0 to below 1; received {value!r}.")
        if not 0 < self.rate <= 1:
            raise ConfigError(f"rate is above 0 and at most 1; received {self.rate!r}.")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas are two numbers from 0 to below 1; received {self.betas!r}.")
        if self.targets not in get_args(Targets):
            raise ConfigError(f"targets are {' or '.join(get_args(Targets))}; received {self.targets!r}.")


@dataclass(frozen=True)
class Trained:
    """``stopped_at``: the epoch whose weights these are; ``why``: in words; ``notes``: what the user should know."""

    model: PromptModel
    history: tuple[Epoch, ...]
    stopped_at: int
    why: str
    notes: tuple[str, ...]


def train(
    model: PromptModel,
    data: TrainingSet,
    config: TrainConfig | None = None,
    *,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train a copy of ``model``, which stays as it is, where it is (CPU or GPU).

    ``checkpoint``: a file that is written after every epoch and taken up by the same training, by no other; it is left
    there. ``progress`` hears of one stage, a step a batch, and a note an epoch.
    Raises ``InputError`` if no photo is defective, ``ConfigError`` for class names that APRIL-GAN cannot use,
    ``RunError`` if the loss is no number (the checkpoint stays), ``OutputError`` if it cannot be written."""
    config, progress = config or TrainConfig(), progress or Silent()
    if not data.labels.any():
        raise InputError(
            f"None of the {len(data)} photos to learn from is defective, so there is nothing to learn. Give a run, or "
            "pseudo-masks, with defects."
        )
    learning, held = _parted(data.labels, data.groups, config)
    notes = []
    if config.holdout and not len(held):
        notes.append("Too few photos to hold any out: all epochs are run")
    texts = None if isinstance(model, AnomalyClip) else torch.stack([model.text(word) for word in data.words])
    course = Course(model, config.rate, config.betas, config.average)
    fingerprint = _fingerprint(model, data, config)
    if checkpoint is not None:
        state, why_not = file_of.read(checkpoint, fingerprint, course.shapes)
        notes += [why_not] if why_not else []
        if state is not None and len(state.history) > config.epochs:
            notes.append(f"{checkpoint.name} is beyond epoch {config.epochs}, so the training is begun anew")
        elif state is not None:
            course.restore(state)
            notes.append(f"Taken up after epoch {len(course.history)} of {config.epochs}")
    for note in notes:
        progress.note(note)
    drawn = _draws(learning, data.labels, config)
    steps = -(-len(drawn(1)) // config.batch)
    with progress.stage("learning", config.epochs * steps) as advance:
        advance(len(course.history) * steps)
        while not (why := _finished(course.history, config)):
            number, total = len(course.history) + 1, 0.0
            order = drawn(number)
            for at, rows in enumerate(_slices(order, config.batch), start=1):
                batch = data.batch(rows, course.device, config.targets, config.weigh)
                loss = finite(_loss(course.model, texts, batch), f"epoch {number}, batch {at}")
                course.step(loss)
                total += float(loss.detach()) * len(rows)
                advance(1)
            outside = _held_out(course.judged, texts, data, held, config, number) if len(held) else None
            course.close(Epoch(number, total / len(order), outside))
            progress.note(_told(course.history[-1], config))
            if checkpoint is not None:
                file_of.write(checkpoint, course.state, fingerprint)
    return Trained(course.result, tuple(course.history), best(course.history).number, why, tuple(notes))


def _draws(learning: Rows, labels: npt.NDArray[np.bool_], config: TrainConfig) -> Callable[[int], Rows]:
    """Number of an epoch -> its rows in their order, by nothing but that and the seed."""
    defective = int(labels[learning].sum())

    def drawn(number: int) -> Rows:
        order = np.random.default_rng([config.seed, number]).permutation(learning)
        if not config.balance:
            return order
        good = np.cumsum(~labels[order])
        return np.asarray(order[labels[order] | (good <= defective)])

    return drawn


def _loss(model: PromptModel, texts: Tensor | None, batch: Batch) -> Tensor:
    """``texts``: (classes, 2, E) of APRIL-GAN, which are not learned; AnomalyCLIP's are, so they are read each time."""
    weights = (batch.weights, batch.photo_weights)
    if isinstance(model, AnomalyClip):
        return model.loss(batch.seen, model.text(), batch.target, batch.label, *weights)
    assert texts is not None
    return model.loss(batch.seen, texts[batch.words], batch.target, *weights)


@torch.no_grad()
def _held_out(
    model: PromptModel, texts: Tensor | None, data: TrainingSet, held: Rows, config: TrainConfig, number: int
) -> float:
    """The mean loss; of balanced epochs the mean of both kinds' means, or "nothing is defective" would be best."""
    defective = data.labels[held]
    means = []
    for kind in (held[defective], held[~defective]) if config.balance else (held,):
        total = believed = 0.0
        for rows in _slices(kind, config.batch):
            batch = data.batch(rows, next(iter(model.learned.values())).device, config.targets, config.weigh)
            loss = finite(_loss(model, texts, batch), f"epoch {number}, on the photos that are held out")
            share = len(rows) if batch.photo_weights is None else float(batch.photo_weights.sum())
            total, believed = total + float(loss) * share, believed + share
        means += [total / believed] if believed else []
    return sum(means) / len(means) if means else 0.0


def _parted(labels: npt.NDArray[np.bool_], groups: Rows, config: TrainConfig) -> tuple[Rows, Rows]:
    """Rows to learn from, and rows that are held out: at random, the same share of good and defective ones, in
    proportion from all sources. None are held out unless both kinds can be."""
    share = config.holdout if config.holdout is not None else HELD_OUT if len(labels) >= MANY else 0.0
    random = np.random.default_rng([config.seed, 0]).permutation(len(labels))
    held: list[Rows] = []
    for label in (False, True):
        rows = random[labels[random] == label]
        rows = rows[np.argsort(groups[rows], kind="stable")]
        count = round(share * len(rows))
        if not 0 < count < len(rows):
            return np.arange(len(labels)), np.zeros(0, np.intp)
        held.append(rows[((np.arange(count) + 0.5) * len(rows) / count).astype(np.intp)])
    apart = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), apart), apart


def _slices(rows: Rows, size: int) -> Iterator[Rows]:
    return (rows[at : at + size] for at in range(0, len(rows), size))


def _finished(history: list[Epoch], config: TrainConfig) -> str:
    """Why there is no further epoch; "" if there is one."""
    if not history:
        return ""
    lowest = best(history)
    if len(history) - lowest.number >= config.patience:
        return f"the loss on held-out photos has not fallen since epoch {lowest.number}"
    if len(history) < config.epochs:
        return ""
    return "all epochs were run" + (f"; epoch {lowest.number} was best" if lowest.number < len(history) else "")


def _told(epoch: Epoch, config: TrainConfig) -> str:
    outside = "" if epoch.held_out is None else f", {epoch.held_out:.4f} on held-out photos"
    return f"Epoch {epoch.number} of {config.epochs}: loss {epoch.loss:.4f}{outside}"


def _fingerprint(model: PromptModel, data: TrainingSet, config: TrainConfig) -> str:
    """Of all that decides the weights after an epoch; not how many there will be."""
    decides = {name: value for name, value in asdict(config).items() if name not in ("epochs", "patience")}
    start = hashlib.sha256()
    for name, one in model.learned.items():
        start.update(name.encode())
        start.update(one.detach().cpu().numpy().tobytes())
    clip = [model.pair.weights_sha256, *manner(model.pair)]
    facts = [type(model).__name__, asdict(model.settings), decides, clip, start.hexdigest(), data.digest]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
