"""What ``run.json`` says: the settings as resolved, what was run and on what, and how long it took."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from blemish.config import ScanConfig
from blemish.extraction import Branch
from blemish.paths import RUN_SCHEMA
from blemish.result import ColourScale, Photo

__all__ = ["build"]


def build(
    *,
    source: str,
    note: str,
    config: ScanConfig,
    resolved: dict[str, Any],
    branches: Sequence[Branch],
    grids: Sequence[Sequence[tuple[int, ...]]],
    scale: ColourScale,
    photos: Sequence[Photo],
    from_cache: int,
    timings: dict[str, float],
    warnings: Sequence[str],
) -> dict[str, Any]:
    """A JSON-able dictionary. ``resolved``: what was chosen where ``config`` left it open. ``grids``: of the
    passes of each branch."""
    scored = sum(photo.status == "ok" for photo in photos)
    return {
        "schema": RUN_SCHEMA,
        "blemish": version("blemish"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": source,
        "note": note,
        "config": config.as_dict(),
        "resolved": resolved,
        "backbones": [_describe(branch, own) for branch, own in zip(branches, grids, strict=True)],
        "colour_scale": {"low": scale.low, "high": scale.high},
        "versions": _versions(),
        "counts": {
            "found": len(photos),
            "scored": scored,
            "unreadable": len(photos) - scored,
            "duplicates": sum(bool(photo.duplicate_of) for photo in photos),
            "from_cache": from_cache,
        },
        "timings_s": timings,
        "warnings": list(warnings),
    }


def _describe(branch: Branch, grids: Sequence[tuple[int, ...]]) -> dict[str, Any]:
    facts = branch.backbone.facts
    return {
        "name": facts.name,
        "source": facts.source,
        "licence": facts.licence,
        "weights_sha256": branch.backbone.weights_sha256,
        "layers": list(branch.backbone.layers),
        "working_size": {"height": branch.shape[0], "width": branch.shape[1]},
        "radii": list(branch.radii),
        "join": branch.join,
        "grids": [list(grid) for grid in grids],
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("torch", "numpy", "scipy", "pillow", "graspologic-native", "transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
