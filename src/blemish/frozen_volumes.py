"""A frozen detector for volumes: one volume in, a score, a verdict and a map on the volume's own grid out.

It finds the brain, places it as the run placed its own, compares every cell with the bank near its place, and weighs
what it finds by what was usual there. It knows volumes, one at a time; nothing of runs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from blemish.bundle import Bundle
from blemish.config import VolumeConfig
from blemish.errors import UnreadablePhoto
from blemish.extraction import Branch
from blemish.features.registry import Backbone
from blemish.inputs.volume_checks import Frame, other_scanner
from blemish.inputs.volume_layouts import VolumeFile, find_volumes
from blemish.scoring.fusion import mean_maps
from blemish.scoring.mutual import highest
from blemish.scoring.place_bank import Placed, nearest_nearby
from blemish.volume_extraction import SeenVolume, look, see_one

__all__ = ["VolumeEye", "volume_files"]

Float32 = npt.NDArray[np.float32]


class VolumeEye:
    """What a detector for volumes sees and measures."""

    def __init__(self, found: Bundle, backbone: Backbone, device: str) -> None:
        view = found.facts.volume
        assert view is not None
        facts, self._memories, self._usual, self._view = found.facts, found.memories, found.usual, view
        self._config = VolumeConfig(
            grid=view.grid, cube=facts.height, radius=view.radius, slices=view.slices, axes=view.axes
        )
        self._frame = Frame(view.side, view.middle, view.turn)
        self._branch = Branch(backbone, (facts.height, facts.width), facts.radii, facts.join, device)

    def see(self, file: VolumeFile) -> SeenVolume:
        """Raises ``UnreadablePhoto``, ``InputError`` without the extra."""
        wrong: dict[str, str] = {}
        looked = look([file], wrong, 1, lambda volumes: None)
        if wrong:
            raise UnreadablePhoto(wrong[file.path])
        if self._view.ct is not None and (reason := other_scanner(looked[0].facts, ct=self._view.ct)):
            raise UnreadablePhoto(reason)
        return see_one(looked[0], self._frame.box(looked[0].facts), self._branch, self._config)

    def measure(self, seen: SeenVolume) -> tuple[float, Float32]:
        """Score and map (g, g, g)."""
        inside, maps = seen.native.inside, []
        for grid, memory in zip(seen.grids, self._memories, strict=True):
            assert memory.at is not None
            distance = nearest_nearby(grid, inside, Placed(memory.normal, memory.at), self._view.radius)
            maps.append(memory.values(distance, memory.to_defects(grid))[None])
        whole = np.where(inside, mean_maps(maps), np.float32(0))
        if self._usual is not None:
            whole = self._usual.weighed(whole, inside[None]) * np.float32(self._view.gain)
        return float(highest(whole, inside[None])[0]), whole[0]


def volume_files(path: Path) -> list[VolumeFile]:
    """A NIfTI file, or the volumes of a folder. Raises ``InputError`` if it is a folder without any."""
    if not path.is_dir():
        return [VolumeFile(str(path), (path,))]
    return [VolumeFile(str(path / one.path), one.files, one.modality) for one in find_volumes(path).volumes]
