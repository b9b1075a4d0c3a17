"""Teaching a run from its own photos: good ones, and defects that are marked with a box."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException

from blemish.service import answers, asking
from blemish.service.routes.runs import summary_of
from blemish.service.shelf import RunView
from blemish.service.state import Id, Service, ServiceOf, Who, missing

__all__ = ["router"]

router = APIRouter(prefix="/api/runs/{run}/teach", tags=["teaching"])


@router.post("", response_model=answers.Taught)
async def teach(run: Id, asked: asking.Lesson, service: ServiceOf, who: Who) -> Any:
    """Every photo is compared with these and scored again in seconds. Lessons add up. Of volumes, good ones only."""
    view = await service.view(run)
    if not asked.good and not asked.defects:
        raise HTTPException(400, "The lesson is empty. Give good photos, or a defect with its box.")
    if asked.defects and view.kind == "volumes":
        raise HTTPException(
            400, "A box marks a defect of a photo. Of volumes give good ones here, and masks with blemish teach."
        )
    good = [_path(view, pid) for pid in asked.good]
    defects = [(_path(view, marked.pid), marked.box) for marked in asked.defects]
    detail = {"good": good, "defects": [{"photo": path, "box": box} for path, box in defects]}
    return await _taught(service, run, who, "taught", detail, {"good": good, "defects": defects, "undo": False})


@router.post("/undo", response_model=answers.Taught)
async def undo(run: Id, service: ServiceOf, who: Who) -> Any:
    """Take the last lesson back."""
    return await _taught(service, run, who, "took lesson back", {}, {"good": [], "defects": [], "undo": True})


async def _taught(
    service: Service, run: str, who: str, what: str, detail: dict[str, Any], lesson: dict[str, Any]
) -> dict[str, Any]:
    async def act(folder: Path) -> dict[str, Any]:
        return await service.jobs.other({"verb": "teach", "run": str(folder), **lesson})

    done = await service.change(run, who, what, detail, act)
    row = await service.run(run)
    summary = summary_of(await service.view(run), run, row["name"])
    return {"sentence": done["sentence"], "moved": done["moved"], "result": summary}


def _path(view: RunView, pid: int) -> str:
    found = view.photo(pid)
    if found is None:
        raise missing("photo", str(pid))
    return found.path
