"""Where a user says that a defect is: a mask drawn over the photo, or a box. Checked before it is believed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError
from blemish.inputs.truth import read_mask

__all__ = ["read_mark"]

Bools = npt.NDArray[np.bool_]
BOX = re.compile(r"\s*{0}\s*,\s*{0}\s*,\s*{0}\s*,\s*{0}\s*".format(r"(\d{1,9})"), re.ASCII)
WHOLE = 0.9  # share of the photo from which a mask is taken for the wrong way round


def read_mark(mark: str | Path | Bools, photo: str, shape: tuple[int, int]) -> Bools:
    """(H, W) true on the defect. ``mark``: a mask's file, a box ``left,top,right,bottom`` in pixels, or the mask
    itself. ``shape``: of the upright ``photo``.

    Raises ``InputError`` if it is empty, covers nearly everything, lies outside, or has another size."""
    if isinstance(mark, np.ndarray):
        name, mask = "given", np.asarray(mark) > 0
    elif box := BOX.fullmatch(str(mark)):
        name, mask = repr(str(mark)), _box([int(edge) for edge in box.groups()], str(mark), photo, shape)
    else:
        name, mask = repr(str(mark)), _file(Path(mark).expanduser())
    if mask.shape != shape:
        size = " x ".join(map(str, mask.shape[::-1]))
        turned = " It is turned; draw it on the photo as viewers show it." if mask.shape == shape[::-1] else ""
        raise InputError(
            f"The mask {name} is {size} pixels and {photo!r} is {shape[1]} x {shape[0]}; they must be the same.{turned}"
        )
    share = float(mask.mean())
    if share == 0:
        raise InputError(f"The mask {name} of {photo!r} is empty. Paint the defect white, and the rest black.")
    if share > WHOLE:
        raise InputError(
            f"The mask {name} covers {share:.0%} of {photo!r}. Is it the wrong way round? Paint the defect white."
        )
    return mask


def _box(edges: list[int], mark: str, photo: str, shape: tuple[int, int]) -> Bools:
    left, top, right, bottom = edges
    if not (left < right <= shape[1] and top < bottom <= shape[0]):
        raise InputError(
            f"The box {mark!r} does not lie on {photo!r}, which is {shape[1]} x {shape[0]} pixels. "
            "Type left,top,right,bottom."
        )
    mask = np.zeros(shape, dtype=np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def _file(file: Path) -> Bools:
    if file.suffix.lower() in {".jpg", ".jpeg"}:
        raise InputError(f"The mask {str(file)!r} is a JPEG, whose values change near every edge. Save it as a PNG.")
    if not os.path.isfile(file):  # noqa: PTH113 - Path.is_file raises for a name that is too long
        raise InputError(
            f"There is no mask {str(file)!r}. Give an image of the photo's size, white on the defect, or a box "
            "left,top,right,bottom in pixels."
        )
    return read_mask(file)
