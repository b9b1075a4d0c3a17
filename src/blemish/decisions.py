"""``decisions.toml``: what the user said about families, so that it is said once.

Photos are recognised by their bytes, hence a decision also holds for a later scan that has most of the same photos.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path

from blemish.errors import InputError
from blemish.paths import RUN_DECISIONS
from blemish.result import Decision

__all__ = ["read_decisions", "write_decisions"]

HEADER = "# What was decided about families of photos. Written by `blemish decide`; photos are recognised by sha256.\n"


def read_decisions(source: Path) -> tuple[Decision, ...]:
    """Decisions in a file, or in a run folder, which may have none. Raises ``InputError``."""
    file = source / RUN_DECISIONS if source.is_dir() else source
    if source.is_dir() and not file.exists():
        return ()
    try:
        entries = tomllib.loads(file.read_text(encoding="utf-8"))["decision"]
        return tuple(_decision(entry["is"], entry["photos"], entry["sha256"]) for entry in entries)
    except OSError as error:
        raise InputError(f"Cannot read decisions from {str(file)!r}: {error.strerror}. Name a run folder.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{str(file)!r} does not hold decisions: {error}. Name a run that has some.") from error


def _decision(kind: str, paths: list[str], sha256: list[str]) -> Decision:
    if kind not in ("defect", "variant"):
        raise ValueError(f"a family is defect or variant, not {kind!r}")
    return Decision("defect" if kind == "defect" else "variant", tuple(zip(paths, sha256, strict=True)))


def write_decisions(decisions: Sequence[Decision], file: Path) -> None:
    """TOML; its strings are written as JSON's, which are the same."""
    entries = [
        f"[[decision]]\nis = {json.dumps(decision.kind)}\n"
        f"photos = {json.dumps([path for path, _ in decision.photos])}\n"
        f"sha256 = {json.dumps([sha256 for _, sha256 in decision.photos])}\n"
        for decision in decisions
    ]
    file.write_text("\n".join([HEADER, *entries]), encoding="utf-8")
