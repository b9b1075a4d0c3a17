"""A folder of volumes through REST: as photos, but for what only they have."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clients import Client
from PIL import Image

pytest.importorskip("nibabel", reason="volumes need the extra: pip install 'blemish[volumes]'")
import nibabel as nib

import volume_files as made
from blemish.frozen import Detector

Serve = Callable[..., Client]


def test_volumes_are_shown_decided_and_taken_away(serve: Serve, tmp_path: Path) -> None:
    for at in range(6):
        made.write_nifti(tmp_path / "brains" / f"sub-{at}.nii.gz", _brain(at, lesion=at == 3))
    ann = serve()
    run = ann.scanned(tmp_path / "brains", {"backbone": "mock", "cache": False, "volumes": {"grid": 8, "cube": 64}})
    found = ann.get(f"/api/runs/{run}/result").json()
    assert (found["kind"], found["photos"], len(found["shape"])) == ("volumes", 6, 3)
    worst = ann.rows(run)[0]
    assert worst["path"] == "sub-3.nii.gz"
    photo = f"/api/runs/{run}/photos/{worst['pid']}"
    assert "Of volumes" in ann.get(photo).json()["nearest_missing"]
    assert 640 < Image.open(io.BytesIO(ann.get(f"{photo}/picture?longest=384").content)).width <= 660
    for name in ("volume", "volume-map"):
        answer = ann.get(f"{photo}/{name}.nii.gz")
        assert answer.headers["content-type"] == "application/gzip"
        image = nib.Nifti1Image.from_bytes(gzip.decompress(answer.content))
        assert np.asarray(image.dataobj).dtype == np.uint8
        assert b"DOE^JANE" not in gzip.decompress(answer.content)
    ann.get(f"{photo}/heat", 404)
    said = ann.send("PUT", f"{photo}/said", json={"call": "defect"})
    assert (said["verdict"], said["said"]) == ("blemished", "defect")
    assert said["lesions"]
    back = ann.send("PUT", f"{photo}/said", json={"call": None})
    assert (back["verdict"], back["said"]) == (worst["verdict"], None)
    good = next(row["pid"] for row in ann.rows(run) if row["path"] != worst["path"])
    assert ann.send("POST", f"/api/runs/{run}/teach", json={"good": [good]})["result"]["taught"]["good"] == 1
    ann.send("POST", f"/api/runs/{run}/teach/undo")
    ann.send("POST", f"/api/runs/{run}/teach", 400, json={"defects": [{"pid": good, "box": [0, 0, 9, 9]}]})
    ann.send("PUT", f"/api/runs/{run}/verdict", json={"threshold": (worst["score"] + ann.rows(run)[1]["score"]) / 2})
    detector = ann.send("POST", f"/api/runs/{run}/freeze", 201)["id"]
    new = made.write_nifti(tmp_path / "new.nii.gz", _brain(9, lesion=True))
    file = tmp_path / "taken.blemish"
    file.write_bytes(ann.get(f"/api/detectors/{detector}/file").content)
    alone = Detector.load(file).check(new)
    checked = ann.send("POST", f"/api/detectors/{detector}/check", files={"file": ("new.nii.gz", new.read_bytes())})
    assert (checked["score"], checked["verdict"]) == (alone.score, alone.verdict)
    assert (checked["verdict"] != "ok", checked["regions"], checked["heat"]) == (True, [], "")
    assert checked["lesions"]
    assert checked["picture"].startswith("data:image/jpeg;base64,")
    ann.send("POST", f"/api/detectors/{detector}/check", 422, files={"file": ("a.png", b"x")})
    ann.get(f"/api/runs/{run}/exports/masks.zip")
    ann.get(f"/api/runs/{run}/exports/maps.zip")
    ann.get(f"/api/runs/{run}/exports/coco", 404)


def _brain(seed: int, lesion: bool) -> np.ndarray:
    values = made.brain((20, 24, 16), seed)
    if lesion:
        values[8:13, 9:14, 6:10] = 190
    return values
