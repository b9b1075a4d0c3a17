"""Files become RGB arrays, or a reason why not.

This room lists photos in a stable order and decodes each of them once. It knows formats, bit depths and orientation;
it never looks at labels or masks, and it does not know what the pixels are for.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from blemish.errors import InputError, UnreadablePhoto
from blemish.inputs.confinement import require_inside
from blemish.paths import RUN_MANIFEST, RUN_MARKER

__all__ = [
    "SUFFIXES",
    "Decoded",
    "Header",
    "PhotoFile",
    "find_photos",
    "median_aspect",
    "natural_key",
    "pixels_of",
    "probe",
    "read_photo",
    "resize",
    "sixteen_bit_ceiling",
]

RGB = npt.NDArray[np.uint8]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")  # Pillow knows many more, some of which start other programs
MAX_PIXELS = 178_956_970  # 0.5 GB decoded, Pillow's own limit; anything above is a mistake or an attack
SAMPLE = 32  # deep photos that are looked at for their white level
_EXIF_ORIENTATION = 0x0112
_BITS_PER_SAMPLE = 258
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
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
    deep: bool = False


@dataclass(frozen=True, slots=True)
class Decoded:
    """``pixels: (H, W, 3)`` uint8 RGB, upright; ``sha256`` of the file; ``clipped``: brighter than the white level."""

    pixels: RGB
    sha256: str
    clipped: bool


def natural_key(path: str) -> tuple[list[list[tuple[int, int, str]]], str]:
    """Sort key that puts 2.jpg before 10.jpg and a folder before its longer-named neighbours, on every system."""
    folded = [re.split(r"(\d+)", part) for part in path.casefold().split("/")]
    return [[(0, int(s), "") if s.isdecimal() else (1, 0, s) for s in part if s] for part in folded], path


def find_photos(folder: Path) -> tuple[list[PhotoFile], int]:
    """All photos below ``folder`` in natural order, and how many runs of ours were passed over.

    Recursive, without hidden files and run folders. A folder whose name ends like a photo's, or that may not be
    looked into, is listed too, so that it is reported as unreadable instead of silently passed over. Links to folders
    are not followed: they can lead in circles.
    Raises ``InputError`` if ``folder`` does not exist, is a file, is a run, or holds no photo."""
    if not os.path.lexists(folder):
        raise InputError(f"There is no folder {str(folder)!r}. Type the path of a folder that holds photos.")
    if os.path.isfile(folder):  # noqa: PTH113 - Path.is_file raises where a parent may not be entered
        raise InputError(
            f"{str(folder)!r} is a file. Give the folder that holds it and others: {str(folder.parent)!r}?"
        )
    if _is_run(folder):
        raise InputError(f"{str(folder)!r} is a run of blemish, not a folder of photos. Its report is report.html.")
    found: list[PhotoFile] = []
    other = runs = 0
    closed: list[Path] = []
    for where, folders, files in os.walk(folder, onerror=_noting(closed)):
        here = Path(where)
        visible = [name for name in folders if not name.startswith(".")]
        folders[:] = [name for name in visible if not _is_run(here / name)]
        runs += len(visible) - len(folders)
        for name in (*files, *folders):
            if name.startswith("."):
                continue
            if Path(name).suffix.lower() in SUFFIXES:
                found.append(_photo(folder, here / name))
            elif name not in folders:
                other += 1
    if folder in closed:
        raise InputError(f"Cannot look into {str(folder)!r}: no permission.")
    found += [_photo(folder, place) for place in closed if place.suffix.lower() not in SUFFIXES]
    if not found:
        seen = f"holds {other} other files and no photos" if other else "is empty"
        known = ", ".join(sorted(SUFFIXES))
        raise InputError(
            f"{str(folder)!r} {seen}. `blemish scan` reads photos ({known}) and volumes (.nii, .nii.gz, DICOM series)."
        )
    return sorted(found, key=lambda photo: natural_key(photo.path)), runs


def _photo(root: Path, file: Path) -> PhotoFile:
    # Names that are not valid UTF-8 (old disks) are escaped, so that every sink can write them and none coincide.
    path = file.relative_to(root).as_posix().encode("utf-8", "surrogateescape")
    return PhotoFile(path.decode("utf-8", "backslashreplace"), file)


def _is_run(folder: Path) -> bool:
    """A finished run of ours, or one that is being written."""
    try:
        if (folder / RUN_MARKER).is_file():
            return True
        manifest = json.loads((folder / RUN_MANIFEST).read_bytes())
        return isinstance(manifest, dict) and "blemish" in manifest
    except (OSError, ValueError):
        return False


def _noting(closed: list[Path]) -> Callable[[OSError], None]:
    return lambda error: closed.append(Path(error.filename))


def probe(photo: PhotoFile) -> Header:
    """Read the header only. Raises ``UnreadablePhoto``."""
    _check_file(photo.file)
    with _opened(photo.file, photo.file.suffix) as image:
        if isinstance(image, _DeepTiff):
            return Header(image.shape[1], image.shape[0], deep=True)
        width, height = image.size
        if _orientation(image) in _TURNED:
            width, height = height, width
        return Header(width, height, image.mode.startswith("I"))


def sixteen_bit_ceiling(photos: Sequence[PhotoFile]) -> int:
    """The white level of a batch's deep photos: 2^n - 1 for the smallest n in 10, 12, 14, 16 that holds them.

    Cameras store 10 or 12 bits in 16-bit files; dividing by 65535 would make such photos nearly black. The rule must
    be one for the batch, else a dark part would be brightened; a sample spread over the batch is looked at, and
    photos that turn out brighter are reported as clipped.
    """
    if not photos:
        return 65535
    brightest = 0
    for at in np.linspace(0, len(photos) - 1, min(SAMPLE, len(photos))).astype(int):
        try:
            _check_file(photos[at].file)
            with _opened(photos[at].file, photos[at].file.suffix) as image:
                brightest = max(brightest, int(_samples(image).max(initial=0)))
        except Exception:
            continue  # it is reported when its turn comes
    return next((2**bits - 1 for bits in (10, 12, 14) if brightest < 2**bits), 65535)


def read_photo(photo: PhotoFile, at_least: tuple[int, int] | None = None, deep_ceiling: int = 65535) -> Decoded:
    """Read a file once, hash it and decode it: upright, alpha laid over white.

    ``at_least`` (height, width): a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as it stays at least
    twice that large, which saves most of the time on camera-size files. ``deep_ceiling``: the value of a 16-bit
    photo that is white. Raises ``UnreadablePhoto`` with the reason.
    """
    _check_file(photo.file)
    try:
        data = photo.file.read_bytes()
        with _opened(io.BytesIO(data), photo.file.suffix) as image:
            if at_least is not None and isinstance(image, Image.Image) and image.format == "JPEG":
                image.draft(None, (2 * max(at_least), 2 * max(at_least)))
            pixels, clipped = _to_rgb(image, deep_ceiling)
    except UnreadablePhoto:
        raise
    except MemoryError as error:
        raise UnreadablePhoto("too large to decode in the memory that is free") from error
    except PermissionError as error:
        raise UnreadablePhoto("no permission to read it") from error
    except Exception as error:  # decoders of damaged files raise anything, struct.error among it
        raise UnreadablePhoto(f"damaged: {_first_line(error)}") from error
    return Decoded(pixels, hashlib.sha256(data).hexdigest(), clipped)


def pixels_of(picture: Image.Image, deep_ceiling: int = 65535) -> RGB:
    """An opened picture (H, W, 3) as ``read_photo`` decodes its file. Raises ``UnreadablePhoto``."""
    try:
        return _to_rgb(picture, deep_ceiling)[0]
    except UnreadablePhoto:
        raise
    except Exception as error:  # pictures are decoded when they are looked at
        raise UnreadablePhoto(f"damaged: {_first_line(error)}") from error


def _to_rgb(image: Image.Image | _DeepTiff, deep_ceiling: int) -> tuple[RGB, bool]:
    """Pixels, and whether some are brighter than the white level of 16-bit photos."""
    if isinstance(image, _DeepTiff) or image.mode.startswith("I"):
        deep = _samples(image)
        if deep.min() < 0 or deep.max() > 65535:
            raise UnreadablePhoto(f"values from {deep.min()} to {deep.max()}; save it with 16 bits or fewer")
        levels = _levels(deep.astype(np.float32) * (255 / deep_ceiling))
        return levels, bool(deep.max() > deep_ceiling)
    if image.mode == "F":
        values = _samples(image)
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 255:
            raise UnreadablePhoto("floating-point values outside 0 to 255; save it as an 8- or 16-bit image")
        return _levels(values * (255.0 if values.max() <= 1 else 1.0)), False
    turn = _UPRIGHT.get(_orientation(image))
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    if image.mode != "RGB":
        image = image.convert("RGB")
    return np.asarray(image if turn is None else image.transpose(turn)), False


def _samples(image: Image.Image | _DeepTiff) -> npt.NDArray[Any]:
    """Decoded values of a deep or floating-point photo, upright: (H, W) or (H, W, 3)."""
    if isinstance(image, _DeepTiff):
        return image.values()
    turn = _UPRIGHT.get(_orientation(image))
    return np.asarray(image if turn is None else image.transpose(turn))


def _levels(values: npt.NDArray[Any]) -> RGB:
    """Rounded to 0..255; grey repeated to three channels."""
    levels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return levels if levels.ndim == 3 else np.repeat(levels[..., None], 3, axis=2)


def _orientation(image: Image.Image) -> int:
    try:
        exif = Image.Image.getexif(image)  # PngImageFile's own version decodes the whole file
        return int(exif.get(_EXIF_ORIENTATION, 1))
    except Exception:  # damaged metadata of a photo whose pixels may be sound
        return 1


def _check_file(file: Path) -> None:
    """Say in a few words why a path is no readable file."""
    require_inside(file)
    try:
        if file.is_dir():
            closed = not os.access(file, os.R_OK | os.X_OK)
            raise UnreadablePhoto("a folder that may not be looked into" if closed else "a folder, not a photo")
        if not file.exists():
            raise UnreadablePhoto("broken link" if file.is_symlink() else "there is no such file")
        if file.stat().st_size == 0:
            raise UnreadablePhoto("empty file (0 bytes)")
    except OSError as error:
        raise UnreadablePhoto(f"cannot be reached: {error.strerror or error}") from error


def _opened(source: Path | io.BytesIO, suffix: str) -> Image.Image | _DeepTiff:
    """Open for lazy decoding; a context manager. Raises ``UnreadablePhoto``."""
    try:
        image: Image.Image | _DeepTiff = Image.open(source, formats=FORMATS)
    except PermissionError as error:
        raise UnreadablePhoto("no permission to read it") from error
    except Image.DecompressionBombError as error:
        raise UnreadablePhoto("too many pixels; resize it or cut it into tiles") from error
    except UnidentifiedImageError as error:
        if suffix.lower() not in {".tif", ".tiff"}:
            raise UnreadablePhoto("not an image, or its content does not match any known format") from error
        image = _DeepTiff(source)
    except UnreadablePhoto:
        raise
    except Exception as error:
        raise UnreadablePhoto(f"damaged: {_first_line(error)}") from error
    if isinstance(image, Image.Image) and _keeps_high_bytes_only(image):
        if isinstance(source, Path):
            image.close()
        image = _DeepTiff(source)
    width, height = (image.shape[1], image.shape[0]) if isinstance(image, _DeepTiff) else image.size
    if width * height == 0:
        raise UnreadablePhoto(f"no pixels ({width} x {height})")
    if width * height > MAX_PIXELS:
        raise UnreadablePhoto(f"too many pixels ({width} x {height}); resize it or cut it into tiles")
    return image


def _keeps_high_bytes_only(image: Image.Image) -> bool:
    """Whether Pillow would read a 16-bit colour TIFF as 8 bits, which leaves 4 of a camera's 12."""
    if image.format != "TIFF" or image.mode not in {"RGB", "RGBA"}:
        return False
    bits = image.tag_v2.get(_BITS_PER_SAMPLE, (8,))  # type: ignore[attr-defined]
    return bool(max(bits) > 8)


class _DeepTiff:
    """A TIFF of 16 bits in three or four channels. Raises ``UnreadablePhoto`` for any other."""

    def __init__(self, source: Path | io.BytesIO) -> None:
        import tifffile

        if isinstance(source, io.BytesIO):
            source.seek(0)
        try:
            self._tiff = tifffile.TiffFile(source)
            page = self._tiff.pages[0]
            shape, depth = page.shape, page.dtype
        except Exception as error:  # tifffile raises anything on damaged files
            raise UnreadablePhoto("not an image, or its content does not match any known format") from error
        self._planar = len(shape) == 3 and shape[0] in {3, 4} and shape[2] not in {3, 4}
        self.shape: tuple[int, ...] = (shape[1], shape[2], shape[0]) if self._planar else tuple(shape)
        if depth != np.uint16 or len(self.shape) != 3 or self.shape[2] not in {3, 4}:
            self._tiff.close()
            raise UnreadablePhoto(
                f"a TIFF of {depth} values in the shape {shape}; save it as an 8- or 16-bit RGB image"
            )

    def values(self) -> npt.NDArray[np.uint16]:
        """(H, W, 3); a fourth channel is left out."""
        values = np.asarray(self._tiff.pages[0].asarray())
        return (np.moveaxis(values, 0, -1) if self._planar else values)[..., :3]

    def __enter__(self) -> _DeepTiff:
        return self

    def __exit__(self, *error: object) -> None:
        self._tiff.close()


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
