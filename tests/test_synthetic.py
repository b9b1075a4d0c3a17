"""Synthetic photos: the truth they claim is the truth they show, and equal arguments give equal pixels."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blemish.errors import ConfigError
from blemish.inputs.synthetic import FLAWS, PRODUCTS, SyntheticPhoto, render_batch, write_batch
from blemish.inputs.synthetic.batch import MASK_FROM, Batch
from blemish.inputs.synthetic.camera import draw_shot, pose
from blemish.inputs.synthetic.flaws import apply_flaw, draw_flaw, recur

SIZE = 96


def batch(product: str, photos: int = 6, **wishes: object) -> list[SyntheticPhoto]:
    return list(render_batch(product, photos, size=SIZE, **wishes))  # type: ignore[arg-type]


@pytest.mark.parametrize("product", PRODUCTS)
def test_equal_arguments_give_equal_pixels_whatever_the_global_seed(product: str) -> None:
    first = batch(product, sporadic=2, recurring=(2,), seed=3)
    np.random.seed(99)  # noqa: NPY002 - the legacy global state is what must not matter
    second = batch(product, sporadic=2, recurring=(2,), seed=3)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(first, second, strict=True))
    assert [a.kind for a in first] == [b.kind for b in second]
    other = batch(product, sporadic=2, recurring=(2,), seed=4)
    assert not np.array_equal(first[0].pixels, other[0].pixels)


@pytest.mark.parametrize("product", PRODUCTS)
def test_counts_names_shapes_and_masks_are_as_asked(product: str) -> None:
    photos = batch(product, 16, sporadic=5, recurring=(3, 2), flaw_size=(0.08, 0.2))
    kinds = [photo.kind for photo in photos]
    assert sum(kind in FLAWS for kind in kinds) == 5
    assert (kinds.count("recurring-1"), kinds.count("recurring-2"), kinds.count("good")) == (3, 2, 6)
    assert [photo.name for photo in photos] == [f"{i:04d}.jpg" for i in range(1, 17)]
    width = round(0.75 * SIZE) if product == "bottle" else SIZE
    for photo in photos:
        assert photo.pixels.shape == (SIZE, width, 3)
        assert photo.pixels.dtype == np.uint8
        assert photo.mask.shape == (SIZE, width)
        assert photo.mask.dtype == np.bool_
        assert photo.mask.any() == (photo.kind != "good")


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("share", [0.01, 0.5])
def test_the_smallest_and_the_largest_flaws_still_show(product: str, share: float) -> None:
    photos = render_batch(product, 24, size=64, sporadic=24, flaw_size=(share, share))
    assert all(photo.mask.any() for photo in photos)


@pytest.mark.parametrize("product", PRODUCTS)
def test_good_photos_differ_a_little_as_real_ones_do(product: str) -> None:
    a, b = (photo.pixels.astype(float) for photo in batch(product, 2))
    assert 2 < np.abs(a - b).mean() < 40


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("kind", FLAWS)
def test_the_mask_covers_what_the_flaw_changed(product: str, kind: str) -> None:
    """The same shot with and without the flaw differs inside the mask, and nowhere else but for soft rims."""
    studio = Batch(product, 128, seed=1)
    part = studio.specimen(0, 0)
    flaw = draw_flaw(kind, part, 0.15 * studio.fine.side, studio.rng(9))
    flawed, mask = studio.take(part, flaw, studio.rng(10))
    clean, _ = studio.take(part, None, studio.rng(10))
    change = np.abs(flawed.astype(int) - clean.astype(int)).max(2)
    assert change[mask].mean() > 8
    assert np.mean(change[mask] > 2) > 0.6
    near = _grown(mask, 4)
    # Sensor noise is the same in both; beyond the soft rim only a missing piece's faint shadow goes with it.
    assert change[~near].max() <= (3 if kind == "missing" else 0)


@pytest.mark.parametrize("product", PRODUCTS)
def test_six_recurring_groups_keep_their_place_and_differ_from_each_other(product: str) -> None:
    studio = Batch(product, 128, seed=2)
    part = studio.specimen(0, 0)
    extent = 0.12 * studio.fine.side
    groups = studio.recurring_flaws(6, (extent, extent))
    unposed = replace(draw_shot(studio.rng(5), 0.0), angle=0.0, scale=1.0, shift=(0.0, 0.0))

    def mask_of(group: int, member: int) -> np.ndarray:
        flaw = recur(groups[group], studio.fine.side, studio.rng(6, group, member))
        return pose(apply_flaw(flaw, part, part.layers.copy()), unposed, studio.canvas) > MASK_FROM

    for group, flaw in enumerate(groups):
        bound = 0.3 if flaw.kind == "scratch" else 0.6  # a thin line loses half its overlap to 1 px of jitter
        assert _overlap(mask_of(group, 0), mask_of(group, 1)) > bound
        for other in range(group):
            same_kind = groups[other].kind == flaw.kind
            assert _overlap(mask_of(group, 0), mask_of(other, 0)) < (0.2 if same_kind else 0.6)


def test_bottles_come_in_three_colours_mixed_evenly() -> None:
    photos = batch("bottle", 9, variants=3)
    assert np.bincount([photo.variant for photo in photos]).tolist() == [3, 3, 3]
    below_label = slice(round(0.85 * SIZE), round(0.88 * SIZE))
    centre = slice(round(0.30 * SIZE), round(0.45 * SIZE))
    colours = [
        np.mean([p.pixels[below_label, centre].mean((0, 1)) for p in photos if p.variant == variant], axis=0)
        for variant in range(3)
    ]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(colours[a] - colours[b]).max() > 30


def test_write_batch_makes_a_plain_folder_and_keeps_the_truth_beside_it(tmp_path: Path) -> None:
    photos = batch("board", 5, sporadic=1, recurring=(1,))
    assert write_batch(tmp_path / "out", photos) == tmp_path / "out"
    with (tmp_path / "out" / "truth.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image_path", "label", "mask_path", "kind", "variant"]
    assert sorted(path.name for path in (tmp_path / "out" / "photos").iterdir()) == [p.name for p in photos]
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 2
    for row, photo in zip(rows, photos, strict=True):
        assert (row["image_path"], row["kind"]) == (photo.name, photo.kind)
        assert row["label"] == str(int(photo.kind != "good"))
        if photo.kind == "good":
            assert row["mask_path"] == ""
        else:
            stored = np.asarray(Image.open(tmp_path / "out" / row["mask_path"]))
            assert np.array_equal(stored, photo.mask * np.uint8(255))


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"product": "spoon"}, "no synthetic product 'spoon'; choose one of washer, bottle, board"),
        ({"photos": 0}, "at least 1 photo, but photos=0"),
        ({"size": 63}, "size=63 is too small"),
        ({"seed": -1}, "seed=-1 is negative"),
        ({"sporadic": -1}, "sporadic=-1"),
        ({"recurring": (2, 0)}, r"recurring=\(2, 0\)"),
        ({"sporadic": 3, "recurring": (2,)}, "5 flawed photos, but photos=4; raise photos to 5"),
        ({"variants": 2}, "variants=2 is not possible: washer has only 1"),
        ({"flaw_size": (0.2, 0.1)}, r"flaw_size=\(0.2, 0.1\)"),
    ],
)
def test_bad_arguments_are_refused_before_the_first_photo(wishes: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"product": "washer", "photos": 4, **wishes}
    with pytest.raises(ConfigError, match=message):
        render_batch(**arguments)  # type: ignore[arg-type]


def _grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    for _ in range(pixels):
        padded = np.pad(mask, 1)
        mask = mask | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return mask


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())
