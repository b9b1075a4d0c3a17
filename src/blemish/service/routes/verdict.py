"""The verdict of a run: its threshold, every other threshold with what it would mean, and choosing one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Response
from starlette.concurrency import run_in_threadpool

from blemish.judgement import Interval, Stop
from blemish.rejudging import rejudge
from blemish.service import asking, findings
from blemish.service.shelf import RunView
from blemish.service.state import Id, ServiceOf, Who
from blemish.sinks.report import digits_of, histogram_of
from blemish.sinks.report_verdict import chosen_of, stops_of

__all__ = ["router"]

router = APIRouter(prefix="/api/runs/{run}/verdict", tags=["verdict"])


@router.get("", response_model=findings.VerdictFound)
async def verdict(run: Id, service: ServiceOf) -> Response:
    """The sentence for every threshold that separates other photos, worked out beforehand: a slider only shows it."""
    return await _answer(await service.view(run))


@router.put("", response_model=findings.VerdictFound)
async def choose(run: Id, asked: asking.VerdictSettings, service: ServiceOf, who: Who) -> Response:
    """Another threshold: given, or by the share of defects or of false alarms; with none of the three the batch
    decides. Photos are judged again, not scored again."""
    said = asked.model_dump()

    async def act(folder: Path) -> None:
        await run_in_threadpool(lambda: rejudge(folder, **said))

    await service.change(run, who, "moved threshold", asked.model_dump(exclude_none=True), act)
    return await _answer(await service.view(run))


async def _answer(view: RunView) -> Response:
    return Response(await run_in_threadpool(view.answer, "verdict", _plain), media_type="application/json")


def _plain(view: RunView) -> dict[str, Any]:
    result, config = view.result, view.opened.config.verdict
    judgement = result.judgement
    assert judgement is not None  # ``reread`` judges
    scored = result.scored
    unreadable = len(result.unreadable)
    scores = [photo.score for photo in scored if photo.score is not None]
    digits = digits_of(scores)
    shown = stops_of(judgement, scored, digits)
    stops = [_stop(*each, len(scored), unreadable) for each in zip(judgement.stops, shown, strict=True)]
    chosen = chosen_of(judgement)
    histogram = histogram_of(scores)
    return {
        "revision": view.revision,
        "sentence": judgement.sentence,
        "threshold": judgement.threshold,
        "rule": judgement.rule,
        "counts": stops[chosen]["counts"],
        "false_alarms": _interval(judgement.false_alarms),
        "share": _interval(judgement.share),
        "at_least": judgement.at_least,
        "asked": asdict(config),
        "chosen": chosen,
        "stops": stops,
        "always": [row + 1 for row in judgement.always],
        "spared": [row + 1 for row in judgement.spared],
        "digits": digits,
        "scores": scores,
        "histogram": {"edges": histogram.edges.tolist(), "counts": [bar.count for bar in histogram.bars]},
    }


def _stop(stop: Stop, shown: dict[str, Any], scored: int, unreadable: int) -> dict[str, Any]:
    unsure = len(stop.unsure)
    counts = {"ok": scored - stop.blemished - unsure, "blemished": stop.blemished, "unsure": unsure}
    return {
        "threshold": stop.threshold,
        "text": shown["threshold"],
        "above": shown["above"],
        "sentence": stop.sentence,
        "counts": {**counts, "unreadable": unreadable},
        "unsure": [(first + 1, last + 1) for first, last in shown["unsure"]],
    }


def _interval(found: Interval) -> list[float]:
    return [found.estimate, found.low, found.high]
