"""The ViT's port against tokens and position embeddings from the official DINOv2 code (golden/README.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from blemish.errors import BackboneError
from blemish.features import vit

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def vit_weights() -> Path:
    """The converted weights in the user's cache (BLEMISH_CACHE), downloaded once if need be."""
    try:
        return vit.fetch()
    except BackboneError as error:
        pytest.skip(f"no weights for vit: {error}")


def test_tokens_and_cls_of_musc(golden: Path, vit_weights: Path) -> None:
    pixels = np.load(golden / "musc_end_to_end_pixels.npz")["resized_uint8"][:1]
    expected = np.load(golden / "musc_end_to_end_tokens.npz")
    network = vit.load((3, 6, 9, 12), CPU)
    features = network.extract(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    tokens = torch.stack(features.grids).reshape(4, 256, 384)
    wanted = torch.from_numpy(expected["tokens_img0_l3_l6_l9_l12"]).float()
    torch.testing.assert_close(tokens, wanted, rtol=2e-3, atol=2e-2)
    torch.testing.assert_close(features.embedding[0], torch.from_numpy(expected["cls_img0"]), rtol=0, atol=1e-3)


def test_hash_names_the_cached_file(vit_weights: Path) -> None:
    network = vit.load((6,), CPU)
    assert len(network.weights_sha256) == 64
    assert network.layers == (6,)


@pytest.mark.parametrize(
    ("array", "h", "w"),
    [
        ("dinov2_37_to_16", 16, 16),
        ("dinov2_37_to_32", 32, 32),
        ("dinov2_37_to_h32_w44", 32, 44),  # not square: h and w must not be swapped
        ("dinov2_37_to_48", 48, 48),
    ],
)
def test_position_embedding(golden: Path, array: str, h: int, w: int) -> None:
    data = np.load(golden / "pos_embed_resize.npz")
    resized = vit.resize_positions(torch.from_numpy(data["dinov2_pos_37x37"]), h, w)
    torch.testing.assert_close(resized, torch.from_numpy(data[array]), rtol=0, atol=1e-5)
