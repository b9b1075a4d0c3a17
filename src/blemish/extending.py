"""A run that is to grow: which photos it was made of, who was compared with whom, and where the comparisons lie.

It knows the file ``division.json`` of a run, and how the names of old and new photos go together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blemish.config import ScanConfig, with_options
from blemish.errors import InputError
from blemish.inputs.images import PhotoFile
from blemish.inputs.layouts import Listing
from blemish.paths import RUN_DIVISION, RUN_MANIFEST, is_file, is_folder
from blemish.run_folder import read_manifest, require_compared

__all__ = ["OF_THE_MACHINE", "Earlier", "describe", "real"]

OF_THE_MACHINE = ("device", "executor", "ray_address", "memory", "threads", "cache")  # settings that say how, not what


@dataclass(frozen=True)
class Earlier:
    """A finished run."""

    run: Path
    source: Path  # what was scanned: a folder or a CSV
    files: dict[str, Path]  # path in the run -> file
    sha256: dict[str, str]  # path -> digest of the bytes that were scanned
    parts: list[list[str]]  # paths that were compared with each other
    tiles: tuple[str, ...]  # names of the tile logs of the last part, by pass
    config: ScanConfig  # what decides the result; where and how it was computed is at its defaults
    of_volumes: bool = False

    @classmethod
    def read(cls, run: Path, folder: Path | None = None, to: str = "extended") -> Earlier:
        """``folder``: where the new photos are, for a better message should the two be swapped. ``to``: what is about
        to be done with it.

        Raises ``InputError`` if ``run`` is not a finished run, or one that cannot grow."""
        if folder is not None and is_file(folder / RUN_MANIFEST) and not is_file(run / RUN_MANIFEST):
            raise InputError(
                f"{str(run)!r} is not a finished run, but {str(folder)!r} is. Did you swap them? "
                "RUN comes first: blemish scan --extend RUN NEW_FOLDER"
            )
        manifest = read_manifest(run)
        if folder is not None:
            require_compared(manifest, run, to)
        try:
            stored = json.loads((run / RUN_DIVISION).read_text(encoding="utf-8"))
            config = {name: value for name, value in manifest["config"].items() if name not in OF_THE_MACHINE}
            return cls(
                run=run,
                source=Path(manifest["source"]),
                files={path: Path(photo) for part in stored["parts"] for path, photo in part},
                sha256={str(path): str(digest) for path, digest in stored.get("sha256", {}).items()},
                parts=[[path for path, _ in part] for part in stored["parts"]],
                tiles=tuple(stored["tiles"]),
                config=with_options(ScanConfig(), config),
                of_volumes=bool(manifest.get("resolved", {}).get("volumes")),
            )
        except FileNotFoundError as error:
            raise InputError(
                f"{str(run)!r} cannot be {to}: it has no {RUN_DIVISION}, so it was made by an older blemish; "
                "scan all photos once, then it can grow."
            ) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{str(run)!r} cannot be {to}: its {RUN_DIVISION} is damaged ({error}). "
                "Scan all photos together instead."
            ) from error

    def with_new(self, listing: Listing) -> Listing:
        """The run's photos and after them those of ``listing`` that are not among them.

        New ones in the folder that was scanned are called as the old ones are, by their path in it; others by the name
        of their folder and their path in that.
        Raises ``InputError`` if photos of the run are missing (the run would shrink), or none are new."""
        self.require_all()
        known = {real(file) for file in self.files.values()}
        new = [photo for photo in listing.photos if real(photo.file) not in known]
        if not new:
            raise InputError(
                f"All {len(listing.photos)} photos in {str(listing.root)!r} are in {str(self.run)!r} already. "
                "Give the folder of the new ones."
            )
        photos = [PhotoFile(path, file) for path, file in self.files.items()]
        photos += self.named(new, listing.root.name or "new")
        note = f"{len(self.files)} photos of {self.run.absolute().name} and {len(new)} new"
        return Listing(listing.root, photos, f"{note}; {listing.note}" if listing.note else note)

    def require_all(self) -> None:
        missing = [file for file in self.files.values() if not is_file(file) and not is_folder(file)]
        if missing:
            kind = "volumes" if self.of_volumes else "photos"
            raise InputError(
                f"{len(missing)} of {len(self.files)} {kind} of {str(self.run)!r} are not there any more, "
                f"first {str(missing[0])!r}. Mount or restore them, or scan what is there anew."
            )

    def named(self, new: Sequence[PhotoFile], folder: str) -> list[PhotoFile]:
        """``new`` under names that no photo of the run has. ``folder``: what those from elsewhere begin with."""
        home = real(self.source.parent if self.source.suffix.lower() == ".csv" else self.source)
        taken = set(self.files)
        inside: dict[Path, str] = {}
        for photo in new:
            path = _path_in(home, photo.file)
            if path is not None and path not in taken:
                inside[photo.file] = path
                taken.add(path)
        prefix = _prefix(folder, [photo for photo in new if photo.file not in inside], taken)
        return [replace(photo, path=inside.get(photo.file) or f"{prefix}/{photo.path}") for photo in new]


def _prefix(name: str, photos: Sequence[PhotoFile], taken: Container[str]) -> str:
    """A folder name under which none of ``photos`` is called like one that is ``taken``."""
    count, prefix = 1, name
    while any(f"{prefix}/{photo.path}" in taken for photo in photos):
        count += 1
        prefix = f"{name}-{count}"
    return prefix


def _path_in(home: Path, file: Path) -> str | None:
    """The path of ``file`` from the folder ``home`` on, spelled as listings spell it; None if it lies elsewhere. A link
    to a photo lies where the link does."""
    place = real(file.parent) / file.name
    if not place.is_relative_to(home):
        return None
    path = place.relative_to(home).as_posix().encode("utf-8", "surrogateescape")
    return path.decode("utf-8", "backslashreplace")


def real(file: Path) -> Path:
    """Without links, so that a photo is known by whichever way it is reached."""
    return Path(os.path.realpath(file))  # Path.resolve raises where links lead in circles


def describe(
    parts: Sequence[Sequence[str]], files: dict[str, Path], sha256: dict[str, str], tiles: Sequence[str]
) -> dict[str, Any]:
    """What ``division.json`` holds. ``files``, ``sha256``: of each path. ``tiles``: of the last part."""
    return {
        "sha256": sha256,
        "parts": [[[path, str(files[path].absolute())] for path in part] for part in parts],
        "tiles": list(tiles),
    }
