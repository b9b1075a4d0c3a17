"""The tile log: whatever happens to it, a scan has the same bits, and does again only what was lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from blemish.matching import engine
from blemish.matching.tile_log import HEADER, IMAGES, TILES, TileLog
from token_batches import PRECISIONS, Recording, Tables, assert_same_bits, tables, unit_tokens

COUNT, TOKENS = 6, 3  # of images, and of an image's tokens
PAIRS = COUNT * (COUNT - 1) // 2
Z = unit_tokens(COUNT, TOKENS, 8)
NAMES = [f"{'abcdef'[n] * 3}{n}" for n in range(COUNT)]
PAIR = 2 * 4 + 2 * TOKENS * (4 + 2)  # bytes in a record: two numbers, and distances and indices both ways
SIZES = [HEADER.size + pairs * PAIR for pairs in (1, 4, 4, 1, 4, 1)]  # of the records, in tiles of two by two images
ENDS = np.cumsum(SIZES).tolist()


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BLOCK", 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a whole log."""
    matched(tmp_path / "log")
    assert (tmp_path / "log" / TILES).stat().st_size == ENDS[-1]
    return tmp_path / "log"


def opened(folder: Path, names: list[str] = NAMES) -> TileLog:
    log = TileLog.open(folder, names)
    assert log
    return log


def matched(folder: Path, z: np.ndarray = Z, names: list[str] = NAMES) -> tuple[Tables, list[tuple[int, int]], TileLog]:
    """Tables, the pairs that were computed for them, and the log, which is closed again."""
    log, executor = opened(folder, names), Recording()
    try:
        return tables(z, log=log, executor=executor), executor.pairs, log
    finally:
        log.close()


def known(folder: Path, names: list[str] = NAMES, tokens: int = TOKENS) -> list[tuple[int, int]]:
    """Pairs in the log, by those numbers."""
    log = opened(folder, names)
    pairs = [(int(i), int(j)) for found in log.read(tokens) for i, j in found.pairs]
    assert log.taken_over == len(pairs)
    log.close()
    return pairs


def at(byte: int, value: int | None = None) -> Callable[[bytes], bytes]:
    """Turn all bits of a byte, or set it."""
    return lambda data: data[:byte] + bytes([data[byte] ^ 255 if value is None else value]) + data[byte + 1 :]


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], int]] = {
    # what happens to tiles.bin, and how many records stand before it
    "nothing": (lambda data: data, 6),
    "emptied": (lambda data: b"", 0),
    "cut in the first header": (lambda data: data[:7], 0),
    "cut after the first header": (lambda data: data[: HEADER.size], 0),
    "cut between two records": (lambda data: data[: ENDS[2]], 3),
    "cut in a header": (lambda data: data[: ENDS[2] + 5], 3),
    "cut after a header": (lambda data: data[: ENDS[2] + HEADER.size], 3),
    "cut in the pairs": (lambda data: data[: ENDS[1] + HEADER.size + 6], 2),
    "cut in the payload": (lambda data: data[: ENDS[1] + 100], 2),
    "cut before the last byte": (lambda data: data[:-1], 5),
    "followed by zeros, as after a power failure": (lambda data: data + bytes(500), 6),
    "zeros from some byte on": (lambda data: data[:300] + bytes(len(data) - 300), 2),
    "a record left out": (lambda data: data[: ENDS[0]] + data[ENDS[1] + 10 :], 1),
    "another mark": (at(ENDS[1]), 2),
    "fewer pairs in the header": (at(ENDS[1] + 4, 3), 2),
    "no pairs in the header": (at(ENDS[1] + 4, 0), 2),
    "more pairs in the header": (at(ENDS[1] + 4, 5), 2),
    # more bytes than there is memory
    "very many pairs in the header": (at(ENDS[1] + 7, 255), 2),
    "other tokens in the header": (at(ENDS[1] + 8), 2),
    "another checksum": (at(ENDS[1] + 12), 2),
    "another image": (at(ENDS[1] + HEADER.size), 2),
    "a negative image": (at(ENDS[1] + HEADER.size + 3), 2),
    "another distance": (at(ENDS[1] + HEADER.size + 4 * 8 + 2), 2),
    "another index in the last record": (at(-1 + sum(SIZES)), 5),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_done_again(damage: str, folder: Path) -> None:
    change, records = DAMAGE[damage]
    file = folder / TILES
    file.write_bytes(change(file.read_bytes()))
    kept = sum((size - HEADER.size) // PAIR for size in SIZES[:records])
    found, computed, log = matched(folder)
    assert_same_bits(found, tables(Z))
    assert log.taken_over == kept
    assert len(computed) == PAIRS - kept
    assert sorted(known(folder)) == list(combinations(range(COUNT), 2)), "the log is whole again"
    assert matched(folder)[1] == []


def test_a_cut_or_a_turned_byte_anywhere_costs_what_follows_and_no_more(folder: Path) -> None:
    file = folder / TILES
    data = file.read_bytes()
    for byte in (*range(ENDS[1]), *range(ENDS[-2], ENDS[-1])):
        whole = sum(end <= byte for end in ENDS)
        kept = sum((size - HEADER.size) // PAIR for size in SIZES[:whole])
        file.write_bytes(data[:byte])
        assert len(known(folder)) == kept, f"cut at {byte}"
        file.write_bytes(at(byte)(data))
        assert len(known(folder)) == kept, f"byte {byte} turned"


def test_reading_changes_nothing_and_can_be_repeated(folder: Path) -> None:
    data = (folder / TILES).read_bytes()[:-3]
    (folder / TILES).write_bytes(data)
    log = opened(folder)
    for _ in range(2):
        assert sum(len(found.pairs) for found in log.read(TOKENS)) == log.taken_over == PAIRS - 1
    assert (folder / TILES).read_bytes() == data
    # two scans with one open log: the second has nothing to do, and the log is as it was before it was cut
    for computed in (1, 0):
        executor = Recording()
        assert_same_bits(tables(Z, log=log, executor=executor), tables(Z))
        assert len(executor.pairs) == computed
    log.close()
    assert len(known(folder)) == PAIRS


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("block", "threads", "on_disk"), [(1, 1, True), (3, 2, False), (16, 2, False)])
def test_a_scan_with_other_tiles_goes_on(
    block: int, threads: int, on_disk: bool, precision: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BLOCK", block)
    (folder / TILES).write_bytes((folder / TILES).read_bytes()[: ENDS[2] + 30])
    log, executor = opened(folder), Recording(threads, precision)
    memory = executor.tile_bytes(block, *Z.shape[1:]) if on_disk else 2**28
    found = tables(Z, log=log, executor=executor, on_disk=on_disk, memory=memory)
    log.close()
    assert_same_bits(found, tables(Z))
    assert len(executor.pairs) == PAIRS - 9


@pytest.mark.parametrize(
    "batch",
    [
        # more photos at the end
        [0, 1, 2, 3, 4, 5, 6, 7, 8],
        # in between, and everything in another order: pairs are the other way round
        [7, 5, 2, 8, 0, 6, 4, 1, 3],
        # fewer photos
        [4, 0, 3],
        # some are gone and others have come
        [8, 5, 1, 7],
        # none in common
        [6, 7, 8],
        # the same backwards
        [5, 4, 3, 2, 1, 0],
    ],
)
def test_a_batch_that_has_changed_computes_new_pairs_only(batch: list[int], folder: Path) -> None:
    z = np.concatenate([Z, unit_tokens(3, TOKENS, 8, seed=1)])[batch]
    names = [*NAMES, "ggg6", "hhh7", "iii8"]
    old = sum(n < COUNT for n in batch)
    found, computed, log = matched(folder, z, [names[n] for n in batch])
    assert_same_bits(found, tables(z))
    assert log.taken_over == old * (old - 1) // 2
    assert log.taken_over + len(computed) == len(batch) * (len(batch) - 1) // 2
    assert all(batch[i] >= COUNT or batch[j] >= COUNT for i, j in computed)
    assert_same_bits(matched(folder)[0], tables(Z))
    assert matched(folder)[1] == []


@pytest.mark.parametrize(
    ("before", "after", "pairs_kept"),
    [
        # the same photo twice, and again
        ("aab", "aab", 3),
        # elsewhere in the batch
        ("aab", "baa", 3),
        # once more: the two that were known are
        ("aab", "aaab", 3),
        # once less
        ("aaab", "aab", 3),
        # a copy of another
        ("aab", "abb", 1),
        # nothing but copies
        ("aaaa", "aaa", 3),
    ],
)
def test_copies_are_told_apart(before: str, after: str, pairs_kept: int, tmp_path: Path) -> None:
    image = dict(zip("ab", unit_tokens(2, TOKENS, 8), strict=True))
    for batch in (before, after):
        z = np.stack([image[name] for name in batch])
        found, computed, log = matched(tmp_path, z, list(batch))
        assert_same_bits(found, tables(z))
        assert log.taken_over + len(computed) == len(batch) * (len(batch) - 1) // 2
    assert log.taken_over == pairs_kept


@pytest.mark.parametrize("names", [NAMES, ["x", "x", "x", "y", "y", "z"]])
def test_identities_cut_anywhere_never_speak_of_another_image(names: list[str], tmp_path: Path) -> None:
    """As a full disk may leave them; the batch comes back in another order, so that lines would get other numbers."""
    originals = dict(zip(sorted(set(names)), Z, strict=False))
    z = np.stack([originals[name] for name in names])
    folder = tmp_path / "log"
    matched(folder, z, names)
    images, records = (folder / IMAGES).read_bytes(), (folder / TILES).read_bytes()
    for byte in range(len(images)):
        for order in (range(COUNT), [4, 5, 3, 2, 1, 0]):
            (folder / IMAGES).write_bytes(images[:byte])
            (folder / TILES).write_bytes(records)
            again = [names[n] for n in order]
            found, computed, log = matched(folder, z[list(order)], again)
            assert_same_bits(found, tables(z[list(order)]))
            assert log.taken_over + len(computed) == PAIRS
            if order == range(COUNT):
                assert not computed, "the same images get the same numbers"
            assert matched(folder, z[list(order)], again)[1] == [], "and the log is whole again"


def test_an_image_that_was_renamed_in_the_log_is_not_believed(folder: Path) -> None:
    images = (folder / IMAGES).read_bytes()
    (folder / IMAGES).write_bytes(images.replace(b"ccc2", b"ddd3", 1).replace(b"ddd3\neee4", b"ccc2\neee4"))
    found, computed, _ = matched(folder)
    assert_same_bits(found, tables(Z))
    assert computed


def test_a_log_of_other_tokens_is_left_alone_until_something_is_stored(folder: Path) -> None:
    data = (folder / TILES).read_bytes()
    assert known(folder, tokens=5) == []
    assert (folder / TILES).read_bytes() == data
    z = unit_tokens(COUNT, 5, 8)
    found, computed, log = matched(folder, z)
    assert_same_bits(found, tables(z))
    assert (len(computed), log.taken_over) == (PAIRS, 0)
    assert len(known(folder, tokens=5)) == PAIRS


def test_many_tokens_are_counted_with_four_bytes(tmp_path: Path) -> None:
    """In records of another size."""
    log = opened(tmp_path, ["a", "b"])
    stub = engine.TileMatches.empty(np.array([[0, 1]]), 32_768)
    for array in (stub.forward, stub.forward_index, stub.backward, stub.backward_index):
        array[:] = np.arange(32_768)
    log.append(stub)
    log.close()
    log = opened(tmp_path, ["b", "a"])
    (found,) = log.read(32_768)
    assert found.forward_index.dtype == np.int32
    np.testing.assert_array_equal(found.backward_index, stub.forward_index)
    log.close()


def test_two_logs_are_two(tmp_path: Path) -> None:
    """One for each pass, open at the same time."""
    other = unit_tokens(COUNT, 7, 8)
    for computed in (PAIRS, 0):
        logs = [opened(tmp_path / name) for name in ("first", "second")]
        for log, z in zip(logs, (Z, other), strict=True):
            executor = Recording()
            assert_same_bits(tables(z, log=log, executor=executor), tables(z))
            assert len(executor.pairs) == computed
        for log in logs:
            log.close()


def test_an_open_log_is_nobody_elses(folder: Path) -> None:
    log = opened(folder)
    assert TileLog.open(folder, NAMES) is None
    log.close()
    assert len(known(folder)) == PAIRS


HOLD = "import fcntl, sys, time; f = open(sys.argv[1], 'ab'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True)"


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_a_log_of_another_process_is_free_when_it_is_killed(folder: Path) -> None:
    command = [sys.executable, "-c", f"{HOLD}; time.sleep(60)", str(folder / TILES)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        try:
            assert TileLog.open(folder, NAMES) is None
        finally:
            other.kill()
    assert len(known(folder)) == PAIRS


def test_where_nothing_can_be_written_there_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert TileLog.open(tmp_path / "file", NAMES) is None
    (tmp_path / "log" / TILES).mkdir(parents=True)
    assert TileLog.open(tmp_path / "log", NAMES) is None


class FullDisk:
    """A file that takes some bytes more and then none; ``mends``: whether it can then be cut."""

    def __init__(self, file: object, room: int, mends: bool = True) -> None:
        self._file, self._room, self._mends = file, room, mends
        self._full = False

    def write(self, data: memoryview) -> int:
        self._full = not self._room
        if self._full:
            raise OSError(28, "No space left on device")
        taken = min(len(data), self._room)
        self._room -= taken
        return self._file.write(data[:taken])  # type: ignore[attr-defined]

    def truncate(self, size: int) -> int:
        if self._full and not self._mends:
            raise OSError(5, "Input/output error")
        return self._file.truncate(size)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


@pytest.mark.parametrize("mends", [True, False])
@pytest.mark.parametrize(
    ("room", "records"),
    [
        # nothing fits
        (0, 0),
        # part of a header
        (10, 0),
        # part of a payload
        (40, 0),
        # one record
        (SIZES[0], 1),
        # two records and part of the third
        (ENDS[1] + 50, 2),
    ],
)
def test_a_full_disk_ends_the_log_and_not_the_scan(room: int, records: int, mends: bool, tmp_path: Path) -> None:
    log = opened(tmp_path)
    log._tiles = FullDisk(log._tiles, room, mends)  # type: ignore[assignment]
    assert_same_bits(tables(Z, log=log), tables(Z))
    assert log.broken == "No space left on device"
    log.close()
    assert (tmp_path / TILES).stat().st_size == (sum(SIZES[:records]) if mends else room)
    found, computed, log = matched(tmp_path)
    assert_same_bits(found, tables(Z))
    kept = sum((size - HEADER.size) // PAIR for size in SIZES[:records])
    assert (log.taken_over, len(computed), log.broken) == (kept, PAIRS - kept, "")
    assert matched(tmp_path)[1] == []


@pytest.mark.parametrize("room", [0, 3, 5, 12])  # of lines of five bytes
def test_a_disk_too_full_for_identities_ends_the_log(room: int, tmp_path: Path) -> None:
    log = opened(tmp_path)
    log._images = FullDisk(log._images, room)  # type: ignore[assignment]
    assert_same_bits(tables(Z, log=log), tables(Z))
    assert log.broken == "No space left on device"
    log.close()
    assert not (tmp_path / TILES).stat().st_size, "a record would speak of images without a number"
    backwards = list(reversed(NAMES))
    found, computed, _ = matched(tmp_path, Z[::-1], backwards)
    assert_same_bits(found, tables(Z[::-1]))
    assert len(computed) == PAIRS
    assert matched(tmp_path)[1] == []


def test_a_disk_that_takes_little_at_a_time_is_not_full(tmp_path: Path) -> None:
    class Reluctant(FullDisk):
        def write(self, data: memoryview) -> int:
            return self._file.write(data[:7])  # type: ignore[attr-defined]

    log = opened(tmp_path)
    log._tiles, log._images = Reluctant(log._tiles, 0), Reluctant(log._images, 0)  # type: ignore[assignment]
    tables(Z, log=log)
    log.close()
    assert (tmp_path / IMAGES).read_text().split() == NAMES
    assert len(known(tmp_path)) == PAIRS


@pytest.fixture
def grown() -> Iterator[tuple[np.ndarray, list[str]]]:
    """The batch with two images more, in another order."""
    order = [6, 3, 0, 5, 7, 1, 2, 4]
    z = np.concatenate([Z, unit_tokens(2, TOKENS, 8, seed=1)])
    names = [*NAMES, "ggg6", "hhh7"]
    yield z[order], [names[n] for n in order]


@pytest.mark.parametrize("cut", [0, 1, 40])  # bytes that the copy loses at its end, as by a kill
def test_a_log_that_took_over_another_goes_on(
    cut: int, folder: Path, grown: tuple[np.ndarray, list[str]], tmp_path: Path
) -> None:
    z, names = grown
    expected = tables(z)
    before = [(folder / name).read_bytes() for name in (IMAGES, TILES)]
    log, executor = opened(tmp_path / "new", names), Recording()
    log.take_over(folder, names, TOKENS)
    assert_same_bits(tables(z, log=log, executor=executor), expected)
    assert (len(executor.pairs), log.taken_over) == (28 - PAIRS, PAIRS)
    log.close()
    assert [(folder / name).read_bytes() for name in (IMAGES, TILES)] == before, "the other log is as it was"
    file = tmp_path / "new" / TILES
    file.write_bytes(file.read_bytes()[: file.stat().st_size - cut])
    found, computed, _ = matched(tmp_path / "new", z, names)
    assert_same_bits(found, expected)
    assert len(computed) <= (4 if cut else 0), "all but the tile that was cut is kept"


@pytest.mark.parametrize(
    "case", ["it holds something", "the other is open", "the other is absent", "other tokens", "itself"]
)
def test_when_nothing_is_taken_over(case: str, folder: Path, tmp_path: Path) -> None:
    new, busy = tmp_path / "new", None
    if case == "it holds something":
        matched(new, Z[:3], NAMES[:3])
    if case == "the other is open":
        busy = opened(folder)
    source = {"the other is absent": tmp_path / "absent", "itself": new}.get(case, folder)
    data = (folder / TILES).read_bytes()
    log, z = opened(new), unit_tokens(COUNT, 5, 8) if case == "other tokens" else Z
    log.take_over(source, NAMES, z.shape[1])
    executor = Recording()
    assert_same_bits(tables(z, log=log, executor=executor), tables(z))
    assert len(executor.pairs) == PAIRS - (3 if case == "it holds something" else 0)
    assert (folder / TILES).read_bytes() == data
    assert not (tmp_path / "absent").exists()
    for one in (log, busy):
        if one:
            one.close()
    assert len(known(new, tokens=z.shape[1])) == PAIRS


def test_killed_scans_go_on(tmp_path: Path) -> None:
    """Three real kills; benchmarks/resume.py does more of them."""
    script = Path(__file__).parents[1] / "benchmarks" / "resume.py"
    done = subprocess.run(
        [sys.executable, str(script), "3"], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
