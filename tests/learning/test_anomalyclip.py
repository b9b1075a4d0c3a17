"""AnomalyCLIP on a tiny CLIP from disk: what is learned, what a map is, the file, and files that are something else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from blemish.errors import BackboneError, ConfigError, InputError, OutputError
from blemish.features import clip
from blemish.learning.anomalyclip import AnomalyClip, Settings
from blemish.learning.prompt_file import header
from clip_models import save_clip

pytest.importorskip("transformers")
SIZE = (48, 32)
SETTINGS = Settings(layers=(2, 4), value_value=2, length=3, deep=2, deep_length=2)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> clip.ClipPair:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_clip(folder)
    return clip.load(str(folder), torch.device("cpu"), positions="bilinear")


@pytest.fixture(scope="module")
def pixels(pair: clip.ClipPair) -> torch.Tensor:
    random = torch.Generator().manual_seed(3)
    return pair.pixels(torch.randint(0, 256, (2, 3, *SIZE), dtype=torch.uint8, generator=random))


@pytest.fixture(scope="module")
def mask() -> torch.Tensor:
    target = torch.zeros(2, *SIZE)
    target[1, 8:24, 8:24] = 1
    return target


def steps(model: AnomalyClip, pixels: torch.Tensor, mask: torch.Tensor, count: int) -> list[float]:
    optimiser = torch.optim.Adam(model.learned.values(), lr=1e-2, betas=(0.5, 0.999))
    seen, label, losses = model.see(pixels), mask.amax(dim=(1, 2)).long(), []
    for _ in range(count):
        loss = model.loss(seen, model.text(), mask, label)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_published_prompts_fit_this_clip(pair):
    settings = Settings.for_pair(pair)
    assert settings == Settings(layers=(4,), value_value=3, deep=2)  # a vision tower of 4 blocks, a text tower of 3
    model = AnomalyClip.fresh(pair, settings)
    assert {name: tuple(one.shape) for name, one in model.learned.items()} == {
        "normal": (12, 16),
        "anomalous": (12, 16),
        "deep": (2, 4, 16),
    }
    torch.testing.assert_close(model.text().norm(dim=-1), torch.ones(2))


def test_published_settings():
    """ViT-L/14 with its 24 and 12 blocks, of which only the sizes matter here."""
    vision, text = SimpleNamespace(depth=24), SimpleNamespace(depth=12, positional_embedding=torch.empty(77, 768))
    large: Any = SimpleNamespace(vision=vision, text=text)
    assert Settings.for_pair(large) == Settings()
    assert sum(one.numel() for one in AnomalyClip.fresh(large).learned.values()) == 43_008


def test_a_seed_is_a_model(pair):
    one, same, other = (AnomalyClip.fresh(pair, SETTINGS, seed) for seed in (5, 5, 6))
    for name in one.learned:
        assert torch.equal(one.learned[name], same.learned[name])
        assert not torch.equal(one.learned[name], other.learned[name])


def test_training_lowers_the_loss_and_leaves_clip_alone(pair, pixels, mask):
    before = {name: one.clone() for name, one in pair.text.state_dict().items()}
    losses = steps(AnomalyClip.fresh(pair, SETTINGS), pixels, mask, 20)
    assert losses[-1] < losses[0] - 0.1
    assert all(torch.equal(one, before[name]) for name, one in pair.text.state_dict().items())


def test_every_vector_learns(pair, pixels, mask):
    model = AnomalyClip.fresh(pair, SETTINGS)
    model.loss(model.see(pixels), model.text(), mask, torch.tensor([0, 1])).backward()
    for name, one in model.learned.items():
        assert one.grad is not None, name
        assert (one.grad.abs().amax(dim=-1) > 0).all(), name


def test_a_photo_of_weight_0_teaches_nothing(pair, pixels, mask):
    model = AnomalyClip.fresh(pair, SETTINGS)
    seen, alone = model.see(pixels), model.see(pixels[1:])
    label, text = torch.tensor([0, 1]), model.text()
    both = model.loss(seen, text, mask, label, photo_weights=torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(both, model.loss(alone, text, mask[1:], label[1:]))


def test_maps_and_scores(pair, pixels):
    model = AnomalyClip.fresh(pair, SETTINGS)
    seen, text = model.see(pixels), model.text()
    assert seen.grid == (6, 4)
    layers = model.maps(seen, text, SIZE)
    assert [tuple(one.shape) for one in layers] == [(2, 2, *SIZE)] * 2
    photos, maps = model.scores(seen, text, SIZE, smooth=0)
    assert photos.shape == (2,)
    torch.testing.assert_close(maps, layers[0][:, 1] + layers[1][:, 1])  # both classes add up to 1
    smooth = model.scores(seen, text, SIZE)[1]
    assert smooth.std() < maps.std()
    torch.testing.assert_close(smooth.mean(), maps.mean(), rtol=1e-2, atol=0)


def test_photos_do_not_know_each_other(pair, pixels):
    model = AnomalyClip.fresh(pair, SETTINGS)
    together = model.scores(model.see(pixels), model.text(), SIZE)
    alone = [model.scores(model.see(one[None]), model.text(), SIZE) for one in pixels]
    for at in (0, 1):
        torch.testing.assert_close(together[at], torch.cat([one[at] for one in alone]))


def test_features_may_be_kept_in_half_precision(pair, pixels):
    model = AnomalyClip.fresh(pair, SETTINGS)
    seen, text = model.see(pixels), model.text()
    half = replace(seen, image=seen.image.half(), patches=tuple(one.half() for one in seen.patches))
    for ours, exact in zip(model.scores(half, text, SIZE), model.scores(seen, text, SIZE), strict=True):
        torch.testing.assert_close(ours, exact, rtol=0, atol=1e-2)


@pytest.fixture(scope="module")
def saved(pair, pixels, mask, tmp_path_factory):
    """A trained model and its file."""
    model = AnomalyClip.fresh(pair, SETTINGS)
    steps(model, pixels, mask, 2)
    file = tmp_path_factory.mktemp("saved") / "model.safetensors"
    model.save(file)
    return model, file


def test_a_saved_model_gives_the_same_scores(pair, pixels, saved):
    model, file = saved
    again = AnomalyClip.load(file, pair)
    assert again.settings == model.settings
    for ours, theirs in zip(*(m.scores(m.see(pixels), m.text(), SIZE) for m in (model, again)), strict=True):
        assert torch.equal(ours, theirs)
    again.save(file.with_name("again.safetensors"))
    assert file.read_bytes() == file.with_name("again.safetensors").read_bytes()


def test_the_file_says_what_it_is(pair, saved):
    known = header(saved[1])
    assert (known.model, known.clip) == ("anomalyclip", pair.facts.name)
    assert known.weights_sha256 == pair.weights_sha256
    assert (known.activation, known.positions) == ("quick_gelu", "bilinear")
    assert {"layers", "length", "deep", "deep_length", "value_value", "temperature"} == set(known.settings)


# what differs in the CLIP -> what the message says
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights_sha256": "f" * 64}, "ffffffffffff"),  # other weights
        ({"positions": "antialiased"}, "antialiased"),  # the same ones, loaded for another method
    ],
)
def test_another_clip(pair, saved, change, said):
    if "positions" in change:
        other = clip.load(pair.facts.name, torch.device("cpu"), **change)
    else:
        other = replace(pair, **change)
    with pytest.raises(BackboneError, match=said):
        AnomalyClip.load(saved[1], other)


def tampered(file: Path, to: Path, **changes: object) -> Path:
    """A copy whose header has other values; ``settings`` are changed one by one."""
    with safe_open(file, framework="pt") as stored:
        found = json.loads(stored.metadata()["blemish"])
    settings = {**found["settings"], **dict(changes.pop("settings", {}))}
    save_file(load_file(file), to, metadata={"blemish": json.dumps({**found, "settings": settings, **changes})})
    return to


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "something else"},
        {"schema": 2},
        {"model": "april-gan"},
        {"clip": 7},
        {"settings": {"layers": 4}},  # not a list
        {"settings": {"layers": [9]}},  # a block that there is not
        {"settings": {"value_value": 5}},
        {"settings": {"deep": 10**12}},  # more than fits any memory
        {"settings": {"length": 4}},  # the tensors have 3
        {"settings": {"length": 10**12}},
        {"settings": {"temperature": "warm"}},
        {"settings": {"colour": "red"}},
    ],
)
def test_tampered_headers(pair, saved, tmp_path, changes):
    with pytest.raises(InputError):
        AnomalyClip.load(tampered(saved[1], tmp_path / "tampered.safetensors", **changes), pair)


def test_values_that_are_no_numbers(pair, saved, tmp_path):
    model, _ = saved
    damaged = {name: torch.nn.Parameter(one.detach().clone()) for name, one in model.learned.items()}
    damaged["deep"].data[0, 0, 0] = torch.nan
    replace(model, learned=damaged).save(tmp_path / "nan.safetensors")
    with pytest.raises(InputError, match="not numbers"):
        AnomalyClip.load(tmp_path / "nan.safetensors", pair)


def test_other_files(pair, saved, tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(saved[1].read_bytes()[:100])
    (tmp_path / "text.safetensors").write_text("not tensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "plain.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    for name in ("cut", "text", "plain", "missing", "folder"):
        with pytest.raises(InputError, match=f"{name}.safetensors"):
            AnomalyClip.load(tmp_path / f"{name}.safetensors", pair)
    with pytest.raises(OutputError):
        saved[0].save(tmp_path / "no such folder" / "model.safetensors")


@pytest.mark.parametrize(
    "values",
    [
        {"layers": ()},
        {"layers": (0,)},
        {"layers": (2.5,)},
        {"length": 0},
        {"deep": -1},
        {"value_value": -1},
        {"temperature": 0.0},
        {"temperature": float("nan")},
    ],
)
def test_settings_that_cannot_be(values):
    with pytest.raises(ConfigError):
        Settings(**values)


def test_prompts_too_long_for_this_clip(pair):
    with pytest.raises(ConfigError, match="tokens"):
        AnomalyClip.fresh(pair, replace(SETTINGS, length=60)).text()


def test_a_clip_with_too_few_blocks(pair):
    with pytest.raises(ConfigError, match="too few"):
        AnomalyClip.fresh(pair, Settings())
