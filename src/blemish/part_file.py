"""A finished part of a batch, and its file, so that a scan of many parts that is killed does not begin anew.

Plain arrays and JSON in an ``.npz``; nothing is unpickled. It knows how to write and read one, not when it is stale.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from blemish.comparing import ComparedPart
from blemish.matching.store import ArrayStore
from blemish.nearest import arrays, of_arrays
from blemish.rescoring import Stored, pass_arrays, passes_of, read_scores, write_arrays
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
    not_kept: str = ""  # why a scan that is killed would do it again
    pixels: ArrayStore | None = None  # (b, H, W, 3), only of a part that is the whole batch
    inside: npt.NDArray[np.bool_] | None = None  # of volumes: (b, x, y, z) the cells that count
    grey: Float32 | None = None  # of volumes: (b, x, y, z) their grey levels


def write_part(done: DonePart, file: Path) -> DonePart:
    """Write it whole or not at all; the part as returned has its second choices in the file. Raises ``OSError``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=file.parent, suffix=".part")
    os.close(handle)
    try:
        write_arrays(Path(scratch), _arrays(done))
        Path(scratch).replace(file)
    except OSError:
        with suppress(OSError):
            Path(scratch).unlink(missing_ok=True)
        raise
    return replace(done, compared=replace(done.compared, passes=partial(passes_of, file, "")))


def _arrays(done: DonePart) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    compared = done.compared
    facts = {
        "paths": done.paths,
        "sha256": done.sha256,
        "unreadable": done.unreadable,
        "clipped": done.clipped,
        "tiles": done.tiles,
        "of_backbone": compared.of_backbone,
        "k": compared.k,
        "own": compared.own,
        "families": [{name: getattr(family, name) for name in FACTS} for family in compared.found],
        "diagnosis": compared.diagnosis,
    }
    yield "facts", np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
    yield "embeddings", done.embeddings
    yield "between", compared.between
    if done.inside is not None:
        yield "inside", done.inside
    if done.grey is not None:
        yield "grey", done.grey
    yield from pass_arrays(compared.passes(), "").items()
    for at, family in enumerate(compared.found):
        yield f"members{at}", family.members
        yield from ((f"tokens{at}.{number}", tokens) for number, tokens in enumerate(family.tokens))
    if compared.nearest:
        yield from ((f"nearest.{name}", values) for name, values in arrays(compared.nearest).items())
    if compared.carriers:
        yield from ((f"carriers.{name}", values) for name, values in compared.carriers.arrays().items())


def read_part(file: Path) -> DonePart | None:
    """The part, or None if it is absent or damaged."""
    try:
        with file.open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
            done = _read(stored, file)
        with suppress(OSError):
            os.utime(file)  # used just now
        return done
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return None


def _read(stored: Stored, file: Path) -> DonePart:
    facts = json.loads(stored["facts"].tobytes())
    scores = read_scores(stored, "")
    found = tuple(
        FoundFamily(
            members=stored[f"members{at}"],
            tokens=tuple(stored[f"tokens{at}.{number}"] for number in range(len(scores))),
            **{name: family[name] for name in FACTS},
        )
        for at, family in enumerate(facts["families"])
    )
    near = {name.partition(".")[2]: stored[name] for name in stored if name.startswith("nearest.")}
    carried = {name.partition(".")[2]: stored[name] for name in stored if name.startswith("carriers.")}
    return DonePart(
        paths=tuple(facts["paths"]),
        sha256=tuple(facts["sha256"]),
        embeddings=stored["embeddings"],
        unreadable=facts["unreadable"],
        clipped=tuple(facts["clipped"]),
        compared=ComparedPart(
            scores=scores,
            passes=partial(passes_of, file, ""),
            of_backbone=tuple(facts["of_backbone"]),
            k=facts["k"],
            found=found,
            own=facts["own"],
            looks=(),
            carriers=Carriers(**carried) if carried else None,
            between=stored["between"],
            diagnosis=facts["diagnosis"],
            nearest=of_arrays(near) if near else None,
        ),
        from_cache=len(facts["paths"]),
        tiles=tuple(facts["tiles"]),
        inside=stored.get("inside"),
        grey=stored.get("grey"),
    )
