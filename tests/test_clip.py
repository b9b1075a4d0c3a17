"""CLIP pairs from disk against transformers' CLIPModel, on a tiny model in the real formats; what cannot be loaded."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from blemish.errors import BackboneError, ConfigError
from blemish.features import clip
from clip_models import save_as_open_clip, save_clip, save_tokenizer

transformers = pytest.importorskip("transformers")
hub_constants = pytest.importorskip("huggingface_hub").constants

CPU = torch.device("cpu")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TEXTS = ["a photo of a metal nut", "damaged", ""]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return folder, save_clip(folder)


@pytest.fixture
def copied(saved: tuple[Path, Any], tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(saved[0], tmp_path / "copy"))


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As with HF_HUB_OFFLINE=1 and HF_HOME elsewhere, which are read only once, at import."""
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def photos(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height + width)
    return torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8, generator=generator)


# the activation in config.json; the one asked for -> the one the towers must have
@pytest.mark.parametrize(
    ("trained", "asked", "used"),
    [
        ("quick_gelu", None, "quick_gelu"),  # OpenAI
        ("gelu", None, "gelu"),  # most of LAION's
        ("quick_gelu", "gelu", "gelu"),  # published numbers at 518 px
    ],
)
def test_same_as_transformers(trained: str, asked: Any, used: str, tmp_path: Path) -> None:
    save_clip(tmp_path, trained)
    pair = clip.load(str(tmp_path), CPU, activation=asked)
    config = transformers.CLIPConfig.from_pretrained(tmp_path)
    config.vision_config.hidden_act = config.text_config.hidden_act = used
    model = transformers.CLIPModel.from_pretrained(tmp_path, config=config).eval()
    pixels, ids = pair.pixels(photos(32, 32)), pair.tokenizer(TEXTS)
    with torch.inference_mode():
        expected = model(input_ids=ids, pixel_values=pixels)
        hidden = model.vision_model(pixel_values=pixels, output_hidden_states=True).hidden_states
        seen = pair.vision.encode(pixels, (1, 3))
        image, text = pair.vision.project(seen.last[:, 0]), pair.embed_texts(TEXTS)
    unit = torch.nn.functional.normalize
    torch.testing.assert_close(unit(image, dim=1), expected.image_embeds, rtol=0, atol=1e-5)
    torch.testing.assert_close(unit(text, dim=1), expected.text_embeds, rtol=0, atol=1e-5)
    for layer, tokens in zip((1, 3), seen.layers, strict=True):
        torch.testing.assert_close(tokens, hidden[layer], rtol=1e-4, atol=1e-5)


def test_ids_are_those_of_transformers(saved: tuple[Path, Any]) -> None:
    folder, _ = saved
    texts = ["A  photo of the Metal\tnut, isn't it?", "metal_nut 123"]
    theirs = transformers.CLIPTokenizerFast.from_pretrained(folder)(texts)["input_ids"]
    ours = clip.load(str(folder), CPU).tokenizer(texts)
    assert ours.shape == (2, 40)
    assert [row[row != 0].tolist() for row in ours] == theirs  # no character has the id 0 here


def test_tokenizer_json_is_enough(saved: tuple[Path, Any], copied: Path) -> None:
    transformers.CLIPTokenizerFast.from_pretrained(saved[0]).save_pretrained(copied)
    for file in ("vocab.json", "merges.txt"):
        (copied / file).unlink(missing_ok=True)
    before, after = (clip.load(str(folder), CPU).tokenizer(TEXTS) for folder in (saved[0], copied))
    assert torch.equal(before, after)


def test_facts(saved: tuple[Path, Any]) -> None:
    facts = clip.facts(str(saved[0]))
    assert (facts.patch, facts.native, facts.embedding, facts.context) == (8, 32, 24, 40)
    assert (facts.vision.depth, facts.text.depth, facts.vision.activation) == (4, 3, "quick_gelu")
    assert facts.mean[0] == pytest.approx(0.48145466)
    assert facts.source == str(saved[0])


def test_loaded_pair_is_frozen(saved: tuple[Path, Any]) -> None:
    pair = clip.load(str(saved[0]), CPU)
    assert not any(p.requires_grad for tower in (pair.vision, pair.text) for p in tower.parameters())
    assert not pair.vision.training
    assert len(pair.weights_sha256) == 64


def test_embeddings_of_texts_can_be_multiplied_in_a_loss(saved: tuple[Path, Any]) -> None:
    words = clip.load(str(saved[0]), CPU).embed_texts(TEXTS)
    learned = torch.ones(24, requires_grad=True)
    (words @ learned).sum().backward()
    torch.testing.assert_close(learned.grad, words.sum(dim=0))


def test_half_precision_weights_are_used_in_float32(copied: Path) -> None:
    transformers.CLIPModel.from_pretrained(copied).half().save_pretrained(copied)
    assert clip.load(str(copied), CPU).embed_texts(["nut"]).dtype == torch.float32


def test_weights_in_parts(saved: tuple[Path, Any], tmp_path: Path) -> None:
    folder, model = saved
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    save_tokenizer(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    whole, parts = (clip.load(str(path), CPU).embed_texts(TEXTS) for path in (folder, tmp_path))
    assert torch.equal(whole, parts)


def _in_hub_cache(folder: Path, cache: Path) -> None:
    """Lay a saved model out as ``hf download acme/tiny`` would."""
    model = cache / "models--acme--tiny"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(COMMIT)
    (model / "snapshots").mkdir()
    (model / "snapshots" / COMMIT).symlink_to(folder)


def test_hub_name_offline_from_the_cache(saved: tuple[Path, Any], offline: Path) -> None:
    _in_hub_cache(saved[0], offline)
    pair = clip.load("acme/tiny", CPU)
    assert pair.facts.source == f"https://huggingface.co/acme/tiny at commit {COMMIT}"
    assert torch.equal(pair.embed_texts(TEXTS), clip.load(str(saved[0]), CPU).embed_texts(TEXTS))


# a file that the hub's cache lacks -> what is said to be missing
@pytest.mark.parametrize("file", ["model.safetensors", "vocab.json"])
def test_hub_name_offline_with_a_file_missing(file: str, copied: Path, offline: Path) -> None:
    (copied / file).unlink()
    (copied / "preprocessor_config.json").write_text("{}")
    _in_hub_cache(copied, offline)
    wanted = "tokenizer.json" if file == "vocab.json" else file
    with pytest.raises(BackboneError, match=rf"{wanted} of acme/tiny is not here.*hf download acme/tiny"):
        clip.load("acme/tiny", CPU)


def test_unknown_hub_name_offline(offline: Path) -> None:
    with pytest.raises(BackboneError, match="hf download acme/no-such-model"):
        clip.load("acme/no-such-model", CPU)


def _config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    for key, value in changes.items():
        tower, _, name = key.partition("__")
        (config[tower] if name else config)[name or tower] = value
    (folder / "config.json").write_text(json.dumps(config))


def _weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def done(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors")

    return done


def _text_of(state: dict[str, torch.Tensor]) -> list[str]:
    return [key for key in state if key.startswith("text_")]


V, T = "vision_model.", "text_model."


# what is done to a good folder; what the error must say
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: _config(f, model_type="clip_vision_model"), "a vision tower alone, so it cannot read words.*both"),
        (lambda f: _config(f, model_type="dinov2"), "'dinov2', a vision tower alone"),
        (lambda f: _config(f, model_type="siglip"), "'siglip', not a CLIP"),
        (lambda f: _config(f, vision_config__hidden_act="gelu_new"), "activation 'gelu_new'; CLIP's are quick_gelu"),
        (lambda f: _config(f, vision_config__num_hidden_layers=3), "vision blocks: 3 in config.json, 4 in the weights"),
        (lambda f: _config(f, vision_config__image_size=48), "positions of patches: 36 in config.json, 16"),
        (lambda f: _config(f, text_config__max_position_embeddings=77), "tokens of context: 77 in config.json, 40"),
        (lambda f: _config(f, vision_config__num_attention_heads=5), "config.json of"),
        (_weights(lambda s: [s.pop(key) for key in _text_of(s)]), "not those of a CLIP text tower"),  # vision only
        (_weights(lambda s: s.pop(f"{V}post_layernorm.bias")), "Missing key.*ln_post.bias"),
        (_weights(lambda s: s.pop(f"{T}encoder.layers.1.self_attn.k_proj.bias")), "Missing key.*1.attn.in_proj_bias"),
        (_weights(lambda s: s.update(surprise=torch.zeros(2))), "a tensor called surprise"),
        (_weights(lambda s: s.update({f"{V}encoder.layers.0.ls1.weight": torch.zeros(2)})), "layers.0.ls1.weight"),
        (lambda f: (f / "model.safetensors").write_bytes(b"half a download"), "cannot be read.*Fetch the model again"),
        (lambda f: (f / "model.safetensors").unlink(), "opens no pickle files"),
        (lambda f: (f / "merges.txt").unlink(), "weights but no tokenizer.*hf download"),
        (lambda f: (f / "vocab.json").write_text("{"), "cannot read the tokenizer"),
        (
            lambda f: (f / "vocab.json").write_text(json.dumps({f"w{i}": i for i in range(999)})),
            "knows .* tokens, its text tower|cannot read the tokenizer",
        ),
    ],
)
def test_folder_that_is_no_usable_pair(damage: Callable[[Path], object], message: str, copied: Path) -> None:
    damage(copied)
    with pytest.raises(BackboneError, match=f"(?s){message}"):
        clip.load(str(copied), CPU)


def test_old_files_hold_numbers_of_positions(saved: tuple[Path, Any], copied: Path) -> None:
    _weights(lambda state: state.update({f"{T}embeddings.position_ids": torch.arange(40)[None]}))(copied)
    assert torch.equal(clip.load(str(copied), CPU).embed_texts(TEXTS), clip.load(str(saved[0]), CPU).embed_texts(TEXTS))


def test_old_configs_name_another_end_of_text(saved: tuple[Path, Any], copied: Path) -> None:
    _config(copied, text_config__eos_token_id=2)  # OpenAI's on the hub; the tokenizer knows better
    assert torch.equal(clip.load(str(copied), CPU).embed_texts(TEXTS), clip.load(str(saved[0]), CPU).embed_texts(TEXTS))


@pytest.fixture
def open_clip(saved: tuple[Path, Any], tmp_path: Path) -> Path:
    """The same model as open_clip publishes it; its config.json is timm's."""
    save_as_open_clip(saved[1], tmp_path / "open_clip")
    return tmp_path / "open_clip"


@pytest.mark.parametrize("on_the_hub", [False, True])
def test_the_same_in_the_format_of_open_clip(
    on_the_hub: bool, saved: tuple[Path, Any], open_clip: Path, offline: Path
) -> None:
    _in_hub_cache(open_clip, offline)
    pair = clip.load("acme/tiny" if on_the_hub else str(open_clip), CPU)
    other = clip.load(str(saved[0]), CPU)
    assert (pair.facts.layout, other.facts.layout) == ("open_clip", "transformers")
    assert (pair.facts.vision, pair.facts.text, pair.facts.native) == (
        other.facts.vision,
        other.facts.text,
        other.facts.native,
    )
    assert torch.equal(pair.embed_texts(TEXTS), other.embed_texts(TEXTS))
    x = other.pixels(photos(24, 40))
    assert torch.equal(pair.vision.encode(x).last, other.vision.encode(x).last)


def _open_clip_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((folder / "open_clip_config.json").read_text())
    change(config["model_cfg"])
    (folder / "open_clip_config.json").write_text(json.dumps(config))


# what is done to a good folder; what the error must say
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: _open_clip_config(f, lambda c: c.update(custom_text=True)), "variant of CLIP.*sets custom_text"),
        (lambda f: _open_clip_config(f, lambda c: c["vision_cfg"].update(timm_model_name="x")), "sets timm_model_name"),
        (lambda f: _open_clip_config(f, lambda c: c.pop("embed_dim")), "KeyError.*embed_dim"),
        (lambda f: _open_clip_config(f, lambda c: c["vision_cfg"].update(layers=5)), "vision blocks: 5 in"),
        (
            lambda f: _open_clip_config(f, lambda c: c["vision_cfg"].update(layers=[3, 4])),
            "cannot be used|do not agree",
        ),
        (lambda f: (f / "open_clip_model.safetensors").unlink(), "blemish opens no pickle files"),
        (lambda f: (f / "open_clip_config.json").unlink(), "kind None, not a CLIP"),
    ],
)
def test_folder_of_open_clip_that_cannot_be_used(
    damage: Callable[[Path], object], message: str, open_clip: Path
) -> None:
    damage(open_clip)
    with pytest.raises(BackboneError, match=message):
        clip.load(str(open_clip), CPU)


def test_class_name_of_200_words(saved: tuple[Path, Any]) -> None:
    pair = clip.load(str(saved[0]), CPU)
    with pytest.raises(ConfigError, match=r"at most 38 tokens.*has 201\. Shorten the class name"):
        pair.embed_texts(["a photo", f"a {'metal ' * 200}"])


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(BackboneError, match=r"pip install 'blemish\[hub\]'"):
        clip.load("openai/clip-vit-base-patch16", CPU)


def test_console_stays_clean(saved: tuple[Path, Any], capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    clip.load(str(saved[0]), CPU)
    assert capfd.readouterr() == ("", "")
