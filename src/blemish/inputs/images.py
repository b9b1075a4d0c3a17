"""Files become RGB arrays, or a reason why not.

This room lists photos in a stable order and decodes each of them once. It knows formats, bit depths and orientation;
it never looks at labels or masks, and it does not know what the pixels are for.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from blemish.errors import InputError, UnreadablePhoto

__all__ = [
    "SUFFIXES",
    "Header",
    "PhotoFile",
    "find_photos",
    "median_aspect",
    "natural_key",
    "probe",
    "read_photo",
    "resize",
    "sixteen_bit_ceiling",
]

RGB = npt.NDArray[np.uint8]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
RUN_MARKERS = ("run.json", "blemish.partial")  # a folder that holds one of these is our own output
MAX_PIXELS = 178_956_970  # 0.5 GB decoded, Pillow's own limit; anything above is a mistake or an attack
_EXIF_ORIENTATION = 0x0112
_TURNED = {5, 6, 7, 8}  # EXIF orientations that exchange width and height
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

# Pillow warns of odd metadata and large sizes on the console; both are dealt with here, the first by ignoring it.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """A file that claims to be a photo. ``path`` is relative to the scanned folder, with forward slashes."""

    path: str
    file: Path


@dataclass(frozen=True, slots=True)
class Header:
    """What can be known without decoding: size after orientation, and whether samples are wider than 8 bits."""

    width: int
    height: int
    deep: bool


def natural_key(path: str) -> tuple[list[list[tuple[int, int, str]]], str]:
    """Sort key that puts 2.jpg before 10.jpg and a folder before its longer-named neighbours, on every system."""
    folded = [re.split(r"(\d+)", part) for part in path.casefold().split("/")]
    return [[(0, int(s), "") if s.isdecimal() else (1, 0, s) for s in part if s] for part in folded], path


def find_photos(folder: Path) -> list[PhotoFile]:
    """All photos below ``folder`` in natural order: recursive, without hidden files and blemish's own run folders.

    A folder whose name ends like a photo's is listed too, so that it is reported instead of silently passed over.
    Raises ``InputError`` if ``folder`` does not exist, is a file, or holds no photo."""
    if not folder.exists():
        raise InputError(f"There is no folder {str(folder)!r}. Type the path of a folder that holds photos.")
    if not folder.is_dir():
        raise InputError(f"{str(folder)!r} is a file. Give the folder that holds the photos: {str(folder.parent)!r}?")
    found: list[PhotoFile] = []
    other = 0
    # Links to folders are not followed: they can lead in circles.
    for where, folders, files in os.walk(folder, onerror=_refuse_unreadable_root(folder)):
        folders[:] = [name for name in folders if not name.startswith(".") and not _is_run(Path(where) / name)]
        for name in [*files, *folders]:
            if name.startswith("."):
                continue
            if Path(name).suffix.lower() in SUFFIXES:
                file = Path(where) / name
                found.append(PhotoFile(_printable(file.relative_to(folder).as_posix()), file))
            elif name not in folders:
                other += 1
    if not found:
        seen = f"{other} other files" if other else "nothing"
        raise InputError(f"No photos in {str(folder)!r}, only {seen}. Readable are {', '.join(sorted(SUFFIXES))}.")
    return sorted(found, key=lambda photo: natural_key(photo.path))


def _printable(path: str) -> str:
    """Names that are not valid UTF-8 (old disks) get replacement characters, so that every sink can write them."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _is_run(folder: Path) -> bool:
    return any((folder / marker).is_file() for marker in RUN_MARKERS)


def _refuse_unreadable_root(root: Path) -> Any:
    def refuse(error: OSError) -> None:
        if error.filename is not None and Path(error.filename) == root:
            raise InputError(f"Cannot look into {str(root)!r}: {error.strerror}. Check the folder's permissions.")

    return refuse


def probe(photo: PhotoFile) -> Header:
    """Read the header only. Raises ``UnreadablePhoto``."""
    with _open(photo.file) as image:
        width, height = image.size
        exif = Image.Image.getexif(image)  # PngImageFile's own version decodes the whole file
        if exif.get(_EXIF_ORIENTATION) in _TURNED:
            width, height = height, width
        return Header(width, height, image.mode.startswith(("I", "F")))


def sixteen_bit_ceiling(photos: Sequence[PhotoFile]) -> int:
    """The white level of a batch's deep greyscale photos: 2^n - 1 for the smallest n in 10, 12, 14, 16 that holds
    them.

    Cameras store 10 or 12 bits in 16-bit files; dividing by 65535 would make such photos nearly black. The rule must
    be one for the batch, else a dark part would be brightened; up to 16 photos spread over the batch are looked at.
    """
    if not photos:
        return 65535
    step = max(1, len(photos) // 16)
    brightest = 0
    for photo in photos[::step]:
        try:
            with _open(photo.file) as image:
                if image.mode.startswith("I"):
                    brightest = max(brightest, int(np.asarray(image).max(initial=0)))
        except Exception:
            continue  # it is reported when its turn comes
    return next((2**bits - 1 for bits in (10, 12, 14) if brightest < 2**bits), 65535)


def read_photo(photo: PhotoFile, at_least: tuple[int, int] | None = None, deep_ceiling: int = 65535) -> RGB:
    """Decode to (H, W, 3) uint8 RGB, upright, alpha laid over white.

    ``at_least`` (height, width): a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as it stays at least
    twice that large, which saves most of the time on camera-size files. ``deep_ceiling``: the value of a 16-bit
    greyscale photo that is white. Raises ``UnreadablePhoto`` with the reason.
    """
    try:
        with _open(photo.file) as image:
            if at_least is not None and image.format == "JPEG":
                image.draft(None, (2 * max(at_least), 2 * max(at_least)))
            return _to_rgb(ImageOps.exif_transpose(image), deep_ceiling)
    except UnreadablePhoto:
        raise
    except MemoryError as error:
        raise UnreadablePhoto("too large to decode in the memory that is free") from error
    except Exception as error:  # decoders of damaged files raise anything, struct.error among it
        raise UnreadablePhoto(f"damaged: {_first_line(error)}") from error


def _to_rgb(image: Image.Image, deep_ceiling: int) -> RGB:
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.float32) * (255 / deep_ceiling)
        return _grey_to_rgb(grey)
    if image.mode == "F":
        values = np.asarray(image)
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 255:
            raise UnreadablePhoto("floating-point values outside 0 to 255; save it as an 8- or 16-bit image")
        return _grey_to_rgb(values * (255.0 if values.max() <= 1 else 1.0))
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.asarray(image.convert("RGB"))


def _grey_to_rgb(grey: npt.NDArray[Any]) -> RGB:
    levels = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=2)


def _open(file: Path) -> Image.Image:
    """Open for lazy decoding, or say in a few words why that is impossible."""
    if file.is_dir():
        raise UnreadablePhoto("a folder, not a photo")
    if not file.exists():
        raise UnreadablePhoto("broken link" if file.is_symlink() else "vanished while scanning")
    try:
        if file.stat().st_size == 0:
            raise UnreadablePhoto("empty file (0 bytes)")
        image: Image.Image = Image.open(file)
    except UnreadablePhoto:
        raise
    except PermissionError as error:
        raise UnreadablePhoto("no permission to read it") from error
    except Image.DecompressionBombError as error:
        raise UnreadablePhoto("too many pixels; resize it or cut it into tiles") from error
    except UnidentifiedImageError as error:
        decoded = _open_with_tifffile(file) if file.suffix.lower() in {".tif", ".tiff"} else None
        if decoded is None:
            raise UnreadablePhoto("not an image, or its content does not match any known format") from error
        image = decoded
    except Exception as error:
        raise UnreadablePhoto(f"damaged: {_first_line(error)}") from error
    width, height = image.size
    if width * height == 0:
        raise UnreadablePhoto(f"no pixels ({width} x {height})")
    if width * height > MAX_PIXELS:
        raise UnreadablePhoto(f"too many pixels ({width} x {height}); resize it or cut it into tiles")
    return image


def _open_with_tifffile(file: Path) -> Image.Image | None:
    """TIFFs that Pillow does not know, foremost 16-bit RGB."""
    import tifffile

    try:
        with tifffile.TiffFile(file) as tiff:
            page = tiff.pages[0]
            if page.size > 4 * MAX_PIXELS:
                return None
            values = np.asarray(page.asarray())
    except Exception:  # tifffile and its codecs raise anything on damaged files; the caller words the reason
        return None
    if values.dtype == np.uint16:
        values = (values // 257).astype(np.uint8)
    if values.dtype != np.uint8 or values.ndim not in {2, 3}:
        return None
    if values.ndim == 3 and values.shape[0] in {3, 4} and values.shape[-1] not in {3, 4}:
        values = np.moveaxis(values, 0, -1)  # planar
    if values.ndim == 3 and values.shape[-1] not in {3, 4}:
        return None
    return Image.fromarray(values)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def resize(photo: RGB, shape: tuple[int, int], how: str = "bilinear") -> RGB:
    """(h, w, 3) -> (H, W, 3), antialiased as Pillow does it; ``how`` is bilinear or bicubic."""
    if photo.shape[:2] == shape:
        return photo
    return np.array(Image.fromarray(photo).resize((shape[1], shape[0]), _RESAMPLING[how]))


def median_aspect(headers: Iterable[Header]) -> float:
    """Median of height / width over the batch."""
    return float(np.median([header.height / header.width for header in headers]))
