"""``teach``, ``freeze``, ``check`` and ``watch`` as they are typed: exit codes, what is printed where, words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from judged_runs import BOX, call, contents, scanned, stained, write_stained

MARK = ",".join(map(str, BOX))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("made")
    scanned(write_stained(home / "parts"), home / "run")
    (home / "new").mkdir()
    for at, strength in enumerate((0.0, 1.0)):
        Image.fromarray(stained(6000 + at, strength)).save(home / "new" / f"{at}.png")
    return home


@pytest.fixture
def here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with ``run`` and ``new``, and ``part.blemish``; one stands in it."""
    for name in ("run", "new"):
        shutil.copytree(home / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "freeze", "run", "--out", "part.blemish", "--quiet") == 0
    return tmp_path


def test_freeze_says_what_the_threshold_means(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "freeze", "run") == 0
    out = capsys.readouterr().out
    assert "a photo is blemished" in out and "run.blemish" in out and "blemish check" in out
    assert call(monkeypatch, "freeze", "run", "--json", "--overwrite", "--tokens", 100) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["made_from"]["tokens"] <= 100
    assert said["bytes"] == (here / "run.blemish").stat().st_size


def test_check_prints_a_line_each_and_fails_if_one_failed(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "check", "part.blemish", "new") == 0
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(Path(line["path"]).name, line["verdict"]) for line in lines] == [("0.png", "ok"), ("1.png", "blemished")]
    assert err == ""
    (here / "broken.png").write_bytes(b"broken")
    assert call(monkeypatch, "check", "part.blemish", "broken.png", "none.png", "new/1.png") == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ["error" in line for line in lines] == [True, True, False]


def test_teach_says_what_it_did(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "teach", "run", "--good", "3.png", "--defect", "23.png", "--mask", MARK) == 0
    out = capsys.readouterr().out
    assert out.startswith("Taught by 1 good and 1 defective example") and "Report: run/report.html" in out
    assert call(monkeypatch, "teach", "run", "--undo", "--json") == 0
    out, err = capsys.readouterr()
    assert (json.loads(out)["examples"], err) == ([], "")


def test_scanning_again_keeps_what_was_taught(
    here: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "teach", "run", "--good", "23.png", "--quiet") == 0
    before = contents(here / "run")["results.csv"]
    again = ("scan", home / "parts", "--out", "run", "--backbone", "mock", "--families", "off", "--no-cache")
    assert call(monkeypatch, *again, "--overwrite") == 0
    assert "Honouring 1 example" in capsys.readouterr().err
    assert contents(here / "run")["results.csv"] == before


def test_what_does_not_fit_a_scan_is_kept_for_the_next(
    here: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "teach", "run", "--good", "23.png", "--quiet") == 0
    before = contents(here / "run")["results.csv"]
    again = ("scan", home / "parts", "--out", "run", "--backbone", "mock", "--families", "off", "--no-cache")
    assert call(monkeypatch, *again, "--size", "96", "--overwrite") == 0
    assert "is kept in taught-before and not applied" in " ".join(capsys.readouterr().err.split())
    assert (here / "run" / "taught-before").is_dir() and not (here / "run" / "taught").exists()
    assert call(monkeypatch, *again, "--overwrite") == 0
    assert contents(here / "run")["results.csv"] == before
    assert not (here / "run" / "taught-before").exists()


def test_damaged_examples_do_not_stand_in_the_way(
    here: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "teach", "run", "--good", "23.png", "--quiet") == 0
    (here / "run" / "taught" / "lessons.json").write_text("{")
    again = ("scan", home / "parts", "--out", "run", "--backbone", "mock", "--families", "off", "--no-cache")
    assert call(monkeypatch, *again, "--overwrite") == 0
    assert "was not applied, but is kept in taught-before" in " ".join(capsys.readouterr().err.split())
    assert call(monkeypatch, "verdict", "run", "--quiet") == 0


@pytest.mark.parametrize("verb", ["check", "watch"])
def test_results_are_kept(here: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    once = ("--once", "--quiet", "--interval", "0.001") if verb == "watch" else ()
    assert call(monkeypatch, verb, "part.blemish", "new", "--out", "out", *once) == 0
    assert len((here / "out" / "results.jsonl").read_text().splitlines()) == 2
    assert len(list((here / "out").rglob("*.jpg"))) == 1


def test_watch_stands_beside_the_folder_by_default(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(here / "new")
    assert call(monkeypatch, "watch", "../part.blemish", ".", "--once", "--interval", "0.001") == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert err.startswith("Watching .;") and str(here / "new-checked") in err
    assert call(monkeypatch, "watch", "../part.blemish", ".", "--once", "--interval", "0.001", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_stopping_a_watcher_is_no_failure(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: Any, **__: Any) -> Iterator[dict[str, Any]]:
        yield {"path": "a.png", "verdict": "ok"}
        raise KeyboardInterrupt

    monkeypatch.setattr("blemish.watching.watch_folder", stopped)
    assert call(monkeypatch, "watch", "part.blemish", "new") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["path"] == "a.png"
    assert "Stopped." in err


# arguments -> exit code, words on standard error
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["freeze", "new"], 2, "is not a finished run"),
        (["freeze", "run", "--out", "part.blemish"], 2, "Add --overwrite"),
        (["freeze", "run", "--out", "part.zip"], 2, "Type --out part.blemish"),
        (["freeze", "run", "--tokens", "1"], 2, "50 to 50000"),
        (["freeze", "run", "--tokens", "many"], 2, "Invalid value"),
        (["freeze"], 2, "Missing argument"),
        (["check", "none.blemish", "new"], 2, "There is no file"),
        (["check", "new/0.png", "new"], 2, "is not a detector"),
        (["check", "run", "new"], 2, "is a folder"),
        (["check", "part.blemish"], 2, "Missing argument"),
        (["check", "part.blemish", "new", "--out", "part.blemish"], 2, "Cannot write to"),
        (["watch", "part.blemish", "none"], 2, "There is no folder"),
        (["check", "part.blemish", "new", "--out", "new/out"], 2, "so its pictures would be judged"),
        (["watch", "part.blemish", "new", "--out", "new/out"], 2, "so its pictures would be judged"),
        (["watch", "part.blemish", "new", "--interval", "0"], 2, "above 0"),
        (["watch", "new/0.png", "new"], 2, "is not a detector"),
        (["teach", "run"], 2, "Give good photos, a defect with its mask or a family"),
        (["teach", "run", "--defect", "3.png"], 2, "Every --defect needs its --mask; received 1 and 0"),
        (["teach", "run", "--mask", MARK], 2, "received 0 and 1"),
        (["teach", "run", "--good", ""], 2, "There is no photo ''"),
        (["teach", "run", "--good", "none.png"], 2, "There is no photo 'none.png'"),
        (["teach", "run", "--defect", "3.png", "--mask", "0,0,99,99"], 2, "does not lie on '3.png'"),
        (["teach", "run", "--family", "1"], 2, "has no family 1; it has none"),
        (["teach", "run", "--undo"], 2, "nothing to undo"),
        (["teach", "new", "--good", "3.png"], 2, "new"),
    ],
)
def test_wrong_usage(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    before = contents(here)
    assert call(monkeypatch, *arguments) == code
    out, err = capsys.readouterr()
    assert words in err and out == ""
    assert "Traceback" not in err
    assert contents(here) == before
