"""Families of recurring flaws: what they are, and what a person says of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import fastapi
from fastapi import APIRouter, Response
from starlette.concurrency import run_in_threadpool

from blemish.deciding import decide
from blemish.result import Family
from blemish.service import asking, findings
from blemish.service.routes.runs import summary_of
from blemish.service.shelf import RunView
from blemish.service.state import Id, ServiceOf, Who, missing
from blemish.sinks.report_families import NAMES, effect

__all__ = ["router"]

DIGITS = 4  # decimals of scores in sentences
PLACE_DIGITS = 3

router = APIRouter(prefix="/api/runs/{run}/families", tags=["families"])


@router.get("", response_model=list[findings.FamilyFound])
async def families(run: Id, service: ServiceOf) -> Response:
    """The strongest evidence first."""
    view = await service.view(run)
    return Response(await run_in_threadpool(view.answer, "families", _all), media_type="application/json")


@router.put("/{number}", response_model=findings.ResultSummary)
async def say(
    run: Id,
    number: Annotated[int, fastapi.Path(ge=1, le=100_000)],
    asked: asking.FamilyWord,
    service: ServiceOf,
    who: Who,
) -> Any:
    """Say that the family is a defect or a legitimate variant, or take back what was said (null). The photos are scored
    again at once."""
    view = await service.view(run)
    if all(family.number != number for family in view.result.families):
        raise missing("family", str(number))

    async def act(folder: Path) -> None:
        if asked.kind is None:
            await run_in_threadpool(decide, folder, number, undo=True)
        else:
            await run_in_threadpool(decide, folder, number, asked.kind)

    await service.change(run, who, "decided family", {"family": number, "is": asked.kind}, act)
    row = await service.run(run)
    return summary_of(await service.view(run), run, row["name"])


def _all(view: RunView) -> list[dict[str, Any]]:
    return [_plain(view, family) for family in view.result.families]


def _plain(view: RunView, family: Family) -> dict[str, Any]:
    count = len(family.members)
    return {
        "number": family.number,
        "kind": family.kind,
        "decided_by": family.decided_by,
        "asks": family.asks,
        "title": f"Family {family.number} · {NAMES[family.kind]} · {count} {family.noun}{'' if count == 1 else 's'}",
        "evidence": family.evidence(len(view.result.scored)),
        "strength": _finite(family.strength),
        "fence": _finite(family.fence),
        "density": _finite(family.density),
        "members": [
            {
                "pid": view.pids[member.path],
                "path": member.path,
                "box": {side: getattr(member, side) for side in ("left", "top", "right", "bottom")},
                "depth": [member.front, member.back] if family.place.ndim == 3 else None,
            }
            for member in sorted(family.members, key=lambda member: view.at[member.path])
        ],
        "place": {"shape": list(family.place.shape), "shares": family.place.astype(float).round(PLACE_DIGITS).tolist()},
        "effect": {
            "score_with": _finite(family.score_with),
            "score_without": _finite(family.score_without),
            "sentence": effect(family, DIGITS),
        },
    }


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return float(value) if math.isfinite(value) else None
