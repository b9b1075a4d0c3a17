"""Maps and masks of volumes as NIfTI files on the grid of their inputs, laid out as BIDS derivatives, with a table.

    sub-01/anat/sub-01_space-orig_desc-anomaly_statmap.nii.gz   float32, the score of every voxel
    sub-01/anat/sub-01_space-orig_desc-anomaly_mask.nii.gz      uint8, 1 where it stands out
    ... .json beside each, dataset_description.json, README, .bidsignore, patients.tsv, patients.json

A plain folder's maps lie at the volumes' own relative paths: ``a/b_desc-anomaly_statmap.nii.gz`` for ``a/b.nii.gz``.

Entities: those of the source but its suffix and ``desc``; ``space-orig``, as the specification asks of masks that were
not transformed; ``desc-anomaly``. ``mask`` is a suffix of BIDS 1.10. No released version has one for a map of scores:
``statmap`` is the suffix of the draft on statistical models (BEP 041), which nilearn and fitlins write too, and
``.bidsignore`` names it. ``probseg`` would claim a probability, ``T1w`` a preprocessed image.

Of the inputs' headers geometry alone is written; free text, extensions and DICOM tags never come as far as here.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.inputs.volume_geometry import Geometry
from blemish.inputs.volume_layouts import entities_of, stem_of
from blemish.inputs.volume_nifti import nifti_image
from blemish.result import Photo
from blemish.sinks.names import beside

__all__ = ["MapFacts", "marked_ml", "output_names", "write_dataset", "write_maps", "write_patients"]

Array = npt.NDArray[Any]

BIDS_VERSION = "1.10.0"
LEVEL = 3  # of gzip: two thirds of the time of level 6, for maps that are 2 % larger
IGNORED = ("*_statmap.*", "patients.*")  # what the BIDS validator does not know
README = (
    "Score maps and masks of a batch of volumes that blemish compared with each other, each on its volume's own grid.\n"
    "A high score means unlike the rest of the batch. It is no diagnosis.\n"
)
_DESC = re.compile(r"_desc-[a-zA-Z0-9+]+")


@dataclass(frozen=True, slots=True)
class MapFacts:
    """What all maps of a run have in common. ``meaning``: of a map value, a sentence. ``threshold``: the map value that
    seeds a region of the mask; None where nothing was judged. ``version``: of blemish."""

    meaning: str
    threshold: float | None
    version: str


def output_names(paths: Sequence[str], bids: bool) -> dict[str, str]:
    """Path of every volume, as listed -> the relative path of what is written about it, without suffix.

    No two are alike: where only suffix or file type differ, ``desc-anomaly`` is counted on."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for path in paths:
        base, again = _base(path, bids), 1
        while f"{base}{again}".casefold() in taken:
            again += 1
        taken.add(f"{base}{again}".casefold())
        names[path] = base + (str(again) if again > 1 else "")
    return names


def write_maps(
    folder: Path,
    name: str,
    geometry: Geometry,
    scores: Array | None,
    marked: Array | None,
    facts: MapFacts,
    source: str = "",
) -> None:
    """The map of one volume, its mask, and a JSON file beside each.

    ``name``: of ``output_names``. ``scores``: (X, Y, Z) in RAS order, stored as float32; None writes no map, where it
    is there already. ``marked``: the same shape, above 0 where the volume stands out; None writes no mask. ``source``:
    URI of the volume, as BIDS has it (``bids:raw:sub-01/anat/sub-01_T1w.nii.gz``). Raises ``ValueError`` for another
    shape than the volume's or values that are not finite."""
    if scores is not None and not np.isfinite(scores).all():
        raise ValueError(f"the map of {name} holds values that are not finite")
    about: dict[str, Any] = {
        **({"Sources": [source]} if source else {}),
        "SpatialReference": source or "orig",
        "GeneratedBy": [{"Name": "blemish", "Version": facts.version}],
    }
    threshold = {} if facts.threshold is None else {"Threshold": facts.threshold}
    if scores is not None:
        described = {"Description": facts.meaning, "Units": "arbitrary", "HigherMeans": "more unusual", **threshold}
        _write(folder, f"{name}_statmap", geometry, np.asarray(scores, np.float32), {**described, **about})
    if marked is not None:
        mask = np.asarray(marked > 0, np.uint8)
        described = {
            "Description": "1: a region that stands out of the score map; 0: elsewhere.",
            "Type": "ROI",
            **threshold,
            "MarkedVolume": round(marked_ml(mask, geometry), 4),
            "MarkedVolumeUnits": "mL, by the header's spacing",
        }
        _write(folder, f"{name}_mask", geometry, mask, {**described, **about})


def marked_ml(marked: Array, geometry: Geometry) -> float:
    """Millilitres of the voxels above 0, as large as the header says that they are."""
    return float(np.count_nonzero(marked > 0) * abs(np.linalg.det(geometry.affine[:3, :3])) / 1000)


def write_dataset(folder: Path, title: str, version: str, raw: str = "") -> None:
    """What makes a folder of maps a BIDS derivative. ``raw``: URI of the source data set, seen from
    ``folder`` (``../..`` below its ``derivatives``); "" where that is not said."""
    described = {
        "Name": title,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "blemish", "Version": version}],
        **({"DatasetLinks": {"raw": raw}} if raw else {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    _json(folder / "dataset_description.json", described)
    (folder / ".bidsignore").write_text("\n".join(IGNORED) + "\n", encoding="utf-8")
    (folder / "README").write_text(README, encoding="utf-8")


def write_patients(folder: Path, photos: Iterable[Photo], bids: bool, marked: Mapping[str, float]) -> None:
    """patients.tsv: one row a volume, as ``participants.tsv`` is written, and what its columns mean in patients.json.

    ``photos``: the result's rows, in its order. ``marked``: path -> millilitres that stand out."""
    ids = ("participant_id", "session_id") if bids else ()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "patients.tsv").open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as table:
        table.write("\t".join((*ids, *_COLUMNS)) + "\n")
        for photo in photos:
            found = {entity: f"{entity}-{label}" for entity, label in entities_of(photo.path).items()}
            values: list[Any] = [found.get("sub"), found.get("ses")] if bids else []
            values += [marked.get(photo.path) if name == "marked_ml" else getattr(photo, name) for name in _COLUMNS]
            table.write("\t".join(map(_cell, values)) + "\n")
    _json(folder / "patients.json", _COLUMNS)


_COLUMNS: dict[str, dict[str, Any]] = {
    "path": {"Description": "the volume, relative to the scanned folder"},
    "score": {"Description": "anomaly score of the volume; higher is more unusual", "Units": "arbitrary"},
    "rank": {"Description": "1 is the most unusual"},
    "verdict": {
        "Description": "what the run calls the volume",
        "Levels": {
            "ok": "does not stand out",
            "blemished": "stands out of the batch",
            "unsure": "a person should look",
        },
    },
    "low": {"Description": "lower end of the score's 90 % interval", "Units": "arbitrary"},
    "high": {"Description": "upper end of the score's 90 % interval", "Units": "arbitrary"},
    "regions": {"Description": "regions in its mask"},
    "marked_ml": {"Description": "volume of these regions, by the header's spacing", "Units": "mL"},
    "status": {"Description": "ok, or unreadable"},
    "reason": {"Description": "why it is unreadable, or why a person should look"},
}


def _base(path: str, bids: bool) -> str:
    """Without .nii.gz; of a BIDS name without its suffix and what is not the source's any more."""
    whole = PurePosixPath(path)
    stem = stem_of(whole.name) or "volume"  # a series that lies in the scanned folder itself has the path "."
    if bids:
        stem = _DESC.sub("", stem.rpartition("_")[0] or stem)
        stem += "" if "_space-" in stem else "_space-orig"
    return (whole.parent / f"{stem}_desc-anomaly").as_posix()


def _write(folder: Path, name: str, geometry: Geometry, ras: Array, about: dict[str, Any]) -> None:
    if ras.shape != geometry.ras_shape:
        raise ValueError(f"{name}: an array of {ras.shape} for a volume of {geometry.ras_shape}")
    image = nifti_image(np.ascontiguousarray(geometry.to_stored(ras)), geometry)
    file = beside(folder, name, ".nii.gz")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(image.to_bytes(), LEVEL, mtime=0))  # no time: equal maps are equal files
    _json(beside(folder, name, ".json"), about)


def _json(file: Path, values: Any) -> None:
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    file.write_text(text, encoding="utf-8", errors="backslashreplace")


def _cell(value: Any) -> str:
    """BIDS tables: n/a for what is missing, and neither tabs nor line ends."""
    if value is None or value == "":
        return "n/a"
    return re.sub(r"[\t\r\n]", " ", str(value))
