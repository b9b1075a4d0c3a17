"""Detectors: a judged run frozen for one photo at a time, and photos judged by one."""

from __future__ import annotations

import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, File, HTTPException, Request, Response, UploadFile
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse

from blemish.checked import Checked, CheckedVolume
from blemish.errors import InputError, UnreadablePhoto
from blemish.frozen import Detector
from blemish.inputs.images import PhotoFile, probe
from blemish.result import RGB
from blemish.service import answers
from blemish.service.names import attachment, safe_path, suffix_of
from blemish.service.state import Id, Service, ServiceOf, Who, missing
from blemish.service.volumes import slices_of
from blemish.service.workspace import new_id, now
from blemish.sinks.colours import heat
from blemish.sinks.embedded import QUALITY, between_tokens, data_uri

__all__ = ["Loaded", "router"]

Done = TypeVar("Done")
VOLUMES = (".nii", ".nii.gz")
KEPT = 2  # detectors in memory
LONGEST = 1024  # side of the picture in an answer, pixels

router = APIRouter(prefix="/api", tags=["detectors"])


class Loaded:
    """The detectors that were asked last; one photo at a time. Whoever waits does so on the event loop, in no thread
    that others need. Made on the event loop."""

    def __init__(self) -> None:
        self._detectors: OrderedDict[Path, Detector] = OrderedDict()
        self._one = CapacityLimiter(1)

    async def alone(self, do: Callable[..., Done], *arguments: Any) -> Done:
        """``do`` in a thread, while nobody else uses the detectors."""
        return await to_thread.run_sync(do, *arguments, limiter=self._one)

    def judge(self, file: Path, photo: PhotoFile) -> dict[str, Any]:
        """To be called through ``alone``."""
        if file not in self._detectors:
            self._detectors[file] = Detector.load(file)
        self._detectors.move_to_end(file)
        while len(self._detectors) > KEPT:
            self._detectors.popitem(last=False)
        detector = self._detectors[file]
        (taken,) = detector.files(photo.file)
        seen = detector.read(replace(taken, path=photo.path))
        checked = detector.judge(photo.path, seen)
        shown = (
            _of_volume(checked, detector) if isinstance(checked, CheckedVolume) else _of_photo(checked, seen, detector)
        )
        return {
            "path": checked.path,
            "score": checked.score,
            "verdict": checked.verdict,
            "threshold": checked.threshold,
            "low": detector.facts.unsure_low,
            "high": detector.facts.unsure_high,
            "note": checked.note,
            **shown,
        }

    def remove(self, file: Path) -> None:
        """The file too. To be called through ``alone``."""
        self._detectors.pop(file, None)
        for each in (file, file.with_suffix(".json")):
            each.unlink(missing_ok=True)


def _of_photo(checked: Checked, pixels: RGB, detector: Detector) -> dict[str, Any]:
    picture = Image.fromarray(pixels)
    picture.thumbnail((LONGEST, LONGEST), reducing_gap=2.0)
    layer = heat(detector.scale.apply(between_tokens(np.asarray(checked.grid))))
    return {
        "width": checked.shape[1],
        "height": checked.shape[0],
        "regions": [{name: getattr(one, name) for name in one.__slots__} for one in checked.regions],
        "lesions": [],
        "picture": data_uri(picture, "jpeg", quality=QUALITY),
        "heat": data_uri(Image.fromarray(layer), "png"),
    }


def _of_volume(checked: CheckedVolume, detector: Detector) -> dict[str, Any]:
    return {
        "width": checked.shape[0],
        "height": checked.shape[1],
        "regions": [],
        "lesions": [{name: getattr(one, name) for name in one.__slots__} for one in checked.lesions],
        "picture": slices_of(checked.native, checked.grid, detector.scale),
        "heat": "",
    }


@router.get("/detectors", response_model=list[answers.Detector])
def detectors(service: ServiceOf) -> Any:
    """The newest first."""
    return service.store.all("detectors")


@router.post("/runs/{run}/freeze", response_model=answers.Detector, status_code=201)
async def freeze(run: Id, service: ServiceOf, who: Who) -> Any:
    """Make a detector of the run as it is judged now; takes as long as its photos are read once more."""
    await service.view(run)
    row = await service.run(run)
    detector = new_id()
    file = service.workspace.detector(detector)
    async with service.lock(run):
        job = {"verb": "freeze", "run": str(service.workspace.run(run)), "out": str(file)}
        done = await service.jobs.other(job)
    facts = {
        "id": detector,
        "run": run,
        "name": row["name"],
        "meaning": done["meaning"],
        "threshold": done["threshold"],
        "bytes": (await run_in_threadpool(file.stat)).st_size,
        "created": now(),
    }
    await run_in_threadpool(service.workspace.write_facts, file.with_suffix(".json"), facts)
    await run_in_threadpool(service.store.add, "detectors", facts)
    await service.note(run, who, "froze detector", {"detector": detector})
    return facts


@router.post("/detectors/{detector}/check", response_model=answers.Checked)
async def check(detector: Id, file: Annotated[UploadFile, File()], request: Request, service: ServiceOf) -> Any:
    """Judge one photo, or one volume as NIfTI. It is not kept. The score is the one that ``blemish check`` gives."""
    await run_in_threadpool(_one, service, detector)
    loaded: Loaded = request.app.state.loaded
    return await loaded.alone(_checked, service, loaded, service.workspace.detector(detector), file)


@router.get(
    "/detectors/{detector}/file", response_class=FileResponse, responses={200: {"content": {"application/zip": {}}}}
)
def file_of(detector: Id, service: ServiceOf) -> FileResponse:
    """The detector for ``blemish check``, elsewhere."""
    found = _one(service, detector)
    name = attachment(f"{found['name']}.blemish")
    return FileResponse(
        service.workspace.detector(detector), media_type="application/zip", headers={"content-disposition": name}
    )


@router.delete("/detectors/{detector}", status_code=204, response_class=Response)
async def remove(detector: Id, request: Request, service: ServiceOf, who: Who) -> None:
    found = await run_in_threadpool(_one, service, detector)
    await run_in_threadpool(service.store.remove, "detectors", detector)
    loaded: Loaded = request.app.state.loaded
    await loaded.alone(loaded.remove, service.workspace.detector(detector))
    await service.note("", who, "removed detector", {"detector": detector, "name": found["name"]})


def _one(service: Service, detector: str) -> dict[str, Any]:
    found = service.store.find("detectors", detector)
    if found is None:
        raise missing("detector", detector)
    return found


def _checked(service: Service, loaded: Loaded, detector: Path, file: UploadFile) -> dict[str, Any]:
    try:
        name = safe_path(file.filename or "photo").name
    except ValueError as error:
        raise InputError(f"The photo's name cannot be used: {error}. Send it under another.") from error
    with tempfile.NamedTemporaryFile(dir=service.workspace.scratch, suffix=suffix_of(name)) as kept:
        shutil.copyfileobj(file.file, kept)
        kept.flush()
        photo = PhotoFile(name, Path(kept.name))
        try:
            if suffix_of(name) not in VOLUMES:
                header = probe(photo)
                if header.width * header.height > service.config.limits.pixels:
                    raise UnreadablePhoto(f"too many pixels ({header.width} x {header.height})")
            return loaded.judge(detector, photo)
        except UnreadablePhoto as error:
            raise HTTPException(
                422,
                f"{name!r} cannot be read: {error}. Send a JPEG, PNG, BMP, WebP or TIFF, or of volumes NIfTI.",
            ) from error
        except InputError as error:
            raise HTTPException(422, f"{name!r} cannot be judged: {str(error).removesuffix('.')}.") from error
