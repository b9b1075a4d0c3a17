"""Files from strangers become a data set: names checked, sizes counted as they arrive, contents looked at.

A file that is not what its name says, or is dangerous to open, is refused with a reason and removed; it never ends the
others. Archives are unpacked entry by entry under the same rules, and nothing in them is trusted. It knows files, not
HTTP.
"""

from __future__ import annotations

import io
import lzma
import os
import stat
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, LargeZipFile, ZipFile, ZipInfo, is_zipfile

from blemish.errors import UnreadablePhoto
from blemish.inputs.images import PhotoFile, probe
from blemish.service.names import safe_path, suffix_of
from blemish.service.settings import Limits

__all__ = ["Intake", "holds"]

CHUNK = 2**20
PER_ENTRY = 400  # bytes of an archive's list of contents that a file needs at most, about
SMALL = 2**16  # bytes up to which nobody asks how well an entry was compressed
LISTED = 200  # refusals that are told of; more are the same again
LITTER = ("__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini")
DAMAGED = (  # what zipfile and its decompressors raise of archives that are broken, or made to break them
    BadZipFile,
    LargeZipFile,
    EOFError,
    RuntimeError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
)


@dataclass
class Intake:
    """What one request brings into ``folder``. ``files`` and ``size``, in bytes: of the folder, counted along."""

    folder: Path
    limits: Limits
    files: int
    size: int
    accepted: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, source: IO[bytes]) -> None:
        """One file, or an archive of files."""
        if name.lower().endswith(".zip"):
            self._unpack(name, source)
        else:
            self._take(name, source, self.limits.file)

    def _refuse(self, name: str, reason: str) -> None:
        if len(self.refused) < LISTED:
            self.refused.append(("".join(c if c.isprintable() else "?" for c in name[:300]), reason))

    def _take(self, name: str, source: IO[bytes], most: int) -> int:
        """Bytes that were written; 0 if it was refused."""
        try:
            path = safe_path(name)
            suffix = suffix_of(name)
            if not suffix:
                raise ValueError("neither a photo nor a volume by its name")
            if self.files >= self.limits.files:
                raise ValueError(f"a data set holds at most {self.limits.files:,} files")
            return self._write(name, self.folder / path, suffix, source, most)
        except (ValueError, UnreadablePhoto) as error:
            self._refuse(name, str(error))
        except DAMAGED as error:  # of an archive's entry
            self._refuse(name, f"cannot be unpacked: {_said(error)}")
        except OSError as error:  # a folder of that name is a file, or the disk is full; bzip2 gives no number
            self._refuse(name, f"cannot be {'written' if error.errno else 'unpacked'}: {error.strerror or error}")
        return 0

    def _write(self, name: str, place: Path, suffix: str, source: IO[bytes], most: int) -> int:
        handle, unfinished = tempfile.mkstemp(dir=self.folder, prefix=".arriving-", suffix=suffix)
        try:
            size = 0
            with os.fdopen(handle, "wb") as out:
                while chunk := source.read(CHUNK):
                    size += len(chunk)
                    if size > most:
                        raise ValueError(f"larger than {most:,} bytes")
                    if self.size + size > self.limits.dataset:
                        raise ValueError(f"a data set holds at most {self.limits.dataset:,} bytes")
                    out.write(chunk)
            _look(Path(unfinished), name, suffix, self.limits.pixels)
            if place.exists() and not _same(place, Path(unfinished)):
                raise ValueError("another file of this name is there already")
            new = not place.exists()
            place.parent.mkdir(parents=True, exist_ok=True)  # now: what is refused leaves no empty folders
            Path(unfinished).chmod(0o644)
            Path(unfinished).replace(place)
            self.accepted += 1
            if new:
                self.files += 1
                self.size += size
            return size
        finally:
            with suppress(OSError):
                Path(unfinished).unlink(missing_ok=True)

    def _unpack(self, name: str, source: IO[bytes]) -> None:
        """Sizes that an archive states are checked first, since they are cheap, and not believed."""
        try:
            if not is_zipfile(source):
                raise BadZipFile("it is no zip archive")
            with ZipFile(_Modest(source, self.limits.files * PER_ENTRY)) as archive:
                entries = [entry for entry in archive.infolist() if not entry.is_dir()]
                if len(entries) > self.limits.files:
                    raise ValueError(f"it holds {len(entries):,} files; a data set holds at most {self.limits.files:,}")
                stated = sum(entry.file_size for entry in entries)
                if stated > self.limits.dataset:
                    raise ValueError(f"it unpacks to {stated:,} bytes; a data set holds {self.limits.dataset:,}")
                for entry in entries:
                    if not entry.filename.startswith(LITTER) and not entry.filename.endswith(LITTER):
                        self._entry(archive, entry)
        except (*DAMAGED, ValueError, OSError) as error:
            self._refuse(name, f"not unpacked: {_said(error)}")

    def _entry(self, archive: ZipFile, entry: ZipInfo) -> None:
        if why := _suspicious(entry, self.limits):
            self._refuse(entry.filename, why)
            return
        most = min(self.limits.file, entry.file_size)
        try:
            with archive.open(entry) as source:
                self._take(entry.filename, source, most)
        except (*DAMAGED, ValueError, OSError) as error:  # the others of the archive may be whole
            self._refuse(entry.filename, f"cannot be unpacked: {_said(error)}")


class _Modest(io.RawIOBase):
    """An archive whose list of contents is read into memory only if it is as long as its files can need."""

    def __init__(self, source: IO[bytes], most: int) -> None:
        self._source, self._most = source, max(most, CHUNK)

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(self._most + 1 if size < 0 else min(size, self._most + 1))
        if len(data) > self._most:
            raise BadZipFile("its list of contents is too long")
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _suspicious(entry: ZipInfo, limits: Limits) -> str:
    """Why an entry is not unpacked; empty if it may be."""
    if entry.flag_bits & 0x1:
        return "it is encrypted"
    mode = entry.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "it is a link or a device, not a file"
    if entry.file_size > limits.file:
        return f"larger than {limits.file:,} bytes"
    if entry.file_size > SMALL and entry.file_size > limits.ratio * max(entry.compress_size, 1):
        return f"it unpacks to more than {limits.ratio:g} times its size, as bombs do"
    return ""


def _look(file: Path, name: str, suffix: str, pixels: int) -> None:
    """A photo must be one by its bytes, whatever it is called. Raises ``UnreadablePhoto`` or ``ValueError``."""
    if suffix == ".nii.gz":
        expected: tuple[bytes, ...] = (b"\x1f\x8b",)
    elif suffix == ".nii":
        expected = (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c", b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")
    elif suffix == ".dcm":
        with file.open("rb") as handle:
            if handle.read(132)[128:] != b"DICM":
                raise ValueError("its content is no DICOM file")
        return
    else:
        header = probe(PhotoFile(name, file))
        if header.width * header.height > pixels:
            raise ValueError(f"too many pixels ({header.width} x {header.height}); at most {pixels:,} are taken")
        return
    with file.open("rb") as handle:
        if not handle.read(4).startswith(expected):
            raise ValueError("its content is no NIfTI file")


def _same(one: Path, other: Path) -> bool:
    if not one.is_file() or one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as a, other.open("rb") as b:
        while (chunk := a.read(CHUNK)) == b.read(CHUNK):
            if not chunk:
                return True
    return False


def holds(folder: Path) -> tuple[int, int, str]:
    """Files that claim to be photos or volumes below ``folder``, their bytes, and which of the two prevail. Links to
    folders are not followed."""
    photos = volumes = size = 0
    for file in _walk(folder):
        suffix = suffix_of(file.name)
        if not suffix:
            continue
        if suffix in (".nii", ".nii.gz", ".dcm"):
            volumes += 1
        else:
            photos += 1
        with suppress(OSError):
            size += file.stat().st_size
    bids = (folder / "dataset_description.json").is_file()
    return photos + volumes, size, "volumes" if volumes and (bids or not photos) else "photos"


def _walk(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(where) / name for name in files if not name.startswith("."))
