"""The queue of scans: whatever becomes of one, the next one is begun, and what happened is told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from clients import Client
from sqlalchemy import create_engine, text

from blemish.service.events import Event, Events
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
