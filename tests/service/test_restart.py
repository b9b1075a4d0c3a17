"""A server that is killed, and people who decide at once: nothing is lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from clients import Client
from PIL import Image
from services import free_port, server

from judged_runs import stained, write_stained

Serve = Callable[..., Client]
SLOW = {"backbone": "effnet-lite2", "size": 256, "families": "off"}  # long enough to be killed in


def workers() -> set[int]:
    """Processes that scan."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"blemish.service.worker" in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc to see processes")
def test_a_server_that_is_killed_goes_on(database: str, tmp_path: Path) -> None:
    photos = write_stained(tmp_path / "lot", (0.0,) * 40)
    for file in photos.iterdir():
        Image.fromarray(stained(int(file.stem), size=(256, 256))).save(file)
    data, port, before = tmp_path / "data", free_port(), workers()
    with server(data, port, "--database", database) as (process, ann):
        run = ann.start(ann.upload_folder(photos), SLOW)
        waiting = ann.start(ann.get("/api/datasets").json()[0]["id"])
        _until(lambda: ann.get(f"/api/runs/{run}").json()["done"] > 0, "the scan has begun")
        scanning = workers() - before
        assert scanning
        process.send_signal(signal.SIGKILL)
        process.wait(20)
        _until(lambda: not scanning & workers(), "the scan ends with its server")
    assert not (data / "runs" / run / "run").exists()
    with server(data, port, "--database", database) as (_, ann):
        assert ann.wait(run)["error"] == ""
        assert len(ann.rows(run)) == 40
        ann.wait(waiting)
        assert not [file for file in (data / "runs" / run).iterdir() if file.name.endswith(".partial")]


def test_events_arrive_as_they_happen(tmp_path: Path) -> None:
    """Through a real server and a connection that stays open."""
    port = free_port()
    with server(tmp_path / "data", port) as (_, ann):
        dataset = ann.upload_folder(write_stained(tmp_path / "lot"))
        run = ann.start(dataset)
        with ann.http.stream("GET", f"/api/runs/{run}/events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            kinds = []
            for line in stream.iter_lines():
                kinds += [line.removeprefix("event: ")] if line.startswith("event: ") else []
                if line.startswith("data: ") and json.loads(line[6:]).get("state") == "done":
                    break
        assert "progress" in kinds
        with ann.http.stream("GET", f"/api/runs/{run}/events") as stream:
            lines = stream.iter_lines()
            assert [next(lines) for _ in range(4)][2:] == ["event: state", 'data: {"state": "done", "error": ""}']


def test_a_second_server_does_not_take_the_folder(tmp_path: Path) -> None:
    with server(tmp_path / "data", free_port()):
        command = [sys.executable, "-m", "blemish", "serve", "--data", str(tmp_path / "data"), "--port", "0"]
        second = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert second.returncode == 2
    assert b"Another service uses" in second.stderr


def test_two_who_decide_at_once_lose_nothing(serve: Serve, database: str, tmp_path: Path) -> None:
    ann = serve(database=database)
    bob = Client(ann.http, "Bob")
    run = ann.scanned(write_stained(tmp_path / "lot"))
    threshold = ann.get(f"/api/runs/{run}/verdict").json()["stops"][5]["threshold"]
    errors: list[BaseException] = []

    def decide(person: Client, pids: range, call: str) -> None:
        try:
            for pid in pids:
                person.send("PUT", f"/api/runs/{run}/photos/{pid}/said", json={"call": call})
                person.get(f"/api/runs/{run}/photos")
                if pid % 4 == 0:
                    person.send("PUT", f"/api/runs/{run}/verdict", json={"threshold": threshold})
        except BaseException as error:  # told where the test sees it
            errors.append(error)

    people = [(ann, range(0, 12), "good"), (bob, range(12, 24), "defect")]
    threads = [threading.Thread(target=decide, args=each) for each in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    rows = {row["pid"]: row for row in ann.rows(run)}
    assert [rows[pid]["said"] for pid in range(24)] == ["good"] * 12 + ["defect"] * 12
    assert [rows[pid]["verdict"] for pid in range(24)] == ["ok"] * 12 + ["blemished"] * 12
    assert ann.get(f"/api/runs/{run}/result").json()["threshold"] == threshold
    trail = ann.get("/api/audit", params={"run": run}).json()
    assert sum(line["who"] == "Bob" and line["what"] == "reviewed photo" for line in trail) == 12
    assert sum(line["who"] == "Ann" and line["what"] == "reviewed photo" for line in trail) == 12


def _until(true: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 120
    while not true():
        assert time.monotonic() < until, what
        time.sleep(0.02)
