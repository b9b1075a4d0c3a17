"""The same photo through every way of asking a detector: the same score, the same verdict."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import blemish
from judged_runs import call
from photos import part, write_parts

SAME = 1e-4  # relative, between torch and ONNX Runtime


@pytest.fixture(scope="module")
def detectors(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A detector and its ONNX graph, with the default backbone and a taught defect."""
    home = tmp_path_factory.mktemp("detectors")
    run = home / "run"
    parts = write_parts(home / "parts", 12, flawed=(5, 8))
    blemish.scan(parts, size=128, cache=False).save(run)
    worst = json.loads((run / "results.jsonl").read_text().splitlines()[0])["path"]
    blemish.teach(run, defects=[(worst, "20,20,44,44")])
    frozen = blemish.freeze(run, home / "part.blemish").file
    return frozen, blemish.export_onnx(frozen, home / "part.onnx")


@pytest.fixture(scope="module")
def arriving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos as a camera, a phone and a mistake leave them."""
    folder = tmp_path_factory.mktemp("arriving")
    pictures = {
        "sound.png": part(101),
        "flawed.png": part(102, flawed=True),
        "large.png": part(103, size=(300, 300)),
        "odd.png": part(104, size=(97, 61)),
        "grey.png": part(105)[..., 0],
        "photo.jpg": part(106, size=(200, 200)),
    }
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / name)
    turned = Image.fromarray(part(107, size=(120, 80)))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "turned.jpg", exif=exif)
    return folder


def lines_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> dict[str, tuple[float, str]]:
    assert call(monkeypatch, *arguments) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {Path(line["path"]).name: (line["score"], line["verdict"]) for line in lines}


def test_one_number_everywhere(
    detectors: tuple[Path, Path],
    arriving: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    frozen, graph = detectors
    detector = blemish.Detector.load(frozen)
    by_file = {file.name: detector.check(file) for file in arriving.iterdir()}
    expected = {name: (found.score, found.verdict) for name, found in by_file.items()}
    assert len(expected) == 7
    for name, (score, verdict) in expected.items():
        with Image.open(arriving / name) as picture:
            found = detector.check(picture)
        assert (found.score, found.verdict) == (score, verdict), name
    assert lines_of(monkeypatch, capsys, "check", frozen, arriving) == expected
    watching = ("watch", frozen, arriving, "--once", "--quiet", "--interval", "0.01", "--out", tmp_path / "torch")
    assert lines_of(monkeypatch, capsys, *watching) == expected
    exported = blemish.Detector.load(graph)
    for file in arriving.iterdir():
        found = exported.check(file)
        np.testing.assert_allclose(found.grid, by_file[file.name].grid, rtol=SAME, atol=SAME)
    checked = lines_of(monkeypatch, capsys, "check", graph, arriving)
    watching = ("watch", graph, arriving, "--once", "--quiet", "--interval", "0.01", "--out", tmp_path / "onnx")
    assert lines_of(monkeypatch, capsys, *watching) == checked
    for name, (score, verdict) in checked.items():
        assert score == pytest.approx(expected[name][0], rel=SAME), name
        assert verdict == expected[name][1]
