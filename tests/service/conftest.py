"""Services for tests: in this process over a throw-away data folder, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the service needs pip install 'blemish[serve]'")

from clients import Client
from services import emptied, free_port, serving, until_it_answers


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLEMISH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("PYTHONWARNINGS", "ignore")
        yield


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """``serve(**settings)``: as many services as a test wants, each over a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("blemish.service.jobs.PATIENCE_S", 2.0)
        opened: list[Any] = []

        def start(**settings: Any) -> Client:
            one = serving(settings.pop("data", tmp_path / f"data-{len(opened)}"), **settings)
            opened.append(one)
            return one.__enter__()

        yield start
        for one in reversed(opened):
            one.__exit__(None, None, None)


def _postgres_programs() -> Path | None:
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    return next(iter(debian), Path(found).resolve().parent if found else None)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a throw-away PostgreSQL cluster on a free port of this machine."""
    programs = _postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not here: apt-get install postgresql")
    pytest.importorskip("pg8000", reason="pg8000 is not here: pip install 'blemish[postgres]'")
    folder = tmp_path_factory.mktemp("postgres")
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = next((name for name in ("postgres", "nobody") if _known(name)), None)
        if user is None:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")
        as_user = {"user": user}
        for parent in (folder, *folder.parents):
            if parent.stat().st_mode & 0o001 == 0:
                parent.chmod(parent.stat().st_mode | 0o011)
        shutil.chown(folder, user)
    port, cluster = free_port(), folder / "cluster"
    log = (folder / "log").open("wb")
    quiet: dict[str, Any] = {"stdout": log, "stderr": log, "cwd": folder, **as_user}
    subprocess.run([programs / "initdb", "-D", cluster, "-U", "blemish", "-A", "trust", "-N"], check=True, **quiet)
    options = ["-D", cluster, "-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1", "-F"]
    server = subprocess.Popen([programs / "postgres", *options], **quiet)
    try:
        until_it_answers(f"postgresql://blemish@127.0.0.1:{port}/postgres")
        yield f"postgresql://blemish@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(20)
        log.close()


def _known(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Every test that asks for it is run on both."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'index.sqlite'}"
    url: str = request.getfixturevalue("postgres")
    return emptied(url)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def on_either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A service that a module's tests share, on each database."""
    database = None if request.param == "sqlite" else emptied(request.getfixturevalue("postgres"))
    with serving(tmp_path_factory.mktemp("either") / "data", database=database) as client:
        yield client
