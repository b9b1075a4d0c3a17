"""Hub backbones against transformers itself, on tiny random models written to disk in the real format."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from blemish.errors import BackboneError
from blemish.features import hub
from blemish.features.registry import load_backbone

transformers = pytest.importorskip("transformers")
hub_constants = pytest.importorskip("huggingface_hub").constants

CPU = torch.device("cpu")
SIZES = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _dinov2() -> Any:
    return transformers.Dinov2Model(transformers.Dinov2Config(**SIZES, image_size=56, patch_size=14))


def _dinov2_with_registers() -> Any:
    config = transformers.Dinov2WithRegistersConfig(**SIZES, image_size=56, patch_size=14, num_register_tokens=3)
    return transformers.Dinov2WithRegistersModel(config)


def _dinov3() -> Any:
    config = transformers.DINOv3ViTConfig(
        **SIZES, intermediate_size=64, image_size=56, patch_size=14, num_register_tokens=2
    )
    return transformers.DINOv3ViTModel(config)


VISION = {**SIZES, "intermediate_size": 64, "image_size": 56, "patch_size": 14}
TEXT = {**SIZES, "intermediate_size": 64, "vocab_size": 50, "max_position_embeddings": 8}


def _clip_vision() -> Any:
    return transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**VISION))


def _clip() -> Any:
    text = {**TEXT, "bos_token_id": 0, "eos_token_id": 1}
    config = transformers.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=24)
    return transformers.CLIPModel(config)


def _siglip_vision() -> Any:
    return transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**VISION))


def _siglip() -> Any:
    return transformers.SiglipModel(transformers.SiglipConfig(text_config=TEXT, vision_config=VISION))


# builder; tokens before the patches; the attribute of the LayerNorm that is applied to each layer
MODELS: dict[str, tuple[Callable[[], Any], int, str]] = {
    "dinov2": (_dinov2, 1, "layernorm"),
    "dinov2_with_registers": (_dinov2_with_registers, 1 + 3, "layernorm"),
    "dinov3": (_dinov3, 1 + 2, "norm"),
    "clip_vision": (_clip_vision, 1, ""),
    "clip": (_clip, 1, ""),  # both towers in one file
    "siglip_vision": (_siglip_vision, 0, ""),
    "siglip": (_siglip, 0, ""),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """Writes each kind of model once; returns its folder and the model itself."""
    done: dict[str, tuple[Path, Any]] = {}

    def get(kind: str) -> tuple[Path, Any]:
        if kind not in done:
            torch.manual_seed(len(kind))
            model = MODELS[kind][0]().eval().requires_grad_(False)
            for parameter in model.parameters():  # fresh LayerNorms and biases are 1 and 0 and would hide mistakes
                parameter.add_(torch.randn_like(parameter) * 0.05)
            folder = tmp_path_factory.mktemp("models") / kind
            model.save_pretrained(folder)
            done[kind] = folder, model
        return done[kind]

    return get


def photos(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height + width)
    return torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8, generator=generator)


def normalised(x: torch.Tensor, facts: hub.BackboneFacts) -> torch.Tensor:
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (facts.mean, facts.std))
    return (x / 255 - mean) / std


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(("height", "width"), [(56, 56), (28, 84), (28, 112)])  # the last: native token count
def test_same_as_transformers(kind: str, height: int, width: int, saved: Callable[[str], tuple[Path, Any]]) -> None:
    folder, model = saved(kind)
    _, prefix, norm = MODELS[kind]
    tower = hub.load(str(folder), (1, 4), CPU)
    x = photos(height, width)
    features = tower.extract(x)
    vision = getattr(model, "vision_model", model)
    option = {} if norm else {"interpolate_pos_encoding": True}
    output = vision(pixel_values=normalised(x, tower.facts), output_hidden_states=True, **option)
    apply_norm = getattr(vision, norm) if norm else torch.nn.Identity()
    for layer, grid in zip((1, 4), features.grids, strict=True):
        expected = apply_norm(output.hidden_states[layer])[:, prefix:]
        assert grid.shape == (2, height // 14, width // 14, 32)
        torch.testing.assert_close(grid, expected.reshape(grid.shape), rtol=1e-4, atol=1e-5)
    embedding = output.pooler_output
    if kind == "clip":
        embedding = model.visual_projection(embedding)
        assert embedding.shape == (2, 24)
    torch.testing.assert_close(features.embedding, embedding, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
def test_each_patch_lands_in_its_own_cell(kind: str, saved: Callable[[str], tuple[Path, Any]]) -> None:
    tower = hub.load(str(saved(kind)[0]), (1,), CPU)
    before = photos(42, 84)
    after = before.clone()
    after[:, :, 14:28, 56:70] = 255 - after[:, :, 14:28, 56:70]  # row 1, column 4 of 3 x 6
    change = (tower.extract(after).grids[0] - tower.extract(before).grids[0]).norm(dim=-1)
    assert change.flatten(1).argmax(dim=1).tolist() == [1 * 6 + 4] * 2


def test_dinov2_last_layer_is_what_the_model_returns(saved: Callable[[str], tuple[Path, Any]]) -> None:
    folder, model = saved("dinov2")
    tower = hub.load(str(folder), (4,), CPU)
    x = photos(28, 84)
    expected = model(pixel_values=normalised(x, tower.facts)).last_hidden_state
    features = tower.extract(x)
    torch.testing.assert_close(features.grids[0].flatten(1, 2), expected[:, 1:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features.embedding, expected[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "mean_r", "resize"),
    [
        ("dinov2", 0.485, "bilinear"),
        ("dinov3", 0.485, "bilinear"),
        ("clip", 0.48145466, "bicubic"),
        ("siglip", 0.5, "bicubic"),
    ],
)
def test_facts_of_a_family(kind: str, mean_r: float, resize: str, saved: Callable[[str], tuple[Path, Any]]) -> None:
    folder, _ = saved(kind)
    facts = hub.facts(str(folder))
    assert (facts.patch, facts.size, facts.layers, facts.all_layers) == (14, 336, (1, 2, 3, 4), (1, 2, 3, 4))
    assert (facts.mean[0], facts.resize, facts.source) == (mean_r, resize, str(folder))
    assert "no model card" in facts.licence


@pytest.mark.parametrize(
    ("depth", "patch", "layers", "size"),
    [
        (12, 14, (3, 6, 9, 12), 336),
        (24, 16, (6, 12, 18, 24), 336),
        (27, 14, (7, 14, 21, 27), 336),  # SigLIP so400m: quarters rounded up
        (2, 32, (1, 2), 320),  # the multiple of 32 nearest to 336
    ],
)
def test_default_layers_and_size(depth: int, patch: int, layers: tuple[int, ...], size: int, tmp_path: Path) -> None:
    config = {"model_type": "dinov2", "num_hidden_layers": depth, "patch_size": patch, "hidden_size": 32}
    (tmp_path / "config.json").write_text(json.dumps(config))
    facts = hub.facts(str(tmp_path))
    assert (facts.layers, facts.size) == (layers, size)


def test_preprocessor_and_model_card_are_believed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "dinov2"}))
    said = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    facts = hub.facts(str(tmp_path))
    assert (facts.mean, facts.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert facts.licence == "apache-2.0"


def test_half_precision_weights_are_used_in_float32(saved: Callable[[str], tuple[Path, Any]], tmp_path: Path) -> None:
    transformers.Dinov2Model.from_pretrained(saved("dinov2")[0]).half().save_pretrained(tmp_path)
    assert hub.load(str(tmp_path), (2,), CPU).extract(photos(28, 28)).grids[0].dtype == torch.float32


def test_hash_follows_the_weights(saved: Callable[[str], tuple[Path, Any]], tmp_path: Path) -> None:
    folder, model = saved("dinov2")
    model.save_pretrained(tmp_path / "parts", max_shard_size="40KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    whole, parts = (hub.load(str(f), (4,), CPU) for f in (folder, tmp_path / "parts"))
    assert torch.equal(whole.extract(photos(28, 28)).grids[0], parts.extract(photos(28, 28)).grids[0])
    assert whole.weights_sha256 == hub.load(str(folder), (1,), CPU).weights_sha256 != parts.weights_sha256


def _in_hub_cache(folder: Path, cache: Path) -> None:
    """Lay a saved model out as ``hf download acme/tiny`` would."""
    model = cache / "models--acme--tiny"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(COMMIT)
    (model / "snapshots").mkdir()
    (model / "snapshots" / COMMIT).symlink_to(folder)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As with HF_HUB_OFFLINE=1 and HF_HOME elsewhere, which are read only once, at import."""
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_hub_name_offline_from_the_cache(saved: Callable[[str], tuple[Path, Any]], offline: Path) -> None:
    folder, _ = saved("dinov2")
    _in_hub_cache(folder, offline)
    tower = load_backbone("acme/tiny", (2,))
    assert tower.facts.source == f"https://huggingface.co/acme/tiny at commit {COMMIT}"
    assert tower.facts.licence == "see the model card at https://huggingface.co/acme/tiny"
    assert torch.equal(
        tower.extract(photos(28, 42)).grids[0],
        load_backbone(str(folder), (2,)).extract(photos(28, 42)).grids[0],
    )


def test_hub_name_offline_without_its_weights(offline: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "dinov2"}))
    (tmp_path / "preprocessor_config.json").write_text("{}")
    _in_hub_cache(tmp_path, offline)
    with pytest.raises(BackboneError, match=r"model\.safetensors of acme/tiny is not here"):
        load_backbone("acme/tiny")


def test_unknown_hub_name_offline(offline: Path) -> None:
    with pytest.raises(BackboneError) as caught:
        hub.facts("acme/no-such-model")
    for part in ("acme/no-such-model", "hf download acme/no-such-model", str(offline), "local folder"):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["./no/such/folder", "/no/such", "a/b/c", "C:\\models\\dino"])
def test_missing_folder_is_not_looked_up_on_the_hub(name: str) -> None:
    with pytest.raises(BackboneError, match="There is no folder"):
        hub.facts(name)


def test_name_that_the_hub_does_not_allow() -> None:
    with pytest.raises(BackboneError, match="two words/x"):
        hub.facts("two words/x")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "holds no config.json"),
        ("{", "Cannot read"),
        ("[]", "does not hold a JSON object"),
        ('{"model_type": "resnet"}', "of the kind 'resnet'.*Supported.*dinov2.*siglip"),
        ('{"model_type": "dinov2", "patch_size": [14, 16]}', "only square patches"),
    ],
)
def test_folder_that_is_no_usable_model(config: str | None, message: str, tmp_path: Path) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(BackboneError, match=message):
        hub.facts(str(tmp_path))


def test_pickle_is_not_opened(saved: Callable[[str], tuple[Path, Any]], tmp_path: Path) -> None:
    folder, model = saved("dinov2")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(BackboneError, match="opens no pickle files"):
        hub.load(str(tmp_path), (1,), CPU)


def test_weights_of_another_model_do_not_pass(saved: Callable[[str], tuple[Path, Any]], tmp_path: Path) -> None:
    folder, _ = saved("dinov2")
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 6}))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(BackboneError, match="random numbers"):
        hub.load(str(tmp_path), (1,), CPU)


def test_damaged_weights(saved: Callable[[str], tuple[Path, Any]], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((saved("dinov2")[0] / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"half a download")
    with pytest.raises(BackboneError, match="transformers cannot load"):
        hub.load(str(tmp_path), (1,), CPU)


@pytest.mark.parametrize("layer", [0, 99])
def test_layer_that_does_not_exist(layer: int, saved: Callable[[str], tuple[Path, Any]]) -> None:
    with pytest.raises(BackboneError, match=f"no layer {layer}. Choose from 1, 2, 3, 4"):
        load_backbone(str(saved("dinov2")[0]), (layer,))


def test_side_that_is_no_multiple_of_the_patch(saved: Callable[[str], tuple[Path, Any]]) -> None:
    with pytest.raises(ValueError, match=r"multiples of 14, got 28 x 30"):
        hub.load(str(saved("clip")[0]), (1,), CPU).extract(photos(28, 30))


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(BackboneError, match=r"pip install 'blemish\[hub\]'"):
        hub.facts("facebook/dinov2-small")


def test_console_stays_clean(saved: Callable[[str], tuple[Path, Any]], capfd: pytest.CaptureFixture[str]) -> None:
    folder, _ = saved("clip")  # the text tower's weights are left over, of which transformers likes to tell
    capfd.readouterr()
    hub.load(str(folder), (1,), CPU)
    assert capfd.readouterr() == ("", "")
