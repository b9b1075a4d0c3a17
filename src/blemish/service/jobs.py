"""The queue of scans, one at a time, each in a process of its own; and other work that is too heavy for the service.

The queue lies in the database, so a restart goes on with it: a scan that was cut short takes up its cached features and
logged tiles. It knows processes and states, not what a scan does.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from blemish.errors import InputError, RunError
from blemish.service.events import Events
from blemish.service.settings import ServiceConfig
from blemish.service.store import Store
from blemish.service.workspace import Workspace, now

__all__ = ["Jobs", "Live"]

Facts = dict[str, Any]
_log = logging.getLogger(__name__)

PATIENCE_S = 10.0  # between asking a process to stop and ending it
RETRY_S = 5.0  # between two tries to reach the database
LOG = "worker.log"  # beside the run folder
KEPT = 2**16  # bytes of it
LINGER_S = 1.0  # that its last words may take
LINE = 2**20  # bytes, the longest that a worker writes
CRASHED = "The scan ended without a word, as a process that runs out of memory does. Resume it, or allow less memory."


@dataclass
class Live:
    """How far a scan is."""

    stage: str = ""
    done: int = 0
    total: int = 0
    eta_s: float | None = None
    message: str = ""


class Jobs:
    """Used on the event loop only."""

    def __init__(self, config: ServiceConfig, store: Store, workspace: Workspace, events: Events) -> None:
        self._config, self._store, self._workspace, self._events = config, store, workspace, events
        self._waiting = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._processes: dict[str, Process] = {}  # run -> its scan
        self._others: set[Process] = set()
        self._one_other = asyncio.Lock()  # beside a scan; more would want more memory than there is
        self._over: dict[str, asyncio.Event] = {}  # run -> when its scan, and all that it writes, has ended
        self._stopped: set[str] = set()  # runs that were cancelled, maybe before their process was there
        self.live: dict[str, Live] = {}

    def start(self) -> None:
        """Go on with what was waiting or cut short."""
        self._take_up()
        self._task = asyncio.create_task(self._work())

    def _take_up(self) -> None:
        """Nothing runs, whatever the database says: it is finished, or waits again."""
        for run in self._store.all("runs"):
            if run["state"] == "running":
                finished = (self._workspace.run(run["id"]) / "run.json").is_file()
                state = {"state": "done", "finished": now()} if finished else {"state": "queued"}
                self._store.change("runs", run["id"], **state)

    async def stop(self) -> None:
        """Scans that are cut short go on after the next start."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})
        for process in (*self._processes.values(), *self._others):
            await _ended(process)

    def wake(self) -> None:
        """Something waits."""
        self._waiting.set()

    async def cancel(self, run: str) -> bool:
        """False if it neither waits nor runs."""
        cancelled = {"state": "cancelled", "finished": now(), "message": "Cancelled."}
        if not await asyncio.to_thread(self._store.move, run, ("queued",), **cancelled):
            if not await asyncio.to_thread(self._store.move, run, ("running",), **cancelled):
                return False
            self._stopped.add(run)
            if process := self._processes.get(run):
                await _ended(process)
        self._events.tell(run, "state", state="cancelled", error="")
        return True

    async def over(self, run: str) -> None:
        """Wait until no process writes to the run any more: one that was cancelled takes a moment to end."""
        if ended := self._over.get(run):
            await ended.wait()

    async def _work(self) -> None:
        while True:
            self._waiting.clear()
            try:
                run = await asyncio.to_thread(self._store.take)
                if run is not None:
                    ended = self._over[run["id"]] = asyncio.Event()
                    try:
                        await self._scan(run)
                    finally:
                        del self._over[run["id"]]
                        ended.set()
                    continue
            except SQLAlchemyError:  # the database is away
                await asyncio.sleep(RETRY_S)
                with suppress(SQLAlchemyError):
                    await asyncio.to_thread(self._take_up)
                continue
            except Exception:  # the queue outlives every scan
                _log.exception("The queue of scans goes on after an error")
                await asyncio.sleep(RETRY_S)
                continue
            await self._waiting.wait()

    async def _scan(self, run: Facts) -> None:
        live = self.live[run["id"]] = Live()
        self._events.tell(run["id"], "state", state="running", error="")
        dataset = None
        try:
            dataset = await asyncio.to_thread(self._store.find, "datasets", run["dataset"])
            if dataset is None:
                raise InputError("Its data set was removed. Upload the photos again.")
            await asyncio.to_thread(self._config.require_readable, Path(dataset["path"]))
            job = {
                "verb": "scan",
                "source": dataset["path"],
                "run": str(self._workspace.run(run["id"])),
                "settings": {**json.loads(run["settings"]), **self._own()},
            }

            def heard(line: Facts) -> None:
                _hear(live, line)
                self._events.tell(
                    run["id"],
                    "progress",
                    stage=live.stage,
                    done=live.done,
                    total=live.total,
                    eta_s=live.eta_s,
                    note=live.message,
                )

            done = await self._process(job, heard, run["id"])
            state = {"state": "done", "error": "", "message": _text(done["sentence"])}
        except (InputError, RunError, OSError) as error:
            told = str(error)
            if dataset is not None:  # where uploads lie on the server helps nobody
                told = told.replace(dataset["path"], dataset["name"])
            state = {"state": "failed", "error": _text(told), "message": _text(live.message)}
        except SQLAlchemyError:
            raise
        except Exception as error:  # such as a damaged row: this scan fails, the next one is begun
            words = f"The scan could not be carried out ({type(error).__name__}: {error}). Start it anew."
            state = {"state": "failed", "error": _text(words), "message": _text(live.message)}
        finally:
            self.live.pop(run["id"], None)
        if await asyncio.to_thread(self._store.move, run["id"], ("running",), finished=now(), **state):
            self._events.tell(run["id"], "state", state=state["state"], error=state["error"])
        self._stopped.discard(run["id"])

    def _own(self) -> Facts:
        """Settings of this machine, which no request can change."""
        own = {"memory": self._config.memory, "threads": self._config.threads}
        return {name: value for name, value in own.items() if value is not None}

    async def other(self, job: Facts) -> Facts:
        """Have something else done, in a process of its own, one after the other: ``teach`` or ``freeze``. Raises
        ``InputError`` or ``RunError``."""
        async with self._one_other:
            return await self._process({**job, "threads": self._config.threads}, lambda line: None, None)

    async def _process(self, job: Facts, heard: Callable[[Facts], None], run: str | None) -> Facts:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "blemish.service.worker", stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=LINE
        )
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        words = bytearray()
        reading = asyncio.create_task(_tail(process.stderr, words))
        if run is None:
            self._others.add(process)
        else:
            self._processes[run] = process
            if run in self._stopped:
                await _ended(process)
        failed: Facts | None = None
        try:
            within = [str(folder) for folder in self._config.readable]
            process.stdin.write(json.dumps({**job, "within": within}).encode() + b"\n")
            await process.stdin.drain()
            async for text in process.stdout:
                line = json.loads(text)
                if line["type"] == "done":
                    await process.wait()
                    return dict(line)
                if line["type"] == "failed":
                    failed = line
                else:
                    heard(line)
            await process.wait()
        except (BrokenPipeError, ConnectionResetError, ValueError):
            pass  # it has ended before it was asked, or in the middle of a line; what it had to say is below
        finally:
            await _ended(process)
            await asyncio.wait({reading}, timeout=LINGER_S)  # a process of its own may hold the pipe
            reading.cancel()
            with suppress(OSError):
                await asyncio.to_thread(_keep, Path(job["run"]).with_name(LOG), job["verb"], process, bytes(words))
            self._others.discard(process)
            if run is not None:
                self._processes.pop(run, None)
        if failed is None:
            raise RunError(CRASHED)
        raise (InputError if failed.get("usage") else RunError)(failed["error"])


def _text(words: str) -> str:
    """As every database takes it: file names may hold what is no text."""
    return words.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def _hear(live: Live, line: Facts) -> None:
    if line["type"] == "note":
        live.message = line["text"]
    else:
        live.stage, live.done, live.total, live.eta_s = line["stage"], line["done"], line["total"], line["eta_s"]


async def _tail(stream: asyncio.StreamReader, words: bytearray) -> None:
    """The end of what a process writes beside its lines, in ``words``."""
    while chunk := await stream.read(KEPT):
        words += chunk
        del words[:-KEPT]


def _keep(log: Path, verb: str, process: Process, words: bytes) -> None:
    """The last process's own words, for whoever looks why it ended."""
    if log.parent.is_dir():
        log.write_bytes(f"{now()} {verb} ended with {process.returncode}\n".encode() + words)


async def _ended(process: Process) -> None:
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), PATIENCE_S)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
