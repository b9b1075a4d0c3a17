"""What a frozen detector says of one photo or volume: score, call, map, and where it is flawed.

It knows maps and geometry; how they were measured is told in ``frozen`` and ``frozen_volumes``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.judgement import Call, Lesion, Region
from blemish.result import upsample
from blemish.sinks.nifti_bids import MapFacts, output_names, write_maps
from blemish.volume_space import Native

__all__ = ["Checked", "CheckedVolume"]

Float32 = npt.NDArray[np.float32]

MEANING = "How unlike the volumes that the detector was made from every place is; 0 outside of the brain."


@dataclass(frozen=True)
class Checked:
    """What a detector says of one photo. ``grid: (h, w)`` is its anomaly map, one value a token; ``shape``: (height,
    width) of the photo in pixels, of a volume (X, Y, Z) as stored; ``note``: why the score may not mean what it says.
    """

    path: str
    score: float  # higher = more anomalous
    verdict: Call
    threshold: float
    grid: Float32
    shape: tuple[int, ...]
    pixel_threshold: float
    note: str = ""

    @property
    def regions(self) -> tuple[Region, ...]:
        """Where it is blemished, most severe first, in pixels of the photo; none of a photo called ok."""
        return self._regions

    @cached_property
    def _regions(self) -> tuple[Region, ...]:
        if self.verdict == "ok":
            return ()
        from blemish.verdict.regions import regions_of  # loads scipy

        return regions_of(self.grid, (self.shape[0], self.shape[1]), self.pixel_threshold)

    @property
    def map(self) -> Float32:
        """The anomaly map enlarged to the photo's size, (H, W)."""
        return upsample(self.grid, self.shape)

    def as_dict(self) -> dict[str, Any]:
        """For one line of JSON."""
        values: dict[str, Any] = {
            "path": self.path,
            "score": self.score,
            "verdict": self.verdict,
            "threshold": self.threshold,
            "boxes": [[region.left, region.top, region.right, region.bottom] for region in self.regions],
        }
        return values | ({"note": self.note} if self.note else {})


@dataclass(frozen=True, kw_only=True)
class CheckedVolume(Checked):
    """The same of one volume. ``grid: (g, g, g)``. ``native``: where that lies in it."""

    native: Native

    @property
    def regions(self) -> tuple[Region, ...]:
        """None: see ``lesions``."""
        return ()

    @cached_property
    def lesions(self) -> tuple[Lesion, ...]:
        """What stands out, most severe first, in voxels of the volume in RAS order; none of a volume called ok."""
        return () if self.verdict == "ok" else self.native.lesions(self.grid, self.pixel_threshold)

    @property
    def map(self) -> Float32:
        """The anomaly map on the volume's voxels, (X, Y, Z) in RAS order; 0 outside of the brain."""
        return self.native.scores(self.grid)

    def as_dict(self) -> dict[str, Any]:
        values = super().as_dict()
        del values["boxes"]
        found = [{"start": one.start, "stop": one.stop, "voxels": one.voxels} for one in self.lesions]
        return {**values, "lesions": found}

    def write(self, folder: Path, name: str) -> None:
        """The map, and of a volume that is not ok the mask, as NIfTI on the volume's own grid. ``name``: its path below
        ``folder``. Raises ``OSError``."""
        mask = None if self.verdict == "ok" else self.native.mask(self.grid, self.pixel_threshold)
        facts = MapFacts(MEANING, self.pixel_threshold, version("blemish"))
        write_maps(folder, output_names([name], bids=False)[name], self.native.geometry, self.map, mask, facts)
