"""Finished tiles on disk, so that a killed scan goes on where it stopped and a batch that grows matches new pairs only.

A folder with two files that are only ever appended to: ``images.txt``, the identity of an image a line, and
``tiles.bin``, records with a checksum each, of the identities too. A line or a record cut short by a kill is dropped.
Losing a log costs time and nothing else, so failing to write ends the log and not the scan. It knows identities and
arrays.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from blemish.matching.pairs import index_type
from blemish.matching.tiles import Bools, Ints, TileMatches

__all__ = ["TileLog"]

HEADER = struct.Struct("<4sIII")  # mark, pairs, tokens, checksum of what follows
MARK = b"BTL1"
IMAGES, TILES = "images.txt", "tiles.bin"


class TileLog:
    """The log in ``folder`` for a batch whose images are named by ``identities`` (of their content, in the batch's
    order; copies may repeat). Made if absent; while it is open, other processes that ask for it get None from
    ``open``."""

    def __init__(self, folder: Path, identities: Sequence[str], images: IO[bytes], tiles: IO[bytes]) -> None:
        self.folder = folder
        self.broken = ""  # why storing stopped
        self.taken_over = 0  # pairs found in the log
        self._images, self._tiles = images, tiles
        self._end = 0  # of the last whole record
        names = _numbered(identities)
        lines = _lines(images)
        known = set(lines)
        self._new = [name for name in names if name not in known]  # not in images.txt yet
        self._names = lines + self._new  # of all images in the log
        numbers = {name: at for at, name in enumerate(self._names)}
        self._numbers = np.array([numbers[name] for name in names])  # of the batch's images in the log
        self._batch = np.full(len(self._names), -1)
        self._batch[self._numbers] = np.arange(len(names))

    @classmethod
    def open(cls, folder: Path, identities: Sequence[str]) -> TileLog | None:
        """The log, or None if it cannot be written or another process has it."""
        with contextlib.ExitStack() as opened:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                tiles = opened.enter_context((folder / TILES).open("a+b", buffering=0))
                if not _locked(tiles):
                    return None
                images = opened.enter_context((folder / IMAGES).open("a+b", buffering=0))
                log = cls(folder, identities, images, tiles)
            except OSError:
                return None
            opened.pop_all()
            return log

    def read(self, tokens: int, wanted: Bools | None = None) -> Iterator[TileMatches]:
        """What is known about pairs of this batch, in its numbers; to be read to the end before anything is appended:
        what could not be read, as the remains of a record, is then dropped.

        ``tokens``: N, which a record must have. ``wanted``: (B, B), pairs that neither image wants are left out."""
        self._tiles.seek(0)
        self._end = self.taken_over = 0
        with contextlib.suppress(OSError):
            os.utime(self.folder / TILES)  # used just now: what was used longest ago goes first
        while (record := self._record(tokens)) is not None:
            numbered = self._batch[record.pairs]
            known = (numbered >= 0).all(axis=1)
            if wanted is not None:
                i, j = numbered.T
                known &= wanted[i, j] | wanted[j, i]
            mine = np.flatnonzero(known)
            if len(mine):
                found = _oriented(numbered[mine], record, mine)
                self.taken_over += len(found.pairs)
                yield found

    def take_over(self, folder: Path, identities: Sequence[str], tokens: int) -> None:
        """Copy what the log in another ``folder`` knows of pairs of this batch, unless this one holds something."""
        if folder == self.folder or not folder.is_dir() or (self.folder / TILES).stat().st_size:
            return
        other = TileLog.open(folder, identities)
        if other:
            for found in other.read(tokens):
                self.append(found)
            other.close()

    def append(self, found: TileMatches) -> None:
        """Store a finished tile, whole or not at all."""
        if self.broken or not len(found.pairs):
            return
        try:
            self._register()
        except OSError as error:
            self.broken = error.strerror or str(error)
            return
        numbers = self._numbers[found.pairs].astype("<i4")
        payload = b"".join(
            array.tobytes()
            for array in (
                numbers,
                found.forward,
                found.backward,
                found.forward_index,
                found.backward_index,
            )
        )
        header = HEADER.pack(MARK, *found.forward.shape, self._checksum(numbers, payload))
        try:
            self._tiles.truncate(self._end)
            _write(self._tiles, header + payload)
            self._end += HEADER.size + len(payload)
        except OSError as error:
            self.broken = error.strerror or str(error)
            with contextlib.suppress(OSError):
                self._tiles.truncate(self._end)

    def _register(self) -> None:
        """Give new images a number before a record uses it."""
        if self._new:
            self._images.seek(0, os.SEEK_END)
            _write(self._images, "".join(f"{name}\n" for name in self._new).encode())
            self._new = []

    def close(self) -> None:
        """Let others have it."""
        self._images.close()
        self._tiles.close()

    def _record(self, tokens: int) -> TileMatches | None:
        """The next record; None at the end, and where a kill or the disk has cut one short."""
        header = self._tiles.read(HEADER.size)
        if len(header) < HEADER.size:
            return None
        mark, count, stored, checksum = HEADER.unpack(header)
        dtype = index_type(tokens)
        size = count * (8 + 2 * tokens * (4 + dtype.itemsize))
        left = os.fstat(self._tiles.fileno()).st_size - self._end - HEADER.size
        if mark != MARK or stored != tokens or size > left:  # a damaged header may ask for any size
            return None
        payload = _read(self._tiles, size)
        arrays = []
        at = 0
        for columns, kind in ((2, "<i4"), (tokens, np.float32), (tokens, np.float32), (tokens, dtype), (tokens, dtype)):
            array = np.frombuffer(payload, kind, count * columns, at).reshape(count, columns)
            arrays.append(array)
            at += array.nbytes
        pairs, forward, backward, forward_index, backward_index = arrays
        if pairs.size and not 0 <= pairs.min() <= pairs.max() < len(self._names):
            return None
        if self._checksum(pairs, payload) != checksum:
            return None
        self._end += HEADER.size + size
        return TileMatches(pairs.astype(np.intp), forward, forward_index, backward, backward_index)

    def _checksum(self, numbers: Ints, payload: bytes) -> int:
        """Of a record and of the identities it speaks of: were ``images.txt`` to lose lines, the numbers in it would
        be those of other images."""
        names = "\n".join(self._names[number] for number in np.unique(numbers))
        return zlib.crc32(payload, zlib.crc32(names.encode()))


def _oriented(pairs: Ints, record: TileMatches, mine: Ints) -> TileMatches:
    """The entries ``mine`` of a record with ``pairs`` in the batch's numbers, i before j."""
    turned = pairs[:, 0] > pairs[:, 1]
    aside = turned[:, None]
    forward, backward = record.forward[mine], record.backward[mine]
    forward_index, backward_index = record.forward_index[mine], record.backward_index[mine]
    return TileMatches(
        np.where(aside, pairs[:, ::-1], pairs),
        np.where(aside, backward, forward),
        np.where(aside, backward_index, forward_index),
        np.where(aside, forward, backward),
        np.where(aside, forward_index, backward_index),
    )


def _numbered(identities: Sequence[str]) -> list[str]:
    """Copies of an image are told apart: the second is called ``identity#2``."""
    seen: Counter[str] = Counter()
    names = []
    for identity in identities:
        seen[identity] += 1
        names.append(identity if seen[identity] == 1 else f"{identity}#{seen[identity]}")
    return names


def _lines(file: IO[bytes]) -> list[str]:
    """Whole lines; a last one without its end was cut short, and is taken away."""
    file.seek(0)
    *lines, rest = file.read().split(b"\n")
    if rest:
        file.truncate(sum(len(line) + 1 for line in lines))
    return [line.decode("utf-8", "replace") for line in lines]


def _write(file: IO[bytes], data: bytes) -> None:
    """All of it: an unbuffered file may take less at a time."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _read(file: IO[bytes], size: int) -> bytes:
    parts = []
    while size and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _locked(file: IO[bytes]) -> bool:
    """Take the file for this process, until it is closed or the process ends however it ends."""
    try:
        import fcntl
    except ImportError:
        return True  # Windows refuses a second writer by itself only sometimes; a torn record is found by its checksum
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
