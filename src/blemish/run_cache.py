"""The folder ``cache/`` of a run: what a later decision about a family needs, so that no photo is compared again.

Written only when there is a family to decide about. It knows files, not what is in them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from blemish.errors import InputError
from blemish.looks import Look
from blemish.rescoring import Rescoring
from blemish.sinks.embedded import jpeg
from blemish.sinks.report import LONGEST

__all__ = ["RunCache", "read", "write"]

LARGE, SMALL = 4096, LONGEST  # longest sides of the kept pictures, pixels: as scored, and as most of the report's are
Pixels = Callable[[int], npt.NDArray[np.uint8]]

ORDER, LOOKS, SCORES, PICTURES = "order.json", "looks.json", "rescoring.npz", ("photos", "thumbnails")


@dataclass(frozen=True)
class RunCache:
    """``paths``: the photos in the order of the arrays."""

    folder: Path
    paths: tuple[str, ...]
    rescoring: Rescoring
    looks: tuple[Look | None, ...]  # of the families

    def maps(self, excluded: Collection[int]) -> npt.NDArray[np.float32]:
        """See ``Rescoring.maps``."""
        try:
            return self.rescoring.maps(excluded)
        except (OSError, ValueError, KeyError) as error:
            raise _damaged(self.folder, error) from error

    def jpeg(self, photo: int, longest: int) -> bytes:
        """Encoded, at least as large as asked for or as it was scored."""
        try:
            return _picture_file(self.folder, photo, small=longest <= SMALL).read_bytes()
        except OSError as error:
            raise _damaged(self.folder, error) from error

    def pixels(self, photo: int) -> npt.NDArray[np.uint8]:
        """(H, W, 3) at the working resolution, as close as a JPEG."""
        try:
            with Image.open(_picture_file(self.folder, photo, small=False)) as picture:
                return np.asarray(picture.convert("RGB"))
        except OSError as error:
            raise _damaged(self.folder, error) from error


def write(
    paths: Sequence[str], rescoring: Rescoring, looks: Sequence[Look | None], pixels: Pixels | None, folder: Path
) -> None:
    """Fill a new ``folder``. ``pixels``: photo number -> its picture (H, W, 3); None keeps no pictures, as of
    volumes, whose files are read again."""
    folder.mkdir(parents=True, exist_ok=True)
    rescoring.save(folder / SCORES)
    if pixels is not None:
        for pictures in PICTURES:
            (folder / pictures).mkdir()
        with ThreadPoolExecutor(2) as pool:  # encoding lets go of the interpreter
            for _ in pool.map(partial(_write_pictures, pixels, folder=folder), range(len(paths))):
                pass
    (folder / LOOKS).write_text(json.dumps([look and look.encoded() for look in looks]), encoding="utf-8")
    (folder / ORDER).write_text(json.dumps(list(paths)), encoding="utf-8")


def _write_pictures(pixels: Pixels, photo: int, folder: Path) -> None:
    picture = pixels(photo)
    _picture_file(folder, photo, small=False).write_bytes(jpeg(picture, LARGE))
    _picture_file(folder, photo, small=True).write_bytes(jpeg(picture, SMALL))


def _picture_file(folder: Path, photo: int, small: bool) -> Path:
    return folder / PICTURES[small] / f"{photo:06d}.jpg"


def read(folder: Path) -> RunCache:
    """Raises ``InputError`` if ``folder`` is absent or damaged."""
    try:
        paths = json.loads((folder / ORDER).read_text(encoding="utf-8"))
        looks = json.loads((folder / LOOKS).read_text(encoding="utf-8"))
        return RunCache(
            folder=folder,
            paths=tuple(paths),
            rescoring=Rescoring.load(folder / SCORES),
            looks=tuple(look and Look.decoded(look) for look in looks),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, error) from error


def _damaged(folder: Path, error: Exception) -> InputError:
    return InputError(
        f"{str(folder)!r} is missing or damaged, so the run cannot be scored again ({error}). "
        "Scan again; features are cached, so it is quicker than the first time."
    )
