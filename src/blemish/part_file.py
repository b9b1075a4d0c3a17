"""A finished part of a batch, and its file, so that a scan of many parts that is killed does not begin anew.

Plain arrays and JSON in an ``.npz``; nothing is unpickled. It knows how to write and read one, not when it is stale.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from blemish.comparing import ComparedPart
from blemish.matching.store import ArrayStore
from blemish.rescoring import Stored, pass_arrays, read_passes
from blemish.scoring.families import Carriers, FoundFamily

__all__ = ["DonePart", "read_part", "write_part"]

Float32 = npt.NDArray[np.float32]

FACTS = ("density", "strength", "fence", "question", "beyond_place")  # of a family, besides its arrays


@dataclass(frozen=True)
class DonePart:
    """What is left of a part. Its photos are those that could be read, in the order of everything else."""

    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    embeddings: Float32  # (b, E)
    unreadable: dict[str, str]  # path -> reason
    clipped: tuple[str, ...]
    compared: ComparedPart
    from_cache: int = 0  # photos whose features were known
    pairs: int = 0  # that were compared now
    known_pairs: int = 0  # that were taken over from an earlier scan
    tiles: tuple[str, ...] = ()  # names of its tile logs
    pixels: ArrayStore | None = None  # (b, H, W, 3), only of a part that is the whole batch


def write_part(done: DonePart, file: Path) -> None:
    """Write it whole or not at all. A disk that is full costs the next scan time and this one nothing."""
    compared = done.compared
    facts = {
        "paths": done.paths,
        "sha256": done.sha256,
        "unreadable": done.unreadable,
        "clipped": done.clipped,
        "tiles": done.tiles,
        "of_backbone": compared.of_backbone,
        "k": compared.k,
        "families": [{name: getattr(family, name) for name in FACTS} for family in compared.found],
        "diagnosis": compared.diagnosis,
    }
    arrays: dict[str, npt.NDArray[Any]] = {"facts": np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)}
    arrays |= {"embeddings": done.embeddings, "between": compared.between, **pass_arrays(compared.passes, "")}
    for at, family in enumerate(compared.found):
        arrays[f"members{at}"] = family.members
        arrays |= {f"tokens{at}.{number}": tokens for number, tokens in enumerate(family.tokens)}
    if compared.carriers:
        arrays |= {f"carriers.{name}": values for name, values in compared.carriers.arrays().items()}
    scratch = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as handle:
            np.savez(handle, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its own options
        scratch.replace(file)
    except OSError:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


def read_part(file: Path) -> DonePart | None:
    """The part, or None if it is absent or damaged."""
    try:
        with file.open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
            done = _read(stored)
        with suppress(OSError):
            os.utime(file)  # used just now
        return done
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return None


def _read(stored: Stored) -> DonePart:
    facts = json.loads(stored["facts"].tobytes())
    passes = read_passes(stored, "")
    found = tuple(
        FoundFamily(
            members=stored[f"members{at}"],
            tokens=tuple(stored[f"tokens{at}.{number}"] for number in range(len(passes))),
            **{name: family[name] for name in FACTS},
        )
        for at, family in enumerate(facts["families"])
    )
    carried = {name.partition(".")[2]: stored[name] for name in stored if name.startswith("carriers.")}
    return DonePart(
        paths=tuple(facts["paths"]),
        sha256=tuple(facts["sha256"]),
        embeddings=stored["embeddings"],
        unreadable=facts["unreadable"],
        clipped=tuple(facts["clipped"]),
        compared=ComparedPart(
            passes=passes,
            of_backbone=tuple(facts["of_backbone"]),
            k=facts["k"],
            found=found,
            looks=(),
            carriers=Carriers(**carried) if carried else None,
            between=stored["between"],
            diagnosis=facts["diagnosis"],
        ),
        from_cache=len(facts["paths"]),
        tiles=tuple(facts["tiles"]),
    )
