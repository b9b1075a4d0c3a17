"""Fixtures that need the data folder: BLEMISH_DATA names it; its sibling ``golden`` has the golden files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden files: outputs of published code."""
    data = os.environ.get("BLEMISH_DATA")
    if not data:
        pytest.skip("BLEMISH_DATA is not set: it names the data folder, beside which `golden` lies")
    folder = Path(data).parent / "golden"
    if not folder.is_dir():
        pytest.skip(f"no golden files at {folder}")
    return folder
