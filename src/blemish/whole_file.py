"""A file that is there completely or not at all, whatever happens while it is written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from blemish.errors import OutputError

__all__ = ["umask", "write_whole"]


def write_whole(file: Path, fill: Callable[[BinaryIO], object]) -> None:
    """``fill`` a hidden file beside ``file`` and move it there. Raises ``OutputError``."""
    unfinished = ""
    try:
        handle, unfinished = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as stream:
            fill(stream)
        Path(unfinished).chmod(0o666 & ~umask())  # mkstemp's files are private
        Path(unfinished).replace(file)
        unfinished = ""
    except OSError as error:
        raise OutputError(f"Cannot write {str(file)!r}: {error.strerror or error}. Choose another --out.") from error
    finally:
        if unfinished:
            Path(unfinished).unlink(missing_ok=True)


def umask() -> int:
    """The permissions that this process withholds."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
