"""Files to RGB arrays: every format and every way a file can be broken."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from blemish.errors import InputError, UnreadablePhoto
from blemish.inputs import images
from blemish.inputs.images import PhotoFile, find_photos, natural_key, probe, read_photo, sixteen_bit_ceiling

GREY = np.linspace(0, 255, 12 * 16).reshape(12, 16).astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


def photo(file: Path) -> PhotoFile:
    return PhotoFile(file.name, file)


def paths(folder: Path) -> list[str]:
    return [found.path for found in find_photos(folder)[0]]


def _palette(file: Path) -> None:
    Image.fromarray(COLOUR).quantize(16).save(file)


def _alpha(file: Path) -> None:
    Image.fromarray(np.dstack([COLOUR, np.zeros_like(GREY)])).save(file)


def _sixteen_bit_rgb(file: Path) -> None:
    tifffile.imwrite(file, COLOUR.astype(np.uint16) * 257, photometric="rgb")


# file name, how it is written, the pixels expected, and how far a lossy format may be off (None: only the shape)
READABLE: list[tuple[str, Callable[[Path], None], np.ndarray, int | None]] = [
    ("rgb.png", lambda f: Image.fromarray(COLOUR).save(f), COLOUR, 0),
    ("rgb.bmp", lambda f: Image.fromarray(COLOUR).save(f), COLOUR, 0),
    ("rgb.webp", lambda f: Image.fromarray(COLOUR).save(f, lossless=True), COLOUR, 0),
    ("rgb.tif", lambda f: Image.fromarray(COLOUR).save(f), COLOUR, 0),
    ("rgb.JPEG", lambda f: Image.fromarray(COLOUR).save(f, quality=100, subsampling=0), COLOUR, 4),
    ("grey.png", lambda f: Image.fromarray(GREY).save(f), np.dstack([GREY] * 3), 0),
    ("bilevel.png", lambda f: Image.fromarray(GREY).convert("1").save(f), COLOUR, None),
    ("palette.png", _palette, COLOUR, None),
    ("transparent.png", _alpha, np.full_like(COLOUR, 255), 0),  # alpha 0 everywhere: the white behind it
    ("cmyk.jpg", lambda f: Image.fromarray(COLOUR).convert("CMYK").save(f, quality=100), COLOUR, None),
    ("deep.png", lambda f: Image.fromarray(GREY.astype(np.uint16) * 257).save(f), np.dstack([GREY] * 3), 0),
    ("deep.tif", lambda f: tifffile.imwrite(f, GREY.astype(np.uint16) * 257), np.dstack([GREY] * 3), 0),
    ("deep_rgb.tif", _sixteen_bit_rgb, COLOUR, 0),
    ("float.tif", lambda f: tifffile.imwrite(f, GREY.astype(np.float32) / 255), np.dstack([GREY] * 3), 0),
]


@pytest.mark.parametrize(("name", "write", "expected", "tolerance"), READABLE, ids=[row[0] for row in READABLE])
def test_formats(
    tmp_path: Path, name: str, write: Callable[[Path], None], expected: np.ndarray, tolerance: int | None
) -> None:
    write(tmp_path / name)
    assert paths(tmp_path) == [name]
    header = probe(photo(tmp_path / name))
    decoded = read_photo(photo(tmp_path / name))
    pixels = decoded.pixels
    assert decoded.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert pixels.dtype == np.uint8
    assert pixels.shape == expected.shape == (header.height, header.width, 3)
    if tolerance is not None:
        assert np.abs(pixels.astype(int) - expected).max() <= tolerance


def test_orientation_of_the_camera_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees to the right
    Image.fromarray(COLOUR).save(tmp_path / "turned.png", exif=exif)
    upright = read_photo(photo(tmp_path / "turned.png")).pixels
    np.testing.assert_array_equal(upright, np.rot90(COLOUR, -1))
    header = probe(photo(tmp_path / "turned.png"))
    assert (header.width, header.height) == (12, 16)


def test_large_jpeg_is_decoded_reduced_but_never_below_twice_the_working_size(tmp_path: Path) -> None:
    Image.new("RGB", (1600, 1200), "grey").save(tmp_path / "big.jpg")
    height, width, _ = read_photo(photo(tmp_path / "big.jpg"), at_least=(128, 128)).pixels.shape
    assert (height, width) == (300, 400)
    assert read_photo(photo(tmp_path / "big.jpg"), at_least=(512, 512)).pixels.shape == (1200, 1600, 3)


# the brightest value in the batch -> the level that is white
@pytest.mark.parametrize(
    ("brightest", "white"), [(900, 1023), (1023, 1023), (4000, 4095), (16000, 16383), (40000, 65535)]
)
def test_ten_and_twelve_bit_cameras_are_not_nearly_black(tmp_path: Path, brightest: int, white: int) -> None:
    for at in range(3):
        deep = np.full((4, 4), brightest // (3 - at), np.uint16)
        Image.fromarray(deep).save(tmp_path / f"{at}.png")
    photos, _ = find_photos(tmp_path)
    ceiling = sixteen_bit_ceiling(photos)
    assert ceiling == white
    assert read_photo(photos[2], deep_ceiling=ceiling).pixels.max() == round(255 * brightest / white)


def test_sixteen_bit_colour_shares_the_white_level(tmp_path: Path) -> None:
    for at in range(3):
        tifffile.imwrite(tmp_path / f"{at}.tif", COLOUR.astype(np.uint16) * 16, photometric="rgb")  # 12 bits
    photos, _ = find_photos(tmp_path)
    assert all(probe(found).deep for found in photos)
    ceiling = sixteen_bit_ceiling(photos)
    assert ceiling == 4095
    np.testing.assert_allclose(read_photo(photos[0], deep_ceiling=ceiling).pixels.astype(int), COLOUR, atol=1)


def test_a_photo_brighter_than_the_white_level_is_called_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 3000, np.uint16)).save(tmp_path / "a.png")
    assert read_photo(photo(tmp_path / "a.png"), deep_ceiling=1023).clipped
    assert not read_photo(photo(tmp_path / "a.png"), deep_ceiling=4095).clipped


def test_white_level_without_deep_photos() -> None:
    assert sixteen_bit_ceiling([]) == 65535


def _png_with_size(width: int, height: int) -> bytes:
    """A valid header that promises any size, without the pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def _truncated(file: Path, keep: float) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG" if file.suffix == ".jpg" else "PNG")
    file.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * keep)])


# name, how it is made, a word of the reason
BROKEN: list[tuple[str, Callable[[Path], object], str]] = [
    ("empty.jpg", lambda f: f.write_bytes(b""), "empty file"),
    ("text.png", lambda f: f.write_text("this is no picture"), "not an image"),
    ("text.tif", lambda f: f.write_text("this is no picture"), "not an image"),
    ("half.jpg", lambda f: _truncated(f, 0.5), "damaged"),
    ("half.png", lambda f: _truncated(f, 0.5), "damaged"),
    ("stub.png", lambda f: _truncated(f, 0.002), "not an image|damaged"),
    ("bomb.png", lambda f: f.write_bytes(_png_with_size(60000, 60000)), "too many pixels"),
    ("large.png", lambda f: f.write_bytes(_png_with_size(13400, 13400)), "too many pixels"),
    ("nothing.png", lambda f: f.write_bytes(_png_with_size(0, 0)), "not an image|damaged|no pixels"),
    ("folder.jpg", lambda f: f.mkdir(), "a folder"),
    ("link.jpg", lambda f: f.symlink_to(f.with_name("gone.jpg")), "broken link"),
    ("float.tif", lambda f: tifffile.imwrite(f, np.full((4, 4), -7, np.float32)), "floating-point"),
    ("long.tif", lambda f: tifffile.imwrite(f, np.full((4, 4), 70000, np.int32)), "values from 70000"),
    ("double.tif", lambda f: tifffile.imwrite(f, np.zeros((4, 4, 3), np.float64), photometric="rgb"), "save it as"),
]


@pytest.mark.parametrize(("name", "make", "reason"), BROKEN, ids=[row[0] for row in BROKEN])
def test_broken_files_are_listed_with_a_reason(
    tmp_path: Path, name: str, make: Callable[[Path], object], reason: str
) -> None:
    make(tmp_path / name)
    assert paths(tmp_path) == [name]
    with pytest.raises(UnreadablePhoto, match=reason):
        read_photo(photo(tmp_path / name))


def test_damaged_metadata_of_a_sound_photo_is_ignored(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(
        tmp_path / "a.jpg", exif=b"Exif\x00\x00GARBAGE!" + bytes(40), quality=100, subsampling=0
    )
    assert probe(photo(tmp_path / "a.jpg")).width == 16
    assert np.abs(read_photo(photo(tmp_path / "a.jpg")).pixels.astype(int) - COLOUR).max() <= 4


def test_formats_that_start_other_programs_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    with pytest.raises(UnreadablePhoto, match="not an image"):
        probe(photo(tmp_path / "a.jpg"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "secret.png")
    (tmp_path / "secret.png").chmod(0)
    with pytest.raises(UnreadablePhoto, match="permission"):
        probe(photo(tmp_path / "secret.png"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may look anywhere")
def test_a_folder_that_may_not_be_looked_into_is_listed(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    (tmp_path / "closed").mkdir(mode=0)
    photos, _ = find_photos(tmp_path)
    assert [found.path for found in photos] == ["a.png", "closed"]
    with pytest.raises(UnreadablePhoto, match="may not be looked into"):
        probe(photos[1])


def test_a_run_is_no_folder_of_photos(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"blemish": "0.1.0", "schema": 1}')
    with pytest.raises(InputError, match="is a run of blemish"):
        find_photos(tmp_path)


def test_permission_error_is_worded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "secret.png")

    def refuse(file: Path, formats: object) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(images.Image, "open", refuse)
    with pytest.raises(UnreadablePhoto, match="no permission"):
        probe(photo(tmp_path / "secret.png"))


def test_order_is_natural_and_hidden_files_and_runs_are_passed_over(tmp_path: Path) -> None:
    wanted = ["2.png", "10.png", "B/1.png", "b2/x.PNG", "c.png"]
    hidden = [".hidden.png", ".cache/a.png", "old-run/maps/a.png", "half-run/overlays/a.png"]
    for path in [*wanted, *hidden]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(GREY).save(tmp_path / path)
    (tmp_path / "old-run" / "run.json").write_text('{"blemish": "0.1.0", "schema": 1}')
    (tmp_path / "B" / "run.json").write_text('{"of": "another program"}')
    (tmp_path / "half-run" / "blemish.partial").write_text("")
    (tmp_path / "notes.txt").write_text("not a photo")
    assert paths(tmp_path) == wanted
    assert find_photos(tmp_path)[1] == 2, "the runs that were passed over are counted"


def test_natural_key_is_a_total_order() -> None:
    names = ["a1", "a01", "A1", "a", "1a", "1", "01", "a/1", "a-1", "a²", "٣"]
    backwards = names[::-1]
    assert sorted(names, key=natural_key) == sorted(backwards, key=natural_key)


# the folder -> a word of the error
@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("nowhere", lambda f: None, "no folder"),
        ("file.jpg", lambda f: f.write_bytes(b""), "is a file"),
        ("empty", lambda f: f.mkdir(), "is empty"),
        ("no volumes either", lambda f: f.mkdir(), "and DICOM series"),
        ("b.nii.gz", lambda f: f.write_bytes(b""), "Give the folder that holds it and others"),
        ("texts", lambda f: (f.mkdir(), (f / "a.txt").write_text("")), "1 other files"),
    ],
)
def test_unusable_folders(tmp_path: Path, name: str, make: Callable[[Path], object], words: str) -> None:
    make(tmp_path / name)
    with pytest.raises(InputError, match=words):
        find_photos(tmp_path / name)
