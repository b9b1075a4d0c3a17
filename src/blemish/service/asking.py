"""What requests hold, checked before anything is done. Part of the OpenAPI description.

Values and their checks only. What is not known is refused, not ignored; paths of the server and settings of its machine
are not among what can be asked. ``pid`` is a photo's number among the run's paths in sorted order.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from blemish.service.workspace import ID

__all__ = [
    "Asked",
    "FamilyWord",
    "Lesson",
    "Longest",
    "Marked",
    "NewDataset",
    "NewFolder",
    "NewRun",
    "Said",
    "ScanSettings",
    "VerdictSettings",
    "VolumeSettings",
    "Word",
]

Word = Literal["good", "defect"]
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]*$")
]
Share = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Longest(IntEnum):
    """Longest side of a picture, pixels."""

    SMALL = 384
    LARGE = 1600


class Asked(BaseModel):
    """A request's body; what is not known is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")


class NewDataset(Asked):
    name: Name


class NewFolder(Asked):
    path: Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class VerdictSettings(Asked):
    """At most one of the first three."""

    expect_defects: Share | None = None
    max_false_alarms: Share | None = None
    threshold: Finite | None = None
    max_unsure: Share = 0.1


class VolumeSettings(Asked):
    grid: int | None = Field(default=None, ge=4, le=128)
    cube: int | None = Field(default=None, ge=16, le=512)
    radius: int | None = Field(default=None, ge=-1, le=64)
    align: str | None = Field(default=None, max_length=20)
    grey: Literal["off", "bright", "dark", "both"] | None = None
    modality: str | None = Field(default=None, max_length=40)


class ScanSettings(Asked):
    """Options of a scan that concern photos; paths of the server and its machines are not among them."""

    backbone: Literal["effnet-lite2", "vit", "effnet-lite2+vit", "mock"] | None = None
    size: int | None = Field(default=None, ge=32, le=2048)
    fit: Literal["keep", "stretch"] | None = None
    k: float | None = Field(default=None, gt=0, le=1)
    image_score: Literal["max", "excess"] | None = None
    families: Literal["auto", "published", "off"] | None = None
    subset: int | None = Field(default=None, ge=0, le=100_000)
    screen: float | None = Field(default=None, ge=0.3, le=1)
    verdict: VerdictSettings | None = None
    volumes: VolumeSettings | None = None
    cache: bool | None = None


class NewRun(Asked):
    dataset: str = Field(pattern=ID)
    name: Name | None = None
    settings: ScanSettings = ScanSettings()


class Said(Asked):
    call: Word | None


class FamilyWord(Asked):
    kind: Literal["defect", "variant"] | None = Field(description="null takes back what was said")


class Marked(Asked):
    pid: int = Field(ge=0)
    box: tuple[
        Annotated[int, Field(ge=0)],
        Annotated[int, Field(ge=0)],
        Annotated[int, Field(ge=0)],
        Annotated[int, Field(ge=0)],
    ] = Field(description="left, top, right, bottom in pixels")


class Lesson(Asked):
    good: list[Annotated[int, Field(ge=0)]] = Field(default=[], max_length=500)
    defects: list[Marked] = Field(default=[], max_length=200)
