"""Which files of a folder are the photos to scan: a plain folder, a CSV, or one class of a published data set.

Labels and masks are never read here; a published tree is only recognised so that its masks and training photos are
not scanned along.
"""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass, replace
from pathlib import Path

from blemish.errors import InputError
from blemish.inputs.images import PhotoFile, find_photos

__all__ = ["Listing", "has_photos", "list_photos"]

_PATH_COLUMNS = ("image_path", "path", "image", "file", "filename")


@dataclass(frozen=True)
class Listing:
    """The photos to scan; ``root`` is what their paths are relative to, ``note`` says what was left out and why."""

    root: Path
    photos: list[PhotoFile]
    note: str = ""


def has_photos(folder: Path) -> bool:
    """Whether some file below, not in an earlier run, has the name of a photo."""
    try:
        return bool(find_photos(folder)[0])
    except InputError:
        return False


def list_photos(source: Path) -> Listing:
    """List the photos of a folder (recursively), a published class folder or a CSV with a column ``image_path``.

    Raises ``InputError`` with one sentence on what was found and what is needed.
    """
    if source.suffix.lower() == ".csv" and source.is_file():
        return _read_csv(source)
    _refuse_whole_data_set(source)
    for reader in (_mvtec, _visa):
        listing = reader(source)
        if listing is not None:
            return listing
    photos, runs = find_photos(source)
    return Listing(source, photos, f"{runs} earlier runs in it passed over" if runs else "")


def _mvtec(folder: Path) -> Listing | None:
    """MVTec AD, MVTec LOCO and BTAD: test/<kind>/, ground_truth/<kind>/, usually train/."""
    if not (_is_dir(folder / "test") and _is_dir(folder / "ground_truth")):
        return None
    return _part_of(folder, "test", "a published tree (test, ground_truth): only its test photos are scanned")


def _visa(folder: Path) -> Listing | None:
    """VisA: Data/Images/{Normal,Anomaly}, Data/Masks."""
    data = folder / "Data" if _is_dir(folder / "Data") else folder
    if not (_is_dir(data / "Images") and _is_dir(data / "Masks")):
        return None
    part = (data / "Images").relative_to(folder).as_posix()
    return _part_of(folder, part, "a VisA class (Images, Masks): only its photos are scanned")


def _part_of(folder: Path, part: str, note: str) -> Listing:
    photos, _ = find_photos(folder / part)
    return Listing(folder, [replace(photo, path=f"{part}/{photo.path}") for photo in photos], note)


def _refuse_whole_data_set(folder: Path) -> None:
    """A folder of classes is several products; scanning them together would make each look odd to the others."""
    try:
        below = sorted(child for child in folder.iterdir() if _is_dir(child) and not child.name.startswith("."))
    except OSError:
        return  # find_photos words it
    classes = [
        child.name
        for child in below
        if (_is_dir(child / "test") and (_is_dir(child / "ground_truth") or _is_dir(child / "train")))
        or _is_dir(child / "Data" / "Images")
    ]
    if len(classes) > 1:
        raise InputError(
            f"{str(folder)!r} holds {len(classes)} data sets ({', '.join(classes[:4])}, ...). "
            f"Scan one product at a time, for example {str(folder / classes[0])!r}."
        )


def _is_dir(folder: Path) -> bool:
    return os.path.isdir(folder)  # noqa: PTH112 - Path.is_dir raises where a parent may not be entered


def _read_csv(file: Path) -> Listing:
    """Column ``image_path`` (or path, image, file, filename), separated by comma or semicolon; the rest is ignored.

    Relative paths start at the CSV's folder. The photos' paths in the result are relative to that folder, or, if some
    photos lie elsewhere, to the folder that holds them all."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        header = text.partition("\n")[0]
        rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=";" if ";" in header else ",")
        columns = [name.strip() for name in rows.fieldnames or []]
        rows.fieldnames = columns
        column = next((name for name in columns if name.lower() in _PATH_COLUMNS), None)
        if column is None:
            raise InputError(
                f"{str(file)!r} has the columns {', '.join(columns) or '(none)'}; "
                f"one of {', '.join(_PATH_COLUMNS)} is needed."
            )
        listed = [row[column].strip() for row in rows if (row[column] or "").strip()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"Cannot read {str(file)!r}: {error}. A UTF-8 CSV with a column image_path is needed."
        ) from error
    if not listed:
        raise InputError(f"{str(file)!r} lists no photos below its header.")
    folder = Path.cwd() / file.parent  # links are kept as they are: the user knows the photos by those names
    folder = Path(os.path.normpath(folder))
    files = [Path(os.path.normpath(folder / path)) for path in dict.fromkeys(listed)]
    try:
        root = Path(os.path.commonpath([folder, *(photo.parent for photo in files)]))
    except ValueError as error:
        raise InputError(f"{str(file)!r} lists photos on several drives; list those of one drive.") from error
    photos = {photo.relative_to(root).as_posix(): photo for photo in files}
    return Listing(root, [PhotoFile(path, photo) for path, photo in photos.items()], f"photos listed in {file.name}")
