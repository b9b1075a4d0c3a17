"""A run that is to grow: which photos it was made of, who was compared with whom, and where the comparisons lie.

It knows the file ``division.json`` of a run, and how the names of old and new photos go together.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blemish.config import ScanConfig, with_options
from blemish.errors import InputError
from blemish.inputs.images import PhotoFile
from blemish.inputs.layouts import Listing
from blemish.paths import RUN_DIVISION
from blemish.run import read_manifest

__all__ = ["Earlier", "describe"]


@dataclass(frozen=True)
class Earlier:
    """A finished run."""

    run: Path
    source: Path  # what was scanned
    files: dict[str, Path]  # path in the run -> file
    parts: list[list[str]]  # paths that were compared with each other
    tiles: tuple[str, ...]  # names of the tile logs of the last part, by pass
    config: ScanConfig

    @classmethod
    def read(cls, run: Path) -> Earlier:
        """Raises ``InputError`` if ``run`` is not a finished run, or one that cannot grow."""
        manifest = read_manifest(run)
        file = run / RUN_DIVISION
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
            return cls(
                run=run,
                source=Path(manifest["source"]),
                files={path: Path(photo) for part in stored["parts"] for path, photo in part},
                parts=[[path for path, _ in part] for part in stored["parts"]],
                tiles=tuple(stored["tiles"]),
                config=with_options(ScanConfig(), manifest["config"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{str(run)!r} cannot be extended: its {RUN_DIVISION} is missing or damaged ({error}). "
                "Scan all photos together instead."
            ) from error

    def with_new(self, listing: Listing) -> Listing:
        """The run's photos and after them those of ``listing`` that are not among them, named by their folder."""
        known = {_real(file) for file in self.files.values()}
        new = [photo for photo in listing.photos if _real(photo.file) not in known]
        if not new:
            raise InputError(
                f"All {len(listing.photos)} photos in {str(listing.root)!r} are in {str(self.run)!r} already. "
                "Give the folder of the new ones."
            )
        prefix = self._prefix(listing.root.name or "new", new)
        photos = [PhotoFile(path, file) for path, file in self.files.items()]
        photos += [replace(photo, path=f"{prefix}/{photo.path}") for photo in new]
        note = f"{len(self.files)} of {self.run.name} and {len(new)} new"
        return Listing(listing.root, photos, f"{note}; {listing.note}" if listing.note else note)

    def _prefix(self, name: str, new: Sequence[PhotoFile]) -> str:
        """A folder name under which no new photo is called like one of the run."""
        count, prefix = 1, name
        while any(f"{prefix}/{photo.path}" in self.files for photo in new):
            count += 1
            prefix = f"{name}-{count}"
        return prefix


def _real(file: Path) -> str:
    return str(file.absolute())


def describe(parts: Sequence[Sequence[str]], files: dict[str, Path], tiles: Sequence[str]) -> dict[str, Any]:
    """What ``division.json`` holds. ``tiles``: of the last part."""
    return {
        "parts": [[[path, _real(files[path])] for path in part] for part in parts],
        "tiles": list(tiles),
    }
