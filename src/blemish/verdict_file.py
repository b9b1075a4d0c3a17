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
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError
from blemish.judgement import Interval, Region
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
    grids: npt.NDArray[np.float32]  # (B, h, w), read where they are looked at
    maxima: npt.NDArray[np.float32]  # (P, B) largest score in each matching pass, where there are several
    level: float  # map value that seeds a region
    products: tuple[int, ...]
    regions: dict[str, tuple[Region, ...]]


def write(
    estimated: Estimate,
    grids: npt.NDArray[np.float32],
    maxima: Sequence[npt.NDArray[np.float32]],
    level: float,
    products: Sequence[int],
    regions: Mapping[str, tuple[Region, ...]],
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


def write_regions(regions: Mapping[str, tuple[Region, ...]], folder: Path) -> None:
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
        if len(lengths) > 1 or grids.ndim != 3:
            raise ValueError("its files do not fit together")
        return Kept(
            estimated=estimated,
            grids=grids,
            maxima=maxima,
            level=float(facts["level"]),
            products=tuple(facts["products"]),
            regions={
                path: tuple(Region(*map(int, values[:5]), *map(float, values[5:])) for values in found)
                for path, found in regions.items()
            },
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, BadZipFile) as error:
        raise InputError(
            f"{str(folder)!r} is missing or damaged, so the threshold cannot be moved ({error}). "
            "Scan the photos again; features are cached, so it is quicker than the first time."
        ) from error
