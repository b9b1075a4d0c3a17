"""What answers about a finished run hold: its summary, photos, families and verdict. Part of the OpenAPI description.

Values only. ``pid`` is a photo's number among the run's paths in sorted order, which does not change when ranks do.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from blemish.service.asking import VerdictSettings, Word

__all__ = [
    "ColourScale",
    "Counts",
    "Effect",
    "FamilyFound",
    "Histogram",
    "Kind",
    "LesionFound",
    "Member",
    "PhotoDetail",
    "PhotoRow",
    "PhotosPage",
    "Place",
    "PlaceMap",
    "Reference",
    "RegionFound",
    "ResultSummary",
    "StopFound",
    "VerdictFound",
]

Kind = Literal["photos", "volumes"]


class Counts(BaseModel):
    ok: int
    blemished: int
    unsure: int
    unreadable: int


class ColourScale(BaseModel):
    low: float
    high: float
    colours: dict[str, list[int]] = Field(description="R, G, B and A at the places I between low (0) and high (255)")


class ResultSummary(BaseModel):
    id: str
    name: str
    revision: str = Field(description="another one after every change")
    kind: Kind
    sentence: str
    threshold: float
    rule: str
    counts: Counts
    warnings: list[str]
    settings: dict[str, Any]
    resolved: dict[str, Any]
    colour_scale: ColourScale
    shape: list[int] = Field(description="working height and width; of volumes the cells of their maps")
    photos: int
    families: int
    asks: list[int] = Field(description="numbers of families that wait for a decision")
    taught: dict[str, int]
    version: str


class PhotoRow(BaseModel):
    pid: int
    path: str
    status: Literal["ok", "unreadable"]
    score: float | None
    rank: int | None
    verdict: Literal["ok", "blemished", "unsure"] | None
    low: float | None
    high: float | None
    reason: str
    family: int | None
    regions: int | None
    area_share: float | None
    severity: float | None
    width: int | None
    height: int | None
    duplicate_of: str
    said: Word | None


class PhotosPage(BaseModel):
    revision: str
    total: int = Field(description="rows that fit the filter")
    rows: list[PhotoRow]


class Place(BaseModel):
    """In shares of width and height."""

    left: float
    top: float
    right: float
    bottom: float


class RegionFound(BaseModel):
    """In pixels of the photo; ``right`` and ``bottom`` lie outside."""

    left: int
    top: int
    right: int
    bottom: int
    area: int
    peak: float
    share: float
    severity: float


class LesionFound(BaseModel):
    """In voxels, RAS order."""

    start: list[int]
    stop: list[int]
    centre: list[float]
    voxels: int
    peak: float
    share: float
    severity: float


class Reference(BaseModel):
    pid: int
    path: str
    distance: float
    box: Place = Field(description="the place of the photo that was compared")
    box_there: Place = Field(description="what it is nearest to in the other photo")
    counts: bool = Field(description="false: both carry a recurring flaw, which may not vouch for itself")


class PhotoDetail(PhotoRow):
    revision: str
    found: list[RegionFound]
    lesions: list[LesionFound]
    families: list[int]
    nearest: list[Reference]
    peak_mm: tuple[float, float, float] | None = Field(
        description="of a volume: where its map is highest, right, anterior, superior"
    )
    nearest_missing: str = Field(description="why there are none; empty where there are")
    has_map: bool
    has_mask: bool


class Member(BaseModel):
    pid: int
    path: str
    box: Place
    depth: list[float] | None = Field(description="of volumes: front and back, in shares")


class PlaceMap(BaseModel):
    shape: list[int]
    shares: list[Any] = Field(description="nested lists: share of the members whose token there carries the look")


class Effect(BaseModel):
    score_with: float | None = Field(description="median score of the members while the look vouches for itself")
    score_without: float | None
    sentence: str


class FamilyFound(BaseModel):
    number: int
    kind: Literal["defect", "variant", "unsure"]
    decided_by: Literal["blemish", "user"]
    asks: str = Field(description="why a person should say what it is; empty where nobody need")
    title: str
    evidence: str
    strength: float | None
    fence: float | None
    density: float | None
    members: list[Member]
    place: PlaceMap
    effect: Effect


class StopFound(BaseModel):
    threshold: float
    text: str = Field(description="the threshold with as many decimals as separate the same photos, to be shown")
    above: int = Field(description="photos with a higher score")
    sentence: str
    counts: Counts
    unsure: list[tuple[int, int]] = Field(description="first and last rank of each run of photos that need a look")


class Histogram(BaseModel):
    edges: list[float]
    counts: list[int]


class VerdictFound(BaseModel):
    revision: str
    sentence: str
    threshold: float
    rule: str
    counts: Counts
    false_alarms: list[float] = Field(description="estimate, low, high")
    share: list[float] = Field(description="estimate, low, high")
    at_least: bool
    asked: VerdictSettings
    chosen: int = Field(description="which stop is the threshold")
    stops: list[StopFound]
    always: list[int] = Field(description="ranks that are blemished whatever their score")
    spared: list[int] = Field(description="ranks that are not, whatever their score")
    digits: int = Field(description="decimals that tell scores of this run apart")
    scores: list[float] = Field(description="of all photos, the highest first")
    histogram: Histogram
