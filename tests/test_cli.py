"""The command line: exit codes, words instead of tracebacks, and what is printed where."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import blemish
from blemish import cli
from photos import write_parts

FAST = ["--backbone", "mock", "--no-cache"]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command in this process; the exit code."""
    monkeypatch.setattr(sys, "argv", ["blemish", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    return write_parts(tmp_path / "parts")


def test_scan_writes_a_run_beside_the_photos(
    parts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "scan", parts, *FAST) == 0
    run = parts.with_name("parts-blemish")
    assert (run / "run.json").is_file()
    out, err = capsys.readouterr()
    assert f"Report: {run / 'report.html'}" in out
    assert "5.png" in out
    assert "Estimated:" in err


def test_a_second_scan_asks_for_overwrite(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(monkeypatch, "scan", parts, *FAST, "--quiet") == 0
    assert call(monkeypatch, "scan", parts, *FAST, "--quiet") == 2
    assert call(monkeypatch, "scan", parts, *FAST, "--quiet", "--overwrite") == 0


def test_json_is_all_that_is_printed(
    parts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "scan", parts, *FAST, "--quiet", "--json") == 0
    out, err = capsys.readouterr()
    summary = json.loads(out)
    assert summary["counts"]["scored"] == 8
    assert summary["top"][0]["path"] == "5.png"
    assert summary["verdict"]["sentence"].startswith("Only 8 photos")
    assert err == ""


def test_flags_override_the_file_and_print_config_round_trips(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "blemish.toml"
    file.write_text(
        'backbone = "mock"\nk = 0.5\nmemory = "2GiB"\nradii = [1, 3]\n'
        '[verdict]\nmax_false_alarms = "1%"\nmax_unsure = 0.05\n'
    )
    flags = ("--k", "20%", "--expect-defects", "4%", "--export", "coco")
    assert call(monkeypatch, "scan", parts, "--config", file, *flags, "--print-config") == 0
    printed = capsys.readouterr().out
    assert 'backbone = "mock"' in printed
    assert "k = 0.2\n" in printed
    assert f"memory = {2 * 2**30}" in printed
    assert 'exports = ["masks", "coco"]' in printed, "besides the masks"
    verdict = printed.split("[verdict]\n")[1].splitlines()
    assert verdict[0] == "expect_defects = 0.04", "a flag takes the place of what the file asked"
    assert verdict[1].startswith("# max_false_alarms =") and verdict[3] == "max_unsure = 0.05"
    file.write_text(printed)
    assert call(monkeypatch, "scan", parts, "--config", file, "--print-config") == 0
    assert capsys.readouterr().out == printed
    assert not parts.with_name("parts-blemish").exists()


# arguments (FOLDER stands for the parts), exit code, words on standard error
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["scan", "nowhere"], 2, "There is no folder 'nowhere'"),
        (["scan", "FOLDER/0.png"], 2, "is a file. Give the folder"),
        (["scan", "FOLDER", "--out", "FOLDER/out"], 2, "lies inside the photos"),
        (["scan", "FOLDER", "--backbone", "efnet"], 2, "Did you mean effnet-lite2"),
        (["scan", "FOLDER", "--backbone", "/no/such/model"], 2, "/no/such/model"),
        (["scan", "FOLDER", "--k", "many"], 2, "k takes a share"),
        (["scan", "FOLDER", "--layers", "a,b"], 2, "--layers takes numbers"),
        (["scan", "FOLDER", "--memory", "lots"], 2, "Type it like 2GiB"),
        (["scan", "FOLDER", "--size", "5"], 2, "32 to 4096"),
        (["scan", "FOLDER", "--config", "none.toml"], 2, "Cannot read the configuration"),
        (["scan", "FOLDER", "--colour", "red"], 2, "No such option"),
        (["scan"], 2, "Missing argument"),
        (["eval", "FOLDER", "--truth", "FOLDER"], 2, "Give the folder that --out named"),
        (["scan", "FOLDER", "--threads", "100000"], 2, "1 to 256"),
        (["scan", "FOLDER", "--max-false-alarms", "150%"], 2, "share such as 0.02 or 2%"),
        (["scan", "FOLDER", "--expect-defects", "few"], 2, "--expect-defects takes a share"),
        (["scan", "FOLDER", "--expect-defects", "2%", "--threshold", "0.3"], 2, "give one of them"),
        (["scan", "FOLDER", "--export", "masks,voc"], 2, "masks, coco, labelstudio"),
        (["verdict", "FOLDER"], 2, "not a finished run"),
        (["verdict"], 2, "Missing argument"),
        (["synth", "FOLDER/0.png"], 2, "is not an empty folder"),
        (["synth", "FOLDER"], 2, "is not an empty folder"),
        (["synth", "NEW", "--product", "spoon"], 2, "washer"),
        (["fetch", "resnet"], 2, "only vit"),
    ],
)
def test_wrong_usage(
    parts: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    filled = [text.replace("FOLDER", str(parts)).replace("NEW", str(parts.with_name("new"))) for text in arguments]
    assert call(monkeypatch, *filled) == code
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err
    assert not parts.with_name("parts-blemish").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colour = 'red'", "no option colour; known are backbone"),
        ("k = 'many'", "k takes a share"),
        ("k = true", "k cannot be True"),
        ("k = 3", "above 0 and at most 1"),
        ("k = ", "Cannot read the configuration"),
        ("[verdict]\nmax_false_alarms = 0", "max_false_alarms is above 0"),
        ("[verdict]\nshare = 0.1", "verdict has no setting share; known are expect_defects"),
        ("[verdict]\nthreshold = 0.3\nexpect_defects = 0.1", "give one of them"),
        ("verdict = 3", "verdict cannot be 3"),
        ("exports = ['voc']", "exports are masks, coco, labelstudio"),
    ],
)
def test_bad_configuration_files(
    parts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    words: str,
) -> None:
    (tmp_path / "c.toml").write_text(text)
    assert call(monkeypatch, "scan", parts, "--config", tmp_path / "c.toml") == 2
    assert words in capsys.readouterr().err


def test_synth_scan_eval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made"
    size = ["--photos", "8", "--size", "64", "--sporadic", "2", "--quiet"]
    assert call(monkeypatch, "synth", out, *size) == 0
    assert call(monkeypatch, "scan", out / "photos", *FAST, "--quiet", "--out", tmp_path / "run") == 0
    assert call(monkeypatch, "eval", tmp_path / "run", "--truth", out / "truth.csv", "--quiet") == 0
    printed = capsys.readouterr().out
    assert "image AUROC" in printed
    assert call(monkeypatch, "eval", tmp_path / "run", "--truth", out / "truth.csv", "--quiet", "--json") == 0
    assert json.loads(capsys.readouterr().out)


def test_doctor_and_backbones(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "doctor") == 0
    assert "effnet-lite2" in capsys.readouterr().out
    assert call(monkeypatch, "doctor", "--json") == 0
    assert {finding["subject"] for finding in json.loads(capsys.readouterr().out)} >= {"torch", "memory", "cache"}
    assert call(monkeypatch, "backbones") == 0
    assert "Apache-2.0" in capsys.readouterr().out


def test_interrupting_leaves_nothing(
    parts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("blemish.extraction.extract", interrupt)
    assert call(monkeypatch, "scan", parts, *FAST) == 1
    assert "parts-blemish' was not written" in capsys.readouterr().err
    assert [file.name for file in parts.parent.iterdir()] == ["parts"]


@pytest.mark.parametrize("code", ["import blemish", "import blemish.cli", "import blemish.sinks.csv, blemish.result"])
def test_torch_is_not_imported_before_it_is_needed(code: str) -> None:
    check = f"{code}; import sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_help_names_every_verb() -> None:
    text = subprocess.run(
        [sys.executable, "-m", "blemish", "--help"], check=True, capture_output=True, text=True
    ).stdout
    for verb in ("scan", "verdict", "decide", "diagnose", "eval", "demo", "synth", "backbones", "doctor", "fetch"):
        assert verb in text


def test_the_public_door() -> None:
    assert blemish.__all__ == sorted(blemish.__all__)
    for name in blemish.__all__:
        assert getattr(blemish, name) is not None
    assert set(blemish.__all__) <= set(dir(blemish))
    with pytest.raises(AttributeError, match="it has BlemishError"):
        blemish.score  # noqa: B018
    from blemish.scanning import scan

    assert blemish.scan is scan, "no submodule may shadow the function"
