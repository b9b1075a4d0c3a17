"""Batches that are dealt into subsets, scans that go on where they were killed, and runs that grow."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from blemish.config import ScanConfig
from blemish.errors import ConfigError, InputError
from blemish.matching import executor
from blemish.matching.screening import deal, most_similar, references
from blemish.part_cache import kept_parts, kept_tiles
from blemish.part_file import read_part
from blemish.result import Result
from blemish.scanning import scan
from photos import part, write_parts

MOCK = ScanConfig(backbone="mock", families="off")  # type: ignore[arg-type]  # as on the command line
PHOTOS = 60
PASSES = 2  # of the mock backbone: a pair of photos is compared once in each


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLEMISH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    return write_parts(tmp_path / "parts", photos=PHOTOS, flawed=(5, 41))


def pairs(result: Result) -> tuple[int, int]:
    """Pairs of photos compared now, and taken over."""
    counts = result.manifest["resolved"]["pairs"]
    return counts["compared"] // PASSES, counts["taken_over"] // PASSES


@pytest.mark.parametrize(
    ("images", "largest", "sizes"),
    [
        (250, 250, [250]),  # few enough to stay together
        (300, 250, [300]),  # a fifth more is not cut
        (301, 250, [151, 150]),  # even parts rather than a rest
        (550, 250, [275] * 2),  # nearer to 250 than three of 183
        (600, 250, [200] * 3),  # as near as two of 300: the cheaper
        (10_000, 250, [250] * 40),
    ],
)
def test_a_deal_is_even_and_complete(images: int, largest: int, sizes: list[int]) -> None:
    dealt = deal(images, largest, seed=0)
    assert [len(part) for part in dealt] == sizes
    assert sorted(np.concatenate(dealt)) == list(range(images))


def test_every_photo_is_screened_to_the_same_number_of_most_similar_ones() -> None:
    embeddings = np.eye(9, dtype=np.float32)[np.arange(18) % 9]  # every photo has exactly one twin
    wanted = most_similar(embeddings, 0.5)
    assert wanted is not None
    assert (wanted.sum(axis=1) == references(18, 0.5)).all()
    assert not wanted.diagonal().any()
    assert wanted[np.arange(18), (np.arange(18) + 9) % 18].all()
    assert most_similar(embeddings, 1.0) is None


def test_a_divided_batch_ranks_the_flawed_photos_first(parts: Path) -> None:
    result = scan(parts, MOCK, subset=20)
    assert {photo.path for photo in result.scored[:2]} == {"5.png", "41.png"}
    assert result.manifest["resolved"]["subsets"] == 3
    assert pairs(result) == (3 * 190, 0)
    np.testing.assert_array_equal(result.pixels(0), part(int(result.scored[0].path[:-4]), flawed=True))


def test_a_screened_batch_compares_fewer(parts: Path) -> None:
    result = scan(parts, MOCK, screen=0.5)
    assert {photo.path for photo in result.scored[:2]} == {"5.png", "41.png"}
    assert pairs(result)[0] < PHOTOS * (PHOTOS - 1) // 2
    assert result.manifest["resolved"]["compared_with"] == 30


def test_finished_subsets_are_not_done_again(parts: Path) -> None:
    first = scan(parts, MOCK, subset=20)
    again = scan(parts, MOCK, subset=20)
    assert pairs(again) == (0, 0)
    assert again.scores == first.scores
    (parts / "7.png").touch()  # one subset's files are no longer the same
    touched = scan(parts, MOCK, subset=20)
    assert pairs(touched)[0] + pairs(touched)[1] == 190
    assert touched.scores == first.scores


def test_damaged_remains_of_an_earlier_scan_are_done_again(parts: Path) -> None:
    first = scan(parts, MOCK, subset=20)
    for file in kept_parts().iterdir():
        file.write_bytes(file.read_bytes()[:-100])
    assert scan(parts, MOCK, subset=20).scores == first.scores


def test_unreadable_photos_of_a_subset_leave_no_gap(parts: Path) -> None:
    for at in (3, 30, 55):
        whole = (parts / f"{at}.png").read_bytes()
        (parts / f"{at}.png").write_bytes(whole[: len(whole) // 2])
    result = scan(parts, MOCK, subset=20)
    assert {photo.path for photo in result.unreadable} == {"3.png", "30.png", "55.png"}
    assert {photo.path for photo in result.scored[:2]} == {"5.png", "41.png"}
    again = scan(parts, MOCK, subset=20)
    assert [photo.reason for photo in again.unreadable] == [photo.reason for photo in result.unreadable]


def test_a_scan_that_breaks_off_goes_on_with_the_same_bits(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scan(parts, MOCK, cache=False)
    run = executor.LocalExecutor.run

    def broken(self: executor.LocalExecutor, *args: object) -> object:
        for number, found in enumerate(run(self, *args)):  # type: ignore[arg-type]
            if number == 3:
                raise KeyboardInterrupt
            yield found

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(executor.LocalExecutor, "run", broken)
        scan(parts, MOCK)
    result = scan(parts, MOCK)
    compared, taken_over = pairs(result)
    assert compared + taken_over == PHOTOS * (PHOTOS - 1) // 2
    assert taken_over >= 120
    assert result.scores == whole.scores
    np.testing.assert_array_equal(result.grids, whole.grids)


def test_without_the_cache_nothing_is_left_behind(parts: Path) -> None:
    scan(parts, MOCK, cache=False, subset=20)
    assert not kept_tiles().exists()
    assert not kept_parts().exists()


def test_a_killed_process_goes_on_with_the_same_bits(parts: Path, tmp_path: Path) -> None:
    expected = scan(parts, MOCK, cache=False).save(tmp_path / "expected") / "results.csv"
    command = [sys.executable, "-m", "blemish", "scan", str(parts), "--backbone", "mock", "--families", "off", "-q"]
    for attempt in range(3):
        process = subprocess.Popen([*command, "--out", str(tmp_path / "killed")])
        _wait_for_tiles(process, more_than=attempt * 40_000)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([*command, "--out", str(tmp_path / "run"), "--overwrite"], check=True)
    assert (tmp_path / "run" / "results.csv").read_bytes() == expected.read_bytes()


def _wait_for_tiles(process: subprocess.Popen[bytes], more_than: int) -> None:
    while process.poll() is None:
        if sum(file.stat().st_size for file in kept_tiles().glob("*/tiles.bin")) > more_than:
            return
        time.sleep(0.002)


def grow(parts: Path, tmp_path: Path, old: Callable[[int], bool], **options: object) -> tuple[Path, Path]:
    """A finished run of some of the photos, and a folder of the others."""
    first, rest = tmp_path / "first", tmp_path / "rest"
    for folder in (first, rest):
        folder.mkdir()
    for at in range(PHOTOS):
        shutil.copy(parts / f"{at}.png", first if old(at) else rest)
    return scan(first, MOCK, **options).save(tmp_path / "run"), rest


def test_a_run_that_grows_compares_new_pairs_only(parts: Path, tmp_path: Path) -> None:
    run, rest = grow(parts, tmp_path, lambda at: at % 3 > 0)
    result = scan(rest, MOCK, extends=run)
    assert pairs(result) == (PHOTOS * (PHOTOS - 1) // 2 - 780, 780)
    plain = {name.split("/")[-1]: score for name, score in result.scores.items()}
    assert plain == pytest.approx(scan(parts, MOCK, cache=False).scores, abs=1e-6)
    assert {photo.path for photo in result.photos} == {f"{'' if at % 3 else 'rest/'}{at}.png" for at in range(PHOTOS)}


def test_a_divided_run_grows_at_its_end(parts: Path, tmp_path: Path) -> None:
    """Its first subset stays; the last is dealt anew with the new photos, and known pairs are taken over."""
    run, rest = grow(parts, tmp_path, lambda at: at < 45, subset=20)
    result = scan(rest, MOCK, extends=run, subset=20)
    stored = json.loads((run / "division.json").read_text())
    assert result.division is not None
    assert result.division["parts"][:1] == stored["parts"][:1]
    assert [len(part) for part in result.division["parts"]] == [23, 19, 18]
    compared, taken_over = pairs(result)
    assert compared + taken_over == 19 * 18 // 2 + 18 * 17 // 2
    assert taken_over > 0


def test_the_first_subsets_of_a_run_that_grows_are_not_done_again(parts: Path, tmp_path: Path) -> None:
    """Although the last ones are smaller than they are, so that fewer vote there."""
    run, rest = grow(parts, tmp_path, lambda at: at < 50, subset=25)
    result = scan(rest, MOCK, extends=run, subset=25)
    assert result.division is not None
    assert [len(part) for part in result.division["parts"]] == [25, 18, 17]
    compared, taken_over = pairs(result)
    assert compared + taken_over == 18 * 17 // 2 + 17 * 16 // 2


def test_a_run_grows_twice_and_names_do_not_clash(parts: Path, tmp_path: Path) -> None:
    run, rest = grow(parts, tmp_path, lambda at: at < 40)
    other = tmp_path / "elsewhere" / "rest"
    other.mkdir(parents=True)
    for at in range(50, 60):
        (rest / f"{at}.png").rename(other / f"{at - 10}.png")  # called like photos of the first addition
    run = scan(rest, MOCK, extends=run).save(tmp_path / "run", overwrite=True)
    result = scan(other, MOCK, extends=run)
    assert sum(photo.path.startswith("rest/") for photo in result.photos) == 10
    assert sum(photo.path.startswith("rest-2/") for photo in result.photos) == 10
    assert pairs(result)[1] == 50 * 49 // 2


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda run: (run / "division.json").unlink(), "cannot be extended"),  # of an older version
        (lambda run: (run / "division.json").write_text("{"), "cannot be extended"),  # damaged
        (lambda run: (run / "run.json").unlink(), "not a finished run"),
    ],
)
def test_a_run_that_cannot_grow_says_why(
    parts: Path, tmp_path: Path, harm: Callable[[Path], object], words: str
) -> None:
    run, rest = grow(parts, tmp_path, lambda at: at < 40)
    harm(run)
    with pytest.raises(InputError, match=words):
        scan(rest, MOCK, extends=run)


def test_tiles_of_other_features_are_not_taken_over(parts: Path, tmp_path: Path) -> None:
    run, rest = grow(parts, tmp_path, lambda at: at < 40)
    assert pairs(scan(rest, MOCK, extends=run, radii=(3,))) == (PHOTOS * (PHOTOS - 1) // 2, 0)


def test_nothing_new_is_said(parts: Path, tmp_path: Path) -> None:
    run, _ = grow(parts, tmp_path, lambda at: at < 40)
    with pytest.raises(InputError, match="already"):
        scan(tmp_path / "first", MOCK, extends=run)


def test_photos_of_one_subset_that_cannot_be_read_do_not_stop_the_others(parts: Path) -> None:
    spoiled = list(scan(parts, MOCK, cache=False, subset=20).division["parts"][1])  # type: ignore[index]
    for path, _ in spoiled[2:]:
        whole = (parts / path).read_bytes()
        (parts / path).write_bytes(whole[: len(whole) // 2])
    result = scan(parts, MOCK, subset=20)
    assert {photo.path for photo in result.unreadable} == {path for path, _ in spoiled}
    assert sum("too few photos" in photo.reason for photo in result.unreadable) == 2


def test_subsets_are_known_again_from_another_folder(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(parts.parent)
    first = scan(parts.name, MOCK, subset=20)
    monkeypatch.chdir(parts)
    again = scan(".", MOCK, subset=20)
    assert pairs(again) == (0, 0)
    assert again.scores == first.scores


def test_remains_in_the_cache_stop_nobody(parts: Path) -> None:
    (kept_tiles() / "empty").mkdir(parents=True)  # killed between making a folder and its first file
    (kept_tiles() / "foreign" / "folder").mkdir(parents=True)
    (kept_parts()).mkdir(parents=True)
    (kept_parts() / "x.part").write_bytes(b"cut")
    assert scan(parts, MOCK, subset=20).scores


def test_a_cache_that_cannot_be_written_is_said(parts: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("BLEMISH_CACHE", str(tmp_path / "file"))
    for subset in (20, 0):
        assert "comparisons could not be kept" in " ".join(scan(parts, MOCK, subset=subset).warnings)


def test_lonely_regions_keep_no_second_choices(parts: Path) -> None:
    """They would be as large as the table, since every photo has a nearest token in every other."""
    scan(parts, MOCK, subset=20, families="auto")
    kept = [read_part(file) for file in kept_parts().glob("*.npz")]
    lonely = [part.compared for part in kept if part and len(part.compared.found) > part.compared.own]
    assert lonely, "the premise"
    for compared in lonely:
        levels = [level for one in compared.passes() for level in one.alternatives.levels]
        assert all((level.family < compared.own).all() for level in levels)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("subset", 5, "at least 20"),  # too few to vote
        ("subset", "many", "a number of photos such as 200, or all"),
        ("screen", 0.1, "from 0.3"),
        ("screen", "lots", "screen takes a share"),
    ],
)
def test_bad_options(parts: Path, option: str, value: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        scan(parts, MOCK, **{option: value})


def test_all_with_all_can_be_asked_for(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blemish.planning.LARGEST", 20)
    assert scan(parts, MOCK).manifest["resolved"]["subsets"] == 3
    assert scan(parts, MOCK, subset="all").manifest["resolved"]["subsets"] == 1
