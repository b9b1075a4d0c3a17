"""What the BIDS validator says of the maps of a run, where it is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nibabel", reason="volumes need the extra: pip install 'blemish[volumes]'")

import volume_files as made
from blemish.config import ScanConfig, VolumeConfig
from blemish.scanning import scan

NAME = "bids-validator-deno"
# not ours to say: who made the data, and in which unit a source that does not say so is
UNKNOWN = {"TOO_FEW_AUTHORS", "NIFTI_UNIT"}


def validator() -> str:
    beside = Path(sys.executable).with_name(NAME)
    found = shutil.which(NAME) or (str(beside) if beside.is_file() else None)
    if found is None:
        pytest.skip(f"the BIDS validator is not installed: pip install {NAME}")
    return found


def test_maps_of_a_bids_data_set_are_valid(tmp_path: Path) -> None:
    """Without the names that .bidsignore lists, of which the validator knows nothing."""
    command = validator()
    data = tmp_path / "data"
    data.mkdir()
    (data / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    for number in range(4):
        values = made.brain((40, 48, 32), number)
        if number == 2:
            values[24:31, 18:25, 12:19] = 190
        made.write_nifti(data / f"sub-{number}" / "anat" / f"sub-{number}_T1w.nii.gz", values)
    config = ScanConfig(backbone="mock", cache=False, volumes=VolumeConfig(grid=8, cube=64, slices=4))
    run = scan(data, config).save(tmp_path / "run")
    assert list((run / "maps").rglob("*_mask.nii.gz"))
    done = subprocess.run(
        [command, str(run / "maps"), "--format", "json"], capture_output=True, text=True, timeout=120, check=False
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert {issue["code"] for issue in issues} <= UNKNOWN
