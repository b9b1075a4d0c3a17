"""The truth about a folder of volumes: masks of lesions as NIfTI files, found by name, or a CSV file.

Read are a BIDS data set or its derivatives (one mask for each subject and session), a folder of masks that are called
as the volumes are, and a CSV with the columns ``path``, ``label`` and ``mask``. An empty mask says that there is no
lesion; a volume without a mask has no truth, since nobody says that it is sound. It knows files, nothing of scores.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from blemish.errors import InputError, UnreadablePhoto
from blemish.inputs.truth import Truth, read_truth
from blemish.inputs.volume_layouts import VolumeFile, entities_of, files_below, stem_of
from blemish.inputs.volume_nifti import NIFTI_SUFFIXES, read_nifti

__all__ = ["read_volume_truth"]

_SUFFIX = re.compile(r"(_desc-lesion|_label-lesion|_lesion|_tumou?r)?[_-](mask|masks|seg|dseg|label|lesion|roi)$", re.I)
_ALONE = re.compile(r"(.*[_-])?(mask|seg|lesion|roi|label)s?$", re.I)
_BRAIN = re.compile(r"desc-brain|brain[_-]mask$|desc-anomaly", re.I)  # not of a lesion, or our own

_COLUMNS = {"path": "image_path", "mask": "mask_path"}


def read_volume_truth(root_or_csv: Path, volumes: Sequence[VolumeFile]) -> dict[str, Truth]:
    """Path of each of ``volumes`` that has a truth -> that. Raises ``InputError`` if there is none, a mask cannot be
    read, or two fit one volume."""
    if not root_or_csv.exists():
        raise InputError(
            f"There is no truth at {root_or_csv}. Give a folder of NIfTI masks called as the volumes are, BIDS "
            "derivatives, or a CSV file with the columns path, label and mask."
        )
    if not root_or_csv.is_dir():
        return read_truth(root_or_csv, [volume.path for volume in volumes], _COLUMNS)
    own = {file.resolve() for volume in volumes for file in volume.files}
    masks = [
        file
        for file in files_below(root_or_csv)
        if file.name.lower().endswith(NIFTI_SUFFIXES)
        and not _BRAIN.search(stem_of(file.name))
        and file.resolve() not in own
    ]
    found = {volume.path: mask for volume in volumes if (mask := _mask_of(volume, masks, root_or_csv))}
    if not found:
        example = f", for example {masks[0].name}" if masks else ""
        raise InputError(
            f"None of the {len(masks)} masks in {root_or_csv}{example} belongs to one of the run's {len(volumes)} "
            f"volumes. {volumes[0].path} looks for {stem_of(volumes[0].path)}.nii.gz or "
            f"{stem_of(volumes[0].path)}_mask.nii.gz; or give a CSV file with the columns path, label and mask."
        )
    return {path: _truth(mask) for path, mask in found.items()}


def _mask_of(volume: VolumeFile, masks: Sequence[Path], root: Path) -> Path | None:
    """By its own relative path; else by its name, alone or with a suffix; else by subject and session; else the only
    mask in a folder of the same name."""
    stem, subject = stem_of(volume.path), entities_of(stem_of(volume.path))
    ways = (
        [mask for mask in masks if mask.relative_to(root).as_posix() == volume.path],
        [mask for mask in masks if stem in (stem_of(mask.name), _SUFFIX.sub("", stem_of(mask.name)))],
        [
            mask
            for mask in masks
            if subject and _SUFFIX.search(stem_of(mask.name)) and entities_of(stem_of(mask.name)) == subject
        ],
        [
            mask
            for mask in masks
            if mask.parent != root
            and mask.parent.relative_to(root).as_posix() == volume.path.rpartition("/")[0]
            and _ALONE.match(stem_of(mask.name))
        ],
    )
    for found in ways:
        if len(found) > 1:
            raise InputError(
                f"Two masks in {root} could be that of {volume.path}: {found[0].relative_to(root).as_posix()} and "
                f"{found[1].relative_to(root).as_posix()}. Remove one, or give a CSV file with the columns path, label "
                "and mask."
            )
        if found:
            return found[0]
    return None


def _truth(mask: Path) -> Truth:
    try:
        drawn = bool((read_nifti(mask)[0] > 0).any())
    except UnreadablePhoto as reason:
        raise InputError(f"The mask {mask} cannot be read: {reason}. Replace it, or remove it.") from reason
    return Truth(drawn, "lesion" if drawn else "healthy", mask)
