"""An array that lives in memory while it fits and in a scratch file when it does not.

It knows bytes and shapes only. The file is read and written explicitly instead of being mapped, so that its pages
never count as this process's memory.
"""

from __future__ import annotations

import math
import tempfile
import threading
import weakref
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from blemish.errors import RunError

__all__ = ["ArrayStore", "Budget"]

Array = npt.NDArray[Any]


class ArrayStore:
    """A C-ordered array of ``shape`` whose rows (first axis) are written and read in any order.

    ``folder=None`` keeps it in memory; otherwise an unnamed file in ``folder`` that vanishes with the object.
    Threads may write different places at the same time.
    """

    def __init__(self, shape: tuple[int, ...], dtype: npt.DTypeLike, folder: Path | None = None) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._lock = threading.Lock()
        self._array: Array | None = None
        self._file: IO[bytes] | None = None
        if folder is None:
            self._array = np.empty(shape, self.dtype)
        else:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - lives as long as self
            weakref.finalize(self, self._file.close)

    @property
    def in_memory(self) -> bool:
        return self._array is not None

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self, start: int, stop: int) -> Array:
        """Rows ``start`` to ``stop``, shape (stop - start, ...); a view when the array is in memory."""
        if self._array is not None:
            return self._array[start:stop]
        rows = np.empty((stop - start, *self.shape[1:]), self.dtype)
        view = rows.reshape(-1).view(np.uint8).data
        assert self._file is not None
        with self._lock:
            self._file.seek(self._offset(start))
            while view:
                got = self._file.readinto(view)  # type: ignore[attr-defined]  # a raw file: it may read less
                if not got:
                    raise RunError("A scratch file ended early. Was it changed from outside, or the disk full?")
                view = view[got:]
        return rows

    def write(self, start: int, rows: Array) -> None:
        """Store ``rows: (n, ...)`` as rows ``start`` to ``start + n``."""
        if self._array is not None:
            self._array[start : start + len(rows)] = rows
        else:
            self._put(self._offset(start), rows)

    def write_part(self, row: int, start: int, part: Array) -> None:
        """Store ``part: (n, ...)`` as entries ``start`` to ``start + n`` of one row's first axis."""
        if self._array is not None:
            self._array[row, start : start + len(part)] = part
        else:
            self._put(self._offset(row) + start * math.prod(self.shape[2:]) * self.dtype.itemsize, part)

    def shrink(self, rows: int) -> None:
        """Forget all rows from ``rows`` on: photos that turned out to be unreadable leave none."""
        self.shape = (rows, *self.shape[1:])
        if self._array is not None:
            self._array = self._array[:rows]

    def close(self) -> None:
        self._array = None
        if self._file is not None:
            self._file.close()

    def _offset(self, row: int) -> int:
        return row * math.prod(self.shape[1:]) * self.dtype.itemsize

    def _put(self, offset: int, values: Array) -> None:
        view = np.ascontiguousarray(values, self.dtype).reshape(-1).view(np.uint8).data
        assert self._file is not None
        try:
            with self._lock:
                self._file.seek(offset)
                while view:
                    view = view[self._file.write(view) :]
        except OSError as error:
            raise RunError(
                f"Cannot write scratch data ({self.nbytes / 2**30:.1f} GiB in all): {error.strerror}. "
                "Free some space, choose --out on a larger disk, or allow more memory with --memory."
            ) from error


class Budget:
    """Bytes that may still be taken, and the folder for what does not fit."""

    def __init__(self, memory: int, scratch: Path) -> None:
        self.left = memory
        self.scratch = scratch
        self._charged: weakref.WeakKeyDictionary[ArrayStore, int] = weakref.WeakKeyDictionary()

    def array(self, shape: tuple[int, ...], dtype: npt.DTypeLike, share: float) -> ArrayStore:
        """An array in memory if it takes at most ``share`` of what is left, else in a scratch file."""
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        if nbytes > share * self.left:
            return ArrayStore(shape, dtype, self.scratch)
        array = ArrayStore(shape, dtype)
        self.left -= nbytes
        self._charged[array] = nbytes
        return array

    def release(self, array: ArrayStore) -> None:
        """Close an array and have back what it was charged, however many of its rows are left."""
        array.close()
        self.left += self._charged.pop(array, 0)
