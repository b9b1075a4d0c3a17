"""The folder ``volumes/`` of a run of volumes: where each one's cube lies in its file, so that maps, masks and lesions
can be made again after a decision or for another threshold.

Of the files it holds names, geometry and brain masks, and nothing else of their headers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from blemish.errors import InputError
from blemish.inputs.volume_geometry import Geometry
from blemish.inputs.volume_grid import Box, Tilted
from blemish.inputs.volume_layouts import VolumeFile
from blemish.rescoring import write_arrays
from blemish.volume_space import Native, Volumes

__all__ = ["read", "write"]

FACTS, ARRAYS = "volumes.json", "volumes.npz"


def write(volumes: Volumes, folder: Path) -> None:
    """Fill a new ``folder``."""
    folder.mkdir()
    facts, arrays = [], []
    for row, (path, one) in enumerate(volumes.by_path.items()):
        facts.append(
            {
                "path": path,
                "files": [str(file.absolute()) for file in one.file.files],
                "sha256": one.sha256,
                "modality": one.file.modality,
                "brain": str(one.file.brain.absolute()) if one.file.brain else None,
                **_box_facts(one.box),
                "shape": one.geometry.shape,
                "nifti2": one.geometry.nifti2,
                "fields": list(one.geometry.fields),
            }
        )
        arrays += [(f"{row}.affine", one.geometry.affine), (f"{row}.inside", one.inside)]
        arrays.append((f"{row}.brain", np.frombuffer(one.packed, np.uint8)))
        arrays += [(f"{row}.{name}", value) for name, value in one.geometry.fields.items()]
    write_arrays(folder / ARRAYS, arrays)
    (folder / FACTS).write_text(json.dumps({"bids": volumes.bids, "volumes": facts}), encoding="utf-8")


def read(folder: Path) -> Volumes:
    """Raises ``InputError`` if ``folder`` is absent or damaged."""
    try:
        stored = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
            by_path = {facts["path"]: _native(facts, row, arrays) for row, facts in enumerate(stored["volumes"])}
        return Volumes(by_path, bool(stored["bids"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise InputError(
            f"{str(folder)!r} is missing or damaged ({error}). Scan the volumes again; tokens are cached, so it is "
            "quicker than the first time."
        ) from error


def _box_facts(box: Box | Tilted) -> dict[str, Any]:
    if isinstance(box, Tilted):
        return {**_box_facts(box.box), "tilt": box.matrix}
    return {"start": box.start, "stop": box.stop}


def _box(facts: dict[str, Any]) -> Box | Tilted:
    box = Box(tuple(facts["start"]), tuple(facts["stop"]))
    if "tilt" not in facts:
        return box
    first, second, third = ((float(x), float(y), float(z), float(by)) for x, y, z, by in facts["tilt"])
    return Tilted(box, (first, second, third))


def _native(facts: dict[str, Any], row: int, arrays: Any) -> Native:
    x, y, z = facts["shape"]
    brain = Path(facts["brain"]) if facts.get("brain") else None  # absent in a run from before they could grow
    fields = {name: arrays[f"{row}.{name}"] for name in facts["fields"]}
    return Native(
        file=VolumeFile(facts["path"], tuple(map(Path, facts["files"])), facts["modality"], brain),
        geometry=Geometry((x, y, z), arrays[f"{row}.affine"], fields, facts["nifti2"]),
        box=_box(facts),
        inside=arrays[f"{row}.inside"],
        packed=arrays[f"{row}.brain"].tobytes(),
        sha256=str(facts["sha256"]),
    )
