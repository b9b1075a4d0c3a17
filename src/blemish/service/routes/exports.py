"""What is taken away: tables, masks, maps, annotations and the report, always as files that are saved, never shown."""

from __future__ import annotations

import os
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

from fastapi import APIRouter, HTTPException
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse

from blemish.errors import InputError
from blemish.run import link, write_exports
from blemish.service.names import attachment
from blemish.service.shelf import RunView
from blemish.service.state import Id, ServiceOf
from blemish.service.workspace import new_id

__all__ = ["router"]

What = Literal["csv", "jsonl", "families", "masks.zip", "coco", "coco_results", "labelstudio", "report", "maps.zip"]

FILES = {
    "csv": ("results.csv", "text/csv; charset=utf-8"),
    "jsonl": ("results.jsonl", "application/x-ndjson"),
    "families": ("families.json", "application/json"),
    "coco": ("coco.json", "application/json"),
    "coco_results": ("coco_results.json", "application/json"),
    "labelstudio": ("labelstudio.json", "application/json"),
    "report": ("report.html", "text/html; charset=utf-8"),
}
MADE = {"masks.zip": "masks", "coco": "coco", "coco_results": "coco", "labelstudio": "labelstudio"}

MEDIA = sorted({"application/zip", *(media.partition(";")[0] for _, media in FILES.values())})

router = APIRouter(prefix="/api/runs/{run}/exports", tags=["exports"])


@router.get("/{what}", response_class=FileResponse, responses={200: {"content": {media: {} for media in MEDIA}}})
async def take(run: Id, what: What, service: ServiceOf) -> FileResponse:
    """A file of the run as it is judged now. Annotations that it does not have are made, but not kept: reading changes
    nothing."""
    view, row = await service.view(run), await service.run(run)
    needed = MADE.get(what)
    if needed and view.kind == "volumes" and needed != "masks":
        raise HTTPException(404, "COCO and Label Studio know photos only. Take the masks of these volumes.")
    scratch = service.workspace.scratch
    absent = needed and view.kind == "photos" and needed not in view.opened.config.exports
    if absent or what.endswith(".zip"):
        async with service.lock(run):
            file = await run_in_threadpool(_made if absent else _archive, view, what, scratch)
    elif (file := await run_in_threadpool(_taken, view, what, scratch)) is None:
        async with service.lock(run):  # it is being replaced, or there is none
            file = await run_in_threadpool(_taken, view, what, scratch)
    if file is None:
        raise HTTPException(404, f"The run has no {FILES[what][0]}.")
    name, media = (what, "application/zip") if what.endswith(".zip") else FILES[what]
    headers = {"content-disposition": attachment(f"{row['name']}-{name}")}
    if what == "report":  # saved it works; shown here it could ask this service for anything
        headers["content-security-policy"] = "default-src 'none'; sandbox"
    return FileResponse(file, media_type=media, headers=headers, background=BackgroundTask(os.unlink, file))


def _taken(view: RunView, what: str, scratch: Path) -> Path | None:
    """A file of the run under a name of its own, which nothing replaces while it is sent; None if there is none."""
    name, _ = FILES[what]
    file = scratch / f"{new_id()}-{name}"
    try:
        link(view.folder / name, file)
    except FileNotFoundError:
        return None
    return file


def _made(view: RunView, what: str, scratch: Path) -> Path | None:
    """What the run does not have, from the result."""
    with tempfile.TemporaryDirectory(dir=scratch) as temporary:
        folder = Path(temporary)
        write_exports(view.result, folder, (MADE[what],), lambda steps: None)
        made = replace(view, folder=folder)
        return _archive(made, what, scratch) if what.endswith(".zip") else _taken(made, what, scratch)


def _archive(view: RunView, what: str, scratch: Path) -> Path:
    """Masks, or maps, in one file; of volumes both lie among the maps."""
    volumes = view.kind == "volumes"
    folder = view.folder / ("maps" if volumes else what.removesuffix(".zip"))
    wanted = [file for file in sorted(folder.rglob("*")) if file.is_file()] if folder.is_dir() else []
    if volumes and what == "masks.zip":
        wanted = [file for file in wanted if "mask" in file.name]
    if not wanted:
        raise InputError(f"The run has no {what.removesuffix('.zip')}: no photo needs one, or it was scanned without.")
    handle, name = tempfile.mkstemp(dir=scratch, suffix=".zip")
    with os.fdopen(handle, "wb") as out, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for file in wanted:
            archive.write(file, file.relative_to(folder).as_posix())
    return Path(name)
