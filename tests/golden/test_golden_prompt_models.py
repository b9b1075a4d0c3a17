"""AnomalyCLIP and APRIL-GAN, from pixels to one step of Adam, against their own code (golden/README.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blemish.features.clip import ClipPair
from blemish.features.clip_facts import ClipFacts, TowerFacts
from blemish.features.clip_text import TextTower
from blemish.features.clip_vision import VisionTower
from blemish.features.clip_weights import towers
from blemish.learning import anomalyclip, aprilgan
from blemish.learning.anomalyclip import AnomalyClip
from blemish.learning.aprilgan import AprilGan
from blemish.learning.aprilgan_shots import few_shot, joined, remember
from blemish.learning.prompt_file import Seen, cosines
from blemish.scoring.prompts import Ensemble

SIZE = (56, 56)
VOCABULARY = 49408
FACTS = ClipFacts(
    name="tiny",
    layout="open_clip",
    source="",
    licence="",
    patch=14,
    native=42,
    embedding=64,
    context=77,
    vocabulary=VOCABULARY,
    vision=TowerFacts(128, 4, 2, "quick_gelu"),
    text=TowerFacts(128, 4, 2, "quick_gelu"),
    mean=(0, 0, 0),
    std=(1, 1, 1),
)


def arrays(golden: Path, name: str) -> dict[str, Tensor]:
    with np.load(golden / name) as stored:
        kept = {key: stored[key] for key in stored.files}
    return {key: torch.from_numpy(np.asarray(array)) for key, array in kept.items() if array.dtype.kind in "fiu"}


def weights(golden: Path, name: str) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return {key: tensor.float() for key, tensor in load_file(golden / name).items()}


def near(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(found.detach(), expected.to(found.dtype).view_as(found), rtol=0, atol=tolerance)


def stepped(model: AnomalyClip | AprilGan, loss: Tensor) -> None:
    """One step as published."""
    optimiser = torch.optim.Adam(model.learned.values(), lr=1e-3, betas=(0.5, 0.999))
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def near_after(found: Tensor, expected: Tensor, gradient: Tensor) -> None:
    """Adam's first step goes by the gradient's sign, which is noise where the gradient is none."""
    clear = gradient.abs() > 1e-5
    assert clear.float().mean() > 0.99
    near(found[clear.view_as(found)], expected.view_as(found)[clear.view_as(found)], 1e-5)


@pytest.fixture(scope="module")
def zhou(golden: Path) -> dict[str, Tensor]:
    return arrays(golden, "anomalyclip_tiny.npz")


@pytest.fixture
def learner(golden: Path, zhou: dict[str, Tensor]) -> AnomalyClip:
    """With the stored prompts; a tokenizer that says the stored ids of the published texts."""
    state = weights(golden, "anomalyclip_tiny_text.safetensors")
    prompts = {key: state.pop(key) for key in list(state) if key.startswith("prompt.")}
    rows, words = state.pop("token_embedding.row_ids"), state.pop("token_embedding.rows")
    state["token_embedding.weight"] = torch.zeros(VOCABULARY, words.shape[1])
    state["token_embedding.weight"][rows.long()] = words
    _, text_state = towers(state)
    vision_state, _ = towers(weights(golden, "anomalyclip_tiny_vision.safetensors"))

    def tokenizer(texts: Sequence[str]) -> Tensor:
        assert list(texts) == [f"{'X ' * 12}object.", f"{'X ' * 12}damaged object."]
        return zhou["tokenized_prompts"].long()

    said: Any = tokenizer
    vision = VisionTower.from_state(vision_state, heads=2, activation="quick_gelu", positions="bilinear")
    text = TextTower.from_state(text_state, heads=2, activation="quick_gelu")
    settings = anomalyclip.Settings(layers=(1, 2, 3, 4), value_value=2, deep=2)
    learned = {
        "normal": nn.Parameter(prompts["prompt.ctx_pos"][0, 0]),
        "anomalous": nn.Parameter(prompts["prompt.ctx_neg"][0, 0]),
        "deep": nn.Parameter(torch.stack([prompts["prompt.deep.0"], prompts["prompt.deep.1"]])),
    }
    return AnomalyClip(ClipPair(FACTS, vision, text, said, "0" * 64), settings, learned)


def test_anomalyclip_scores(zhou: dict[str, Tensor], learner: AnomalyClip) -> None:
    seen, text = learner.see(zhou["image"]), learner.text()
    near(text, zhou["text_features"])
    near(learner.logits(seen, text), zhou["class_logits"])
    near(torch.stack(learner.maps(seen, text, SIZE)), zhou["similarity_maps"])
    photos, rough = learner.scores(seen, text, SIZE, smooth=0)
    near(photos, zhou["image_score"])
    near(rough, zhou["map_sum"])
    near(learner.scores(seen, text, SIZE)[1], zhou["map_smoothed_sigma4"])


def test_anomalyclip_layer_by_layer(zhou: dict[str, Tensor], learner: AnomalyClip) -> None:
    """Published for all tokens, CLS first, which has no place on a map."""
    vision, text = learner.pair.vision, learner.text()
    for layer, probabilities, expected in zip(
        (1, 2, 3, 4), zhou["patch_probs_l1_l2_l3_l4"], zhou["map_per_layer"], strict=True
    ):
        alone = replace(learner, settings=replace(learner.settings, layers=(layer,)))
        seen = alone.see(zhou["image"])
        near(alone.scores(seen, text, SIZE, smooth=0)[1], expected)
        (grid,) = alone.maps(seen, text, seen.grid)
        near(grid.flatten(2).transpose(1, 2), probabilities[:, 1:].contiguous())
        cls = vision.project(vision.encode(zhou["image"], (layer,), alone.settings.value_value).layers[0][:, :1])
        found = (cosines(F.normalize(cls, dim=-1), text) / alone.settings.temperature).softmax(dim=-1)
        near(found, probabilities[:, :1].contiguous())


def test_anomalyclip_learns(zhou: dict[str, Tensor], learner: AnomalyClip) -> None:
    loss = learner.loss(learner.see(zhou["image"]), learner.text(), zhou["gt_mask"], zhou["label"])
    near(loss, zhou["loss_total"])
    stepped(learner, loss)
    for name, array, tolerance in (("normal", "ctx_pos", 1e-4), ("anomalous", "ctx_neg", 1e-4), ("deep", "deep", 1e-3)):
        gradient = learner.learned[name].grad
        assert gradient is not None
        near(gradient, zhou[f"grad_{array}"], tolerance)
        near_after(learner.learned[name], zhou[f"after_adam_{array}"], zhou[f"grad_{array}"])
    gradients = [learner.learned["normal"].grad, learner.learned["anomalous"].grad, *learner.learned["deep"].grad]
    norms = torch.stack([gradient.norm() for gradient in gradients])
    near(norms, zhou["grad_norms_ctxpos_ctxneg_deep0_deep1"], 1e-3)


@pytest.fixture(scope="module")
def chen(golden: Path) -> dict[str, Tensor]:
    return arrays(golden, "aprilgan_tiny.npz")


class StoredTexts:
    """Text tower and tokenizer: "state 3, template 14" is the text of that number, whose embedding was stored."""

    def __init__(self, normal: Tensor, anomalous: Tensor) -> None:
        self.rows = torch.cat([normal, anomalous])
        self.positional_embedding = self.rows

    def __call__(self, texts: Sequence[str]) -> Tensor:
        numbers = [[int(part.split()[1]) for part in text.split(", ")] for text in texts]
        return torch.tensor([[state * 35 + template] for template, state in numbers])

    def encode(self, ids: Tensor) -> Tensor:
        return self.rows[ids[:, 0]]


@pytest.fixture
def linear(golden: Path, chen: dict[str, Tensor]) -> AprilGan:
    state = weights(golden, "aprilgan_tiny.safetensors")
    layers = [[state.pop(f"linear.fc.{at}.{part}") for at in range(4)] for part in ("weight", "bias")]
    vision = VisionTower.from_state(towers(state)[0], heads=2, activation="gelu")
    texts: Any = StoredTexts(chen["text_emb_normal"], chen["text_emb_abnormal"])
    words = Ensemble(
        normal=tuple(f"state {at} {{}}" for at in range(7)),
        anomalous=tuple(f"state {at} {{}}" for at in range(7, 12)),
        templates=tuple(f"template {at}, {{}}" for at in range(35)),
        unit_mean=True,
    )
    learned = {name: nn.Parameter(torch.stack(each)) for name, each in zip(("weight", "bias"), layers, strict=True)}
    pair = ClipPair(FACTS, vision, texts, texts, "0" * 64)
    return AprilGan(pair, aprilgan.Settings((3, 6, 9, 12), words=words), learned)


def test_aprilgan_words(chen: dict[str, Tensor], linear: AprilGan) -> None:
    near(linear.text("metal nut"), chen["text_features"].T.contiguous(), 1e-6)


def test_aprilgan_scores(chen: dict[str, Tensor], linear: AprilGan) -> None:
    seen, text = linear.see(chen["image"]), linear.text("metal nut")
    near(torch.stack(seen.patches), chen["tokens_l3_l6_l9_l12"][:, :, 1:].contiguous(), 2e-4)
    near(torch.stack(linear.maps(seen, text, SIZE)), chen["softmax_maps"])
    for tokens, weight, bias, expected in zip(seen.patches, *linear.learned.values(), chen["linear_out"], strict=True):
        near(F.linear(tokens, weight, bias), expected)
    photos, maps = linear.scores(seen, text, SIZE)
    near(torch.stack([1 - photos, photos], dim=1), chen["text_probs"])
    near(maps, chen["map_sum"])


def test_aprilgan_with_good_photos(chen: dict[str, Tensor], linear: AprilGan) -> None:
    good = linear.see(chen["reference_images"])
    memory = remember([good])
    assert [len(layer) for layer in memory] == [2 * 16] * 4
    seen = linear.see(chen["image"])
    few = few_shot(seen, memory, SIZE)
    near(few, chen["fewshot_map_sum"])
    photos, maps = linear.scores(seen, linear.text("metal nut"), SIZE)
    near(maps + few, chen["map_total_fewshot"])
    scores = joined(photos.numpy(), (maps + few).amax(dim=(1, 2)).numpy())
    near(torch.from_numpy(scores), chen["image_score_fewshot"])


# texts for all photos, or for each photo as where classes are mixed
@pytest.mark.parametrize("each", [False, True])
def test_aprilgan_learns(chen: dict[str, Tensor], linear: AprilGan, each: bool) -> None:
    text = linear.text("metal nut")
    text = torch.stack([text, text]) if each else text
    seen: Seen = linear.see(chen["image"])
    loss = linear.loss(seen, text, chen["gt_mask"])
    near(loss, chen["loss_total"])
    stepped(linear, loss)
    for name in ("weight", "bias"):
        gradient = linear.learned[name].grad
        assert gradient is not None
        near(gradient, chen[f"grad_{name}_per_layer"])
        near_after(linear.learned[name], chen[f"after_adam_{name}"], chen[f"grad_{name}_per_layer"])
