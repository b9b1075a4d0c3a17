"""``decisions.toml``: what the user said about families, so that it is said once.

A decision holds for a family whose photos are the same, byte for byte, or whose look is: so it also holds for other
photos of the product, scanned with the same features.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blemish.errors import InputError
from blemish.looks import Look
from blemish.paths import RUN_DECISIONS
from blemish.result import Decision

__all__ = ["read_decisions", "write_decisions"]

HEADER = "# What was decided about families of photos. Written by `blemish decide`.\n"


def read_decisions(source: Path) -> tuple[Decision, ...]:
    """Decisions in a file, or in a run folder, which may have none. Raises ``InputError``."""
    file = source / RUN_DECISIONS if source.is_dir() else source
    if source.is_dir() and not file.exists():
        return ()
    try:
        entries = tomllib.loads(file.read_text(encoding="utf-8"))["decision"]
        return tuple(_decision(entry) for entry in entries)
    except OSError as error:
        raise InputError(f"Cannot read decisions from {str(file)!r}: {error.strerror}. Name a run folder.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{str(file)!r} does not hold decisions: {error}. Name a run that has some.") from error


def _decision(entry: dict[str, Any]) -> Decision:
    kind, photos = entry["is"], tuple(zip(entry["photos"], entry["sha256"], strict=True))
    if kind not in ("defect", "variant"):
        raise ValueError(f"a family is defect or variant, not {kind!r}")
    return Decision(kind, photos, Look.decoded(entry["look"]) if "look" in entry else None)


def write_decisions(decisions: Sequence[Decision], file: Path) -> None:
    """TOML; its strings and lists are written as JSON's, which are the same."""
    entries = []
    for decision in decisions:
        values = {
            "is": decision.kind,
            "photos": [_readable(path) for path, _ in decision.photos],
            "sha256": [sha256 for _, sha256 in decision.photos],
        }
        lines = [
            "[[decision]]",
            *(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()),
        ]
        if decision.look:
            lines += [
                "[decision.look]",
                *(f"{name} = {json.dumps(value)}" for name, value in decision.look.encoded().items()),
            ]
        entries.append("\n".join(lines) + "\n")
    file.write_text("\n".join([HEADER, *entries]), encoding="utf-8")


def _readable(path: str) -> str:
    """TOML holds no control characters and nothing that is no Unicode; photos are recognised by their bytes anyway."""
    return "".join(c if c.isprintable() else "?" for c in path)
