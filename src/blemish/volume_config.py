"""How volumes are looked at and compared, with its defaults. Values only, no behaviour.

``blemish.config`` holds them among everything else and is where they are imported from.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from blemish.errors import ConfigError

__all__ = ["ALIGNMENTS", "VolumeConfig"]

ALIGNMENTS = ("none", "box", "affine")
ANYWHERE = -1  # a radius
OPTIONS = ("grid", "radius", "align", "modality", "masks", "axes", "grey")  # of the command line; others are in a file


@dataclass(frozen=True)
class VolumeConfig:
    """Of a scan whose folder holds volumes (NIfTI, DICOM); photos have no use for it. See benchmarks/volumes.py."""

    grid: int = 32  # cells a side: a finer grid sees smaller lesions, in eight times the memory
    cube: int = 192  # voxels a side of the cube that every brain is brought to
    radius: int = 2  # cells around its own place within which a cell is compared; -1: anywhere
    align: str = "box"  # box: around each brain, stretched to the cube; affine: then registered; none: one scale in mm
    modality: str | None = None  # of a BIDS data set with several: T1w, FLAIR, ...
    masks: str | None = None  # a folder of brain masks; None: made from the voxels
    slices: int = 2  # every how manieth slice is looked at
    axes: tuple[int, ...] = (0, 1, 2)  # across which axes slices are cut: sagittal, coronal, axial
    places: bool = True  # weigh scores by what is usual at their place
    grey: str = "off"  # grey levels against the usual at their place count too: bright (FLAIR, DWI), dark, both

    def said(self) -> list[str]:
        """What was asked for, by an option's name or that of a setting in a file: all that is not the default."""
        usual = VolumeConfig()
        names = [field.name for field in fields(self) if getattr(self, field.name) != getattr(usual, field.name)]
        return [f"--{name}" if name in OPTIONS else f"{name} in [volumes]" for name in names]

    def __post_init__(self) -> None:
        if isinstance(self.axes, list):
            object.__setattr__(self, "axes", tuple(self.axes))
        for field in fields(self):
            value = getattr(self, field.name)
            wanted: type | tuple[type, ...] = int
            if field.name in ("modality", "masks"):
                wanted = (str, type(None))
            elif field.name in ("align", "grey", "places", "axes"):
                wanted = {"align": str, "grey": str, "places": bool, "axes": tuple}[field.name]
            if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
                raise ConfigError(f"volumes.{field.name} cannot be {value!r}.")
        problems = (
            (not 4 <= self.grid <= 128, f"--grid is 4 to 128 cells a side; received {self.grid}."),
            (
                not 16 <= self.cube <= 1024 or self.cube % self.grid != 0,
                f"volumes.cube is a multiple of --grid ({self.grid}), 16 to 1024 voxels; received {self.cube}.",
            ),
            (
                self.radius < ANYWHERE,
                f"--radius is a number of cells such as 2, or all; received {self.radius}.",
            ),
            (self.align not in ALIGNMENTS, f"--align is box, affine or none; received {self.align!r}."),
            (
                self.grey not in ("off", "bright", "dark", "both"),
                f"--grey is off, bright, dark or both; received {self.grey!r}.",
            ),
            (
                not 1 <= self.slices <= self.cube,
                f"volumes.slices is 1 (every slice) to {self.cube}; received {self.slices}.",
            ),
            (
                not self.axes or not set(self.axes) <= {0, 1, 2} or len(set(self.axes)) < len(self.axes),
                f"--axes are some of 0,1,2 (sagittal, coronal, axial), each once; received {self.axes}.",
            ),
        )
        for wrong, message in problems:
            if wrong:
                raise ConfigError(message)
