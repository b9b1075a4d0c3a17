"""A person's word about single photos: what it changes, what stays, and that nothing forgets it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import blemish
from blemish.errors import InputError
from blemish.rejudging import export, rejudge
from blemish.rereading import reread
from blemish.reviewed import read
from blemish.reviewing import review
from blemish.run import read_rows
from blemish.teaching import teach
from judged_runs import BOX, call, contents, scanned, write_stained

JUDGED = {"results.csv", "results.jsonl", "report.html", "run.json", "verdict/regions.json"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stained(tmp_path_factory.mktemp("made") / "photos")


@pytest.fixture(scope="module")
def fresh(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scanned(photos, tmp_path_factory.mktemp("run") / "fresh")


@pytest.fixture
def run(fresh: Path, tmp_path: Path) -> Path:
    shutil.copytree(fresh, tmp_path / "run")
    return tmp_path / "run"


def calls(run: Path) -> dict[str, tuple[str | None, str]]:
    return {photo.path: (photo.verdict, photo.reason) for photo in read_rows(run)}


def test_a_run_read_again_says_what_it_said(fresh: Path) -> None:
    opened = reread(fresh).result
    assert list(opened.photos) == read_rows(fresh)
    manifest = json.loads((fresh / "run.json").read_text())
    assert json.loads(json.dumps(opened.manifest)) == manifest


def test_a_word_overrules_the_call_of_its_photo_only(run: Path) -> None:
    before, rows = calls(run), read_rows(run)
    worst, ok = rows[0].path, next(photo.path for photo in rows if photo.verdict == "ok")
    result = review(run, {worst: "good", ok: "defect"})
    after = calls(run)
    assert (after[worst], after[ok]) == (("ok", "as you said"), ("blemished", "as you said"))
    assert {path: said for path, said in after.items() if path not in (worst, ok)} == {
        path: said for path, said in before.items() if path not in (worst, ok)
    }
    again = reread(run).result.judgement
    assert result.judgement is not None
    assert again is not None
    assert result.judgement.threshold == again.threshold
    assert [photo.score for photo in read_rows(run)] == [photo.score for photo in rows]
    assert (run / "masks" / f"{ok}.png").is_file()
    assert not (run / "masks" / f"{worst}.png").exists()


def test_taking_it_back_leaves_the_run_as_it_was(run: Path, fresh: Path) -> None:
    path = read_rows(run)[0].path
    review(run, {path: "good"})
    review(run, {path: None})
    assert read(run) == ()
    now, then = contents(run), contents(fresh)
    now.pop("reviews.json")
    changed = {name for name in then if now[name] != then[name]}
    assert now.keys() == then.keys()
    assert changed <= {"verdict/regions.json"}, "all places that were ever looked for are kept"


def test_the_order_of_decisions_does_not_matter(fresh: Path, tmp_path: Path) -> None:
    worst = read_rows(fresh)[0].path
    first, second = (shutil.copytree(fresh, tmp_path / name) for name in ("first", "second"))
    review(first, {worst: "good"})
    rejudge(first, max_false_alarms=0.02)
    rejudge(second, max_false_alarms=0.02)
    review(second, {worst: "good"})
    assert (first / "results.csv").read_bytes() == (second / "results.csv").read_bytes()


def test_teaching_exports_and_thresholds_keep_it(run: Path) -> None:
    rows = read_rows(run)
    ok, worst = rows[-1].path, rows[0].path
    review(run, {ok: "defect"})
    for change in (
        lambda: teach(run, defects=[(worst, ",".join(map(str, BOX)))]),
        lambda: teach(run, undo=True),
        lambda: rejudge(run, expect_defects=0.1),
        lambda: export(run, ["coco"]),
    ):
        change()
        assert calls(run)[ok] == ("blemished", "as you said")
    asked = json.loads((run / "run.json").read_text())["config"]["verdict"]
    assert asked["expect_defects"] == 0.1, "an export decides nothing"


def test_a_scan_that_replaces_the_run_knows_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of a photo that has another name by then."""
    folder = shutil.copytree(photos, tmp_path / "photos")
    options = ("--backbone", "mock", "--families", "off", "--no-cache", "-q")
    assert call(monkeypatch, "scan", folder, *options) == 0
    run = tmp_path / "photos-blemish"
    assert call(monkeypatch, "decide", run, "3.png", "--is", "defect") == 0
    assert capsys.readouterr().out.startswith("3.png: blemished, as you said.")
    (folder / "3.png").rename(folder / "renamed.png")
    assert call(monkeypatch, "scan", folder, *options, "--overwrite") == 0
    assert calls(run)["renamed.png"] == ("blemished", "as you said")
    assert call(monkeypatch, "decide", run, "renamed.png", "--undo", "--json") == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "ok"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere.png", "--is", "good"), "no scored photo 'nowhere.png'"),
        (("3.png", "--is", "variant"), "takes good or defect of the photo"),
        (("3.png",), "Type --is good, --is defect or --undo"),
        (("7", "--is", "good"), "takes defect or variant"),
    ],
)
def test_what_cannot_be_said(
    arguments: tuple[str, ...],
    words: str,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = contents(run)
    assert call(monkeypatch, "decide", run, *arguments) == 2
    assert words in capsys.readouterr().err
    assert contents(run) == before


def test_a_damaged_file_is_told_of(run: Path) -> None:
    (run / "reviews.json").write_text("{}")
    with pytest.raises(InputError, match="damaged"):
        review(run, {"3.png": "good"})
    with pytest.raises(InputError, match="Give a photo"):
        blemish.review(run, {})
