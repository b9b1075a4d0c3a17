"""A backbone's weights as files inside another file: the same backbone again, or one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from blemish.errors import BackboneError
from blemish.features.packing import pack, unpack
from blemish.features.registry import load_backbone

CPU = torch.device("cpu")
PHOTO = torch.arange(3 * 56 * 56, dtype=torch.int64).remainder(251).to(torch.uint8).reshape(1, 3, 56, 56)


def test_a_backbone_without_weights_needs_no_files() -> None:
    files = pack(load_backbone("mock", (1, 2), CPU))
    assert files == {}
    assert unpack("mock", files, (1,), "cpu").layers == (1,)


def test_the_default_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    made = load_backbone("effnet-lite2", (8, 16), CPU)
    files = pack(made)

    def refuse(*_: object) -> None:
        raise AssertionError("everything is in the files")

    monkeypatch.setattr("blemish.features.effnet._packaged_state", refuse)
    found = unpack("effnet-lite2", files, (8, 16), "cpu")
    assert (found.weights_sha256, found.layers, found.facts) == (made.weights_sha256, made.layers, made.facts)
    photo = torch.nn.functional.pad(PHOTO, (0, 8, 0, 8))
    for ours, theirs in zip(found.extract(photo).grids, made.extract(photo).grids, strict=True):
        assert torch.equal(ours, theirs)


# what is in the place of the weights
@pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 100, b"\x02\x00\x00\x00\x00\x00\x00\x00{}"])
def test_files_that_are_no_weights(content: bytes) -> None:
    with pytest.raises(BackboneError, match=r"do not fit effnet-lite2 .*Freeze the run again"):
        unpack("effnet-lite2", {"network.safetensors": content}, (8, 16), "cpu")


def test_a_model_of_the_hub_and_its_folder_again(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}
    transformers.Dinov2Model(transformers.Dinov2Config(**sizes)).save_pretrained(tmp_path / "model")
    name = str(tmp_path / "model")
    made = load_backbone(name, (1, 2), CPU)
    files = pack(made)
    expected = [grid.clone() for grid in made.extract(PHOTO).grids]
    (tmp_path / "model").rename(tmp_path / "gone")
    found = unpack(name, files, (1, 2), "cpu")
    assert found.weights_sha256 == made.weights_sha256
    for ours, theirs in zip(found.extract(PHOTO).grids, expected, strict=True):
        assert torch.equal(ours, theirs)
