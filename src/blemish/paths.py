"""Names and places on disk that several rooms agree on; it knows folders, not what lies in them."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import weakref
from pathlib import Path

__all__ = [
    "RUN_CACHE",
    "RUN_DECISIONS",
    "RUN_DIAGNOSIS",
    "RUN_DIVISION",
    "RUN_MANIFEST",
    "RUN_MARKER",
    "RUN_NEAREST",
    "RUN_PLOTS",
    "RUN_REVIEWS",
    "RUN_SCHEMA",
    "RUN_TAUGHT",
    "RUN_TAUGHT_BEFORE",
    "RUN_VERDICT",
    "RUN_VOLUMES",
    "cache_dir",
    "is_file",
    "is_folder",
    "temporary_folder",
]

RUN_MANIFEST = "run.json"  # the last file of a run: it says that the others are complete
RUN_SCHEMA = 1  # raised when the files of a run change so that older programs would misread them
RUN_CACHE = "cache"  # a folder: what rescoring needs
RUN_DECISIONS = "decisions.toml"  # the user's, about families
RUN_DIAGNOSIS = "diagnosis.json"
RUN_DIVISION = "division.json"  # who was compared with whom: what --extend starts from
RUN_NEAREST = "nearest.npz"  # what the hottest places of each photo are nearest to
RUN_PLOTS = "diagnosis"  # a folder of pictures
RUN_REVIEWS = "reviews.json"  # a person's word about single photos
RUN_TAUGHT = "taught"  # a folder: examples that the user has given
RUN_TAUGHT_BEFORE = "taught-before"  # the same of the run that stood there before, until it is applied to this one
RUN_VERDICT = "verdict"  # a folder: what another threshold needs
RUN_VOLUMES = "volumes"  # a folder: where each volume's cube lies in its file
RUN_MARKER = "blemish.partial"  # in a folder that is still being written, or was left by a run that was killed


def cache_dir() -> Path:
    """The user's cache folder for blemish; not created here.

    ``BLEMISH_CACHE`` wins; then ``XDG_CACHE_HOME/blemish``; then what the system is used to:
    ``~/.cache/blemish``, ``~/Library/Caches/blemish`` on macOS, ``%LOCALAPPDATA%\\blemish`` on Windows.
    """
    if chosen := os.environ.get("BLEMISH_CACHE"):
        return Path(chosen).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "blemish"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "blemish"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "blemish"
    return Path.home() / ".cache" / "blemish"


def is_file(path: Path) -> bool:
    """As ``Path.is_file``, and False where the name is too long or a parent may not be entered."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """As ``Path.is_dir``, and False as above."""
    try:
        return path.is_dir()
    except OSError:
        return False


def temporary_folder(owner: object) -> Path:
    """A new folder that lasts as long as ``owner``: not among the scratch files, which become the run."""
    folder = Path(tempfile.mkdtemp(prefix="blemish-"))
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return folder
