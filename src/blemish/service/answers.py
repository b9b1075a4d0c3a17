"""What answers about data sets, scans, detectors and the service itself hold. Part of the OpenAPI description.

Values only. Ids are short random strings; what a finished run says is in ``findings``.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from blemish.service.findings import Kind, LesionFound, RegionFound, ResultSummary

__all__ = [
    "AuditLine",
    "Checked",
    "Dataset",
    "Detector",
    "Folder",
    "Folders",
    "Health",
    "Limits",
    "Problem",
    "Refused",
    "Run",
    "Taught",
    "Uploaded",
]

State = Literal["queued", "running", "done", "failed", "cancelled"]


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
    lesions: list[LesionFound] = Field(description="of a volume, which has no regions")
    picture: str = Field(description="data URI of the photo, at most 1024 pixels a side; of a volume three slices")
    heat: str = Field(description="data URI of its map in the run's colours; empty for a volume")


class AuditLine(BaseModel):
    when: str
    who: str
    what: str
    run: str
    detail: str
