"""The truth about a folder of photos, where somebody has drawn it up: which are defective, and where.

Two forms are read. An MVTec-like tree (``test/good/..``, ``test/<defect>/..``,
``ground_truth/<defect>/<stem>_mask.png``) of the very files that were scanned, and a CSV with columns
``image_path``, ``label`` and optionally ``mask_path``. It knows paths and masks, nothing of scores or
metrics.

Photos of a run are named relative to the scanned folder, which may have been the tree's root, a folder above
it or one below it; one such placement is chosen for the whole run, the one that finds most photos, so that
equal file names in other folders cannot lend a photo their label. Whatever finds no truth is absent from the
answer: nothing is guessed.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError

__all__ = ["Truth", "fit_mask", "read_mask", "read_truth"]

Mask = npt.NDArray[np.bool_]
Placement = tuple[str, str]  # (scanned folder below the root, folders of the run above the root)

IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
NORMAL = {"0", "0.0", "good", "normal", "ok"}


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of one photo. ``mask`` is a file, or a folder of files that are merged (MVTec LOCO); None
    for normal photos, and where a defective photo's mask does not exist."""

    label: bool  # True = defective
    kind: str  # folder name or label as given: good, crack, 1
    mask: Path | None


def read_truth(
    root_or_csv: Path, run_paths: Iterable[str], called: Mapping[str, str] | None = None
) -> dict[str, Truth]:
    """Find the truth for photos of a run.

    ``run_paths``: relative to the scanned folder, forward slashes. ``called``: other names that columns of a CSV may
    have -> those above. Returns the truth of those that have one.
    Raises ``InputError`` if there is no such file or folder, it has neither form, contradicts itself, fits
    the run in two ways, or fits no photo at all.
    """
    paths = list(run_paths)
    if not root_or_csv.exists():
        raise InputError(
            f"There is no truth at {root_or_csv}. Give the folder that holds test/good and test/<defect>, "
            "or a CSV file with the columns image_path and label."
        )
    if root_or_csv.is_dir():
        return _place(_tree(root_or_csv), paths, root_or_csv)
    return _match_table(_table(root_or_csv, called or {}), paths, root_or_csv)


def read_mask(path: Path) -> Mask:
    """A mask ``(H, W)``, true where any channel is above 0 (palette images: where the index is).

    Not a threshold at half: VisA numbers its kinds of defect 1, 2, 3. An alpha channel does not count.
    ``path`` may be a folder: its images are merged. Raises ``InputError`` for an unreadable file, an empty
    folder, and masks of one photo that differ in size.
    """
    if path.is_dir():
        parts = [_read_mask_file(file) for file in _images(path)]
        if not parts or len({part.shape for part in parts}) > 1:
            raise InputError(f"The mask folder {path} must hold images, all of one size.")
        return np.asarray(np.logical_or.reduce(parts))
    return _read_mask_file(path)


def fit_mask(mask: Mask, shape: tuple[int, int]) -> Mask:
    """Resize ``mask: (H, W)`` to ``shape``: a pixel is defective if at least half of its area is.

    A defect so small that nothing would remain keeps the pixel it covers most.
    """
    if mask.shape == shape:
        return mask
    covered = _area_mean(_area_mean(mask.astype(np.float64), shape[0]).T, shape[1]).T
    fitted: Mask = covered >= 0.5 - 1e-9  # the sums behind exactly one half are rounded
    if mask.any() and not fitted.any():
        fitted[np.unravel_index(np.argmax(covered), shape)] = True
    return fitted


def _tree(root: Path) -> dict[str, Truth]:
    """Every photo of the tree, relative to ``root``."""
    if (root / "test").is_dir():
        splits = [split for split in ("test", "train", "validation") if (root / split).is_dir()]
        folders = {f"{split}/{kind.name}": kind for split in splits for kind in _subfolders(root / split)}
        drawn = [root / "ground_truth"]
    else:
        folders = {kind.name: kind for kind in _subfolders(root)}
        drawn = [root / "ground_truth", root.parent / "ground_truth"]
    if not any(kind.name.lower() in NORMAL for kind in folders.values()):
        raise InputError(
            f"{root} is not a truth folder: it should hold test/good and test/<defect> (or good and <defect> "
            "themselves), with masks in ground_truth/<defect>. Or give a CSV file with the columns "
            "image_path and label."
        )
    found = {}
    for name, folder in folders.items():
        masks = _masks([base / folder.name for base in drawn])
        for file in _images(folder, nested=True):
            inner = file.relative_to(folder)
            defective = folder.name.lower() not in NORMAL
            mask = masks.get(inner.with_suffix("").as_posix()) if defective else None
            found[f"{name}/{inner.as_posix()}"] = Truth(defective, folder.name, mask)
    return found


def _masks(folders: list[Path]) -> dict[str, Path]:
    """Photo (relative to its defect folder, without suffix) -> its mask: ``x_mask.png``, ``x.png`` or folder
    ``x``."""
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            continue
        for file in _images(folder, nested=True):
            name = file.relative_to(folder).with_suffix("").as_posix()
            found.setdefault(name.removesuffix("_mask"), file)
            found.setdefault(name, file)
            if file.parent != folder:
                found.setdefault(file.parent.relative_to(folder).as_posix(), file.parent)
    return found


def _place(tree: Mapping[str, Truth], paths: list[str], root: Path) -> dict[str, Truth]:
    """Lay the run over the tree where most of its photos coincide with the tree's."""
    by_name = defaultdict(list)
    for known in tree:
        by_name[PurePosixPath(known).name].append(known)
    votes: Counter[Placement] = Counter()
    for path in paths:
        for known in by_name[PurePosixPath(path).name]:
            if known == path or known.endswith(f"/{path}"):
                votes[known.removesuffix(path), ""] += 1
            elif path.endswith(f"/{known}"):
                votes["", path.removesuffix(known)] += 1
    if not votes:
        raise _nothing_matches(root, "photos", paths, list(tree))
    below, above = _best(votes, root)
    placed = {path: below + path.removeprefix(above) for path in paths if path.startswith(above)}
    return {path: tree[known] for path, known in placed.items() if known in tree}


def _best(votes: Counter[Placement], root: Path) -> Placement:
    most = max(votes.values())
    best = [placement for placement, count in votes.items() if count == most]
    if len(best) > 1:  # equal names in train/good and test/good: photos to be inspected are the test
        best = [placement for placement in best if placement[0].startswith("test/")] or best
    if len(best) > 1:
        raise InputError(
            f"The photos of the run could be those in {root / best[0][0]} or in {root / best[1][0]}: the "
            "names are the same. Scan the folder that holds both, or give the truth as a CSV file."
        )
    return best[0]


def _table(file: Path, called: Mapping[str, str]) -> dict[str, Truth]:
    """Every row with a label, by its image path with forward slashes."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The truth file {file} cannot be read as UTF-8 text: {error}.") from error
    header = text.partition("\n")[0]
    rows = csv.DictReader(text.splitlines(), delimiter=";" if header.count(";") > header.count(",") else ",")
    rows.fieldnames = [called.get(name, name) for name in rows.fieldnames or ()]
    missing = {"image_path", "label"} - set(rows.fieldnames)
    if missing:
        raise InputError(
            f"The truth file {file} lacks the column {' and '.join(sorted(missing))}; its first line is "
            f"{header.strip()!r}. It needs image_path,label and may have mask_path."
        )
    found: dict[str, Truth] = {}
    for row in rows:
        path = _normalised(row["image_path"] or "")
        kind = (row["label"] or "").strip()
        if not path or not kind:
            continue
        truth = Truth(kind.lower() not in NORMAL, kind, _mask_of_row(file, row, kind))
        if found.setdefault(path, truth).label != truth.label:
            raise InputError(f"The truth file {file} calls {path} both normal and defective; keep one row.")
    return found


def _mask_of_row(file: Path, row: Mapping[str, str | None], kind: str) -> Path | None:
    name = (row.get("mask_path") or "").strip().replace("\\", "/")
    mask = file.parent / name
    return mask if name and kind.lower() not in NORMAL and mask.exists() else None


def _match_table(table: Mapping[str, Truth], paths: list[str], file: Path) -> dict[str, Truth]:
    """Equal paths first; else one path is the trailing part of the other, and of no other path."""
    found = {path: table[path] for path in paths if path in table}
    open_paths = [path for path in paths if path not in found]
    by_name = defaultdict(list)
    for known in table:
        if known not in found:
            by_name[PurePosixPath(known).name].append(known)
    pairs = [
        (path, known)
        for path in open_paths
        for known in by_name[PurePosixPath(path).name]
        if known.endswith(f"/{path}") or path.endswith(f"/{known}")
    ]
    of_path, of_known = Counter(path for path, _ in pairs), Counter(known for _, known in pairs)
    found |= {path: table[known] for path, known in pairs if of_path[path] == 1 and of_known[known] == 1}
    if not found:
        raise _nothing_matches(file, "image_path entries", paths, list(table))
    return found


def _nothing_matches(source: Path, what: str, paths: list[str], known: list[str]) -> InputError:
    return InputError(
        f"None of the run's {len(paths)} photos fits the {len(known)} {what} of {source}: the run has, for "
        f"example, {paths[0] if paths else 'nothing'!r}, the truth {known[0] if known else 'nothing'!r}. "
        "Give the truth of the folder that was scanned."
    )


def _normalised(path: str) -> str:
    return path.strip().replace("\\", "/").removeprefix("./")


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name != "ground_truth")


def _images(folder: Path, *, nested: bool = False) -> list[Path]:
    found = folder.rglob("*") if nested else folder.iterdir()
    return sorted(path for path in found if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def _read_mask_file(path: Path) -> Mask:
    from PIL import Image

    try:
        with Image.open(path) as image:
            # being opaque does not make a part of the mask a defect
            pixels = np.asarray(image.convert("RGB") if "A" in image.getbands() else image)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"The mask {path} cannot be read ({error}). Replace it, or remove it.") from error
    return np.asarray(pixels > 0 if pixels.ndim == 2 else (pixels > 0).any(axis=2))


def _area_mean(image: npt.NDArray[np.float64], rows: int) -> npt.NDArray[np.float64]:
    """Resize the first axis to ``rows`` by exact area averages: differences of the running integral."""
    height = image.shape[0]
    integral = np.concatenate([np.zeros((1, image.shape[1])), np.cumsum(image, axis=0)])
    edges = np.linspace(0, height, rows + 1)
    lower = np.minimum(edges.astype(np.intp), height - 1)
    at_edges = integral[lower] + (edges - lower)[:, None] * image[lower]
    return np.asarray(np.diff(at_edges, axis=0) * (rows / height))
