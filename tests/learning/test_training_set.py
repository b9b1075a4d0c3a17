"""Photos to learn from as arrays: what is kept of them, wherever it is kept, and what a batch says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from blemish.errors import ConfigError
from blemish.learning.prompt_file import Seen
from blemish.learning.pseudo_masks import PixelLabels
from blemish.learning.training import TrainConfig, _parted
from blemish.learning.training_set import Filling, TrainingSet
from blemish.matching.store import Budget

PHOTOS, GRID, SIZE = 5, (3, 2), (12, 8)
CPU = torch.device("cpu")


def given() -> tuple[Seen, list[np.ndarray], list[bool]]:
    random = torch.Generator().manual_seed(1)
    patches = tuple(torch.randn(PHOTOS, 6, channels, generator=random) for channels in (4, 7))
    masks = [np.zeros(SIZE, np.bool_) for _ in range(PHOTOS)]
    masks[1][2:5, 1:4] = masks[3][6:, 6:] = True
    return Seen(torch.randn(PHOTOS, 9, generator=random), patches, GRID), masks, [False, True, False, True, True]


def test_a_batch_is_what_was_given() -> None:
    seen, masks, labels = given()
    data = TrainingSet.of(seen, masks, labels, words=["nut", "bolt", "nut", "pin", "bolt"])
    assert (len(data), data.size, data.grid, data.words) == (PHOTOS, SIZE, GRID, ("nut", "bolt", "pin"))
    rows = np.array([3, 0, 1])
    batch = data.batch(rows, CPU)
    assert torch.equal(batch.seen.image, seen.image[rows].half())
    assert all(
        torch.equal(one, layer[rows].half()) for one, layer in zip(batch.seen.patches, seen.patches, strict=True)
    )
    assert np.array_equal(batch.target.numpy(), np.stack(masks)[rows])
    assert batch.label.tolist() == [1, 0, 1] and batch.words.tolist() == [2, 0, 1]
    assert batch.weights is None and batch.photo_weights is None


def test_soft_targets_and_weights() -> None:
    seen, masks, labels = given()
    soft, sure = [0.1 + 0.7 * mask for mask in masks], [0.9 - 0.5 * mask for mask in masks]
    data = TrainingSet.of(seen, masks, labels, soft=soft, confidence=sure, photo_weights=[0.1, 0.2, 0.3, 0.4, 0.5])
    batch = data.batch(np.arange(PHOTOS), CPU, "soft", weigh=True)
    assert batch.weights is not None and batch.photo_weights is not None
    np.testing.assert_allclose(batch.target.numpy(), np.stack(soft), atol=1 / 510 + 1e-6)  # a byte each
    np.testing.assert_allclose(batch.weights.numpy(), np.stack(sure), atol=1 / 510 + 1e-6)
    np.testing.assert_allclose(batch.photo_weights.numpy(), [0.1, 0.2, 0.3, 0.4, 0.5], rtol=1e-6)
    assert np.array_equal(data.batch(np.arange(PHOTOS), CPU, "hard").target.numpy(), np.stack(masks))


def test_memory_or_disk_is_the_same(tmp_path: Path) -> None:
    seen, masks, labels = given()
    in_memory, on_disk = (TrainingSet.of(seen, masks, labels, budget=Budget(left, tmp_path)) for left in (2**20, 10))
    assert in_memory.pixels.in_memory and not on_disk.pixels.in_memory and not on_disk.patches[1].in_memory
    assert in_memory.digest == on_disk.digest
    rows = np.array([4, 1])
    one, other = (data.batch(rows, CPU, weigh=True) for data in (in_memory, on_disk))
    assert torch.equal(one.target, other.target) and torch.equal(one.seen.patches[1], other.seen.patches[1])


# everything that a training depends on
@pytest.mark.parametrize(
    "change", ["image", "patches", "masks", "labels", "soft", "confidence", "photo_weights", "words", "groups"]
)
def test_the_digest_is_of_all_that_counts(change: str) -> None:
    seen, masks, labels = given()
    plain = TrainingSet.of(seen, masks, labels).digest
    assert plain == TrainingSet.of(*given()).digest
    more: dict[str, object] = {}
    if change in {"image", "patches"}:
        (seen.image if change == "image" else seen.patches[1])[2] += 1
    elif change == "masks":
        masks[0][0, 0] = True
    elif change == "labels":
        labels[0] = True
    elif change in {"soft", "confidence"}:
        more[change] = [np.full(SIZE, 0.5)] * PHOTOS
    else:
        more[change] = {"photo_weights": [0.5] * 5, "words": ["nut"] * 5, "groups": [1] * 5}[change]
    assert TrainingSet.of(seen, masks, labels, **more).digest != plain  # type: ignore[arg-type]


def test_one_of_each_for_every_photo() -> None:
    seen, masks, labels = given()
    with pytest.raises(ConfigError, match=r"each of the 5 photos; received \[4, 5"):
        TrainingSet.of(seen, masks[:4], labels)


def test_photos_that_could_not_be_read_leave_no_rows(tmp_path: Path) -> None:
    filling = Filling(9, SIZE, Budget(10, tmp_path))
    for label in (False, True):
        mask = np.full(SIZE, label)
        pixels = PixelLabels(mask, mask.astype(np.float32), np.ones(SIZE, np.float32)) if label else None
        filling.add([np.ones((*GRID, 4), np.float32)], np.ones(9, np.float32), label=label, pixels=pixels)
    data = filling.done()
    batch = data.batch(np.array([0, 1]), CPU, weigh=True)
    assert len(data) == 2 == data.image.shape[0] == data.pixels.shape[0]
    assert batch.target.mean(dim=(1, 2)).tolist() == [0, 1] and batch.weights is not None and bool(batch.weights.all())


# share; good and defective photos that are held out, of 40 and 10 from each of two sources
@pytest.mark.parametrize(("share", "good", "defective"), [(0.0, 0, 0), (0.1, 8, 2), (0.2, 16, 4), (0.02, 0, 0)])
def test_what_is_held_out(share: float, good: int, defective: int) -> None:
    labels = np.array([False] * 40 + [True] * 10 + [False] * 40 + [True] * 10)
    groups = np.repeat([0, 1], 50)
    learning, held = _parted(labels, groups, TrainConfig(holdout=share))
    assert sorted([*learning, *held]) == list(range(100))
    assert ((~labels[held]).sum(), labels[held].sum()) == (good, defective)
    assert (groups[held] == 0).sum() == len(held) / 2
    assert np.array_equal(held, _parted(labels, groups, TrainConfig(holdout=share))[1])
    if share == 0.2:
        assert not np.array_equal(held, _parted(labels, groups, TrainConfig(holdout=share, seed=1))[1])
