"""Schemathesis on the OpenAPI description: whatever is asked, an answer that the description knows, and never a 5xx."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

schemathesis = pytest.importorskip("schemathesis", reason="Schemathesis is not here: pip install schemathesis")

from judged_runs import write_stained
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from services import serving

EXAMPLES = 12  # of each operation
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """A service with one finished run, so that ids lead somewhere."""
    folder = tmp_path_factory.mktemp("fuzz")
    with serving(folder / "data", roots=(folder,)) as ann:
        run = ann.scanned(write_stained(folder / "lot", (0.0,) * 10 + (1.0,) * 2))
        dataset = ann.get("/api/datasets").json()[0]["id"]
        yield {"app": ann.http.app, "http": ann.http, "run": run, "dataset": dataset}


@pytest.fixture(scope="module")
def api(known: dict[str, object]) -> object:
    return schemathesis.openapi.from_asgi("/api/openapi.json", known["app"])
