"""Batches of volumes that are dealt into subsets, and scans of volumes that go on where they were killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("nibabel", reason="volumes need the extra: pip install 'blemish[volumes]'")

import volume_files as made
from blemish import volume_estimate
from blemish.config import ScanConfig, VolumeConfig
from blemish.deciding import decide
from blemish.errors import InputError
from blemish.matching.nearby_pairs import NearbyMatcher
from blemish.matching.tiles import TileMatches
from blemish.part_cache import kept_parts, kept_tiles
from blemish.result import Result
from blemish.scanning import scan
from blemish.volume_parts import deal_volumes

SHAPE = (40, 48, 32)
VOLUMES = 45
PAIRS = VOLUMES * (VOLUMES - 1) // 2
LESIONED = (3, 5, 8, 13, 17, 22, 26, 30)
CONFIG = ScanConfig(backbone="mock", volumes=VolumeConfig(grid=8, cube=64, slices=8))
ANYWHERE = {"grid": 8, "cube": 64, "slices": 8, "radius": -1}


def write(folder: Path, count: int = VOLUMES, lesioned: tuple[int, ...] = LESIONED) -> Path:
    """The same brain with noise of its own, and in some a grey cube at one place."""
    for number in range(count):
        values = made.brain(SHAPE, 0)
        inside = values > 0
        values[14:22, 28:36, 10:16] = 40  # as dark and bright as a brain gets: a lesion moves no percentile
        values[10:18, 14:22, 18:23] = 170
        if number in lesioned:
            values[24:31, 18:25, 12:19] = 140
        noise = np.random.default_rng(number).normal(0, 2, SHAPE)
        values = np.where(inside, np.maximum(values + noise, 1), 0).astype(np.float32)
        made.write_nifti(folder / f"b{number:02}.nii", values)
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLEMISH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("volumes") / "brains")


@pytest.fixture(scope="module")
def whole(folder: Path) -> Result:
    return scan(folder, CONFIG, cache=False)


def pairs(result: Result) -> tuple[int, int]:
    counted = result.manifest["resolved"]["pairs"]
    return counted["compared"], counted["taken_over"]


def assert_same(result: Result, expected: Result) -> None:
    assert result.scores == expected.scores
    np.testing.assert_array_equal(result.grids, expected.grids)


# The deal


# volumes, what is asked for, sizes of the parts
@pytest.mark.parametrize(
    "count, subset, sizes",
    [(60, None, [60]), (72, None, [72]), (73, None, [37, 36]), (500, None, [63] * 4 + [62] * 4), (500, 0, [500])],
)
def test_large_batches_are_dealt(count: int, subset: int | None, sizes: list[int]) -> None:
    parts = deal_volumes(count, subset)
    assert [len(part) for part in parts] == sizes
    assert sorted(number for part in parts for number in part) == list(range(count))
    assert deal_volumes(count, subset) == parts


def test_a_family_is_joined_across_subsets(folder: Path, whole: Result) -> None:
    """What recurs at one place in a few volumes of each subset; weighed by place over all of them."""
    result = scan(folder, CONFIG, cache=False, subset=20)
    lesioned = tuple(f"b{number:02}.nii" for number in LESIONED)
    for found in (whole, result):
        (family,) = found.families
        assert sorted(family.paths) == list(lesioned)
        assert {photo.path for photo in found.scored[:8]} == set(lesioned)
    assert result.manifest["resolved"]["subsets"] == 2
    assert pairs(result) == (23 * 22 // 2 + 22 * 21 // 2, 0)
    assert result.manifest["resolved"]["compared_with"] == 22
    assert not kept_parts().exists() and not kept_tiles().exists()


def test_finished_subsets_are_read_again(folder: Path, tmp_path: Path) -> None:
    """With the same bits, also by what is done with the run later."""
    first = scan(folder, CONFIG, subset=20)
    again = scan(folder, CONFIG, subset=20)
    assert pairs(again) == (0, 0)
    assert again.manifest["counts"]["from_cache"] == VOLUMES
    assert_same(again, first)
    run = again.save(tmp_path / "run")
    assert len(list((run / "maps").glob("*_statmap.nii.gz"))) == VOLUMES
    flaw, variant = (decide(run, 1, said) for said in ("defect", "variant"))
    assert variant.after < flaw.after
    # other scores from the same distances: of the last subset they are kept, for a run that grows
    assert pairs(scan(folder, CONFIG, subset=20, k=0.5)) == (23 * 22 // 2, 22 * 21 // 2)


# Scans that are killed


@pytest.mark.parametrize("volumes", [{}, {"volumes": ANYWHERE}])
def test_a_second_scan_compares_nothing(folder: Path, volumes: dict[str, Any]) -> None:
    first, again = (scan(folder, CONFIG, **volumes) for _ in range(2))
    assert pairs(first) == (PAIRS, 0)
    assert pairs(again) == (0, PAIRS)
    assert_same(again, first)
    elsewhere = scan(folder, CONFIG, volumes={"grid": 8, "cube": 64, "slices": 8, "radius": 3})
    assert pairs(elsewhere) == (PAIRS, 0)  # another radius, other distances


def test_an_interrupted_scan_goes_on(folder: Path, whole: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pair is compared twice but those that were in the middle of it, one a thread."""
    match = NearbyMatcher.match
    begun: list[tuple[int, int]] = []

    def counting(self: NearbyMatcher, i: int, j: int, *sides: Any) -> TileMatches:
        begun.append((i, j))
        if len(begun) == 300:
            raise KeyboardInterrupt
        return match(self, i, j, *sides)

    monkeypatch.setattr(volume_estimate, "_seconds_a_pair", lambda *_: 0.1)  # which compares a pair, too
    monkeypatch.setattr(NearbyMatcher, "match", counting)
    with pytest.raises(KeyboardInterrupt):
        scan(folder, CONFIG, threads=2)
    result = scan(folder, CONFIG, threads=2)
    assert pairs(result)[1] >= 298
    assert len(set(begun)) == PAIRS and len(begun) <= PAIRS + 2
    assert_same(result, whole)


@pytest.mark.skipif(os.name != "posix", reason="needs a process that can be killed")
@pytest.mark.parametrize("radius", [2, -1])
def test_a_killed_process_goes_on_with_the_same_bits(radius: int, tmp_path: Path) -> None:
    """Whatever was finished when it was killed is not compared again."""
    folder = write(tmp_path / "brains", 24)
    settings = tmp_path / "settings.toml"
    settings.write_text(f'backbone = "mock"\n[volumes]\ngrid = 8\ncube = 64\nslices = 8\nradius = {radius}\n')
    command = [sys.executable, "-m", "blemish", "scan", str(folder), "--config", str(settings), "--quiet"]
    process = subprocess.Popen([*command, "--out", str(tmp_path / "killed")])
    while process.poll() is None and _logged() < 20_000:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    known = _logged() // (8 + 2 * 8**3 * 6)  # bytes of a pair; headers are far less
    options = {"volumes": {**ANYWHERE, "radius": radius}}
    result = scan(folder, CONFIG, **options)
    assert pairs(result) == (24 * 23 // 2 - known, known)
    assert known > 0
    assert_same(result, scan(folder, CONFIG, cache=False, **options))


def _logged() -> int:
    """Bytes."""
    return sum(file.stat().st_size for file in kept_tiles().glob("*/tiles.bin"))


# Runs that grow


def grow(folder: Path, tmp_path: Path, old: int, **options: Any) -> tuple[Path, Path]:
    """A finished run of the first ``old`` volumes, and a folder of the others."""
    first, rest = tmp_path / "first", tmp_path / "rest"
    for number, file in enumerate(sorted(folder.iterdir())):
        to = first if number < old else rest
        to.mkdir(exist_ok=True)
        shutil.copy(file, to)
    return scan(first, CONFIG, **options).save(tmp_path / "run"), rest


def test_a_run_that_grows_compares_new_pairs_only(folder: Path, whole: Result, tmp_path: Path) -> None:
    run, rest = grow(folder, tmp_path, 40)
    result = scan(rest, extends=run)
    assert pairs(result) == (PAIRS - 780, 780)
    plain = {path.rsplit("/", 1)[-1]: score for path, score in result.scores.items()}
    assert plain == pytest.approx(whole.scores, abs=1e-6)
    assert {photo.path for photo in result.photos} == {
        f"{'rest/' if number >= 40 else ''}b{number:02}.nii" for number in range(VOLUMES)
    }
    again = result.save(tmp_path / "grown")
    write(tmp_path / "more", 1)
    assert pairs(scan(tmp_path / "more", extends=again)) == (VOLUMES, PAIRS)


def test_a_divided_run_grows_at_its_end(folder: Path, tmp_path: Path) -> None:
    """Its first subset stays; the last is dealt anew with the new volumes, and known pairs are taken over."""
    run, rest = grow(folder, tmp_path, 41, subset=20)
    result = scan(rest, extends=run)
    before = json.loads((run / "division.json").read_text())["parts"]
    assert result.division is not None
    after = result.division["parts"]
    assert after[0] == before[0] and len(after[1]) == 24
    assert pairs(result) == (24 * 23 // 2 - 190, 190)


def test_what_does_not_grow(folder: Path, tmp_path: Path) -> None:
    run, rest = grow(folder, tmp_path, 40)
    with pytest.raises(InputError, match="All 40 volumes in"):
        scan(tmp_path / "first", extends=run)
    (tmp_path / "first" / "b00.nii").unlink()
    with pytest.raises(InputError, match="1 of 40 volumes of"):
        scan(rest, extends=run)
