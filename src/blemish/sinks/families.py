"""families.json: every family of a run as plain values. A run without families has the file too: it is an answer."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from blemish.errors import InputError
from blemish.result import Family, Member, Result

__all__ = ["SCHEMA", "read", "write"]

SCHEMA = 1
SIDES = ("left", "top", "right", "bottom")
DEPTH = ("front", "back")  # of volumes, besides
PLACE_DIGITS = 3  # decimals of a share: a thousandth of a family is less than a photo


def write(result: Result, file: Path) -> None:
    """One family a line, so that the place maps do not make the file thousands of lines long."""
    photos = len(result.scored)
    lines = ",\n".join(json.dumps(_plain(family, photos), ensure_ascii=False) for family in result.families)
    # What of a file name is no Unicode becomes \udcXX, which is how JSON itself writes it.
    with file.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as handle:
        handle.write(f'{{"schema": {SCHEMA}, "photos": {photos}, "families": [\n{lines}\n]}}\n')


def _plain(family: Family, photos: int) -> dict[str, Any]:
    *depth, height, width = family.place.shape
    solid = bool(depth)
    sides = (*SIDES, *DEPTH) if solid else SIDES
    return {
        "number": family.number,
        "kind": family.kind,
        "decided_by": family.decided_by,
        "question": family.question,
        "evidence": family.evidence(photos),
        "strength": _number(family.strength),
        "fence": _number(family.fence),
        "density": _number(family.density),
        "score_with": _number(family.score_with),
        "score_without": _number(family.score_without),
        "members": [
            {
                "path": member.path,
                "sha256": member.sha256,
                "box": {side: _number(getattr(member, side)) for side in sides},
            }
            for member in family.members
        ],
        "place": {
            **({"depth": depth[0]} if solid else {}),
            "height": height,
            "width": width,
            "shares": np.round(family.place.astype(np.float64), PLACE_DIGITS).tolist(),
        },
    }


def _number(value: float) -> float | None:
    """JSON has no infinity: null instead."""
    value = float(value)
    return value if math.isfinite(value) else None


def read(file: Path) -> tuple[Family, ...]:
    """The families that ``write`` has written. Raises ``InputError``."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        if stored["schema"] != SCHEMA:
            raise ValueError(f"its schema is {stored['schema']!r}, this blemish reads {SCHEMA}")
        return tuple(_family(values) for values in stored["families"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"Cannot read {str(file)!r} ({error}). Scan again to have their families.") from error


def _family(values: dict[str, Any]) -> Family:
    numbers = {name: _float(values[name]) for name in ("strength", "fence", "density", "score_with", "score_without")}
    return Family(
        number=values["number"],
        kind=values["kind"],
        decided_by=values["decided_by"],
        members=tuple(
            Member(member["path"], member["sha256"], **{side: _float(at) for side, at in member["box"].items()})
            for member in values["members"]
        ),
        place=np.array(values["place"]["shares"], dtype=np.float32).reshape(
            [values["place"][side] for side in ("depth", "height", "width") if side in values["place"]]
        ),
        question=values["question"],
        **numbers,
    )


def _float(value: float | None) -> float:
    return math.inf if value is None else float(value)
