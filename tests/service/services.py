"""Services in this process, and what they need of the machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from clients import LOOPBACK, Client
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from starlette.testclient import TestClient

from blemish.service.app import create_app
from blemish.service.settings import Limits, ServiceConfig


@contextmanager
def serving(data: Path, **settings: Any) -> Iterator[Client]:
    """A client of a service that runs in this process."""
    settings.setdefault("limits", Limits(rate=0, changes=0))
    app = create_app(ServiceConfig(data=data, **settings))
    with TestClient(app, base_url=LOOPBACK, client=("127.0.0.1", 50000)) as client:
        yield Client(client)


@contextmanager
def server(
    data: Path, port: int, *options: str, log: Path | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], Client]]:
    """``blemish serve`` in a process of its own. ``log``: where what it prints is kept."""
    command = [sys.executable, "-m", "blemish", "serve", "--data", str(data), "--port", str(port), *options]
    with (log or Path(os.devnull)).open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            for _ in range(600):
                try:
                    http.get("/api/health")
                    break
                except httpx.TransportError:
                    assert process.poll() is None, "it did not start"
                    time.sleep(0.05)
            yield process, Client(http)
    finally:
        process.kill()
        process.wait(20)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until_it_answers(url: str) -> None:
    """Wait for a database that has just been started."""
    engine = create_engine(url.replace("postgresql://", "postgresql+pg8000://"))
    for left in reversed(range(600)):
        try:
            engine.connect().close()
            break
        except (DBAPIError, OSError):
            if not left:
                raise
            time.sleep(0.1)
    engine.dispose()


def emptied(url: str) -> str:
    """The database at ``url``, without what other tests have left."""
    engine = create_engine(url.replace("postgresql://", "postgresql+pg8000://"))
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return url
