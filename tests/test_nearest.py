"""What the hottest places of a photo are nearest to: in one part, in many, in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blemish.errors import InputError
from blemish.nearest import OTHERS, PLACES, joined, read, write
from judged_runs import scanned, write_stained

SIDE = 8  # tokens of the mock backbone on 64 pixels


def test_a_copy_is_what_a_photo_is_nearest_to(tmp_path: Path) -> None:
    photos = write_stained(tmp_path / "photos", (0.0,) * 8 + (1.0,))
    Image.open(photos / "8.png").save(photos / "copy.png")
    found = read(scanned(photos, tmp_path / "run") / "nearest.npz")
    assert found.grid == (SIDE, SIDE)
    row, copy = found.paths.index("8.png"), found.paths.index("copy.png")
    assert found.photo.shape == (10, PLACES, OTHERS)
    assert (found.photo[row, :, 0] == copy).all()
    assert (found.there[row, :, 0] == found.token[row]).all()
    assert found.distance[row, :, 0] == pytest.approx(0, abs=1e-3)
    assert (np.diff(found.distance, axis=2) >= 0).all()
    assert not (found.photo == np.arange(10)[:, None, None]).any(), "none is compared with itself"


def test_places_lie_apart_and_the_hottest_is_the_flaw(tmp_path: Path) -> None:
    photos = write_stained(tmp_path / "photos", (0.0,) * 8 + (1.0,))
    found = read(scanned(photos, tmp_path / "run") / "nearest.npz")
    y, x = np.divmod(found.token, SIDE)
    for one in range(len(found.token)):
        for a in range(PLACES):
            for b in range(a):
                assert max(abs(y[one, a] - y[one, b]), abs(x[one, a] - x[one, b])) > 2
    row = found.paths.index("8.png")
    assert 3 <= y[row, 0] <= 6
    assert 0 <= x[row, 0] <= 3


def test_the_parts_of_a_large_batch_are_joined(tmp_path: Path) -> None:
    """Each photo was compared with those of its own part only, and these are named right."""
    photos = write_stained(tmp_path / "photos", (0.0,) * 40)
    run = scanned(photos, tmp_path / "run", subset=20)
    found = read(run / "nearest.npz")
    assert sorted(found.paths) == sorted(file.name for file in photos.iterdir())
    half = len(found.paths) // 2
    rows = np.arange(40)[:, None, None]
    assert ((found.photo < half) == (rows < half)).all()


def test_few_photos_have_few_others(tmp_path: Path) -> None:
    found = read(scanned(write_stained(tmp_path / "photos", (0.0,) * 3), tmp_path / "run") / "nearest.npz")
    assert found.photo.shape == (3, PLACES, 2)


def test_the_file_is_checked(tmp_path: Path) -> None:
    photos = write_stained(tmp_path / "photos", (0.0,) * 3)
    file = scanned(photos, tmp_path / "run") / "nearest.npz"
    found = read(file)
    assert joined([found, None], found.paths) is None
    assert joined([], ()) is None
    write(found, tmp_path / "again.npz")
    assert (read(tmp_path / "again.npz").photo == found.photo).all()
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(InputError, match="missing or damaged"):
        read(file)
