"""Pictures of a run's photos: re-encoded from the pixels that the scan saw, never the file that was uploaded.

Small copies are kept in the data folder. It knows photos, maps and files, not HTTP; it takes memory and time, and who
calls it sees to it that not many do so at once.
"""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image

from blemish import run_cache
from blemish.errors import InputError, UnreadablePhoto
from blemish.inputs.images import PhotoFile, read_photo
from blemish.paths import RUN_CACHE
from blemish.result import Float32
from blemish.service.shelf import RunView
from blemish.service.volumes import slices_of
from blemish.sinks.colours import heat
from blemish.sinks.embedded import between_tokens, jpeg
from blemish.whole_file import write_whole

__all__ = ["heat_png", "kept_picture", "picture"]

SMALL = 384  # longest side up to which a picture is kept, pixels


def kept_picture(view: RunView, path: str, longest: int, inside: tuple[Path, ...], kept: Path) -> bytes | None:
    """``picture`` if a copy of it is kept; takes no time."""
    _require_inside(view, path, inside)
    try:
        return _copy(view, path, longest, kept).read_bytes()
    except OSError:
        return None


def picture(view: RunView, path: str, longest: int, inside: tuple[Path, ...], kept: Path) -> bytes:
    """The photo, or three slices of a volume, as JPEG. ``inside``: folders that its file must lie in. ``kept``: where
    small copies are.

    Raises ``InputError`` if the file is not there any more, or lies elsewhere."""
    _require_inside(view, path, inside)
    volume = view.kind == "volumes"
    data = _slices(view, path) if volume else _photo(view, path, longest)
    if volume or longest <= SMALL:
        file = _copy(view, path, longest, kept)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, lambda stream: stream.write(data))
    return data


def _copy(view: RunView, path: str, longest: int, kept: Path) -> Path:
    """Where a small copy is kept. A volume's slices go through its worst place, which changes with the run."""
    which = view.revision if view.kind == "volumes" else longest
    name = hashlib.sha256(f"{path}\0{which}".encode("utf-8", "backslashreplace")).hexdigest()[:32]
    return kept / f"{name}.jpg"


def _require_inside(view: RunView, path: str, inside: tuple[Path, ...]) -> None:
    """No copy either of a file that a link reaches outside of ``inside``."""
    file = view.files.get(path)
    if file is not None and not any(file.resolve().is_relative_to(folder) for folder in inside):
        raise InputError(f"There is no picture of {path!r}: it lies outside of the data set.")


def _photo(view: RunView, path: str, longest: int) -> bytes:
    file = view.files.get(path)
    ceiling = int(view.result.manifest["resolved"].get("deep_ceiling", 65535))
    try:
        if file is None:
            raise UnreadablePhoto("the run has lost where it lies")
        side = max(longest // 2, 1)
        return jpeg(read_photo(PhotoFile(path, file), at_least=(side, side), deep_ceiling=ceiling).pixels, longest)
    except (UnreadablePhoto, OSError) as error:
        kept = _of_cache(view, path, longest)
        if kept is None:
            raise InputError(f"There is no picture of {path!r}: {error}.") from error
        return kept


def _of_cache(view: RunView, path: str, longest: int) -> bytes | None:
    """What the run has kept of it for decisions."""
    try:
        cache = run_cache.read(view.folder / RUN_CACHE)
        return cache.jpeg(cache.paths.index(path), longest)
    except (InputError, ValueError):
        return None


def _slices(view: RunView, path: str) -> bytes:
    volumes = view.result.volumes
    if volumes is None or path not in volumes.by_path:
        raise InputError(f"There is no picture of {path!r}: it was not scored.")
    uri = slices_of(volumes.by_path[path], np.asarray(view.result.maps.grid(path)), view.result.scale)
    return base64.b64decode(uri.partition(",")[2])


def heat_png(view: RunView, path: str) -> bytes:
    """The map in the run's one colour scale, RGBA; a value between every two tokens. Of volumes ``InputError``."""
    if view.kind == "volumes":
        raise InputError("The heat of a volume is its volume-map.nii.gz.")
    values: Float32 = view.result.scale.apply(between_tokens(view.result.maps.grid(path)))
    buffer = io.BytesIO()
    Image.fromarray(heat(values)).save(buffer, "png", compress_level=3)
    return buffer.getvalue()
