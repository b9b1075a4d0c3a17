"""Which files of a folder are the photos to scan: a plain folder, a CSV, or one class of a published data set.

Labels and masks are never read here; a published tree is only recognised so that its masks and training photos are
not scanned along.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

from blemish.errors import InputError
from blemish.inputs.images import PhotoFile, find_photos

__all__ = ["Listing", "list_photos"]

_PATH_COLUMNS = ("image_path", "path", "image", "file", "filename")


@dataclass(frozen=True)
class Listing:
    """The photos to scan; ``root`` is what their paths are relative to, ``note`` says what was left out and why."""

    root: Path
    photos: list[PhotoFile]
    note: str = ""


def list_photos(source: Path) -> Listing:
    """List the photos of a folder (recursively), a published class folder or a CSV with a column ``image_path``.

    Raises ``InputError`` with one sentence on what was found and what is needed.
    """
    if source.suffix.lower() == ".csv" and source.is_file():
        return Listing(source.parent, _read_csv(source), f"photos listed in {source.name}")
    _refuse_whole_data_set(source)
    for reader in (_mvtec, _visa):
        listing = reader(source)
        if listing is not None:
            return listing
    return Listing(source, find_photos(source))


def _mvtec(folder: Path) -> Listing | None:
    """MVTec AD, MVTec LOCO and BTAD: test/<kind>/, ground_truth/<kind>/, usually train/."""
    if not ((folder / "test").is_dir() and (folder / "ground_truth").is_dir()):
        return None
    return _part_of(folder, "test", "a published tree (test, ground_truth): only its test photos are scanned")


def _visa(folder: Path) -> Listing | None:
    """VisA: Data/Images/{Normal,Anomaly}, Data/Masks."""
    data = folder / "Data" if (folder / "Data").is_dir() else folder
    if not ((data / "Images").is_dir() and (data / "Masks").is_dir()):
        return None
    part = (data / "Images").relative_to(folder).as_posix()
    return _part_of(folder, part, "a VisA class (Images, Masks): only its photos are scanned")


def _part_of(folder: Path, part: str, note: str) -> Listing:
    photos = [replace(photo, path=f"{part}/{photo.path}") for photo in find_photos(folder / part)]
    return Listing(folder, photos, note)


def _refuse_whole_data_set(folder: Path) -> None:
    """A folder of classes is several products; scanning them together would make each look odd to the others."""
    if not folder.is_dir():
        return
    try:
        below = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    except PermissionError:
        return  # find_photos words it
    classes = [
        child.name
        for child in below
        if ((child / "test").is_dir() and ((child / "ground_truth").is_dir() or (child / "train").is_dir()))
        or (child / "Data" / "Images").is_dir()
    ]
    if len(classes) > 1:
        raise InputError(
            f"{str(folder)!r} holds {len(classes)} data sets ({', '.join(classes[:4])}, ...). "
            f"Scan one product at a time, for example {str(folder / classes[0])!r}."
        )


def _read_csv(file: Path) -> list[PhotoFile]:
    """Column ``image_path`` (or path, image, file, filename); paths relative to the CSV's folder; the rest ignored."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as handle:
            rows = csv.DictReader(handle)
            columns = rows.fieldnames or []
            column = next((name for name in columns if name.strip().lower() in _PATH_COLUMNS), None)
            if column is None:
                raise InputError(
                    f"{str(file)!r} has the columns {', '.join(columns) or '(none)'}; "
                    f"one of {', '.join(_PATH_COLUMNS)} is needed."
                )
            paths = [row[column].strip() for row in rows if (row[column] or "").strip()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"Cannot read {str(file)!r}: {error}. A UTF-8 CSV with a column image_path is needed."
        ) from error
    unique = dict.fromkeys(paths)
    if not unique:
        raise InputError(f"{str(file)!r} lists no photos below its header.")
    return [PhotoFile(Path(path).as_posix(), file.parent / path) for path in unique]
