"""Runs: starting, watching, stopping and resuming a scan, and the summary of what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from blemish.config import ScanConfig, with_options
from blemish.service import answers, asking, findings
from blemish.service.events import Event
from blemish.service.shelf import RunView
from blemish.service.state import Id, Service, ServiceOf, Who, missing
from blemish.service.workspace import ID, new_id, now
from blemish.sinks.colours import stops_of_heat

__all__ = ["router", "summary_of"]

router = APIRouter(prefix="/api", tags=["runs"])


@router.get("/runs", response_model=list[answers.Run])
def runs(service: ServiceOf, dataset: Annotated[str | None, Query(pattern=ID)] = None) -> Any:
    """The newest first."""
    found = service.store.all("runs")
    return [_with_progress(service, run) for run in found if dataset in (None, run["dataset"])]


@router.post("/runs", response_model=answers.Run, status_code=201)
async def new_run(asked: asking.NewRun, service: ServiceOf, who: Who) -> Any:
    """Queue a scan of a data set."""
    dataset = await run_in_threadpool(service.store.find, "datasets", asked.dataset)
    if dataset is None:
        raise missing("data set", asked.dataset)
    if not dataset["photos"]:
        raise HTTPException(409, "The data set is empty. Upload photos first.")
    await run_in_threadpool(service.config.require_readable, Path(dataset["path"]))
    settings = _settings(asked.settings)
    run, moment = new_id(), now()
    facts = {
        "id": run,
        "dataset": dataset["id"],
        "name": asked.name or dataset["name"],
        "kind": dataset["holds"],
        "settings": json.dumps(settings),
        "created": moment,
    }
    job = service.workspace.job(run) / "job.json"
    await run_in_threadpool(service.workspace.write_facts, job, facts)
    row = {**facts, "state": "queued", "queued": moment, "finished": "", "error": "", "message": ""}
    await run_in_threadpool(service.store.add, "runs", row)
    await service.note(run, who, "started scan", settings)
    service.jobs.wake()
    return _with_progress(service, row)


@router.get("/runs/{run}", response_model=answers.Run)
async def run(run: Id, service: ServiceOf) -> Any:
    return _with_progress(service, await service.run(run))


@router.post("/runs/{run}/cancel", response_model=answers.Run)
async def cancel(run: Id, service: ServiceOf, who: Who) -> Any:
    """Stop a scan that waits or runs. What it has done is kept for a resumption."""
    found = await service.run(run)
    if not await service.jobs.cancel(run):
        raise HTTPException(409, f"The run is {found['state']}, so there is nothing to cancel.")
    await service.note(run, who, "cancelled scan", {})
    return _with_progress(service, await service.run(run))


@router.post("/runs/{run}/resume", response_model=answers.Run)
async def resume(run: Id, service: ServiceOf, who: Who) -> Any:
    """Queue a scan again that was cancelled or has failed; it goes on where it stopped."""
    found = await service.run(run)
    again = {"state": "queued", "queued": now(), "error": "", "message": "", "finished": ""}
    if not await run_in_threadpool(service.store.move, run, ("cancelled", "failed"), **again):
        raise HTTPException(409, f"The run is {found['state']}, so there is nothing to resume.")
    await service.note(run, who, "resumed scan", {})
    service.events.tell(run, "state", state="queued", error="")
    service.jobs.wake()
    return _with_progress(service, await service.run(run))


@router.delete("/runs/{run}", status_code=204, response_class=Response)
async def remove(run: Id, service: ServiceOf, who: Who) -> None:
    """Remove the run and all that was decided about it. A scan has to be cancelled first; detectors stay."""
    found = await service.run(run)
    if found["state"] in ("queued", "running"):
        raise HTTPException(409, f"The run is {found['state']}. Cancel it first.")
    await service.jobs.over(run)
    async with service.lock(run):
        await run_in_threadpool(service.workspace.give_up, run)
        await run_in_threadpool(service.store.remove, "runs", run)
        await run_in_threadpool(service.workspace.clear, run)
        service.shelf.forget(service.workspace.run(run))
    await service.note("", who, "removed run", {"run": run, "name": found["name"]})


@router.get(
    "/runs/{run}/events", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}}
)
async def events(run: Id, service: ServiceOf) -> StreamingResponse:
    """Server-sent events: ``progress`` (stage, done, total, eta_s, note), ``state`` (state, error) and ``changed``
    (what). The state as it is comes first; the connection stays open."""
    await service.run(run)
    if service.events.full:
        raise HTTPException(429, "Too many listen already. Ask for the run every few seconds instead.")

    async def as_it_is() -> list[Event]:
        found = _with_progress(service, await service.run(run))
        state: Event = ("state", {"state": found["state"], "error": found["error"]})
        if found["state"] != "running":
            return [state]
        told = {name: found[name] for name in ("stage", "done", "total", "eta_s")}
        return [state, ("progress", {**told, "note": found["message"]})]

    stream = service.events.stream(run, as_it_is)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"cache-control": "no-store"})


@router.get("/runs/{run}/result", response_model=findings.ResultSummary)
async def result(run: Id, service: ServiceOf) -> Any:
    """What the run says, in short."""
    view, row = await service.view(run), await service.run(run)
    return summary_of(view, run, row["name"])


def summary_of(view: RunView, run: str, name: str) -> dict[str, Any]:
    """``ResultSummary`` as plain values."""
    result = view.result
    manifest, judgement = result.manifest, result.judgement
    calls = [photo.verdict for photo in result.scored]
    return {
        "id": run,
        "name": name,
        "revision": view.revision,
        "kind": view.kind,
        "sentence": judgement.sentence if judgement else "",
        "threshold": judgement.threshold if judgement else 0.0,
        "rule": judgement.rule if judgement else "",
        "counts": {
            **{call: calls.count(call) for call in ("ok", "blemished", "unsure")},
            "unreadable": len(result.unreadable),
        },
        "warnings": list(result.warnings),
        "settings": manifest["config"],
        "resolved": manifest["resolved"],
        "colour_scale": {"low": result.scale.low, "high": result.scale.high, "colours": stops_of_heat()},
        "shape": list(result.shape),
        "photos": len(result.photos),
        "families": len(result.families),
        "asks": [family.number for family in result.families if family.asks],
        "taught": manifest.get("taught", {}),
        "version": str(manifest["blemish"]),
    }


def _settings(asked: asking.ScanSettings) -> dict[str, Any]:
    """Only what was said, checked as a scan checks it. Raises ``ConfigError``."""
    said = asked.model_dump(exclude_none=True)
    with_options(ScanConfig(), dict(said))
    return said


def _with_progress(service: Service, run: dict[str, Any]) -> dict[str, Any]:
    live = service.jobs.live.get(run["id"])
    if live is None or run["state"] != "running":
        return {**run, "stage": "", "done": 0, "total": 0, "eta_s": None}
    told = {"stage": live.stage, "done": live.done, "total": live.total, "eta_s": live.eta_s}
    return {**run, **told, "message": live.message}
