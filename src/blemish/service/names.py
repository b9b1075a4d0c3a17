"""Names that strangers give to files, and what may be done with them. It knows paths as text, and no files."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import quote

from blemish.inputs.images import SUFFIXES
from blemish.inputs.volume_nifti import NIFTI_SUFFIXES

__all__ = ["attachment", "safe_path", "suffix_of"]

LONGEST, LONGEST_PART, DEEPEST = 1000, 200, 16
RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(1, 10))})
VOLUMES = (*NIFTI_SUFFIXES, ".dcm")


def safe_path(given: str) -> PurePosixPath:
    """A relative path that stays below the folder it is put into, on every system. Raises ``ValueError`` with the
    reason."""
    text = given.replace("\\", "/")
    if not text or len(text) > LONGEST:
        raise ValueError(f"a path has 1 to {LONGEST} characters")
    if not text.isprintable():
        raise ValueError("its name holds control characters")
    if text.startswith("/") or text[1:2] == ":":
        raise ValueError("its path is absolute; give it relative to the folder")
    parts = text.split("/")
    if len(parts) > DEEPEST:
        raise ValueError(f"it lies more than {DEEPEST} folders deep")
    for part in parts:
        if part in ("", ".", ".."):
            raise ValueError("its path leads out of the folder or nowhere")
        if len(part.encode()) > LONGEST_PART:
            raise ValueError(f"a name in its path is longer than {LONGEST_PART} bytes")
        if part.startswith(".") or part != part.strip() or part.endswith(".") or set(part) & set('<>:"|?*'):
            raise ValueError("a name in its path is hidden, or no file name on some systems")
        if part.partition(".")[0].lower() in RESERVED:
            raise ValueError("a name in its path is reserved on some systems")
    return PurePosixPath(text)


def suffix_of(path: str) -> str:
    """Lower case: of photos .jpg and so on, of volumes .nii, .nii.gz and .dcm; of anything else empty."""
    name = path.lower()
    return next((suffix for suffix in (*VOLUMES, *SUFFIXES) if name.endswith(suffix)), "")


def attachment(name: str) -> str:
    """Content-Disposition for a file that is saved, never shown. Whatever the name is, it stays one header."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_. ") else "_" for c in name) or "file"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
