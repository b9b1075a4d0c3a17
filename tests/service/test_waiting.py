"""Who waits for something slow keeps nobody else waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from clients import Client, png

from blemish.service import pictures
from blemish.service.routes.detectors import Loaded
from judged_runs import stained, write_stained

Serve = Callable[..., Client]
MANY = 50  # more than the service has threads
PATIENCE_S = 30


class Slow:
    """Stands for something that takes until it is let go."""

    def __init__(self) -> None:
        self.begun, self._go = threading.Event(), threading.Event()
        self.at_once = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        with self._lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        self.begun.set()
        self._go.wait(PATIENCE_S)
        with self._lock:
            self.at_once -= 1
        raise OSError("it was only a test")

    @contextmanager
    def until_done(self) -> Iterator[ThreadPoolExecutor]:
        with ThreadPoolExecutor(MANY + 1) as people:
            try:
                yield people
            finally:
                self._go.set()


def test_pictures_that_take_long(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = serve()
    run = ann.scanned(write_stained(tmp_path / "lot", (0.0,) * 3))
    ann.get(f"/api/runs/{run}/photos/0/picture?longest=384")  # kept from here on
    slow = Slow()
    monkeypatch.setattr(pictures, "read_photo", slow)
    with slow.until_done() as people:
        asked = [people.submit(ann.http.get, f"/api/runs/{run}/photos/{at % 3}/picture") for at in range(MANY)]
        assert slow.begun.wait(PATIENCE_S)
        for path in ("runs", "datasets", f"runs/{run}/photos/1", f"runs/{run}/photos/0/picture?longest=384"):
            assert people.submit(ann.get, f"/api/{path}").result(PATIENCE_S / 2).status_code == 200
        assert not any(one.done() for one in asked)
    assert slow.most == 2


def test_a_detector_that_takes_long(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = serve()
    run = ann.scanned(write_stained(tmp_path / "lot", (0.0,) * 8))
    detector = ann.send("POST", f"/api/runs/{run}/freeze", 201)["id"]
    slow = Slow()
    monkeypatch.setattr(Loaded, "judge", slow)
    photo = {"file": ("a.png", png(stained(9)))}
    path = f"/api/detectors/{detector}"
    with slow.until_done() as people:
        asked = [
            people.submit(ann.http.post, f"{path}/check", files=photo, headers=ann.headers) for _ in range(MANY - 1)
        ]
        assert slow.begun.wait(PATIENCE_S)
        removed = people.submit(ann.send, "DELETE", path, 204)
        for other in ("health", "runs", "detectors"):
            assert people.submit(ann.get, f"/api/{other}").result(PATIENCE_S / 2).status_code == 200
        assert not removed.done()
    assert slow.most == 1
    assert all(one.done() for one in asked)
    assert ann.get("/api/detectors").json() == []
