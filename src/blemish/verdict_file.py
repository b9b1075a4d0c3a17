"""The folder ``verdict/`` of a run: what another threshold needs, so that nothing is scored again.

It knows files, not what is in them.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError
from blemish.judgement import Interval, Lesion, Region
from blemish.rescoring import write_arrays
from blemish.verdict import Estimate
from blemish.verdict.mixture import Fit

__all__ = ["Kept", "read", "write", "write_regions"]

ESTIMATE, MAPS, REGIONS, FACTS = "estimate.npz", "maps.npy", "regions.json", "facts.json"
ARRAYS = ("scores", "defective", "low", "high", "learnt")
MODEL = ("defective", "shares", "share_weights", "centre", "spread", "skew", "weights")


@dataclass(frozen=True)
class Kept:
    """Everything is in the order of the run's rows, most anomalous first."""

    estimated: Estimate
    grids: npt.NDArray[np.float32]  # (B, h, w), or (B, x, y, z) of volumes, read where they are looked at
    maxima: npt.NDArray[np.float32]  # (P, B) largest score in each matching pass, where there are several
    level: float  # map value that seeds a region
    products: tuple[int, ...]
    regions: dict[str, tuple[Region, ...]]
    lesions: dict[str, tuple[Lesion, ...]]  # of volumes, which have no regions


def write(
    estimated: Estimate,
    grids: npt.NDArray[np.float32],
    maxima: Sequence[npt.NDArray[np.float32]],
    level: float,
    products: Sequence[int],
    regions: Mapping[str, tuple[Region | Lesion, ...]],
    folder: Path,
) -> None:
    """Fill a new ``folder``."""
    folder.mkdir()
    arrays = [(name, getattr(estimated, name)) for name in ARRAYS]
    arrays += [(f"model_{name}", getattr(estimated.model, name)) for name in MODEL]
    arrays.append(("maxima", np.array(maxima, dtype=np.float32).reshape(-1, len(grids))))
    write_arrays(folder / ESTIMATE, arrays)
    np.save(folder / MAPS, grids)
    facts = {
        "share": asdict(estimated.share),
        "at_least": estimated.at_least,
        "overlapping": estimated.overlapping,
        "logarithmic": estimated.logarithmic,
        "level": level,
        "products": list(products),
    }
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")
    write_regions(regions, folder)


def write_regions(regions: Mapping[str, tuple[Region | Lesion, ...]], folder: Path) -> None:
    """Those that were ever asked for, so that they are not found again."""
    rows = {path: [list(asdict(region).values()) for region in found] for path, found in regions.items()}
    handle, unfinished = tempfile.mkstemp(dir=folder, prefix=REGIONS, suffix=".part")  # two commands may be at it
    os.close(handle)
    Path(unfinished).write_text(json.dumps(rows), encoding="utf-8")
    Path(unfinished).replace(folder / REGIONS)


def read(folder: Path) -> Kept:
    """Raises ``InputError`` if ``folder`` is absent or damaged."""
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        regions = json.loads((folder / REGIONS).read_text(encoding="utf-8"))
        with (folder / ESTIMATE).open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
            estimated = Estimate(
                **{name: stored[name] for name in ARRAYS},
                share=Interval(**facts["share"]),
                at_least=bool(facts["at_least"]),
                overlapping=bool(facts["overlapping"]),
                logarithmic=bool(facts["logarithmic"]),
                model=Fit(**{name: stored[f"model_{name}"] for name in MODEL}),
            )
            maxima = stored["maxima"] if "maxima" in stored else np.zeros((0, len(stored["scores"])), np.float32)
        grids = np.load(folder / MAPS, mmap_mode="r", allow_pickle=False)
        lengths = {len(getattr(estimated, name)) for name in ARRAYS} | {len(grids), maxima.shape[1]}
        if len(lengths) > 1 or grids.ndim not in (3, 4):
            raise ValueError("its files do not fit together")
        return Kept(
            estimated=estimated,
            grids=grids,
            maxima=maxima,
            level=float(facts["level"]),
            products=tuple(facts["products"]),
            regions={path: tuple(map(_region, found)) for path, found in regions.items()} if grids.ndim == 3 else {},
            lesions={path: tuple(map(_lesion, found)) for path, found in regions.items()} if grids.ndim == 4 else {},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, BadZipFile) as error:
        raise InputError(
            f"{str(folder)!r} is missing or damaged, so the threshold cannot be moved ({error}). "
            "Scan again; features are cached, so it is quicker than the first time."
        ) from error


def _region(values: list[float]) -> Region:
    left, top, right, bottom, area, peak, share, severity = values
    return Region(int(left), int(top), int(right), int(bottom), int(area), float(peak), float(share), float(severity))


def _lesion(values: list[Any]) -> Lesion:
    (x, y, z), (beyond_x, beyond_y, beyond_z), voxels, (at_x, at_y, at_z), peak, share, severity = values
    return Lesion(
        start=(int(x), int(y), int(z)),
        stop=(int(beyond_x), int(beyond_y), int(beyond_z)),
        voxels=int(voxels),
        centre=(float(at_x), float(at_y), float(at_z)),
        peak=float(peak),
        share=float(share),
        severity=float(severity),
    )
