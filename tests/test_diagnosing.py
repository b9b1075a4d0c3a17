"""``blemish diagnose``: what a run knows about itself, printed, as JSON and drawn."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from blemish import cli
from blemish.config import FamilyConfig, ScanConfig
from blemish.diagnosing import diagnose
from blemish.errors import BackboneError, InputError
from blemish.inputs.synthetic import render_batch, write_batch
from blemish.result import Result
from blemish.scanning import scan

CONFIG = ScanConfig(size=256, cache=False)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_batch(folder, render_batch("washer", 24, size=256, recurring=(5,), flaw_size=(0.12, 0.2)))
    return folder / "photos"


@pytest.fixture(scope="module")
def result(photos: Path) -> Result:
    return scan(photos, CONFIG)


@pytest.fixture
def run(result: Result, tmp_path: Path) -> Path:
    return result.save(tmp_path / "run", maps="none")


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["blemish", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_the_reading_and_the_numbers_are_printed(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(run.rglob("*"))
    assert call(monkeypatch, "diagnose", run) == 0
    out = capsys.readouterr().out
    reading, *lines = out.splitlines()
    assert reading == diagnose(run).diagnosis.reading != ""
    values = {line[2:20].strip(): line[20:].strip() for line in lines}
    assert values["photos"] == "24"
    assert values["reference rank"] == "5"  # a fifth of the 23 others
    assert "theory -1" in values["scaling exponent"]
    assert values["communities"].endswith("1 families")
    assert sorted(run.rglob("*")) == before, "only --plots writes"


def test_json_is_all_that_is_printed(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "diagnose", run, "--json") == 0
    out, err = capsys.readouterr()
    values = json.loads(out, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    assert (values["photos"], values["families"], err) == (24, 1, "")
    assert sum(community["accepted"] for community in values["communities"]) >= 1
    assert values["reading"]


def test_what_is_read_is_what_the_scan_has_found(run: Path, result: Result) -> None:
    found = diagnose(run)
    assert result.diagnosis is not None
    stored = json.loads(json.dumps(result.diagnosis))
    assert found.diagnosis.as_dict() == {name: stored[name] for name in found.diagnosis.as_dict()}
    assert found.rule == "auto"
    assert 0 < sum(found.diagnosis.endurance.selected) < sum(found.diagnosis.endurance.links)
    assert all(community["fence"] > FamilyConfig().beyond_batch for community in found.communities)
    assert set(found.paths) == set(result.scores)
    weights = found.weights()
    np.testing.assert_array_equal(weights, weights.T)
    members = [found.paths.index(path) for path in result.families[0].paths]
    inside = weights[np.ix_(members, members)].sum() / 20
    assert inside > 5 * weights.sum() / (24 * 23)
    numbers = found.family_of_photos()
    assert sorted(np.flatnonzero(numbers).tolist()) == sorted(members)
    assert set(numbers[members].tolist()) == {1}


def test_plots_are_drawn_into_the_run(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    assert call(monkeypatch, "diagnose", run, "--plots") == 0
    drawn = sorted(file.name for file in (run / "diagnosis").iterdir())
    assert drawn == ["burn-out.png", "communities.png", "endurance.png", "graph.png", "hill.png", "scaling.png"]
    out = capsys.readouterr().out
    for name in drawn:
        assert (run / "diagnosis" / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert str(run / "diagnosis" / name) in out
    assert call(monkeypatch, "diagnose", run, "--plots") == 0, "drawn again over the old ones"


def test_plots_without_matplotlib_name_the_pip_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BackboneError, match=r"blemish\[plots\]"):
        diagnose(run, plots=True)
    assert diagnose(run).diagnosis.reading


def test_the_published_rule(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = scan(photos, CONFIG, families="published").save(tmp_path / "run", maps="none")
    found = diagnose(run, plots=True)
    assert found.rule == "published"
    assert found.links and all(weight == int(weight) for _, _, weight in found.links), "counts of links"
    assert found.diagnosis.omega == 7  # three tenths of the 23 others
    assert {file.name for file in found.pictures} >= {"communities.png", "graph.png"}


def test_families_off_takes_no_diagnosis(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = scan(photos, CONFIG, backbone="mock", size=64, families="off").save(tmp_path / "run", maps="none")
    assert call(monkeypatch, "diagnose", run) == 2
    assert "was scanned with --families off" in capsys.readouterr().err


@pytest.mark.parametrize("photos_left", [3, 8])
def test_a_small_batch_says_that_it_is_small(photos: Path, tmp_path: Path, photos_left: int) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for file in sorted(photos.iterdir())[:photos_left]:
        (few / file.name).write_bytes(file.read_bytes())
    found = diagnose(scan(few, CONFIG, backbone="mock", size=64).save(tmp_path / "run"))
    assert found.diagnosis.photos == photos_left
    assert "too few" in found.diagnosis.reading or "a hint" in found.diagnosis.reading
    json.dumps(found.as_dict(), allow_nan=False)
    assert dict(found.lines())["photos"] == str(photos_left)


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[]", b"hello", b"\xff\xfe"])
def test_a_missing_or_damaged_diagnosis(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    if content is None:
        (run / "diagnosis.json").unlink()
    else:
        (run / "diagnosis.json").write_bytes(content)
    with pytest.raises(InputError, match=r"diagnosis\.json"):
        diagnose(run)
    assert call(monkeypatch, "diagnose", run) == 2
    err = capsys.readouterr().err
    assert "Scan again" in err and "Traceback" not in err


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a finished run"):
        diagnose(tmp_path)
