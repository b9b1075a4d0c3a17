"""APRIL-GAN on a tiny CLIP from disk: what is learned, what is not, the file, and files that are something else."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from blemish.errors import BackboneError, ConfigError, InputError
from blemish.features import clip
from blemish.learning.anomalyclip import AnomalyClip
from blemish.learning.aprilgan import AprilGan, Settings
from blemish.learning.prompt_file import header
from blemish.scoring.prompts import Ensemble
from clip_models import save_clip

pytest.importorskip("transformers")
SIZE = (48, 32)
WORDS = Ensemble(normal=("{}", "fine {}"), anomalous=("bad {}",), templates=("a {}.", "the {}."), unit_mean=True)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> clip.ClipPair:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_clip(folder)
    return clip.load(str(folder), torch.device("cpu"), activation="gelu")


@pytest.fixture(scope="module")
def settings(pair: clip.ClipPair) -> Settings:
    return Settings.for_pair(pair, WORDS)


@pytest.fixture(scope="module")
def pixels(pair: clip.ClipPair) -> torch.Tensor:
    random = torch.Generator().manual_seed(3)
    return pair.pixels(torch.randint(0, 256, (2, 3, *SIZE), dtype=torch.uint8, generator=random))


@pytest.fixture(scope="module")
def mask() -> torch.Tensor:
    target = torch.zeros(2, *SIZE)
    target[1, 8:24, 8:24] = 1
    return target


def trained(model: AprilGan, pixels: torch.Tensor, mask: torch.Tensor, count: int) -> list[float]:
    optimiser = torch.optim.Adam(model.learned.values(), lr=1e-2, betas=(0.5, 0.999))
    seen, text, losses = model.see(pixels), model.text("nut"), []
    for _ in range(count):
        loss = model.loss(seen, text, mask)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_one_layer_for_each_quarter(pair, settings):
    assert settings.layers == (1, 2, 3, 4)  # a tower of 4 blocks
    model = AprilGan.fresh(pair, settings)
    assert {name: tuple(one.shape) for name, one in model.learned.items()} == {"weight": (4, 24, 32), "bias": (4, 24)}
    assert all(one.detach().abs().max() <= 32**-0.5 for one in model.learned.values())
    assert torch.equal(model.learned["weight"], AprilGan.fresh(pair, settings).learned["weight"])


def test_published_settings():
    """ViT-L/14 with its 24 blocks, of which only the sizes matter here."""
    large: Any = SimpleNamespace(vision=SimpleNamespace(depth=24, proj=torch.empty(1024, 768)))
    assert Settings.for_pair(large) == Settings()
    assert sum(one.numel() for one in AprilGan.fresh(large).learned.values()) == 3_148_800


def test_the_packaged_words(pair):
    assert Settings.for_pair(pair).words.unit_mean


def test_training_lowers_the_loss_and_leaves_the_photos_score_alone(pair, settings, pixels, mask):
    model = AprilGan.fresh(pair, settings)
    seen, text = model.see(pixels), model.text("nut")
    before, rough = model.scores(seen, text, SIZE)
    losses = trained(model, pixels, mask, 20)
    assert losses[-1] < losses[0] - 0.1
    after, better = model.scores(seen, text, SIZE)
    assert torch.equal(before, after)
    inside = mask[1].bool()
    assert (better[1][inside].mean() - better[1][~inside].mean()) > (rough[1][inside].mean() - rough[1][~inside].mean())


def test_texts_follow_the_class(pair, settings):
    model = AprilGan.fresh(pair, settings)
    nut, other = model.text("metal nut"), model.text("cookie")
    torch.testing.assert_close(nut.norm(dim=-1), torch.ones(2))
    assert not torch.allclose(nut, other)
    assert torch.equal(nut, model.text("metal_nut"))
    with pytest.raises(ConfigError):
        model.text("")


def test_how_embeddings_are_averaged_is_the_ensembles(pair, settings):
    plain = AprilGan.fresh(pair, replace(settings, words=replace(WORDS, unit_mean=False))).text("nut")
    torch.testing.assert_close(plain.norm(dim=-1), torch.ones(2))
    assert (plain - AprilGan.fresh(pair, settings).text("nut")).abs().max() > 1e-5


def test_photos_of_several_classes(pair, settings, pixels):
    model = AprilGan.fresh(pair, settings)
    texts = torch.stack([model.text("nut"), model.text("cookie")])
    together = model.scores(model.see(pixels), texts, SIZE)
    alone = [model.scores(model.see(one[None]), text, SIZE) for one, text in zip(pixels, texts, strict=True)]
    for at in (0, 1):
        torch.testing.assert_close(together[at], torch.cat([one[at] for one in alone]), rtol=1e-4, atol=1e-5)


def test_maps(pair, settings, pixels):
    model = AprilGan.fresh(pair, settings)
    seen, text = model.see(pixels), model.text("nut")
    layers = model.maps(seen, text, SIZE)
    assert [tuple(one.shape) for one in layers] == [(2, 2, *SIZE)] * 4
    torch.testing.assert_close(model.scores(seen, text, SIZE)[1], sum(one[:, 1] for one in layers))
    half = replace(seen, patches=tuple(one.half() for one in seen.patches))
    torch.testing.assert_close(model.scores(half, text, SIZE)[1], model.scores(seen, text, SIZE)[1], rtol=0, atol=0.1)


@pytest.fixture(scope="module")
def saved(pair, settings, pixels, mask, tmp_path_factory):
    """A trained model and its file."""
    model = AprilGan.fresh(pair, settings)
    trained(model, pixels, mask, 2)
    file = tmp_path_factory.mktemp("saved") / "model.safetensors"
    model.save(file)
    return model, file


def test_a_saved_model_gives_the_same_scores(pair, pixels, saved):
    model, file = saved
    again = AprilGan.load(file, pair)
    assert again.settings == model.settings  # its words too, whatever the package says today
    for ours, theirs in zip(*(m.scores(m.see(pixels), m.text("nut"), SIZE) for m in (model, again)), strict=True):
        assert torch.equal(ours, theirs)


def test_the_file_says_what_it_is(pair, saved):
    known = header(saved[1])
    assert (known.model, known.clip, known.weights_sha256) == ("april-gan", pair.facts.name, pair.weights_sha256)
    assert (known.activation, known.positions) == ("gelu", "antialiased")


def test_another_clip_or_model(pair, saved):
    with pytest.raises(BackboneError, match="learned on"):
        AprilGan.load(saved[1], replace(pair, weights_sha256="f" * 64))
    with pytest.raises(BackboneError, match="activation gelu"):
        AprilGan.load(saved[1], clip.load(pair.facts.name, torch.device("cpu")))
    with pytest.raises(InputError, match="april-gan"):
        AnomalyClip.load(saved[1], pair)


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": [1, 2, 3, 9]},  # a block that there is not
        {"layers": [1, 2, 3]},  # there are tensors for 4
        {"layers": None},
        {"temperature": -1},
        {"words": None},
        {"words": {"normal": ["{}"]}},  # the other lists are missing
        {"colour": "red"},
    ],
)
def test_damaged_settings(pair, saved, tmp_path, changes):
    with safe_open(saved[1], framework="pt") as stored:
        found = json.loads(stored.metadata()["blemish"])
    text = json.dumps({**found, "settings": {**found["settings"], **changes}})
    save_file(load_file(saved[1]), tmp_path / "damaged.safetensors", metadata={"blemish": text})
    with pytest.raises(InputError):
        AprilGan.load(tmp_path / "damaged.safetensors", pair)


def test_settings_that_cannot_be(pair):
    for values in ({"layers": ()}, {"layers": (0,)}, {"temperature": 0.0}):
        with pytest.raises(ConfigError):
            Settings(**values)
    with pytest.raises(ConfigError, match="layers 1 to 4"):
        AprilGan.fresh(pair, Settings())
