"""Features of photos already seen, kept in the user's cache folder: one file a photo, found by its content.

The key holds everything that decides a feature (the photo's bytes, the backbone and its weights, the working
resolution), so a stale entry cannot be met. It knows tensors and files, nothing of what they are used for.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from blemish.features.registry import Features

__all__ = ["LIMIT", "FeatureCache", "half"]

LIMIT = 4 * 2**30  # bytes; the entries used longest ago go first
EXTRACTION_VERSION = 3  # raise it when the same settings begin to give other features


class FeatureCache:
    """``settings`` are JSON-able values that decide the features besides the photo itself."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder / "features"
        self.broken = ""  # why storing stopped (a full disk, no permission); a scan goes on without
        self._settings = json.dumps({"version": EXTRACTION_VERSION, **settings}, sort_keys=True)

    def get(self, photo_sha256: str) -> Features | None:
        """The stored features of one photo, or None."""
        file = self._file(photo_sha256)
        try:
            stored = load_file(file)
            grids = [stored[f"grid{i}"] for i in range(len(stored) - 1)]
            with suppress(OSError):  # a cache that may only be read
                os.utime(file)  # used just now: prune() takes it last
            return Features(grids, stored["embedding"])
        except (OSError, SafetensorError, KeyError):
            return None  # absent, or cut short by a crash of the machine: it is computed and stored again

    def put(self, photo_sha256: str, features: Features) -> None:
        """Store the features of one photo; complete or not at all."""
        if self.broken:
            return
        tensors = {f"grid{i}": grid.contiguous() for i, grid in enumerate(features.grids)}
        tensors["embedding"] = features.embedding.contiguous()
        file = self._file(photo_sha256)
        scratch = ""
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            handle, scratch = tempfile.mkstemp(dir=file.parent, suffix=".part")
            os.close(handle)
            save_file(tensors, scratch)
            Path(scratch).replace(file)
        except (OSError, SafetensorError) as error:
            self.broken = str(error)
            if scratch:
                Path(scratch).unlink(missing_ok=True)

    def prune(self, limit: int = LIMIT) -> None:
        """Remove the entries used longest ago until ``limit`` bytes are left."""
        entries = []
        for file in self.folder.glob("*/*"):
            try:
                entries.append((file.stat().st_mtime, file.stat().st_size, file))
            except OSError:
                continue  # another run removed it
        excess = sum(size for _, size, _ in entries) - limit
        for _, size, file in sorted(entries, key=lambda entry: entry[0]):
            if excess <= 0:
                return
            with suppress(OSError):
                file.unlink()
            excess -= size

    def _file(self, photo_sha256: str) -> Path:
        key = hashlib.sha256(f"{photo_sha256}{self._settings}".encode()).hexdigest()
        return self.folder / key[:2] / f"{key}.safetensors"


def half(features: Features) -> Features:
    """Rounded to half precision as the cache stores it. Fresh features are rounded too, so that a scan from the cache
    gives the same bits as the first one."""
    limit = torch.finfo(torch.float16).max
    return Features(
        [grid.clamp(-limit, limit).half() for grid in features.grids],
        features.embedding.clamp(-limit, limit).half(),
    )
