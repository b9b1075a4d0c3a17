"""Which volumes a folder holds: a plain folder of NIfTI files and DICOM series, or a BIDS data set.

Masks beside volumes are told by their names and never taken for volumes. Brain masks may come from a folder of their
own, or from a BIDS data set's derivatives; masks of lesions are never looked for.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from blemish.errors import InputError
from blemish.inputs.images import _is_run, natural_key
from blemish.inputs.volume_dicom import find_series, is_dicom
from blemish.inputs.volume_nifti import NIFTI_SUFFIXES

__all__ = [
    "VolumeFile",
    "VolumeListing",
    "entities_of",
    "files_below",
    "find_brain_masks",
    "find_volumes",
    "holds_volumes",
    "stem_of",
    "subject_of",
]

_MASK_NAME = re.compile(r"(^|[_\-. ])(mask|masks|seg|dseg|probseg|label|labels|lesion|roi)$", re.IGNORECASE)
_ENTITY = re.compile(r"(?:^|[_/])(sub|ses)-([a-zA-Z0-9+]+)")
_MODALITIES = {  # as names have them, in lower case -> as BIDS writes them
    **dict.fromkeys(("t1w", "t1", "t1n", "mprage"), "T1w"),
    **dict.fromkeys(("t1ce", "t1c", "t1gd"), "T1ce"),
    **dict.fromkeys(("t2w", "t2"), "T2w"),
    **dict.fromkeys(("flair", "t2f"), "FLAIR"),
    "pdw": "PDw",
    **{name: name for name in ("dwi", "adc", "swi", "ct", "pet")},
}
_BIDS_FOLDERS = ("anat", "ct", "pet")
_BIDS_ELSEWHERE = ("derivatives", "sourcedata", "code")


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """``path``: relative to the scanned folder, with forward slashes; of a series that of its folder. ``files``: one
    NIfTI file, or the slices of a DICOM series. ``modality``: T1w, FLAIR, CT, ... as names or tags have it, or "".
    ``brain``: its brain mask, where there is one."""

    path: str
    files: tuple[Path, ...]
    modality: str = ""
    brain: Path | None = None

    @property
    def is_series(self) -> bool:
        return not self.files[0].name.lower().endswith(NIFTI_SUFFIXES)


@dataclass(frozen=True)
class VolumeListing:
    """``volumes`` in natural order; ``notes``: what was left out and why, a sentence each."""

    root: Path
    volumes: list[VolumeFile]
    notes: tuple[str, ...] = ()


def find_volumes(folder: Path, modality: str | None = None) -> VolumeListing:
    """All volumes below ``folder``.

    ``modality``: which to take (``T1w``, ``FLAIR``), as a BIDS data set's suffixes, the names of files or DICOM tags
    have it; needed in a BIDS data set of several, as volumes of different modalities must not be compared. Raises
    ``InputError`` if there is no such folder, nothing in it or of that modality, or the choice is open.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {str(folder)!r}. Type the path of a folder that holds volumes.")
    if _is_run(folder):
        raise InputError(f"{str(folder)!r} is a run of blemish, not a folder of volumes.")
    listing = _bids(folder, modality) if (folder / "dataset_description.json").is_file() else _plain(folder, modality)
    if not listing.volumes:
        left_out = f" ({'; '.join(listing.notes)})" if listing.notes else ""
        raise InputError(
            f"{str(folder)!r} holds no volumes{left_out}. Readable are {', '.join(NIFTI_SUFFIXES)} and DICOM series."
        )
    return listing


def holds_volumes(folder: Path) -> bool:
    """Whether some file below is a volume, or looks like one: enough to say what kind of folder it is."""
    return folder.is_dir() and any(
        file.name.lower().endswith(NIFTI_SUFFIXES) or is_dicom(file) for file in files_below(folder)
    )


def find_brain_masks(folder: Path, listing: VolumeListing) -> VolumeListing:
    """The listing with the brain masks of ``folder``: at a volume's own relative path, or anywhere below under its
    name, with or without ``_mask`` or ``_brain_mask`` behind it. A volume of the listing is no mask, so that ``folder``
    may be the one that holds both. Raises ``InputError`` if it fits none of them."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {str(folder)!r}. Give the folder that holds the brain masks.")
    own = {file.resolve() for volume in listing.volumes for file in volume.files}
    masks = [
        file for file in files_below(folder) if file.name.lower().endswith(NIFTI_SUFFIXES) and file.resolve() not in own
    ]
    by_path = {file.relative_to(folder).as_posix(): file for file in masks}
    by_stem: dict[str, list[Path]] = {}
    for file in masks:
        stem = re.sub(r"(_desc-brain|_brain)?[_-]mask$", "", stem_of(file.name))
        by_stem.setdefault(stem, []).append(file)
    once = Counter(stem_of(volume.path) for volume in listing.volumes)
    found = []
    for volume in listing.volumes:
        stem = stem_of(volume.path)
        named = by_stem.get(stem, [])
        mask = by_path.get(volume.path) or (named[0] if len(named) == 1 and once[stem] == 1 else None)
        found.append(replace(volume, brain=mask or volume.brain))
    without = sum(volume.brain is None for volume in found)
    if without == len(found):
        raise InputError(
            f"None of the {len(masks)} masks in {str(folder)!r} is named as a volume is. What is looked for is "
            f"{stem_of(found[0].path)}_mask.nii.gz for {found[0].path}."
        )
    note = (
        (f"{without} of {len(found)} volumes have no brain mask; theirs are made from the voxels",) if without else ()
    )
    return replace(listing, volumes=found, notes=listing.notes + note)


def subject_of(path: str) -> str:
    """``01`` of ``sub-01/anat/sub-01_ses-2_T1w.nii.gz``, or of a series in ``sub-01/ses-2``; "" if no part says it."""
    return entities_of(path).get("sub", "")


def entities_of(path: str) -> dict[str, str]:
    """``{"sub": "01", "ses": "2"}``: what the names in a path say of the two; the file before its folders."""
    return dict(_ENTITY.findall(path))


def stem_of(path: str) -> str:
    """The name of a path without folders and without .nii or .nii.gz."""
    name = path.rsplit("/", 1)[-1]
    return next((name[: -len(suffix)] for suffix in NIFTI_SUFFIXES if name.lower().endswith(suffix)), name)


def _plain(folder: Path, modality: str | None) -> VolumeListing:
    """NIfTI files, and the DICOM series of every folder; names of masks are passed over."""
    found: list[VolumeFile] = []
    masks = 0
    by_folder: dict[Path, list[Path]] = {}
    for file in files_below(folder):
        if not file.name.lower().endswith(NIFTI_SUFFIXES):
            if file.suffix.lower() in {".dcm", ".ima", ""} or file.suffix[1:].isdecimal():
                by_folder.setdefault(file.parent, []).append(file)
        elif _MASK_NAME.search(stem_of(file.name)):
            masks += 1
        else:
            found.append(VolumeFile(_relative(file, folder), (file,), _modality_of(stem_of(file.name))))
    for where, files in by_folder.items():
        series = find_series([file for file in files if is_dicom(file)])
        base = _relative(where, folder)
        for number, one in enumerate(series, start=1):
            alone = len(series) == 1 and base != "."
            path = base if alone else f"{base}/series-{one.number or number}".removeprefix("./")
            while any(path == other.path for other in found):
                path += "-again"
            found.append(VolumeFile(path, one.files, one.modality))
    notes = (f"{masks} masks passed over, as their names say",) if masks else ()
    kept, others = _of_modality(folder, found, modality)
    return VolumeListing(folder, sorted(kept, key=lambda volume: natural_key(volume.path)), notes + others)


def _bids(folder: Path, modality: str | None) -> VolumeListing:
    """sub-*/[ses-*/]anat/*_<suffix>.nii.gz, with brain masks from beside them or from derivatives/."""
    found: list[VolumeFile] = []
    brains: dict[tuple[str, str], list[Path]] = {}
    for file in files_below(folder):
        if not file.name.lower().endswith(NIFTI_SUFFIXES):
            continue
        stem, parts = stem_of(file.name), file.relative_to(folder).parts
        entities = entities_of(stem)
        suffix = stem.rsplit("_", 1)[-1]
        if suffix == "mask":
            if "desc-brain" in stem:
                brains.setdefault((entities.get("sub", ""), entities.get("ses", "")), []).append(file)
        elif parts[0] not in _BIDS_ELSEWHERE and file.parent.name in _BIDS_FOLDERS and "sub" in entities:
            found.append(VolumeFile(_relative(file, folder), (file,), suffix))
    kinds = Counter(volume.modality for volume in found)
    if modality is None and len(kinds) > 1:
        raise InputError(
            f"{str(folder)!r} holds {_counted(kinds)}. Compare one modality at a time, for example {min(kinds)}."
        )
    kept, notes = _of_modality(folder, found, modality)
    placed = []
    for volume in kept:
        entities = entities_of(stem_of(volume.path))
        masks = brains.get((entities["sub"], entities.get("ses", "")), [])
        # a standard space's mask is of another grid; where several are left none is sure to be this volume's
        own = [mask for mask in masks if "_space-" not in mask.name]
        placed.append(replace(volume, brain=own[0] if len(own) == 1 else None))
    return VolumeListing(folder, sorted(placed, key=lambda volume: natural_key(volume.path)), notes)


def _of_modality(
    folder: Path, found: list[VolumeFile], modality: str | None
) -> tuple[list[VolumeFile], tuple[str, ...]]:
    """Those of ``modality``, all if it is None, and a note on the others. Raises ``InputError`` if there is none."""
    if modality is None or not found:
        return found, ()
    kinds = Counter(volume.modality for volume in found)
    if not any(kinds):
        raise InputError(
            f"No name of the {len(found)} volumes in {str(folder)!r} says a modality, as p01_T1w.nii.gz does. Leave "
            f"--modality {modality} out, or give a folder that holds nothing else."
        )
    wanted = {modality.casefold(), _modality_of(modality).casefold()}
    kept = [volume for volume in found if volume.modality and volume.modality.casefold() in wanted]
    if not kept:
        raise InputError(f"{str(folder)!r} holds no {modality} volumes, but {_counted(kinds)}.")
    left = len(found) - len(kept)
    return kept, (f"{left} volumes of other modalities passed over",) if left else ()


def _modality_of(stem: str) -> str:
    """What the last part of a file's name says that is a modality; "" if none does. Folders may be called anything."""
    for part in reversed(re.split(r"[_\-. ]", stem)):
        if part.lower() in _MODALITIES:
            return _MODALITIES[part.lower()]
    return ""


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} {name or 'whose names say none'}" for name, count in sorted(kinds.items()))


def files_below(folder: Path) -> list[Path]:
    """All files below, without hidden ones and earlier runs (whose maps are volumes too); links to folders are not
    followed: they can lead in circles."""
    files: list[Path] = []
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not _is_run(Path(where) / name))
        files += [Path(where) / name for name in sorted(names) if not name.startswith(".")]
    return files


def _relative(file: Path, folder: Path) -> str:
    path = file.relative_to(folder).as_posix().encode("utf-8", "surrogateescape")
    return path.decode("utf-8", "backslashreplace")
