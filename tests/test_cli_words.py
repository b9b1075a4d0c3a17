"""From a scan to a model that judges another product, and scans by words, as they are typed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from blemish.inputs.layouts import list_photos
from blemish.run_folder import read_manifest
from clip_models import save_clip
from judged_runs import GRADED, call, contents, scanned, write_stained
from photos import write_parts

EPOCHS = 6


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``run``: a judged run of ``plates``; ``bolts``: photos of another product; ``clip``."""
    home = tmp_path_factory.mktemp("made")
    save_clip(home / "clip", context=77)
    scanned(write_stained(home / "plates"), home / "run")
    write_parts(home / "bolts", 8, flawed=(2, 5))
    return home


@pytest.fixture
def here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BLEMISH_CACHE", str(tmp_path / "cache"))
    for name in ("run", "plates", "bolts", "clip"):
        (tmp_path / name).symlink_to(home / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scores(run: Path) -> dict[str, float]:
    with (run / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["path"]: float(row["score"]) for row in csv.DictReader(file)}


@pytest.mark.parametrize("kind", ["anomalyclip", "april-gan"])
def test_a_run_teaches_a_model_that_judges_another_product(
    kind: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "pseudo-masks", "run", "--out", "tree") == 0
    assert "defective" in capsys.readouterr().out
    assert list_photos(here / "tree").photos  # as any MVTec-like tree
    learn = ["learn", kind, "--from", "tree", "--clip", "clip", "--epochs", EPOCHS, "--holdout", 0]
    assert call(monkeypatch, *learn, "--out", "m.safetensors", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    losses = [loss for loss, _ in said["epochs"]]
    assert len(losses) == EPOCHS and losses[-1] < losses[0]
    assert said["defective"] >= 1 and said["good"] >= 1
    words = ["--class", "bolt"] if kind == "april-gan" else []
    scan = ["scan", "bolts", "--method", "prompt", "--model", "m.safetensors", *words, "--quiet"]
    assert call(monkeypatch, *scan, "--out", "first") == 0
    assert call(monkeypatch, *scan, "--out", "again", "--no-cache") == 0
    first = scores(here / "first")
    assert len(first) == 8 and np.ptp(list(first.values())) > 0
    assert scores(here / "again") == first
    assert read_manifest(here / "first")["resolved"]["model"] == kind
    assert (here / "first" / "report.html").is_file() and len(list((here / "first" / "maps").iterdir())) == 8


def test_a_run_is_as_good_as_its_tree(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's masks are made at the working size; a tree's at the photo's, and made smaller."""
    learn = ["learn", "aprilgan", "--clip", "clip", "--epochs", 2, "--quiet"]
    assert call(monkeypatch, *learn, "--from", "plate=run", "--out", "run.safetensors") == 0
    assert call(monkeypatch, *learn, "--from", "plate=run", "--out", "again.safetensors") == 0
    assert (here / "run.safetensors").read_bytes() == (here / "again.safetensors").read_bytes()


def test_several_sources_stand_after_from(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scanned(write_stained(here / "pans", (*GRADED[4:], 0.7, 0.9)), here / "other")
    learn = ["learn", "anomalyclip", "--from", "run", "other", "--clip", "clip", "--epochs", 1, "--json"]
    assert call(monkeypatch, *learn) == 0
    both = json.loads(capsys.readouterr().out)
    assert call(monkeypatch, *learn[:4], *learn[5:], "--overwrite") == 0
    assert both["defective"] > json.loads(capsys.readouterr().out)["defective"]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["learn", "musc", "--from", "run", "--clip", "clip"], "learn anomalyclip or april-gan"),
        (["learn", "anomalyclip", "--clip", "clip"], "Learn from what?"),
        (["learn", "anomalyclip", "--from", "run"], "which CLIP?"),
        (["learn", "anomalyclip", "--from", "run", "--clip", "clip", "--activation", "relu"], "quick_gelu or gelu"),
        (["learn", "anomalyclip", "--from", "bolts", "--clip", "clip"], "bolts"),  # photos without any truth
        (["learn", "anomalyclip", "--from", "run", "--clip", "clip", "--epochs", 0], "epochs"),
        (["pseudo-masks", "bolts", "--out", "tree"], "not a finished run"),
        (["pseudo-masks", "run", "--out", "tree", "--labels", "guess"], "labels is"),
        (["scan", "bolts", "--class", "bolt"], "add --method text"),
        (["scan", "bolts", "--method", "text"], "--class"),
        (["scan", "bolts", "--method", "text", "--class", "bolt", "--clip", "nowhere"], "nowhere"),
        (["scan", "bolts", "--method", "text", "--class", "bolt", "--clip", "clip", "--defect", "bolts/2.png"], "mask"),
        (["scan", "bolts", "--method", "prompt"], "--model"),
        (["scan", "bolts", "--method", "text", "--class", "bolt", "--clip", "clip", "--k", "20%"], "--k"),
    ],
)
def test_wrong_words(
    typed: list[object],
    message: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert call(monkeypatch, *typed) == 2
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err
    assert not (here / "tree").exists() and not (here / "bolts-blemish").exists()


def test_settings_of_words_in_a_file(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ["--method", "text", "--class", "bolt", "--clip", "clip", "--good", "bolts/0.png"]
    assert call(monkeypatch, "scan", "bolts", *said, "--print-config") == 0
    (here / "words.toml").write_text(capsys.readouterr().out, encoding="utf-8")
    assert call(monkeypatch, "scan", "bolts", *said, "--out", "typed", "--quiet") == 0
    assert call(monkeypatch, "scan", "bolts", "--config", "words.toml", "--out", "read", "--quiet") == 0
    assert scores(here / "typed") == scores(here / "read")


@pytest.mark.parametrize(
    ("typed", "code", "message"),
    [
        (["--out", "mine", "--overwrite"], 2, "needs a folder of its own"),  # decisions and lessons would be lost
        (["--extend", "mine"], 2, "--extend belongs to"),
        (["--decisions", "mine"], 2, "--decisions belongs to"),
        ([], 0, "plates-text"),  # beside the run that compared them
    ],
)
def test_a_scan_by_words_takes_no_other_runs_place(
    typed: list[object],
    code: int,
    message: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mine = scanned(here / "plates", here / "mine")
    (mine / "decisions.toml").write_text("")
    before = contents(mine)
    said = ["--method", "text", "--class", "plate", "--clip", "clip"]
    plates = write_stained(here / "here" / "plates")
    photos = "bolts" if "--extend" in typed else plates
    done = call(monkeypatch, "scan", photos, *said, *typed)
    out, err = capsys.readouterr()
    assert done == code and message in out + err
    assert contents(mine) == before
