"""Another threshold for a finished run: what changes, what stays, and what is refused in one sentence."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import blemish
from blemish import cli
from blemish.cli.words import LISTED
from blemish.config import ScanConfig
from blemish.errors import BlemishError, ConfigError, InputError, OutputError, RunError
from blemish.extending import Earlier
from blemish.rejudging import rejudge
from blemish.result import Result
from blemish.run import read_rows
from blemish.run_folder import read_manifest, staging
from blemish.scanning import scan
from blemish.sinks import report
from photos import write_parts

MOCK = ScanConfig(backbone="mock", families="off", cache=False)  # type: ignore[arg-type]  # as on the command line
PHOTOS, FLAWED = 24, (5, 11)
FILES = ("results.csv", "results.jsonl", "report.html", "run.json")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of 24 are stained, one file is broken. The mock backbone sees a defect in more of them."""
    folder = write_parts(tmp_path_factory.mktemp("made") / "parts", PHOTOS, FLAWED)
    (folder / "broken.png").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def result(parts: Path) -> Result:
    return scan(parts, MOCK)


@pytest.fixture(scope="module")
def fresh(result: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return result.save(tmp_path_factory.mktemp("fresh") / "run")


@pytest.fixture
def run(fresh: Path, tmp_path: Path) -> Path:
    """A run of its own for every test."""
    shutil.copytree(fresh, tmp_path / "run")
    return tmp_path / "run"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def masks_of(run: Path) -> dict[str, int]:
    """Name -> inode."""
    return {file.name.removesuffix(".png"): file.stat().st_ino for file in (run / "masks").glob("*.png")}


def verdicts(run: Path) -> dict[str, str]:
    with (run / "results.csv").open(newline="", encoding="utf-8") as handle:
        return {row["path"]: row["verdict"] for row in csv.DictReader(handle)}


def not_ok(run: Path) -> set[str]:
    return {path for path, call in verdicts(run).items() if call in ("blemished", "unsure")}


def between(run: Path, called: int) -> float:
    """A threshold that so many exceed."""
    scores = [photo.score for photo in read_rows(run) if photo.score is not None]
    return (scores[called - 1] + scores[called]) / 2


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["blemish", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_the_scan_itself_has_judged(fresh: Path, result: Result) -> None:
    assert verdicts(fresh)["5.png"] == verdicts(fresh)["11.png"] == "blemished"
    assert set(masks_of(fresh)) == not_ok(fresh)
    assert (fresh / "verdict").is_dir()
    assert result.judgement is not None
    assert read_manifest(fresh)["verdict"]["sentence"] == result.judgement.sentence


def test_the_same_again_changes_no_byte(run: Path, fresh: Path) -> None:
    rejudge(run)
    assert contents(run) == contents(fresh)


# thresholds one after the other: a share that is expected, a rate that is allowed, a score, back again
def test_back_again_is_as_it_was_but_for_what_it_has_kept(run: Path, fresh: Path) -> None:
    rejudge(run, expect_defects=0.75)
    rejudge(run, max_false_alarms=0.2)
    rejudge(run, threshold=between(run, 1))
    rejudge(run)
    before, after = contents(fresh), contents(run)
    assert before.keys() == after.keys()
    assert [name for name in before if after[name] != before[name]] == ["verdict/regions.json"], "found once, kept"
    threshold = between(run, 8)
    rejudge(run, threshold=threshold)
    one = contents(run)
    rejudge(run, threshold=threshold)
    assert contents(run) == one


def test_a_lower_threshold_adds_masks_and_keeps_the_others(run: Path) -> None:
    rejudge(run, expect_defects=0.1, max_unsure=0)
    before = masks_of(run)
    rejudge(run, expect_defects=0.5, max_unsure=0)
    after = masks_of(run)
    assert after.keys() > before.keys()
    assert {name: after[name] for name in before} == before, "the files themselves, not others like them"
    assert set(after) == not_ok(run)
    for name in after:
        with Image.open(run / "masks" / f"{name}.png") as mask:
            assert mask.size == (64, 64)
            assert set(np.unique(np.asarray(mask))) <= {0, 255}
            assert np.asarray(mask).any()


def test_masks_of_photos_that_became_ok_vanish(run: Path) -> None:
    rejudge(run, threshold=99.0, max_unsure=0)
    assert not_ok(run) == set() == set(masks_of(run))
    rejudge(run, threshold=between(run, 1), max_unsure=0)
    assert len(masks_of(run)) == 1
    assert set(masks_of(run)) == not_ok(run)


def test_nothing_but_the_verdict_changes(run: Path, fresh: Path) -> None:
    pictures = {file: file.stat().st_ino for folder in ("maps", "overlays") for file in (run / folder).rglob("*")}
    rejudge(run, expect_defects=0.75)
    before, after = contents(fresh), contents(run)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {*FILES, "verdict/regions.json", *(f"masks/{path}.png" for path in not_ok(run) - not_ok(fresh))}
    assert {file: file.stat().st_ino for file in pictures} == pictures
    assert [child.name for child in run.parent.iterdir()] == ["run"]
    assert {child.name for child in run.iterdir()} == {child.name for child in fresh.iterdir()}
    old, new = ({photo.path: photo for photo in read_rows(folder)} for folder in (fresh, run))
    for path, photo in new.items():
        for name in ("score", "rank", "percentile", "low", "high", "width", "status", "duplicate_of"):
            assert getattr(photo, name) == getattr(old[path], name)
    assert new["broken.png"] == old["broken.png"]


def test_the_manifest_follows(run: Path) -> None:
    judgement = rejudge(run, max_false_alarms=0.05, max_unsure=0.04).judgement
    assert judgement is not None
    manifest = read_manifest(run)
    assert manifest["config"]["verdict"] == {
        "expect_defects": None,
        "max_false_alarms": 0.05,
        "threshold": None,
        "max_unsure": 0.04,
    }
    said = manifest["verdict"]
    assert (said["sentence"], said["threshold"]) == (judgement.sentence, judgement.threshold)
    assert said["rule"].startswith("at most 5 % false alarms")
    calls = list(verdicts(run).values())
    assert said["counts"] == {call: calls.count(call) for call in ("blemished", "unsure", "ok")}
    rejudge(run)
    again = read_manifest(run)["config"]["verdict"]
    assert again == manifest["config"]["verdict"] | {"max_false_alarms": None}, "how many may be sent on stays"


def test_what_is_returned_is_what_was_written(run: Path) -> None:
    made = rejudge(run, expect_defects=0.25)
    assert list(made.photos) == read_rows(run)
    assert made.manifest == json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert made.regions.keys() == not_ok(run)
    np.testing.assert_array_equal(made.maps.at("5.png", (64, 64)), made.maps["5.png"])
    assert sum(photo.verdict == "blemished" for photo in made.photos) + len(made.judgement.unsure) >= 6  # type: ignore[union-attr]


@pytest.mark.parametrize("rule", [{}, {"expect_defects": 0.5}, {"threshold": 99.0}])
def test_the_report_is_as_if_it_were_written_anew(
    run: Path, result: Result, rule: dict[str, float], tmp_path: Path
) -> None:
    made = rejudge(run, **rule)
    manifest = result.manifest | {"config": made.manifest["config"]}
    anew = replace(result, photos=made.photos, judgement=made.judgement, regions=made.regions, manifest=manifest)
    report.write(anew, tmp_path / "anew.html", "run")
    assert (run / "report.html").read_bytes() == (tmp_path / "anew.html").read_bytes()


def test_a_verdict_is_that_of_a_scan_that_was_told_at_once(run: Path, parts: Path, tmp_path: Path) -> None:
    rejudge(run, expect_defects=0.25, exports=("coco",))
    rule = {"expect_defects": 0.25}
    told = scan(parts, MOCK, verdict=rule, exports=("masks", "coco")).save(tmp_path / "told" / "run")
    one, other = contents(told), contents(run)
    for name in ("results.csv", "results.jsonl", "coco_results.json"):
        assert one[name] == other[name]
    marks = [json.loads(files["coco.json"]) for files in (one, other)]
    assert [{**mark, "info": None} for mark in marks] == [{**marks[0], "info": None}] * 2, "but for the time"
    assert {name: one[name] for name in one if name.startswith("masks/")} == {
        name: other[name] for name in other if name.startswith("masks/")
    }
    assert read_manifest(told)["verdict"] == read_manifest(run)["verdict"]
    assert read_manifest(told)["config"] == read_manifest(run)["config"]


# what is typed -> what a scan writes of photos that are not ok
@pytest.mark.parametrize(
    ("typed", "exports"),
    [
        ([], ["masks"]),
        (["--export", "none"], []),
        (["--export", "coco"], ["masks", "coco"]),
        (["--export", "coco, labelstudio"], ["masks", "coco", "labelstudio"]),
        (["--export", "masks"], ["masks"]),
    ],
)
def test_exports_come_besides_the_masks(
    typed: list[str], exports: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "scan", "parts", *typed, "--print-config") == 0
    assert f"exports = {json.dumps(exports)}\n" in capsys.readouterr().out


def test_exports_that_are_asked_for_once_keep_being_written(run: Path) -> None:
    rejudge(run, exports=("coco", "labelstudio"))
    assert {"coco.json", "coco_results.json", "labelstudio.json"} <= {file.name for file in run.iterdir()}
    assert read_manifest(run)["config"]["exports"] == ["masks", "coco", "labelstudio"]
    images = {image["file_name"] for image in json.loads((run / "coco.json").read_bytes())["images"]}
    before = (run / "coco.json").read_bytes()
    rejudge(run, expect_defects=0.5)
    marks = json.loads((run / "coco.json").read_bytes())
    names = {image["id"]: image["file_name"] for image in marks["images"]}
    assert set(names.values()) >= images
    assert {names[mark["image_id"]] for mark in marks["annotations"]} == not_ok(run)
    rejudge(run)
    assert (run / "coco.json").read_bytes() == before


def test_a_run_without_masks_gets_them_when_they_are_asked_for(parts: Path, tmp_path: Path, fresh: Path) -> None:
    run = scan(parts, MOCK, exports="none").save(tmp_path / "run")
    assert not (run / "masks").exists()
    rejudge(run)
    assert not (run / "masks").exists()
    rejudge(run, exports=("masks",))
    assert {name: data for name, data in contents(run).items() if name.startswith("masks")} == {
        name: data for name, data in contents(fresh).items() if name.startswith("masks")
    }


def test_masks_that_were_thrown_away_come_back(run: Path, fresh: Path) -> None:
    shutil.rmtree(run / "masks")
    rejudge(run)
    assert contents(run) == contents(fresh)


# what is asked for, words of the error
@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"expect_defects": 0.1, "threshold": 0.3}, "expect_defects and threshold each decide the threshold"),
        ({"expect_defects": 0.1, "max_false_alarms": 0.3}, "give one of them"),
        ({"max_false_alarms": 0}, "above 0: no threshold promises that"),
        ({"expect_defects": 1.5}, "share such as 0.02 or 2%"),
        ({"expect_defects": -0.1}, "share such as 0.02 or 2%"),
        ({"max_unsure": float("nan")}, "share such as 0.02 or 2%"),
        ({"threshold": float("nan")}, "an image score such as 0.31"),
        ({"threshold": float("inf")}, "an image score such as 0.31"),
        ({"threshold": "high"}, "an image score such as 0.31"),
        ({"expect_defects": "many"}, "expect_defects takes a share"),
        ({"exports": ("voc",)}, "exports are masks, coco, labelstudio; received voc"),
    ],
)
def test_bad_values_change_nothing(run: Path, asked: dict[str, Any], words: str) -> None:
    before = contents(run)
    with pytest.raises(ConfigError, match=words):
        rejudge(run, **asked)
    assert contents(run) == before


# arguments after RUN, words of the error
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--threshold", "0.3", "--expect-defects", "2%"], "give one of them"),
        (["--max-false-alarms", "0"], "no threshold promises that"),
        (["--max-false-alarms", "150%"], "share such as 0.02 or 2%"),
        (["--max-false-alarms", "few"], "--max-false-alarms takes a share"),
        (["--max-unsure", "%"], "--max-unsure takes a share"),
        (["--expect-defects", "nan"], "share such as 0.02 or 2%"),
        (["--threshold", "nan"], "an image score"),
        (["--threshold", "high"], "Invalid value for '--threshold'"),
        (["--export", "voc"], "received voc"),
    ],
)
def test_wrong_usage_ends_in_one_sentence(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    before = contents(run)
    assert call(monkeypatch, "verdict", run, *arguments) == 2
    err = capsys.readouterr().err
    assert words in err and "Traceback" not in err
    assert contents(run) == before


def damage(file: str, text: bytes) -> Callable[[Path], object]:
    return lambda run: (run / file).write_bytes(text)


def cut(file: str) -> Callable[[Path], object]:
    def half(run: Path) -> None:
        data = (run / file).read_bytes()
        (run / file).write_bytes(data[: len(data) // 2])

    return half


def flawed(file: str) -> Callable[[Path], object]:
    def flaw(run: Path) -> None:
        data = (run / file).read_bytes()
        middle = len(data) // 2
        (run / file).write_bytes(data[:middle] + bytes(64) + data[middle + 64 :])

    return flaw


def other_maps(run: Path) -> None:
    np.save(run / "verdict" / "maps.npy", np.zeros((3, 8, 8), np.float32))


def fewer_rows(run: Path) -> None:
    lines = (run / "results.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (run / "results.jsonl").write_text("".join(lines[1:]), encoding="utf-8")


def another_family(run: Path) -> None:
    place = {"height": 1, "width": 1, "shares": [[1.0]]}
    member = {"path": "nobody.png", "sha256": "0" * 64, "box": {"left": 0, "top": 0, "right": 1, "bottom": 1}}
    family = {"number": 1, "kind": "defect", "decided_by": "blemish", "question": "", "members": [member]}
    numbers = dict.fromkeys(("strength", "fence", "density", "score_with", "score_without"), 1.0)
    families = {"schema": 1, "photos": 24, "families": [family | numbers | {"place": place}]}
    (run / "families.json").write_text(json.dumps(families), encoding="utf-8")


# what was done to the run, words of the error
HARM = pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda run: shutil.rmtree(run / "verdict"), "missing or damaged, so the threshold cannot be moved"),  # older
        (lambda run: (run / "verdict" / "estimate.npz").unlink(), "missing or damaged"),
        (damage("verdict/estimate.npz", b""), "missing or damaged"),
        (damage("verdict/estimate.npz", b"hello"), "missing or damaged"),
        (cut("verdict/estimate.npz"), "missing or damaged"),
        (flawed("verdict/estimate.npz"), "missing or damaged"),
        (cut("verdict/maps.npy"), "missing or damaged"),
        (other_maps, "missing or damaged"),
        (cut("verdict/facts.json"), "missing or damaged"),
        (damage("verdict/facts.json", b"[]"), "missing or damaged"),
        (damage("verdict/regions.json", b"[]"), "missing or damaged"),
        (damage("verdict/regions.json", b'{"5.png": [[1, 2]]}'), "missing or damaged"),
        (damage("report.html", b"<p>mine</p>"), "report.html': this report.html has no verdict to replace"),
        (lambda run: (run / "report.html").unlink(), "report.html': it is missing. Scan again"),
        (cut("results.jsonl"), "results.jsonl"),
        (fewer_rows, "does not fit the run's verdict"),
        (another_family, "families.json' does not fit the run"),
        (lambda run: (run / "families.json").unlink(), "families.json"),
        (lambda run: (run / "run.json").unlink(), "not a finished run"),
        (damage("run.json", b"{"), "not the manifest of a run"),
        (shutil.rmtree, "not a finished run"),
    ],
)


@HARM
def test_a_damaged_run_is_told_in_a_sentence_and_left_alone(
    run: Path,
    harm: Callable[[Path], object],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    harm(run)
    before = contents(run) if run.exists() else {}
    with pytest.raises(InputError) as raised:
        rejudge(run, expect_defects=0.5)
    assert words in str(raised.value)
    assert call(monkeypatch, "verdict", run) == 2
    err = capsys.readouterr().err
    assert err.startswith("blemish: ") and words in err and "Traceback" not in err
    assert (contents(run) if run.exists() else {}) == before
    if run.exists():
        assert not [child for child in run.iterdir() if child.name.startswith(".")]


def test_a_run_that_cannot_be_written(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    before = contents(run)
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(OutputError, match=r"Cannot write to .*run': Permission denied"):
        rejudge(run, expect_defects=0.5)
    assert contents(run) == before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind the administrator")
def test_a_read_only_run(run: Path) -> None:
    before = contents(run)
    run.chmod(0o555)
    try:
        with pytest.raises(OutputError, match="Cannot write to"):
            rejudge(run, expect_defects=0.5)
        assert contents(run) == before
    finally:
        run.chmod(0o755)


@pytest.mark.parametrize("sink", ["csv.write", "jsonl.write", "masks.write", "report.replace_verdict"])
def test_a_disk_that_fails_while_files_are_written_leaves_the_old_ones(
    run: Path, monkeypatch: pytest.MonkeyPatch, sink: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    before = contents(run)
    monkeypatch.setattr(f"blemish.sinks.{sink}", fail)
    with pytest.raises(RunError, match="disk is full"):
        rejudge(run, expect_defects=0.75)
    assert contents(run) == before


def test_a_folder_that_cannot_be_put_in_its_place_leaves_the_old_one(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = masks_of(run)
    replace_ = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if self.name == "masks" and self.parent.name.endswith(".partial"):
            raise OSError(5, "Input/output error")
        return replace_(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(RunError, match="Input/output error"):
        rejudge(run, expect_defects=0.5)
    assert masks_of(run) == masks
    monkeypatch.undo()
    rejudge(run, expect_defects=0.5)
    assert set(masks_of(run)) == not_ok(run), "the next verdict sets everything right"


@pytest.mark.skipif(os.name != "posix", reason="needs a process that can be killed")
def test_what_a_killed_verdict_leaves_is_cleared_and_stops_no_other_verb(run: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from blemish.run_folder import replacing\n"
        "with replacing(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'results.csv').write_text('half')\n"
        "    if sys.argv[2] == 'late': Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    else: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for when in ("early", "late"):
        subprocess.run([sys.executable, "-c", code, str(run), when], check=False)
        assert len(list(run.glob(".run.*.partial"))) == 1
        with staging(run, overwrite=True) as folder:  # blemish decide, or a scan: it is not a file of the user's
            shutil.copytree(run, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.partial"))
        assert not list(run.glob(".run.*"))
    subprocess.run([sys.executable, "-c", code, str(run), "early"], check=False)
    rejudge(run)
    assert not list(run.glob(".run.*"))


def test_files_of_the_user_in_the_run_stay(run: Path) -> None:
    (run / "notes.txt").write_text("mine")
    rejudge(run, expect_defects=0.5)
    assert (run / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", [".", "../run"])
def test_the_run_may_be_the_current_directory(run: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(run)
    assert call(monkeypatch, "verdict", name, "--expect-defects", "50%", "-q") == 0
    assert read_manifest(run)["config"]["verdict"]["expect_defects"] == 0.5
    assert Path("results.csv").is_file(), "the folder is still the same"


def test_a_run_may_have_another_name_now(run: Path, tmp_path: Path) -> None:
    run.rename(tmp_path / "bätch 7")
    rejudge(tmp_path / "bätch 7", expect_defects=0.5)
    assert len(not_ok(tmp_path / "bätch 7")) >= 12


def test_few_photos_stay_uncondemned_until_a_threshold_is_typed(tmp_path: Path) -> None:
    run = scan(write_parts(tmp_path / "parts", 6, (3,)), MOCK).save(tmp_path / "run")
    for rule in ({}, {"expect_defects": 0.5}, {"max_false_alarms": 0.1}):
        made = rejudge(run, **rule)  # type: ignore[arg-type]
        assert "blemished" not in verdicts(run).values()
        assert made.judgement is not None and made.judgement.sentence.startswith("Only 6 photos")
    rejudge(run, threshold=between(run, 1), max_unsure=0)
    assert [path for path, call in verdicts(run).items() if call == "blemished"] == ["3.png"]


@pytest.mark.parametrize("rule", [{}, {"expect_defects": 0.5}, {"max_false_alarms": 0.1}, {"threshold": 0.0}])
def test_photos_that_are_all_the_same(tmp_path: Path, rule: dict[str, float]) -> None:
    (tmp_path / "parts").mkdir()
    for at in range(12):
        Image.new("RGB", (64, 64), (90, 90, 90)).save(tmp_path / "parts" / f"{at}.png")
    run = scan(tmp_path / "parts", MOCK).save(tmp_path / "run")
    assert set(verdicts(run).values()) == {"ok"}
    made = rejudge(run, **rule)  # type: ignore[arg-type]
    assert made.judgement is not None and np.isfinite(made.judgement.threshold)
    assert "blemished" not in verdicts(run).values()


def test_a_run_that_grows_keeps_what_was_said_of_the_threshold(run: Path, parts: Path) -> None:
    rejudge(run, max_false_alarms=0.02, exports=("coco",))
    config = Earlier.read(run).config
    assert config.verdict.max_false_alarms == 0.02
    assert config.exports == ("masks", "coco")


def test_a_scan_in_place_of_the_run_decides_for_itself(
    run: Path, parts: Path, monkeypatch: pytest.MonkeyPatch, fresh: Path
) -> None:
    rejudge(run, threshold=99.0)
    options = ("--backbone", "mock", "--families", "off", "--no-cache", "-q")
    assert call(monkeypatch, "scan", parts, "--out", run, "--overwrite", *options) == 0
    assert verdicts(run) == verdicts(fresh)
    assert read_manifest(run)["config"]["verdict"]["threshold"] is None


def test_json_is_all_that_is_printed(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "verdict", run, "--max-false-alarms", "5%", "--json") == 0
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert err == ""
    assert said == {"run": str(run), **read_manifest(run)["verdict"]}
    assert set(said["counts"]) == {"blemished", "unsure", "ok"}
    assert said["false_alarms"]["low"] <= said["false_alarms"]["estimate"] <= said["false_alarms"]["high"]


def test_quiet_says_nothing(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "verdict", run, "-q") == 0
    assert capsys.readouterr() == ("", "")


def test_what_is_said(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "verdict", run, "--expect-defects", "50%", "--export", "coco, labelstudio") == 0
    out = capsys.readouterr().out
    first, *lines = out.splitlines()
    assert first == read_manifest(run)["verdict"]["sentence"]
    assert "5.png" in out and "blemished" in out
    assert lines[-1] == f"Report: {run / 'report.html'}"
    assert f"{len(not_ok(run)) - LISTED} more in the report" in lines[-2]
    assert len(lines) == LISTED + 2
    assert {"coco.json", "labelstudio.json"} <= {file.name for file in run.iterdir()}


def test_a_scan_takes_the_same_options(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--backbone", "mock", "--families", "off", "--no-cache", "--json", "-q", "--out", tmp_path / "run")
    assert call(monkeypatch, "scan", parts, *options, "--max-false-alarms", "1%", "--export", "none") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["verdict"]["rule"].startswith("at most 1 % false alarms")
    assert said["top"][0]["verdict"] in ("blemished", "unsure")
    assert not {"masks", "coco.json"} & {file.name for file in (tmp_path / "run").iterdir()}
    for bad in (["--threshold", "0.3", "--max-false-alarms", "1%"], ["--export", "voc"], ["--max-unsure", "2"]):
        assert call(monkeypatch, "scan", parts, *options, "--overwrite", *bad) == 2


@pytest.mark.parametrize("then", ["variant", "defect"])
def test_a_decision_keeps_what_was_said_of_the_threshold(tmp_path: Path, then: str) -> None:
    """Stains recur on four photos: a family, which is decided about after the threshold was moved."""
    made = scan(write_parts(tmp_path / "parts", 30, (3, 8, 13, 21)), MOCK, families="auto")
    assert made.families, "the stain recurs"
    run = made.save(tmp_path / "run")
    rejudge(run, max_false_alarms=0.03, max_unsure=0.2, exports=("coco",))
    blemish.decide(run, 1, then)  # type: ignore[arg-type]
    manifest = read_manifest(run)
    assert manifest["config"]["verdict"]["max_false_alarms"] == 0.03
    assert manifest["config"]["verdict"]["max_unsure"] == 0.2
    assert manifest["verdict"]["rule"].startswith("at most 3 % false alarms")
    assert (run / "coco.json").is_file()
    members = set(made.families[0].paths)
    if then == "defect":
        assert {verdicts(run)[path] for path in members} == {"blemished"}
    decided = contents(run)
    rejudge(run, max_false_alarms=0.03)
    assert contents(run) == decided, "and a verdict keeps the decision"


def test_the_package_has_it_too(run: Path) -> None:
    made = blemish.rejudge(run, expect_defects=0.5)
    assert made.judgement is not None
    with pytest.raises(BlemishError):
        blemish.rejudge(run, expect_defects=50)


def test_judging_again_needs_no_torch(run: Path) -> None:
    code = f"import sys; from blemish.rejudging import rejudge; rejudge({str(run)!r}, expect_defects=0.5)"
    check = f"{code}; sys.exit(bool({{'torch', 'sklearn'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
    check = "import sys, blemish.rejudging; sys.exit(bool({'torch', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
