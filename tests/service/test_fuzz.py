"""Schemathesis on the OpenAPI description: whatever is asked, an answer that the description knows, and never a 5xx."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

pytest.importorskip("schemathesis", reason="Schemathesis is not here: pip install schemathesis")

import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from services import emptied, free_port, server

from judged_runs import write_stained

EXAMPLES = 8  # of each operation
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# these keep their random ids: they stay open, remove what the others need, or start processes
LEFT_ALONE = ("/events", "/freeze", "/undo", "/cancel", "/resume")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def known(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A service with one finished run and a detector, so that ids lead somewhere, on each database."""
    folder = tmp_path_factory.mktemp("fuzz")
    port, options = free_port(), ["--root", str(folder), "--rate", "0", "--changes", "0"]
    if request.param == "postgresql":
        options += ["--database", emptied(request.getfixturevalue("postgres"))]
    with server(folder / "data", port, *options) as (process, ann):
        run = ann.scanned(write_stained(folder / "lot", (0.0,) * 10 + (1.0,) * 2))
        dataset = ann.get("/api/datasets").json()[0]["id"]
        detector = ann.send("POST", f"/api/runs/{run}/freeze", 201)["id"]
        yield {
            "url": f"http://127.0.0.1:{port}",
            "run": run,
            "dataset": dataset,
            "detector": detector,
            "pid": ann.rows(run)[0]["pid"],
        }
        assert process.poll() is None, "it has gone down"


def test_whatever_is_asked(known: dict[str, Any]) -> None:
    described = schemathesis.openapi.from_url(f"{known['url']}/api/openapi.json")
    turn, asked, failed = itertools.count(), set(), {}
    for found in described.get_all_operations():
        operation = found.ok()
        try:
            _ask(operation, known, turn)
        except (Exception, BaseExceptionGroup) as error:  # the others are asked all the same
            failed[f"{operation.method} {operation.path}"] = f"{error} {getattr(error, 'exceptions', '')}"[:2000]
        asked.add(operation.path)
    assert failed == {}
    assert len(asked) > 30, "the description is whole"


def _ask(operation: Any, known: dict[str, Any], turn: Iterator[int]) -> None:
    ids = operation.method != "delete" and not operation.path.endswith(LEFT_ALONE)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        parameters = case.path_parameters or {}
        if ids and next(turn) % 2:
            given = {name: known[name] for name in ("run", "dataset", "detector", "pid") if name in parameters}
            case.path_parameters = {**parameters, **given}
        case.call_and_validate(checks=CHECKS, headers={"X-Blemish": "1"}, timeout=60)

    ask()
