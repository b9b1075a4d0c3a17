"""A scan from folder to result, on the mock backbone: what it promises whatever the backbone is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from blemish.config import ScanConfig
from blemish.errors import ConfigError, InputError
from blemish.matching.store import ArrayStore, Budget
from blemish.scanning import scan
from photos import part, write_parts

MOCK = ScanConfig(backbone="mock", cache=False)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLEMISH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    return write_parts(tmp_path / "parts")


def test_the_flawed_photo_comes_first_and_its_map_shows_where(parts: Path) -> None:
    result = scan(parts, MOCK)
    assert next(iter(result.scores)) == "5.png"
    assert [photo.rank for photo in result.photos] == list(range(1, 9))
    assert result.photos[0].percentile == 100
    assert (result.photos[0].width, result.photos[0].height) == (64, 64)
    y, x = np.unravel_index(result.maps["5.png"].argmax(), result.shape)
    assert 24 <= y <= 56
    assert 0 <= x <= 32
    assert result.pixels(0).shape == (64, 64, 3)
    np.testing.assert_array_equal(result.pixels(0), part(5, flawed=True))


def test_two_scans_agree_bit_for_bit(parts: Path) -> None:
    one, two = scan(parts, MOCK), scan(parts, MOCK)
    assert one.scores == two.scores
    np.testing.assert_array_equal(one.grids, two.grids)


def test_a_scan_from_the_cache_gives_the_same_bits(parts: Path) -> None:
    first, second = scan(parts, MOCK, cache=True), scan(parts, MOCK, cache=True)
    assert first.manifest["counts"]["from_cache"] == 0
    assert second.manifest["counts"]["from_cache"] == 8
    assert first.scores == second.scores


def test_an_edited_photo_is_not_taken_from_the_cache(parts: Path) -> None:
    scan(parts, MOCK, cache=True)
    Image.fromarray(part(99, flawed=True)).save(parts / "0.png")
    assert scan(parts, MOCK, cache=True).manifest["counts"]["from_cache"] == 7


def test_names_and_order_of_the_files_change_no_score(parts: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    new_name = {f"{at}.png": f"{(at * 5) % 8}-{at}.png" for at in range(8)}
    for old, new in new_name.items():
        shutil.copy(parts / old, renamed / new)
    before, after = scan(parts, MOCK).scores, scan(renamed, MOCK).scores
    for old, new in new_name.items():
        assert after[new] == pytest.approx(before[old], abs=1e-6)


def test_scratch_files_change_no_score(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plenty = scan(parts, MOCK)
    spilled: list[bool] = []
    array = Budget.array

    def always_on_disk(self: Budget, shape: tuple[int, ...], dtype: object, share: float) -> ArrayStore:
        store = array(self, shape, dtype, share=0.0)
        spilled.append(not store.in_memory)
        return store

    monkeypatch.setattr(Budget, "array", always_on_disk)
    tight = scan(parts, MOCK)
    assert len(spilled) == 7  # pixels, two token sets, two tables of distances and two of indices
    assert all(spilled)
    assert tight.scores == plenty.scores
    np.testing.assert_array_equal(tight.pixels(0), plenty.pixels(0))


def test_each_photo_is_decoded_once(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = 0
    load = ImageFile.ImageFile.load

    def counting(self: ImageFile.ImageFile) -> object:
        nonlocal decoded
        decoded += bool(self.tile)  # empty once the pixels are there
        return load(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load", counting)
    scan(parts, MOCK)
    assert decoded == 8


def test_options_may_be_written_as_on_the_command_line(parts: Path) -> None:
    result = scan(parts, MOCK, k="50%", memory="8GiB", radii=[1, 3])
    assert result.manifest["config"]["k"] == 0.5
    assert result.manifest["config"]["memory"] == 2**33
    assert result.manifest["backbones"][0]["radii"] == [1, 3]


def test_unreadable_photos_are_listed_and_the_scan_goes_on(parts: Path) -> None:
    (parts / "cut.png").write_bytes((parts / "0.png").read_bytes()[:200])
    (parts / "none.jpg").write_bytes(b"")
    result = scan(parts, MOCK)
    assert len(result.scored) == 8
    assert {photo.path: photo.status for photo in result.unreadable} == {
        "cut.png": "unreadable",
        "none.jpg": "unreadable",
    }
    assert all(photo.reason for photo in result.unreadable)
    assert result.unreadable == result.photos[-2:]
    assert result.manifest["counts"] == {"found": 10, "scored": 8, "unreadable": 2, "duplicates": 0, "from_cache": 0}


def test_a_photo_that_breaks_only_when_decoded_leaves_no_gap(parts: Path) -> None:
    damaged = bytearray((parts / "2.png").read_bytes())
    damaged[len(damaged) // 2 :] = b"\0" * (len(damaged) - len(damaged) // 2)
    (parts / "2.png").write_bytes(damaged)
    result = scan(parts, MOCK)
    assert [photo.path for photo in result.unreadable] == ["2.png"]
    assert next(iter(result.scores)) == "5.png"
    np.testing.assert_array_equal(result.pixels(0), part(5, flawed=True))


def test_exact_duplicates_are_scored_and_reported(parts: Path) -> None:
    shutil.copy(parts / "1.png", parts / "copy of 1.png")
    result = scan(parts, MOCK)
    (copy,) = (photo for photo in result.photos if photo.duplicate_of)
    assert (copy.path, copy.duplicate_of) == ("copy of 1.png", "1.png")
    assert any("exact copy" in warning for warning in result.warnings)


@pytest.mark.parametrize("photos", [3, 4])
def test_few_photos_give_numbers_and_a_warning(tmp_path: Path, photos: int) -> None:
    result = scan(write_parts(tmp_path / "few", photos, flawed=(1,)), MOCK, k=0.1)
    assert next(iter(result.scores)) == "1.png"
    assert np.isfinite(result.grids).all()
    assert any(f"only {photos} photos" in warning for warning in result.warnings)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_flat_and_identical_photos_are_never_nan(tmp_path: Path, value: int) -> None:
    for at in range(4):
        Image.new("RGB", (40, 40), (value,) * 3).save(tmp_path / f"{at}.png")
    for backbone in ("mock", "effnet-lite2"):
        result = scan(tmp_path, ScanConfig(backbone=backbone, size=64, cache=False), rscin=(1, 2))
        assert np.isfinite(result.grids).all()
        assert np.isfinite(list(result.scores.values())).all()


def test_working_shape_keeps_the_median_aspect_ratio(tmp_path: Path) -> None:
    for at in range(3):
        Image.fromarray(part(at, size=(60, 120))).save(tmp_path / f"{at}.png")
    wide = scan(tmp_path, MOCK)
    assert wide.shape[1] / wide.shape[0] == pytest.approx(2, rel=0.2)
    assert scan(tmp_path, MOCK, fit="stretch").shape == (64, 64)


def test_two_backbones_are_fused(parts: Path) -> None:
    result = scan(parts, ScanConfig(backbone="mock+effnet-lite2", size=64, cache=False))
    assert [backbone["name"] for backbone in result.manifest["backbones"]] == ["mock", "effnet-lite2"]
    assert next(iter(result.scores)) == "5.png"


def test_labels_and_masks_of_a_published_tree_are_not_scanned(tmp_path: Path) -> None:
    write_parts(tmp_path / "test" / "good", 4, flawed=())
    write_parts(tmp_path / "test" / "crack", 1, flawed=(0,))
    write_parts(tmp_path / "ground_truth" / "crack", 1)
    write_parts(tmp_path / "train" / "good", 3)
    result = scan(tmp_path, MOCK)
    assert len(result.photos) == 5
    assert next(iter(result.scores)) == "test/crack/0.png"
    assert "only its test photos" in result.manifest["note"]


def test_a_csv_lists_the_photos(parts: Path, tmp_path: Path) -> None:
    rows = "\n".join(f"parts/{at}.png;{at == 5}" for at in (1, 3, 5, 7))
    (parts.parent / "list.csv").write_text(f"image_path;label\n{rows}\nparts/gone.png;0\nparts/./1.png;0\n")
    result = scan(parts.parent / "list.csv", MOCK)
    assert len(result.scored) == 4
    assert result.unreadable[0].path == "parts/gone.png"


def test_a_csv_of_photos_elsewhere_writes_nothing_beside_them(parts: Path, tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    rows = "\n".join([str(parts / "1.png"), "../parts/3.png", str(parts / "5.png")])
    (lists / "list.csv").write_text(f"image_path\n{rows}\n")
    before = sorted(tmp_path.rglob("*"))
    out = scan(lists / "list.csv", MOCK).save(tmp_path / "run")
    assert next(iter(scan(lists / "list.csv", MOCK).scores)) == "parts/5.png"
    assert sorted(file for file in tmp_path.rglob("*") if out not in (file, *file.parents)) == before
    assert (out / "overlays" / "parts" / "5.png.jpg").is_file()


def test_a_cache_filled_together_with_a_larger_backbone_changes_no_score(tmp_path: Path) -> None:
    for at in range(4):
        Image.fromarray(part(at, at == 2, size=(800, 800))).save(tmp_path / f"{at}.jpg")
    fused = ScanConfig(backbone="mock+effnet-lite2", cache=True)
    scan(tmp_path, MOCK, cache=True)
    warm = scan(tmp_path, fused)
    assert warm.scores == scan(tmp_path, fused, cache=False).scores


def _sized(folder: Path, sizes: list[tuple[int, int]]) -> Path:
    for at, size in enumerate(sizes):
        Image.fromarray(part(at, size=size)).save(folder / f"{at}.png")
    return folder


def test_wildly_different_sizes_are_warned_of(tmp_path: Path) -> None:
    result = scan(_sized(tmp_path, [(64, 64), (64, 64), (300, 300)]), MOCK)
    assert any("sizes differ widely, from 64 x 64 to 300 x 300" in warning for warning in result.warnings)


def test_different_shapes_are_warned_of(tmp_path: Path) -> None:
    result = scan(_sized(tmp_path, [(64, 64), (64, 64), (48, 90)]), MOCK)
    assert any("shapes differ" in warning for warning in result.warnings)


def test_two_products_in_one_folder_are_warned_of(tmp_path: Path) -> None:
    write_parts(tmp_path / "grey", 6, flawed=())
    (tmp_path / "red").mkdir()
    for at in range(6):
        red = part(at) // np.array([1, 6, 6], np.uint8)
        Image.fromarray(red).save(tmp_path / "red" / f"{at}.png")
    assert any("two products" in warning for warning in scan(tmp_path, MOCK).warnings)


def test_one_product_is_not_called_two(parts: Path) -> None:
    assert not any("two products" in warning for warning in scan(parts, MOCK).warnings)


# files in the folder -> words of the error
@pytest.mark.parametrize(
    ("good", "broken", "words"),
    [(1, 0, "1 readable photo in"), (2, 0, "2 readable photos"), (2, 3, "3 cannot be read, first a.png: empty")],
)
def test_too_few_readable_photos(tmp_path: Path, good: int, broken: int, words: str) -> None:
    write_parts(tmp_path, good)
    for at in range(broken):
        (tmp_path / f"{'abc'[at]}.png").write_bytes(b"")
    with pytest.raises(InputError, match=words):
        scan(tmp_path, MOCK)


def test_a_whole_data_set_is_refused(tmp_path: Path) -> None:
    for product in ("bottle", "cable"):
        (tmp_path / product / "test").mkdir(parents=True)
        (tmp_path / product / "train").mkdir()
    with pytest.raises(InputError, match=r"2 data sets \(bottle, cable"):
        scan(tmp_path, MOCK)


def test_too_little_memory_names_what_is_needed(parts: Path) -> None:
    with pytest.raises(ConfigError, match=r"allow --memory \d+MiB or reduce --size"):
        scan(parts, ScanConfig(backbone="effnet-lite2", memory=2**28, size=1024, cache=False))


# option, value, words of the error
@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("k", 0.0, "above 0"),
        ("size", 7, "32 to 4096"),
        ("fit", "crop", "keep or stretch"),
        ("image_score", "mean", "max or excess"),
        ("radii", (2,), "odd numbers"),
        ("radii", (), "at least one"),
        ("maps", "big", "working, original or none"),
        ("memory", 5, "at least 256MiB"),
        ("threads", 0, "1 to 256"),
        ("device", "cuda:99", "no cuda:99 here"),
        ("device", "tpu", "auto, cpu, cuda"),
        ("colour", "red", "no option colour; known are backbone"),
        ("layers", 8, "layers cannot be 8"),
        ("radii", (3.0,), "radii cannot be"),
        ("k", "many", "0.3 or 30%"),
        ("threads", 100_000, "1 to 256"),
    ],
)
def test_bad_options(parts: Path, option: str, value: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        scan(parts, MOCK, **{option: value})


def test_the_manifest_says_what_was_run(parts: Path) -> None:
    manifest = scan(parts, MOCK).manifest
    assert manifest["schema"] == 1
    assert manifest["resolved"]["k"] == 2
    assert manifest["resolved"]["device"] == "cpu: no CUDA device"
    assert manifest["resolved"]["smallest_flaw_px"] == 12
    assert manifest["backbones"][0]["weights_sha256"] == "0" * 64
    stages = {"listing and loading", "reading photos", "comparing photos", "finding families", "joining", "deciding"}
    assert set(manifest["timings_s"]) == stages


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such names")
def test_names_that_are_not_utf8(parts: Path, tmp_path: Path) -> None:
    (parts / "4.png").rename(os.fsdecode(os.fsencode(parts) + b"/\xfe5.png"))  # another one, not the same
    (parts / "5.png").rename(os.fsdecode(os.fsencode(parts) + b"/\xff5.png"))
    result = scan(parts, MOCK)
    assert next(iter(result.scores)) == "\\xff5.png"
    result.save(tmp_path / "out")


def test_a_link_to_the_folder_above_does_not_go_round_in_circles(parts: Path) -> None:
    (parts / "up").symlink_to(parts.parent)
    assert len(scan(parts, MOCK).photos) == 8
