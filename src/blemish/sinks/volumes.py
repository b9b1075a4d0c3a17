"""maps/ of a run of volumes: the map and the mask of every volume on its own grid, as BIDS derivatives, and the table
patients.tsv. What the files look like is the business of ``nifti_bids``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote_from_bytes

import numpy as np

from blemish.errors import RunError
from blemish.result import Result
from blemish.sinks.masks import marked
from blemish.sinks.names import beside
from blemish.sinks.nifti_bids import MapFacts, marked_ml, output_names, write_dataset, write_maps, write_patients

__all__ = ["map_files", "write"]

MEANING = "How unlike the other volumes of its batch every place is; 0 outside of the brain."


def write(
    result: Result,
    folder: Path,
    home: Path,
    advance: Callable[[int], None],
    *,
    maps: bool = True,
    masks: bool = True,
    only: Collection[str] | None = None,
) -> None:
    """Fill ``folder``, which will lie at ``home``. ``maps``, ``masks``: which of the two; masks are those of volumes
    that are not ok. ``only``: paths whose map is written, by default all. ``advance(1)``: a volume."""
    volumes, judgement = result.volumes, result.judgement
    if volumes is None:
        raise RunError("these are photos")
    facts = MapFacts(MEANING, judgement.pixel_threshold if judgement else None, version("blemish"))
    names = output_names([photo.path for photo in result.scored], volumes.bids)
    not_ok = {photo.path for photo in marked(result)} if masks else set()
    millilitres: dict[str, float] = {}
    for row, photo in enumerate(result.scored):
        native, grid = volumes.by_path[photo.path], np.asarray(result.grids[row])
        mask = native.mask(grid, facts.threshold or 0.0) if photo.path in not_ok else None
        if mask is not None:
            millilitres[photo.path] = marked_ml(mask, native.geometry)
        wanted = maps and (only is None or photo.path in only)
        if wanted or mask is not None:
            source = f"bids:raw:{photo.path}" if volumes.bids else ""
            scores = native.scores(grid) if wanted else None
            write_maps(folder, names[photo.path], native.geometry, scores, mask, facts, source)
        advance(1)
    raw = _seen_from(home.resolve(), Path(result.manifest["source"])) if volumes.bids else ""
    write_dataset(folder, "Anomaly maps", facts.version, raw)
    write_patients(folder, result.photos, volumes.bids, millilitres)


def _seen_from(folder: Path, source: Path) -> str:
    """The relative URI of ``source``, so that derivatives that are passed on together with it keep their link and say
    little of the machine they were made on; on another drive, where there is none, the absolute one."""
    try:
        return quote_from_bytes(os.fsencode(Path(os.path.relpath(source, folder)).as_posix()))
    except ValueError:
        return source.as_uri()


def map_files(result: Result, folder: Path, path: str) -> tuple[Path, ...]:
    """The map of one volume in a folder that ``write`` has filled, and what stands beside it."""
    assert result.volumes is not None
    name = output_names([photo.path for photo in result.scored], result.volumes.bids)[path]
    return tuple(beside(folder, f"{name}_statmap", suffix) for suffix in (".nii.gz", ".json"))
