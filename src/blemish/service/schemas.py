"""What requests and answers hold: the OpenAPI description is made of this.

Values and their checks only. Ids are short random strings; ``pid`` is a photo's number among the run's paths in sorted
order, which does not change when ranks do.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Word = Literal["good", "defect"]
Kind = Literal["photos", "volumes"]
State = Literal["queued", "running", "done", "failed", "cancelled"]
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


class Problem(BaseModel):
    error: str = Field(description="One sentence: what is wrong, what was received, what to do.")


class Health(BaseModel):
    blemish: str
    status: Literal["ok"] = "ok"


class Limits(BaseModel):
    upload: int = Field(description="bytes of one request with files")
    file: int
    files: int = Field(description="of a data set")
    files_per_request: int
    roots: list[str] = Field(description="folders of the server that may be scanned")


class NewDataset(Asked):
    name: Name


class NewFolder(Asked):
    path: Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class Dataset(BaseModel):
    id: str
    name: str
    kind: Literal["upload", "folder"]
    holds: Kind
    photos: int = Field(description="files that claim to be photos or volumes")
    bytes: int
    created: str


class Refused(BaseModel):
    path: str
    reason: str


class Uploaded(BaseModel):
    accepted: int
    refused: list[Refused]
    dataset: Dataset


class Folder(BaseModel):
    path: str
    name: str


class Folders(BaseModel):
    path: str | None = Field(description="null where the allowed roots are listed")
    folders: list[Folder]
    photos: int = Field(description="files with a photo's or a volume's name in this folder itself")


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
    dataset: str = Field(max_length=20)
    name: Name | None = None
    settings: ScanSettings = ScanSettings()


class Run(BaseModel):
    id: str
    dataset: str
    name: str
    kind: Kind
    state: State
    stage: str = Field(description="what is being done, in words")
    done: int
    total: int
    eta_s: float | None = Field(description="of the stage")
    message: str = Field(description="the last sentence of the scan; of a finished run its verdict")
    created: str
    finished: str
    error: str


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


class Said(Asked):
    call: Word | None


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


class FamilyWord(Asked):
    kind: Literal["defect", "variant"] | None = Field(description="null takes back what was said")


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


class Taught(BaseModel):
    sentence: str
    moved: int
    result: ResultSummary


class Detector(BaseModel):
    id: str
    run: str
    name: str
    meaning: str
    threshold: float
    bytes: int
    created: str


class Checked(BaseModel):
    path: str
    score: float
    verdict: Literal["ok", "blemished", "unsure"]
    threshold: float
    low: float = Field(description="scores from here to high are unsure")
    high: float
    note: str
    width: int
    height: int
    regions: list[RegionFound]
    picture: str = Field(description="data URI of the photo, at most 1024 pixels a side")
    heat: str = Field(description="data URI of its map in the run's colours")


class AuditLine(BaseModel):
    when: str
    who: str
    what: str
    run: str
    detail: str
