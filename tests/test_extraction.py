"""From files to tokens: the same bits however many threads work, in the order of the listing, whatever a file holds."""

from __future__ import annotations

import dataclasses
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from blemish import extraction
from blemish.extraction import Branch, Extracted, extract
from blemish.features.cache import FeatureCache
from blemish.features.registry import load_backbone
from blemish.inputs.images import Decoded, PhotoFile, read_photo, resize
from blemish.matching.store import Budget
from photos import write_parts

PLENTY = 2**32


@pytest.fixture(autouse=True)
def _threads_come_back() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def parts(tmp_path: Path) -> list[PhotoFile]:
    """Twelve photos: 3 is broken when decoded, 4 is a folder, 9 and 10 are copies of 1."""
    folder = write_parts(tmp_path / "parts", 12)
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:300])
    (folder / "4.png").unlink()
    (folder / "4.png").mkdir()
    for copy in ("9.png", "10.png"):
        shutil.copy(folder / "1.png", folder / copy)
    return [PhotoFile(f"{at}.png", folder / f"{at}.png") for at in range(12)]


def branch(cache: Path | None = None, concurrent: bool = True, shape: tuple[int, int] = (48, 32)) -> Branch:
    backbone = load_backbone("mock")
    backbone.facts = dataclasses.replace(backbone.facts, concurrent=concurrent)
    return Branch(backbone, shape, (1, 3), join=False, cache=FeatureCache(cache, {}) if cache else None)


def bits(extracted: Extracted, branches: list[Branch]) -> list[object]:
    """Everything that extraction leaves behind."""
    photos = len(extracted.photos)
    stores = [extracted.pixels, *(tokens.store for one in branches for tokens in one.token_sets)]
    assert all(store.shape[0] == photos for store in stores)
    assert all(len(one.embeddings) == photos for one in branches)
    return [
        extracted.paths,
        extracted.sha256,
        extracted.unreadable,
        list(extracted.unreadable),
        extracted.clipped,
        *(store.read(0, photos).tobytes() for store in stores),
        *(embedding.tobytes() for one in branches for embedding in one.embeddings),
    ]


def run(
    photos: list[PhotoFile], branches: list[Branch], threads: int, memory: int = PLENTY, **options: int
) -> Extracted:
    torch.set_num_threads(threads)
    extracted = extract(photos, branches, Budget(memory, photos[0].file.parent), **options)
    assert torch.get_num_threads() == threads
    return extracted


def test_rows_follow_the_listing_and_broken_photos_leave_none(parts: list[PhotoFile]) -> None:
    one = branch()
    extracted = run(parts, [one], 3)
    assert extracted.paths == [f"{at}.png" for at in (0, 1, 2, 5, 6, 7, 8, 9, 10, 11)]
    assert list(extracted.unreadable) == ["3.png", "4.png"]
    for row, photo in enumerate(extracted.photos):
        expected = resize(read_photo(photo).pixels, (48, 32))
        assert np.abs(extracted.pixels.read(row, row + 1)[0].astype(int) - expected).max() <= 1
        assert extracted.sha256[row] == read_photo(photo).sha256


# threads of torch, photos decoded at once, photos a network call, a backbone that threads may share, memory
@pytest.mark.parametrize(
    ("threads", "decoders", "batch", "concurrent", "memory"),
    [
        (1, 1, 1, True, PLENTY),
        (2, 2, 1, True, PLENTY),
        (5, 1, 1, True, PLENTY),
        (5, 4, 16, True, PLENTY),
        (3, 2, 1, True, 1),  # everything in scratch files, and room for one network
        (2, 2, 1, False, PLENTY),
        (2, 1, 4, False, PLENTY),
        (1, 3, 16, False, 1),
    ],
)
def test_nothing_depends_on_how_the_work_is_divided(
    parts: list[PhotoFile], threads: int, decoders: int, batch: int, concurrent: bool, memory: int
) -> None:
    plain, other = branch(shape=(64, 40)), branch()
    expected = bits(run(parts, [plain, other], 1, decoders=1), [plain, other])
    branches = [branch(shape=(64, 40), concurrent=concurrent), branch(concurrent=concurrent)]
    extracted = run(parts, branches, threads, memory, decoders=decoders, batch=batch)
    assert bits(extracted, branches) == expected
    assert extracted.from_cache == 0


@pytest.mark.parametrize("threads", [1, 2, 6])
def test_a_run_from_the_cache_gives_the_same_bits(parts: list[PhotoFile], tmp_path: Path, threads: int) -> None:
    first, second = branch(tmp_path / str(threads)), branch(tmp_path / str(threads))
    fresh, cached = run(parts, [first], threads), run(parts, [second], threads)
    assert fresh.from_cache == 2  # the copies, however many threads met them at once
    assert cached.from_cache == 10
    assert bits(fresh, [first]) == bits(cached, [second])


def test_threads_of_the_real_network_change_no_bit(tmp_path: Path) -> None:
    folder = write_parts(tmp_path / "parts", 6)
    photos = [PhotoFile(file.name, file) for file in sorted(folder.iterdir())]
    seen = []
    for threads in (1, 2, 4):
        one = Branch(load_backbone("effnet-lite2"), (64, 96), (3,), join=True)
        seen.append(bits(run(photos, [one], threads), [one]))
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize("concurrent", [True, False])
def test_an_unforeseen_error_of_a_decoder_ends_no_scan(
    parts: list[PhotoFile], monkeypatch: pytest.MonkeyPatch, concurrent: bool
) -> None:
    def breaks(photo: PhotoFile, **options: object) -> Decoded:
        if photo.path == "6.png":
            raise ZeroDivisionError
        return read_photo(photo)

    monkeypatch.setattr(extraction, "read_photo", breaks)
    extracted = run(parts, [branch(concurrent=concurrent)], 2)
    assert extracted.unreadable["6.png"] == "damaged: ZeroDivisionError"
    assert len(extracted.photos) == 9


@pytest.mark.parametrize("decoders", [1, 2, 3])
@pytest.mark.parametrize("concurrent", [True, False])
def test_full_size_photos_are_counted(
    parts: list[PhotoFile], monkeypatch: pytest.MonkeyPatch, decoders: int, concurrent: bool
) -> None:
    held: list[int] = []
    lock, now = threading.Lock(), 0

    def slow(photo: PhotoFile, **options: object) -> Decoded:
        nonlocal now
        with lock:
            now += 1
            held.append(now)
        time.sleep(0.002)
        try:
            return read_photo(photo)
        finally:
            with lock:
                now -= 1

    monkeypatch.setattr(extraction, "read_photo", slow)
    run(parts, [branch(concurrent=concurrent)], 6, decoders=decoders)
    assert max(held) <= decoders


# memory -> networks at once, with 4 threads of torch; a network of 48 x 32 pixels takes 1.4 MB
@pytest.mark.parametrize(("memory", "networks"), [(PLENTY, 4), (12_000_000, 3), (1000, 1), (-5, 1)])
def test_networks_fit_the_memory(memory: int, networks: int) -> None:
    torch.set_num_threads(4)
    budget = Budget(memory, Path())
    with extraction._room_for_networks([branch()], budget) as threads:
        assert threads == networks
        assert budget.left == memory - (networks - 1) * extraction.activations(branch())
    assert budget.left == memory


@pytest.mark.parametrize("concurrent", [True, False])
def test_an_interrupt_ends_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, concurrent: bool) -> None:
    folder = write_parts(tmp_path / "parts", 1)
    photos = [PhotoFile(f"{at}.png", folder / "0.png") for at in range(500)]
    begun = 0

    def counting(photo: PhotoFile, **options: object) -> Decoded:
        nonlocal begun
        begun += 1
        return read_photo(photo)

    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(extraction, "read_photo", counting)
    torch.set_num_threads(3)
    budget = Budget(PLENTY, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        extract(photos, [branch(concurrent=concurrent)], budget, progress=interrupt)
    assert begun < 20
    assert torch.get_num_threads() == 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("photo")]


def test_an_error_of_the_network_is_not_hidden(parts: list[PhotoFile], monkeypatch: pytest.MonkeyPatch) -> None:
    one = branch()

    def fails(photos: torch.Tensor) -> None:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(one.backbone, "extract", fails)
    with pytest.raises(RuntimeError, match="no kernel"):
        run(parts, [one], 2)


# from (height, width) to (height, width), how
@pytest.mark.parametrize(
    ("before", "after", "how"),
    [
        ((64, 64), (32, 32), "bilinear"),
        ((70, 51), (32, 48), "bilinear"),
        ((33, 90), (64, 48), "bicubic"),
        ((300, 40), (14, 14), "bicubic"),
        ((32, 48), (32, 48), "bilinear"),
    ],
)
def test_photos_are_resized_as_by_pillow(before: tuple[int, int], after: tuple[int, int], how: str) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*before, 3), dtype=np.uint8)
    photo = np.asarray(Image.fromarray(photo))  # read-only, as decoders give it
    ours = extraction._resized(photo, after, how)
    assert np.abs(ours.astype(int) - resize(photo, after, how)).max() <= 1
