"""Data sets: photos that were uploaded, or a folder of the server inside the allowed roots."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, HTTPException, Query, Response, UploadFile
from starlette.concurrency import run_in_threadpool

from blemish.errors import InputError
from blemish.service import answers, asking
from blemish.service.names import suffix_of
from blemish.service.state import Id, Service, ServiceOf, Who, missing
from blemish.service.uploads import Intake, holds
from blemish.service.workspace import new_id, now

__all__ = ["router"]

PER_REQUEST = 1000  # files: as many as a form may have
LISTED = 2000  # folders of one folder

router = APIRouter(prefix="/api", tags=["data sets"])


@router.get("/limits", response_model=answers.Limits)
async def limits(service: ServiceOf) -> Any:
    """How much may be sent, and what of the server may be scanned."""
    known = service.config.limits
    return {
        "upload": known.upload,
        "file": known.file,
        "files": known.files,
        "files_per_request": PER_REQUEST,
        "roots": [str(root) for root in service.config.roots],
    }


@router.get("/datasets", response_model=list[answers.Dataset])
def datasets(service: ServiceOf) -> Any:
    """The newest first."""
    return service.store.all("datasets")


@router.post("/datasets", response_model=answers.Dataset, status_code=201)
async def new_dataset(asked: asking.NewDataset, service: ServiceOf, who: Who) -> Any:
    """An empty one, for files that are uploaded."""
    dataset = new_id()
    folder = service.workspace.files(dataset, asked.name)
    await run_in_threadpool(folder.mkdir, parents=True)
    return await _added(service, who, dataset, asked.name, "upload", folder)


@router.post("/datasets/folder", response_model=answers.Dataset, status_code=201)
async def new_folder(asked: asking.NewFolder, service: ServiceOf, who: Who) -> Any:
    """A folder of the server, which is read where it is."""
    folder = await run_in_threadpool(_inside_roots, service, asked.path)
    return await _added(service, who, new_id(), folder.name or "root", "folder", folder)


@router.get("/folders", response_model=answers.Folders)
def folders(service: ServiceOf, path: Annotated[str | None, Query(max_length=4096)] = None) -> Any:
    """Folders of the server that may be scanned: the allowed roots, or what lies in one of them."""
    if path is None:
        roots = [{"path": str(root), "name": root.name or str(root)} for root in service.config.roots]
        return {"path": None, "folders": roots, "photos": 0}
    folder = _inside_roots(service, path)
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name.lower())
    except OSError as error:
        raise HTTPException(404, f"Cannot look into {path!r}: {error.strerror}.") from error
    shown = [entry for entry in found if not entry.name.startswith(".") and _is_text(entry.name)]
    below = [entry for entry in shown if entry.is_dir(follow_symlinks=False)]
    return {
        "path": str(folder),
        "folders": [{"path": str(folder / entry.name), "name": entry.name} for entry in below[:LISTED]],
        "photos": sum(bool(suffix_of(entry.name)) for entry in found if not entry.is_dir()),
    }


@router.get("/datasets/{dataset}", response_model=answers.Dataset)
def dataset(dataset: Id, service: ServiceOf) -> Any:
    return _one(service, dataset)


@router.post("/datasets/{dataset}/files", response_model=answers.Uploaded)
async def upload(dataset: Id, files: Annotated[list[UploadFile], File()], service: ServiceOf, who: Who) -> Any:
    """Photos or volumes, each under its path in the folder as file name; or a zip archive of them. What is refused is
    told with a reason and does not stop the others. The same file may be sent again."""
    async with service.lock(dataset):
        found = await run_in_threadpool(_one, service, dataset)  # now: an upload before this one may have filled it
        if found["kind"] != "upload":
            raise HTTPException(
                409, "This data set is a folder of the server; nothing is put into it. Make another one."
            )
        taken = await run_in_threadpool(_take_in, service, found, files)
    detail = {"dataset": dataset, "accepted": taken["accepted"], "refused": len(taken["refused"])}
    await service.note("", who, "uploaded", detail)
    return taken


@router.delete("/datasets/{dataset}", status_code=204, response_class=Response)
async def remove(dataset: Id, service: ServiceOf, who: Who) -> None:
    """Uploaded files are removed; a folder of the server stays. Its runs have to go first."""
    async with service.lock(dataset):  # an upload that is under way would put it back
        found = await run_in_threadpool(_one, service, dataset)
        if runs := await run_in_threadpool(service.store.runs_of, dataset):
            raise HTTPException(409, f"{len(runs)} runs are made of it. Remove them first.")
        await run_in_threadpool(service.store.remove, "datasets", dataset)
        await run_in_threadpool(shutil.rmtree, service.workspace.dataset(dataset), True)
    await service.note("", who, "removed data set", {"dataset": dataset, "name": found["name"]})


def _one(service: Service, dataset: str) -> dict[str, Any]:
    found = service.store.find("datasets", dataset)
    if found is None:
        raise missing("data set", dataset)
    return found


async def _added(service: Service, who: str, dataset: str, name: str, kind: str, folder: Path) -> dict[str, Any]:
    count, size, what = await run_in_threadpool(holds, folder)
    facts = {
        "id": dataset,
        "name": name,
        "kind": kind,
        "path": str(folder),
        "holds": what,
        "photos": count,
        "bytes": size,
        "created": now(),
    }
    await run_in_threadpool(_write, service, facts)
    await run_in_threadpool(service.store.add, "datasets", facts)
    await service.note("", who, "made data set", {"dataset": dataset, "name": name})
    return facts


def _write(service: Service, facts: dict[str, Any]) -> None:
    service.workspace.write_facts(service.workspace.dataset(facts["id"]) / "dataset.json", facts)


def _take_in(service: Service, found: dict[str, Any], files: list[UploadFile]) -> dict[str, Any]:
    folder = Path(found["path"])
    intake = Intake(folder, service.config.limits, found["photos"], found["bytes"])
    try:
        for file in files:
            intake.add(file.filename or "", file.file)
    finally:  # what has arrived counts, whatever ends the request
        count, size, what = holds(folder)
        changed = {"holds": what, "photos": count, "bytes": size}
        service.store.change("datasets", found["id"], **changed)
        _write(service, {**found, **changed})
    refused = [{"path": path, "reason": reason} for path, reason in intake.refused]
    return {"accepted": intake.accepted, "refused": refused, "dataset": {**found, **changed}}


def _inside_roots(service: Service, given: str) -> Path:
    """An existing folder below one of the allowed roots, links followed. Others are refused alike, so that nobody
    learns what else the server has."""
    roots = service.config.roots
    try:
        folder = Path(given).resolve(strict=True)
        inside = any(folder.is_relative_to(root) for root in roots) and folder.is_dir() and _is_text(str(folder))
    except (OSError, ValueError, RuntimeError):
        inside = False
    if not inside:
        allowed = ", ".join(map(str, roots)) or "none; start the service with --root FOLDER"
        raise InputError(f"{given[:200]!r} is no folder below the allowed ones ({allowed}).")
    return folder


def _is_text(name: str) -> bool:
    """Whether a name can be written as JSON and into the database: some of old disks cannot."""
    return name.isprintable() and name.encode("utf-8", "replace").decode() == name
