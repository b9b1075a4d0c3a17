"""The queue of scans: whatever becomes of one, the next one is begun, and what happened is told."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from clients import Client
from sqlalchemy import create_engine, text

from blemish.service.events import Event, Events
from blemish.service.jobs import Jobs
from blemish.service.settings import ServiceConfig
from blemish.service.workspace import Workspace, new_id
from judged_runs import write_stained

Serve = Callable[..., Client]


def test_a_damaged_row_fails_alone(serve: Serve, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'index.sqlite'}"
    ann = serve(database=database)
    dataset = ann.upload_folder(write_stained(tmp_path / "lot", (0.0,) * 6))
    run = ann.start(dataset)
    ann.wait(run)
    engine = create_engine(database)
    with engine.begin() as connection:
        connection.execute(text("UPDATE runs SET settings = '{', state = 'failed'"))
    engine.dispose()
    ann.send("POST", f"/api/runs/{run}/resume")
    assert "JSONDecodeError" in ann.wait(run, "failed")["error"]
    ann.wait(ann.start(dataset))


def test_a_process_that_breaks_leaves_a_trace(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is told, and what it printed lies beside the run."""
    data = tmp_path / "data"
    ann = serve(data=data)
    dataset = ann.upload_folder(write_stained(tmp_path / "lot", (0.0,) * 6))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import blemish.running\n"
        "def scan_into(*_, **__): raise KeyError('no such thing')\n"
        "blemish.running.scan_into = scan_into\n"
    )
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(broken), prepend=os.pathsep)
        run = ann.start(dataset)
        assert ann.wait(run, "failed")["error"] == "KeyError: 'no such thing'"
    log = (data / "runs" / run / "worker.log").read_text()
    assert "scan ended with 1" in log.splitlines()[0]
    assert "Traceback" in log
    ann.send("POST", f"/api/runs/{run}/resume")
    ann.wait(run)


def test_nothing_happens_between_the_state_and_what_follows() -> None:
    """What is told while the state is read comes after it."""

    async def heard() -> list[str]:
        events = Events()

        async def state() -> list[Event]:
            events.tell("run", "state", state="done")
            return [("state", {"state": "running"})]

        stream = events.stream("run", state)
        return [await anext(stream) for _ in range(3)][1:]

    first, second = asyncio.run(heard())
    assert "running" in first
    assert "done" in second


def test_a_run_is_removed_while_its_process_ends(serve: Serve, tmp_path: Path) -> None:
    data = tmp_path / "data"
    ann = serve(data=data)
    run = ann.start(ann.upload_folder(write_stained(tmp_path / "lot", (0.0,) * 24)))
    while ann.get(f"/api/runs/{run}").json()["state"] == "queued":
        time.sleep(0.01)
    cancelling = threading.Thread(target=ann.http.post, args=(f"/api/runs/{run}/cancel",), kwargs=signed(ann))
    cancelling.start()
    while (answer := ann.http.delete(f"/api/runs/{run}", **signed(ann))).status_code == 409:
        time.sleep(0.01)
    cancelling.join()
    assert answer.status_code == 204
    assert list((data / "runs").iterdir()) == []
    assert {"started scan", "removed run"} <= {line["what"] for line in ann.get("/api/audit").json()}


def signed(ann: Client) -> dict[str, Any]:
    return {"headers": ann.headers}


def test_what_was_being_removed_is_cleared_at_the_next_start(tmp_path: Path) -> None:
    """The file that says that there is a run goes first."""
    run, other = new_id(), new_id()
    workspace = Workspace(tmp_path)
    for one in (run, other):
        workspace.write_facts(workspace.job(one) / "job.json", {"id": one})
    workspace.append_audit(run, dict.fromkeys(("when", "who", "what", "detail"), "x") | {"run": run})
    workspace.give_up(run)
    workspace.close()
    workspace = Workspace(tmp_path)
    assert [folder.name for folder in (tmp_path / "runs").iterdir()] == [other]
    assert [line["run"] for line in workspace.audit()] == [run]
    workspace.close()


def test_lessons_and_detectors_are_made_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With as many threads as the service was given."""
    jobs = Jobs(ServiceConfig(tmp_path, threads=1), Mock(), Mock(), Events())
    at_once, most, seen = 0, 0, []

    async def process(job: dict[str, Any], *_: object) -> dict[str, Any]:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        seen.append(job["threads"])
        await asyncio.sleep(0)
        at_once -= 1
        return {}

    monkeypatch.setattr(jobs, "_process", process)

    async def all_of_them() -> None:
        await asyncio.gather(*(jobs.other({"verb": "freeze"}) for _ in range(4)))

    asyncio.run(all_of_them())
    assert (most, seen) == (1, [1] * 4)
