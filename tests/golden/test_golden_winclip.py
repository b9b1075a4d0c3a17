"""Parity with two published WinCLIPs, anomalib's and Accurate-WinCLIP-pytorch's, from embeddings to maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from blemish.scoring.prompts import ensemble
from blemish.scoring.text import (
    Views,
    association,
    combined,
    enlarged,
    few_shot,
    harmonic,
    text_pair,
    text_scores,
    window_patches,
    zero_shot,
)

GRID = (15, 15)
TOLERANCE = 1e-5
SOURCES = ("anomalib", "zqhang")
Stored = dict[str, np.ndarray]


@pytest.fixture(scope="module", params=SOURCES)
def source(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def stored(golden: Path, source: str) -> Stored:
    return dict(np.load(golden / f"winclip_tiny_{source}.npz"))


@pytest.fixture(scope="module")
def text(stored: Stored, source: str) -> np.ndarray:
    if source == "anomalib":
        return stored["text_embeddings"]
    return text_pair(stored["text_normal"], stored["text_anomalous"])


@pytest.fixture(scope="module")
def views(stored: Stored) -> Views:
    windows = {m: stored[f"window_embeddings_s{m}"] for m in (2, 3)}
    return Views(stored["image_embeddings"], {1: stored["patch_embeddings"], **windows}, GRID)


@pytest.fixture(scope="module")
def good(golden: Path, source: str) -> Views:
    """The two reference photos, whose embeddings are not stored, through the stored tower."""
    weights = {key: value.float() for key, value in load_file(golden / "winclip_tiny.safetensors").items()}
    photos = np.load(golden / "winclip_tiny_anomalib.npz")["images_uint8"]
    return _tower(weights, photos[2:], ln_post=source == "anomalib")


def _tower(weights: dict[str, Tensor], photos: np.ndarray, ln_post: bool) -> Views:
    """open_clip's vision transformer in a few lines: pre-norm blocks, exact GELU, windows of tokens seen alone."""
    v = {key.removeprefix("visual."): value for key, value in weights.items() if key.startswith("visual.")}
    blocks = [_block(v, f"transformer.resblocks.{n}.") for n in range(3)]
    mean, std = torch.tensor([[0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]])
    pixels = (torch.from_numpy(photos) / 255 - mean) / std
    patches = nn.functional.conv2d(pixels.permute(0, 3, 1, 2), v["conv1.weight"], stride=16).flatten(2).transpose(1, 2)
    seen = patches + v["positional_embedding"][1:]
    cls = v["class_embedding"] + v["positional_embedding"][0]

    def norm(x: Tensor, name: str) -> Tensor:
        return nn.functional.layer_norm(x, x.shape[-1:], v[f"{name}.weight"], v[f"{name}.bias"])

    def last(tokens: Tensor) -> Tensor:
        x = norm(torch.cat([cls.expand(len(tokens), 1, -1), tokens], dim=1), "ln_pre")
        for block in blocks:
            x = block(x)
        return x

    def embedded(x: Tensor) -> Tensor:
        return norm(x[:, 0], "ln_post") @ v["proj"]

    with torch.no_grad():
        whole = last(seen)
        windows = {1: (norm(whole, "ln_post") if ln_post else whole)[:, 1:].numpy()}
        for size in (2, 3):
            at = torch.from_numpy(window_patches(GRID, size).T)  # (W, size * size)
            each = embedded(last(seen[:, at].flatten(0, 1)))
            windows[size] = each.reshape(len(photos), len(at), -1).numpy()
        return Views(embedded(whole).numpy(), windows, GRID)


def _block(v: dict[str, Tensor], prefix: str) -> nn.Module:
    block = nn.TransformerEncoderLayer(32, 2, 128, 0.0, nn.functional.gelu, batch_first=True, norm_first=True)
    names = {"attn.": "self_attn.", "ln_1": "norm1", "ln_2": "norm2", "mlp.c_fc": "linear1", "mlp.c_proj": "linear2"}
    own = {key.removeprefix(prefix): value for key, value in v.items() if key.startswith(prefix)}
    for old, new in names.items():
        own = {key.replace(old, new): value for key, value in own.items()}
    block.load_state_dict(own)
    return block.eval()


def test_prompts_word_for_word(golden: Path) -> None:
    published = json.loads((golden / "winclip_prompts.json").read_text())
    found = ensemble("winclip").prompts("metal_nut")
    assert list(found.normal) == published["normal"]
    assert list(found.anomalous) == published["anomalous"]


def test_texts_that_the_published_tokenizer_was_asked_for(golden: Path) -> None:
    asked = {entry["text"] for entry in json.loads((golden / "clip_tokenizer.json").read_text())["strings"]}
    both = ensemble("anomalyclip").prompts()
    assert {*both.normal, *both.anomalous} <= asked
    as_published = ensemble("winclip").prompts("metal_nut", as_published=True)
    assert "a photo of a metal_nut." in asked and "a photo of a metal_nut." in as_published.normal


def test_aprilgan_is_known_by_its_hash_and_averaged_as_published(golden: Path) -> None:
    stored = np.load(golden / "aprilgan_tiny.npz")
    hashes = tuple(str(stored[f"prompts_{side}_sha256"]) for side in ("normal", "abnormal"))
    assert ensemble("april-gan").sha256 == hashes
    pair = text_pair(stored["text_emb_normal"], stored["text_emb_abnormal"], unit_mean=True)
    np.testing.assert_allclose(pair.T, stored["text_features"], atol=1e-6)
    probability = text_scores(stored["image_feature"], pair, temperature=0.01)  # they multiply by 100
    np.testing.assert_allclose(probability, stored["text_probs"][:, 1], atol=TOLERANCE)


# size, name and first number of the published masks
@pytest.mark.parametrize(("size", "name"), [(2, "scale2"), (3, "scale3")])
def test_windows(stored: Stored, source: str, size: int, name: str) -> None:
    suffix, first = ("", 0) if source == "anomalib" else ("_1based", 1)
    np.testing.assert_array_equal(window_patches(GRID, size) + first, stored[f"masks_{name}{suffix}"])


def test_harmonic_aggregation_with_zeros(golden: Path) -> None:
    stored = np.load(golden / "winclip_tiny_anomalib.npz")
    np.testing.assert_array_equal(window_patches((4, 4), 2), stored["ha_masks"])
    found = harmonic(stored["ha_scores"], (4, 4), 2)
    np.testing.assert_allclose(found, stored["ha_out"], atol=1e-6)
    np.testing.assert_array_equal(found == 0, stored["ha_out"] == 0)


def test_zero_shot(stored: Stored, views: Views, text: np.ndarray) -> None:
    for size in (2, 3):
        scores = text_scores(views.windows[size], text)
        np.testing.assert_allclose(scores, stored[f"window_scores_s{size}"], atol=TOLERANCE)
        np.testing.assert_allclose(harmonic(scores, GRID, size), stored[f"harmonic_map_s{size}"], atol=TOLERANCE)
    image, maps = zero_shot(views, text)
    np.testing.assert_allclose(image, stored["zero_shot_image_score"], atol=TOLERANCE)
    np.testing.assert_allclose(maps, stored["zero_shot_grid"], atol=TOLERANCE)
    if "zero_shot_map" in stored:
        np.testing.assert_allclose(enlarged(maps, (240, 240)), stored["zero_shot_map"], atol=TOLERANCE)


def test_the_tower_of_this_test(golden: Path, views: Views, source: str) -> None:
    """References are only as good as this: the queries' stored embeddings come out of it."""
    weights = {key: value.float() for key, value in load_file(golden / "winclip_tiny.safetensors").items()}
    photos = np.load(golden / "winclip_tiny_anomalib.npz")["images_uint8"]
    found = _tower(weights, photos[:2], ln_post=source == "anomalib")
    np.testing.assert_allclose(found.image, views.image, atol=1e-4)
    for size, windows in views.windows.items():
        np.testing.assert_allclose(found.windows[size], windows, atol=1e-4)


def test_few_shot(stored: Stored, views: Views, good: Views, text: np.ndarray, source: str) -> None:
    names = {1: "patch", 2: "windows_s2", 3: "windows_s3"}
    for size, name in names.items():
        scores = association(views.windows[size], good.windows[size].reshape(-1, good.windows[size].shape[-1]))
        expected = stored[f"assoc_{name}"]
        np.testing.assert_allclose(scores.reshape(expected.shape), expected, atol=TOLERANCE)
        if size > 1:
            found = harmonic(scores, GRID, size)
            np.testing.assert_allclose(found, stored[f"assoc_harmonic_s{size}"], atol=TOLERANCE)
    few = few_shot(views, good)
    np.testing.assert_allclose(few, stored["few_shot_grid"], atol=TOLERANCE)
    image, maps = combined(zero_shot(views, text), few, summed=source == "zqhang")
    np.testing.assert_allclose(image, stored["few_shot_image_score"], atol=TOLERANCE)
    np.testing.assert_allclose(enlarged(maps, (240, 240)), stored["few_shot_map"], atol=TOLERANCE)
