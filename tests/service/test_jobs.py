"""The queue of scans: whatever becomes of one, the next one is begun, and what happened is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from clients import Client
from sqlalchemy import create_engine, text

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
