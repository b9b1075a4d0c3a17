"""A finished run, reopened as what it is: one of photos or of volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from blemish.revisiting import Revisit
from blemish.run_folder import of_volumes, read_manifest
from blemish.visit import Visit

__all__ = ["reopen"]


def reopen(run: Path, what: str) -> Visit[Any]:
    """``what`` is about to be done with it: taught or frozen. Raises as ``Revisit.open``."""
    if of_volumes(read_manifest(run)):
        from blemish.volume_revisiting import VolumeRevisit  # nibabel, which photos need not load

        return VolumeRevisit.open(run, what)
    return Revisit.open(run, what)
