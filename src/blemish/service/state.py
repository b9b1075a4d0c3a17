"""Everything that requests share, and how a finished run is changed: one after the other, each change applied to the
newest state, told to everybody who listens and noted in the audit trail.

Routes ask for this and know nothing of each other.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote

from anyio import CapacityLimiter
from fastapi import Depends, Header, HTTPException, Path, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from blemish.service.events import Events
from blemish.service.jobs import Jobs
from blemish.service.settings import ServiceConfig
from blemish.service.shelf import RunView, Shelf
from blemish.service.store import Store
from blemish.service.workspace import ID, Workspace, now

__all__ = ["Id", "Photo", "Service", "ServiceOf", "Who", "missing"]

Done = TypeVar("Done")
LONGEST_NAME = 100
LONGEST_ENCODED = 12 * LONGEST_NAME  # a character is up to four bytes, each of which becomes %xx
DECODING = 2  # photos or volumes at once: one can take half a gigabyte


@dataclass
class Service:
    config: ServiceConfig
    workspace: Workspace
    store: Store
    events: Events
    jobs: Jobs
    shelf: Shelf
    decoding: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(DECODING))  # waited for in no thread
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    _noting: threading.Lock = field(default_factory=threading.Lock)
    _lags: bool = False  # the database lacks lines of the audit trail

    async def run(self, run: str) -> dict[str, Any]:
        """The run's row, with how far it is. 404 if there is none."""
        found = await run_in_threadpool(self.store.find, "runs", run)
        if found is None:
            raise missing("run", run)
        return found

    async def view(self, run: str) -> RunView:
        """A finished run. 404 if there is none, 409 if it is not finished."""
        folder = self.workspace.run(run)
        if (known := self.shelf.peek(folder)) is not None:
            return known
        row = await self.run(run)
        if row["state"] != "done":
            raise HTTPException(409, f"The run is {row['state']}, so it has no results yet. Wait for it, or resume it.")
        async with self.lock(run):  # a run that is being replaced is not there for a moment
            return await run_in_threadpool(self.shelf.view, folder)

    def lock(self, run: str) -> asyncio.Lock:
        return self._locks.setdefault(run, asyncio.Lock())

    async def change(
        self, run: str, who: str, what: str, detail: dict[str, Any], act: Callable[[FilePath], Awaitable[Done]]
    ) -> Done:
        """Have ``act`` change the finished run's folder while nobody else does, and note who wanted ``what``."""
        await self.view(run)

        async def changing() -> Done:
            folder = self.workspace.run(run)
            async with self.lock(run):
                done = await act(folder)
                try:
                    await self.note(run, who, what, detail)
                    await run_in_threadpool(self._changed, run, folder)
                finally:  # it has changed, whether or not the database knows
                    self.events.tell(run, "changed", what=what)
            return done

        # whoever asked may go away: what was begun is finished, and nobody else begins before
        return await asyncio.shield(asyncio.create_task(changing()))

    def _changed(self, run: str, folder: FilePath) -> None:
        view = self.shelf.view(folder)
        judgement = view.result.judgement
        self.store.change("runs", run, message=judgement.sentence if judgement else "")

    async def note(self, run: str, who: str, what: str, detail: dict[str, Any]) -> None:
        """In the data folder, which is the truth, and in the database, which may lag behind while it is away."""
        line = {"when": now(), "who": who, "what": what, "run": run, "detail": json.dumps(detail)}
        await run_in_threadpool(self._note, run, line)

    def _note(self, run: str, line: dict[str, Any]) -> None:
        with self._noting:
            self.workspace.append_audit(run, line)
            try:
                if self._lags:
                    self.store.catch_up(self.workspace.audit())
                else:
                    self.store.note(line)
                self._lags = False
            except SQLAlchemyError:
                self._lags = True


def missing(what: str, given: str) -> HTTPException:
    return HTTPException(404, f"There is no {what} {given!r}. Ask for the list of them.")


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _who(x_blemish_who: Annotated[str | None, Header(max_length=LONGEST_ENCODED)] = None) -> str:
    """Whoever says who they are: a note in the audit trail, not a permission; percent-encoded."""
    name = "".join(c for c in unquote(x_blemish_who or "") if c.isprintable()).strip()
    return name[:LONGEST_NAME] or "somebody"


ServiceOf = Annotated[Service, Depends(_service)]
Who = Annotated[str, Depends(_who)]
Id = Annotated[str, Path(pattern=ID)]
Photo = Annotated[int, Path(ge=0, le=10_000_000)]
