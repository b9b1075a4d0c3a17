"""Who decided what, and when."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from blemish.service import answers
from blemish.service.state import ServiceOf
from blemish.service.workspace import ID

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["audit"])


@router.get("/audit", response_model=list[answers.AuditLine])
def audit(
    service: ServiceOf,
    run: Annotated[str | None, Query(pattern=ID)] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 500,
) -> Any:
    """The newest first. ``detail`` is JSON."""
    return service.store.audit(run, limit)
