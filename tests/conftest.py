"""Folders that are not part of the project: BLEMISH_DATA names the real sets; golden files lie beside them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Tests are never timed: a busy machine must not turn a property into a failure.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real sets."""
    folder = os.environ.get("BLEMISH_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("BLEMISH_DATA is not set: it names the folder of real sets")
    return Path(folder)


@pytest.fixture(scope="session")
def golden(data: Path) -> Path:
    """The folder of golden files: outputs of published code."""
    folder = data.parent / "golden"
    if not folder.is_dir():
        pytest.skip(f"no golden files at {folder}")
    return folder
