"""Training on a tiny CLIP: as published to the bit, lower losses, early stopping, interruptions, and bad input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from blemish.errors import ConfigError, InputError, RunError
from blemish.features import clip
from blemish.learning import anomalyclip, aprilgan, training
from blemish.learning.anomalyclip import AnomalyClip
from blemish.learning.aprilgan import AprilGan
from blemish.learning.checkpoint import Epoch
from blemish.learning.course import Course
from blemish.learning.prompt_file import Seen
from blemish.learning.prompt_view import PromptModel
from blemish.learning.training import TrainConfig, _draws, _held_out, train
from blemish.learning.training_set import TrainingSet
from blemish.progress import Silent
from blemish.scoring.prompts import Ensemble
from clip_models import save_clip

pytest.importorskip("transformers")
SIZE = (32, 32)
PHOTOS = 12
WORDS = Ensemble(("good {}",), ("bad {}",), ("a {}.",))
ALL = TrainConfig(epochs=4, batch=3, rate=1e-2, holdout=0.0, balance=False)
STOPPING = TrainConfig(epochs=6, batch=3, rate=1e-2, holdout=0.2, average=0.9, targets="soft", weigh=True)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PromptModel]:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_clip(folder)
    pair = clip.load(str(folder), torch.device("cpu"))
    words = anomalyclip.Settings(layers=(2, 4), value_value=2, length=3, deep=2, deep_length=2)
    return {
        "anomalyclip": AnomalyClip.fresh(pair, words),
        "april-gan": AprilGan.fresh(pair, aprilgan.Settings.for_pair(pair, WORDS)),
    }


@pytest.fixture(params=["anomalyclip", "april-gan"])
def model(models: dict[str, PromptModel], request: pytest.FixtureRequest) -> PromptModel:
    return models[request.param]


def photos(model: PromptModel) -> tuple[Seen, list[np.ndarray], list[bool]]:
    """Every second photo has a bright square, and that is its mask."""
    random = torch.Generator().manual_seed(3)
    pixels = torch.randint(90, 160, (PHOTOS, 3, *SIZE), dtype=torch.uint8, generator=random)
    masks = [np.zeros(SIZE, np.bool_) for _ in range(PHOTOS)]
    for at in range(0, PHOTOS, 2):
        top, left = 4 * (at % 5), 4 * (at % 3)
        masks[at][top : top + 12, left : left + 12] = True
        pixels[at, :, top : top + 12, left : left + 12] = 250
    seen = model.see(model.pair.pixels(pixels))
    return seen, masks, [bool(mask.any()) for mask in masks]


def data_for(model: PromptModel, **more: object) -> TrainingSet:
    seen, masks, labels = photos(model)
    words = ["nut" if at % 3 else "metal plate" for at in range(PHOTOS)]
    soft = [0.2 + 0.6 * mask for mask in masks]
    confidence = [np.where(mask, 0.5, 0.9) for mask in masks]
    weights = [0.4 + 0.03 * at for at in range(PHOTOS)]
    given = {"words": words, "soft": soft, "confidence": confidence, "photo_weights": weights, **more}
    return TrainingSet.of(seen, masks, labels, **given)  # type: ignore[arg-type]


def weights_of(model: PromptModel) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in model.learned.items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Stopping(Silent):
    """Ctrl-C after so many batches."""

    def __init__(self, batches: int) -> None:
        self.left = batches
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        def advance(steps: int) -> None:
            self.left -= steps
            if self.left <= 0:
                raise KeyboardInterrupt

        yield advance


def test_training_is_the_published_one(model: PromptModel) -> None:
    """A loop as in the published code: Adam on hard masks, without weights."""
    data, config = data_for(model), replace(ALL, epochs=2, seed=5)
    found = train(model, data, config)
    by_hand = replace(model, learned={name: torch.nn.Parameter(one) for name, one in weights_of(model).items()})
    adam = torch.optim.Adam(by_hand.learned.values(), lr=1e-2, betas=(0.5, 0.999))
    seen, masks, labels = photos(model)
    half = Seen(seen.image.half(), tuple(layer.half() for layer in seen.patches), seen.grid)
    target, label = torch.from_numpy(np.stack(masks)).float(), torch.tensor(labels).long()
    for epoch in (1, 2):
        order = np.random.default_rng([5, epoch]).permutation(PHOTOS)
        for at in range(0, PHOTOS, 3):
            rows = torch.from_numpy(order[at : at + 3])
            some = Seen(half.image[rows], tuple(layer[rows] for layer in half.patches), seen.grid)
            if isinstance(by_hand, AnomalyClip):
                loss = by_hand.loss(some, by_hand.text(), target[rows], label[rows])
            else:
                texts = torch.stack([by_hand.text("nut" if row % 3 else "metal plate") for row in rows.tolist()])
                loss = by_hand.loss(some, texts, target[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
    assert same(weights_of(found.model), weights_of(by_hand))


@pytest.mark.parametrize("config", [ALL, STOPPING])
def test_training_lowers_the_loss(model: PromptModel, config: TrainConfig) -> None:
    before = weights_of(model)
    trained = train(model, data_for(model), config)
    assert trained.history[-1].loss < trained.history[0].loss
    assert same(before, weights_of(model))  # a copy was trained
    assert not same(before, weights_of(trained.model))
    assert [epoch.number for epoch in trained.history] == list(range(1, len(trained.history) + 1))


def test_a_trained_model_finds_what_it_was_shown(models: dict[str, PromptModel]) -> None:
    model = models["april-gan"]
    trained = train(model, data_for(model), replace(ALL, epochs=15)).model
    assert isinstance(model, AprilGan) and isinstance(trained, AprilGan)
    seen, masks, labels = photos(model)
    inside = np.stack(masks)[np.array(labels)]

    def gap(one: AprilGan) -> float:
        maps = one.scores(seen, one.text("nut"), SIZE)[1].numpy()[np.array(labels)]
        return float(maps[inside].mean() - maps[~inside].mean())

    assert gap(trained) > gap(model) + 0.5


# in the middle of epoch 2; just before the end; before the first epoch is over
@pytest.mark.parametrize("batches", [6, 15, 2])
@pytest.mark.parametrize("config", [ALL, STOPPING])
def test_an_interrupted_training_ends_with_the_same_weights(
    model: PromptModel, config: TrainConfig, batches: int, tmp_path: Path
) -> None:
    data, file = data_for(model), tmp_path / "checkpoint"
    whole = train(model, data, config)
    with pytest.raises(KeyboardInterrupt):
        train(model, data, config, checkpoint=file, progress=Stopping(batches))
    assert file.exists() == (batches > 4)
    resumed = train(model, data, config, checkpoint=file)
    assert same(weights_of(resumed.model), weights_of(whole.model))
    assert (resumed.history, resumed.stopped_at, resumed.why) == (whole.history, whole.stopped_at, whole.why)
    assert bool(resumed.notes) == (batches > 4)
    again = train(model, data, config, checkpoint=file, progress=Stopping(10**6))  # finished: nothing is left to do
    assert same(weights_of(again.model), weights_of(whole.model))


def test_early_stopping_keeps_the_best_epoch(models: dict[str, PromptModel]) -> None:
    """A rate at which it only gets worse after a while."""
    model = models["april-gan"]
    config = replace(STOPPING, epochs=25, rate=0.3, patience=2, average=0.0)
    trained = train(model, data_for(model), config)
    held = [epoch.held_out for epoch in trained.history]
    assert len(held) < 25
    assert trained.stopped_at == held.index(min(held)) + 1 == len(held) - 2
    assert f"since epoch {trained.stopped_at}" in trained.why
    shorter = train(model, data_for(model), replace(config, epochs=trained.stopped_at))
    assert same(weights_of(shorter.model), weights_of(trained.model))


def test_too_few_photos_to_hold_any_out(models: dict[str, PromptModel]) -> None:
    trained = train(models["april-gan"], data_for(models["april-gan"]), replace(STOPPING, holdout=0.03))
    assert trained.history[0].held_out is None and trained.stopped_at == STOPPING.epochs
    assert "Too few photos" in trained.notes[0] and trained.why == "all epochs were run"


def test_balanced_epochs_have_as_many_good_photos_as_defective_ones() -> None:
    labels = np.array([True, True] + [False] * 8)
    learning = np.arange(10)
    drawn = _draws(learning, labels, TrainConfig())
    for epoch in (1, 2, 3):
        rows = drawn(epoch)
        assert labels[rows].sum() == 2 and len(rows) == 4
        assert np.array_equal(rows, drawn(epoch))  # a training that goes on draws the same
    assert len({row for epoch in range(1, 20) for row in drawn(epoch)}) == 10  # each time others, in the end all
    assert len(_draws(learning, labels, TrainConfig(balance=False))(1)) == 10
    assert len(_draws(learning, ~labels, TrainConfig())(1)) == 10  # more defective than good: all are taken


def test_what_is_held_out_of_balanced_epochs_counts_both_kinds_alike(models: dict[str, PromptModel]) -> None:
    """Of nine good photos and a defective one, a loss of all would ask for "nothing is defective"."""
    model = models["april-gan"]
    data = data_for(model)
    texts = torch.stack([model.text(word) for word in data.words])
    good, defective = np.flatnonzero(~data.labels), np.flatnonzero(data.labels)
    held = np.concatenate([good, defective[:1]])
    balanced, plain = TrainConfig(batch=64), TrainConfig(batch=64, balance=False)
    of_good, of_defective = (_held_out(model, texts, data, rows, plain, 1) for rows in (good, defective[:1]))
    assert _held_out(model, texts, data, held, balanced, 1) == pytest.approx((of_good + of_defective) / 2)


def test_fewer_epochs_than_are_done_begin_anew(models: dict[str, PromptModel], tmp_path: Path) -> None:
    model = models["april-gan"]
    data, file = data_for(model), tmp_path / "state"
    train(model, data, replace(ALL, epochs=3), checkpoint=file)
    again = train(model, data, replace(ALL, epochs=2), checkpoint=file)
    fresh = train(model, data, replace(ALL, epochs=2))
    assert any("begun anew" in note for note in again.notes)
    assert same(weights_of(again.model), weights_of(fresh.model))


def test_an_average_lags_behind(models: dict[str, PromptModel]) -> None:
    model = models["april-gan"]
    data = data_for(model)
    plain, averaged = (train(model, data, replace(ALL, average=decay)).model for decay in (0.0, 0.99))
    moved = [(one.learned["weight"] - model.learned["weight"]).norm().item() for one in (plain, averaged)]
    assert 0 < moved[1] < moved[0]


# settings, photos, a start or a file that are not those of the interrupted training
@pytest.mark.parametrize("change", ["settings", "photos", "start", "cut short", "not numbers", "text", "other tensors"])
def test_a_checkpoint_that_does_not_fit_is_ignored(models: dict[str, PromptModel], change: str, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    model, file = models["april-gan"], tmp_path / "checkpoint"
    data, config = data_for(model), replace(ALL, epochs=2)
    with pytest.raises(KeyboardInterrupt):
        train(model, data, config, checkpoint=file, progress=Stopping(6))
    with safe_open(file, "pt") as stored:
        facts = stored.metadata()
    tensors = load_file(file)
    if change == "settings":
        config = replace(config, seed=3)
    elif change == "photos":
        data = data_for(model, words=["nut"] * PHOTOS)
    elif change == "start":
        model = AprilGan.fresh(model.pair, model.settings, seed=9)  # type: ignore[arg-type]
    elif change == "cut short":
        file.write_bytes(file.read_bytes()[:-40])
    elif change == "not numbers":
        save_file({**tensors, "learned.bias": tensors["learned.bias"] * float("nan")}, file, metadata=facts)
    elif change == "other tensors":
        save_file({**tensors, "learned.bias": tensors["learned.bias"][:1]}, file, metadata=facts)
    else:
        file.write_text("a text")
    progress = Stopping(10**6)
    found = train(model, data, config, checkpoint=file, progress=progress)
    assert same(weights_of(found.model), weights_of(train(model, data, config).model))
    assert "begun anew" in found.notes[0] and found.notes[0] == progress.notes[0]


def test_a_loss_that_is_no_number_says_where(model: PromptModel, tmp_path: Path) -> None:
    seen, masks, labels = photos(model)
    seen.patches[0][4, 2] = float("nan")
    data = TrainingSet.of(seen, masks, labels, words=["nut"] * PHOTOS)
    at = next(at for at in range(4) if 4 in np.random.default_rng([111, 1]).permutation(PHOTOS)[3 * at : 3 * at + 3])
    with pytest.raises(RunError, match=f"nan at epoch 1, batch {at + 1}"):
        train(model, data, ALL)


def test_a_loss_that_is_no_number_later_on_leaves_what_was_learned(
    models: dict[str, PromptModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, file, steps = models["april-gan"], tmp_path / "checkpoint", iter(range(100))
    data, whole = data_for(model), train(model, data_for(model), ALL)
    with monkeypatch.context() as patched:
        loss = training._loss
        patched.setattr(training, "_loss", lambda *these: loss(*these) * (float("nan") if next(steps) == 9 else 1.0))
        with pytest.raises(RunError, match="nan at epoch 3, batch 2"):
            train(model, data, ALL, checkpoint=file)
    resumed = train(model, data, ALL, checkpoint=file)  # had it been an accident
    assert resumed.notes == ("Taken up after epoch 2 of 4",)
    assert same(weights_of(resumed.model), weights_of(whole.model))


def test_weights_that_are_no_numbers_are_not_kept(models: dict[str, PromptModel]) -> None:
    """After the last step no loss would tell."""
    course = Course(models["april-gan"], 1e-3, (0.5, 0.999), 0.0)
    course.model.learned["bias"].data[0, 0] = float("inf")
    with pytest.raises(RunError, match=r"no numbers in epoch 3\. Train with a lower rate"):
        course.close(Epoch(3, 0.5, None))


def test_nothing_defective_to_learn_from(model: PromptModel) -> None:
    seen, masks, _ = photos(model)
    good = [np.zeros_like(mask) for mask in masks]
    with pytest.raises(InputError, match="None of the 12 photos to learn from is defective"):
        train(model, TrainingSet.of(seen, good, [False] * PHOTOS), ALL)


def test_class_names_that_nothing_can_be_said_of(models: dict[str, PromptModel]) -> None:
    data = data_for(models["april-gan"], words=["screw " * 200] * PHOTOS)
    with pytest.raises(ConfigError, match="at most 100 characters"):
        train(models["april-gan"], data, ALL)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"epochs": 0}, "epochs is a whole number from 1"),
        ({"batch": 2.5}, "batch is a whole number"),
        ({"patience": 0}, "patience"),
        ({"size": -3}, "size"),
        ({"rate": 0.0}, "rate is above 0"),
        ({"rate": 1e39}, "rate is above 0 and at most 1"),  # more than torch can multiply by
        ({"rate": float("nan")}, "rate is above 0"),
        ({"seed": -1}, "seed is a whole number from 0"),
        ({"size": 16}, "size is 32 to 4096"),  # as of a scan
        ({"betas": (0.5, 1.0)}, "betas are two numbers from 0"),
        ({"holdout": 1.0}, "holdout is a number from 0 to below 1"),
        ({"average": -0.1}, "average is a number"),
        ({"targets": "fuzzy"}, "targets are hard or soft"),
    ],
)
def test_settings_out_of_range(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TrainConfig(**wrong)  # type: ignore[arg-type]
