"""A recurring flaw from the photos to the decision about it, on the default backbone: what changes, what comes back."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from blemish import cli
from blemish.config import ScanConfig
from blemish.deciding import decide
from blemish.decisions import read_decisions, write_decisions
from blemish.errors import BlemishError, InputError, RunError
from blemish.inputs.synthetic import render_batch, write_batch
from blemish.result import Decision, Result
from blemish.run import save_result
from blemish.scanning import scan
from blemish.sinks.families import read as read_families

CONFIG = ScanConfig(size=256)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Features are extracted once for the whole module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLEMISH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty washers, six with one and the same flaw; ``truth.csv`` knows which."""
    folder = tmp_path_factory.mktemp("made")
    batch = render_batch("washer", 30, size=256, recurring=(6,), sporadic=1, flaw_size=(0.12, 0.2))
    write_batch(folder, batch)
    return folder


@pytest.fixture(scope="module")
def recurring(made: Path) -> set[str]:
    with (made / "truth.csv").open(newline="") as handle:
        return {row["image_path"] for row in csv.DictReader(handle) if row["kind"].startswith("recurring")}


@pytest.fixture(scope="module")
def result(made: Path) -> Result:
    return scan(made / "photos", CONFIG)


@pytest.fixture(scope="module")
def fresh(result: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return result.save(tmp_path_factory.mktemp("run") / "fresh")


@pytest.fixture
def run(fresh: Path, tmp_path: Path) -> Path:
    """A run of its own for every test."""
    shutil.copytree(fresh, tmp_path / "run")
    return tmp_path / "run"


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["blemish", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def rows_of(run: Path) -> dict[str, dict[str, str]]:
    with (run / "results.csv").open(newline="", encoding="utf-8") as handle:
        return {row["path"]: row for row in csv.DictReader(handle)}


def maps_of(run: Path, paths: set[str]) -> dict[str, np.ndarray]:
    return {path: tifffile.imread(run / "maps" / f"{path}.tif") for path in paths}


def test_the_family_is_the_recurring_flaw(result: Result, recurring: set[str]) -> None:
    (family,) = result.families
    assert set(family.paths) == recurring
    assert (family.kind, family.decided_by, family.question) == ("defect", "blemish", "")
    assert family.strength > family.fence
    assert family.score_without > family.score_with
    worst = [photo.path for photo in result.scored[: len(recurring) + 1]]
    assert recurring <= set(worst), "all but the lonely flaw"


def test_what_a_run_with_a_family_holds(fresh: Path, recurring: set[str]) -> None:
    assert {file.name for file in fresh.iterdir()} == {
        *("cache", "diagnosis.json", "division.json", "families.json", "maps", "masks", "nearest.npz", "overlays"),
        *("report.html", "results.csv", "results.jsonl", "run.json", "verdict"),
    }
    assert {path: row["family"] for path, row in rows_of(fresh).items()} == {
        path: "1" if path in recurring else "" for path in rows_of(fresh)
    }
    lines = [json.loads(line) for line in (fresh / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {line["path"] for line in lines if line["family"] == 1} == recurring
    stored = json.loads((fresh / "families.json").read_text(encoding="utf-8"))
    assert (stored["photos"], len(stored["families"])) == (30, 1)
    assert {member["path"] for member in stored["families"][0]["members"]} == recurring
    assert "These 6 photos share a look" in stored["families"][0]["evidence"]
    assert "6 photos" in (fresh / "report.html").read_text(encoding="utf-8")


def test_a_variant_vouches_for_itself_again(run: Path, result: Result, recurring: set[str]) -> None:
    before, old_maps = rows_of(run), maps_of(run, recurring)
    decided = decide(run, 1, "variant")
    after, new_maps = rows_of(run), maps_of(run, recurring)
    assert (decided.family.kind, decided.family.decided_by) == ("variant", "user")
    assert decided.after < decided.before
    assert decided.before == pytest.approx(np.median([float(before[path]["score"]) for path in recurring]))
    assert decided.after == pytest.approx(np.median([float(after[path]["score"]) for path in recurring]))
    for path in recurring:
        assert float(after[path]["score"]) < float(before[path]["score"])
        assert new_maps[path].max() < old_maps[path].max()
        assert (new_maps[path] <= old_maps[path] + 1e-5).all()
    ranks = [int(row["rank"]) for row in after.values()]
    scores = [float(row["score"]) for row in after.values()]
    assert ranks == sorted(ranks) == list(range(1, 31))
    assert scores == sorted(scores, reverse=True)
    (family,) = read_families(run / "families.json")
    assert (family.kind, family.decided_by) == ("variant", "user")
    assert family.paths == result.families[0].paths
    (decision,) = read_decisions(run)
    assert (decision.kind, {path for path, _ in decision.photos}) == ("variant", recurring)


def test_a_variant_scores_as_without_families(run: Path, made: Path) -> None:
    decide(run, 1, "variant")
    plain = scan(made / "photos", CONFIG, families="off")
    assert {path: float(row["score"]) for path, row in rows_of(run).items()} == pytest.approx(plain.scores, abs=1e-6)


def test_undo_brings_every_number_back_to_the_bit(run: Path, fresh: Path) -> None:
    decide(run, 1, "variant")
    assert contents(run)["results.csv"] != contents(fresh)["results.csv"]
    undone = decide(run, 1, undo=True)
    assert (undone.family.kind, undone.family.decided_by) == ("defect", "blemish")
    before, after = contents(fresh), contents(run)
    assert after.keys() == before.keys(), "no decisions.toml is left"
    kinds = ("maps/", "masks/", "cache/", "verdict/", "results", "families", "diagnosis")
    numbers = {name for name in before if name.startswith(kinds)}
    assert len(numbers) > 30
    assert [name for name in sorted(numbers) if after[name] != before[name]] == []


def test_a_confirmed_defect_changes_only_who_decided(run: Path, fresh: Path) -> None:
    decided = decide(run, 1, "defect")
    assert (decided.family.kind, decided.family.decided_by) == ("defect", "user")
    assert decided.after == pytest.approx(decided.before)
    before, after = contents(fresh), contents(run)
    same = [name for name in before if name.startswith(("maps/", "overlays/", "cache/", "results"))]
    assert all(after[name] == before[name] for name in same)


def test_the_last_word_counts_and_is_kept_once(run: Path) -> None:
    decide(run, 1, "variant")
    decide(run, 1, "defect")
    (decision,) = read_decisions(run)
    assert decision.kind == "defect"


def test_every_file_of_the_run_is_there_afterwards(
    run: Path, fresh: Path, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "diagnosis").mkdir()  # pictures drawn earlier
    (run / "diagnosis" / "hill.png").write_bytes(b"png")
    assert call(monkeypatch, "decide", run, 1, "--is", "variant") == 0
    out = capsys.readouterr().out
    assert "Family 1 (6 photos): variant, decided by user." in out
    before, after = ({name for name in contents(folder) if not name.startswith("masks/")} for folder in (fresh, run))
    assert after == {*before, "decisions.toml", "diagnosis/hill.png"}
    marked = {path for path, row in rows_of(run).items() if row["verdict"] != "ok"}
    assert {name for name in contents(run) if name.startswith("masks/")} == {f"masks/{path}.png" for path in marked}
    assert contents(run)["report.html"] != contents(fresh)["report.html"]
    assert [child.name for child in run.parent.iterdir()] == ["run"], "no staging folder is left"
    assert call(monkeypatch, "eval", run, "--truth", made / "truth.csv", "--quiet", "--json") == 0
    rows = {row["metric"]: row["value"] for row in json.loads(capsys.readouterr().out)["rows"]}
    assert 0.5 < rows["image AUROC"] < 1
    assert call(monkeypatch, "diagnose", run) == 0


def test_pictures_before_and_after_can_be_compared(run: Path, fresh: Path, recurring: set[str]) -> None:
    """One colour scale for both; what the family's photos show fades."""
    decide(run, 1, "variant")
    before, after = contents(fresh), contents(run)
    scales = [json.loads(files["run.json"])["colour_scale"] for files in (before, after)]
    assert scales[0] == scales[1]
    assert all(after[f"overlays/{path}.jpg"] != before[f"overlays/{path}.jpg"] for path in recurring)


def test_json_is_all_that_is_printed(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "decide", run, 1, "--is", "variant", "--json") == 0
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert (said["kind"], said["decided_by"], err) == ("variant", "user", "")
    assert said["median_score_after"] < said["median_score_before"]


@pytest.mark.parametrize("sink", ["csv", "families", "maps", "overlays", "report"])
def test_a_disk_that_fails_in_the_middle_leaves_the_old_run(
    run: Path, monkeypatch: pytest.MonkeyPatch, sink: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = contents(run)
    monkeypatch.setattr(f"blemish.sinks.{sink}.write", fail)
    with pytest.raises(RunError, match="disk is full"):
        decide(run, 1, "variant")
    assert contents(run) == before
    assert [child.name for child in run.parent.iterdir()] == ["run"]


def test_decisions_survive_another_scan(
    run: Path, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    decide(run, 1, "variant")
    decided = contents(run)
    size = ("--size", "256")
    assert call(monkeypatch, "scan", made / "photos", "--out", run, *size, "--overwrite") == 0
    assert "Honouring 1 decision about" in capsys.readouterr().err
    again = contents(run)
    for name in ("results.csv", "decisions.toml"):
        assert again[name] == decided[name]
    (family,) = read_families(run / "families.json")
    assert (family.kind, family.decided_by) == ("variant", "user")
    assert (
        call(monkeypatch, "scan", made / "photos", "--out", run, *size, "--overwrite", "--families", "off", "-q") == 0
    )
    assert contents(run)["decisions.toml"] == decided["decisions.toml"], "kept, although no family was looked for"


def test_decisions_hold_for_the_same_photos_under_other_names(
    run: Path, made: Path, recurring: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(run, 1, "variant")
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    names = {path: f"other-{at * 7 % 30:02}.jpg" for at, path in enumerate(sorted(rows_of(run)))}
    for old, new in names.items():
        shutil.copy(made / "photos" / old, renamed / new)
    other = tmp_path / "other"
    options = ("--size", "256", "--quiet", "--out", other)
    assert call(monkeypatch, "scan", renamed, *options) == 0
    assert read_families(other / "families.json")[0].kind == "defect"
    assert call(monkeypatch, "scan", renamed, *options, "--overwrite", "--decisions", run) == 0
    (family,) = read_families(other / "families.json")
    assert set(family.paths) == {names[path] for path in recurring}
    assert (family.kind, family.decided_by) == ("variant", "user")
    scores = {path: float(row["score"]) for path, row in rows_of(run).items()}
    assert {path: float(row["score"]) for path, row in rows_of(other).items()} == pytest.approx(
        {names[path]: score for path, score in scores.items()}, abs=1e-6
    )


def test_a_decision_about_other_photos_changes_nothing(made: Path, result: Result) -> None:
    elsewhere = Decision("variant", (("a.png", "0" * 64), ("b.png", "1" * 64)))
    again = scan(made / "photos", CONFIG, decisions=(elsewhere,))
    assert again.families[0].kind == "defect"
    assert again.scores == result.scores
    assert again.decisions == (elsewhere,), "kept for a later scan"


# photos of a family of four that a decision names -> whether it is about this family
@pytest.mark.parametrize(("named", "fits"), [(4, True), (2, True), (1, False)])
def test_a_decision_fits_a_family_of_which_it_names_half(result: Result, named: int, fits: bool) -> None:
    from dataclasses import replace

    family = replace(result.families[0], members=result.families[0].members[:4])
    decision = Decision("variant", tuple(("elsewhere.png", member.sha256) for member in family.members[:named]))
    assert decision.fits(family) == fits


def damage(run: Path, what: str) -> None:
    scores = run / "cache" / "rescoring.npz"
    content = bytearray(scores.read_bytes())
    half = len(content) // 2
    families = (run / "families.json").read_text(encoding="utf-8")
    changed = {
        "an npz of nothing": (scores, b""),
        "an npz of text": (scores, b"hello"),
        "half an npz": (scores, bytes(content[:half])),
        "a flaw in an npz": (scores, bytes(content[:half] + bytes(64) + content[half + 64 :])),
        "no order": (run / "cache" / "order.json", b"{"),
        "families of nothing": (run / "families.json", b"{}"),
        "families of text": (run / "families.json", families[:100].encode()),
        "families of a later version": (run / "families.json", families.replace('"schema": 1', '"schema": 9').encode()),
        "a family of another run": (run / "families.json", families.replace('"path": "', '"path": "x').encode()),
        "decisions of text": (run / "decisions.toml", b"hello"),
        "decisions of nothing": (run / "decisions.toml", b"decision = 3"),
        "decisions of a sort": (run / "decisions.toml", b'[[decision]]\nis = "odd"\nphotos = []\nsha256 = []\n'),
        "results of text": (run / "results.jsonl", b"hello"),
        "no manifest": (run / "run.json", b"{"),
    }
    file, bytes_ = changed[what]
    file.write_bytes(bytes_)


# what is wrong, words of the error
@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("an npz of nothing", "missing or damaged"),
        ("an npz of text", "missing or damaged"),
        ("half an npz", "missing or damaged"),
        ("a flaw in an npz", "missing or damaged"),
        ("no order", "missing or damaged"),
        ("families of nothing", "families.json"),
        ("families of text", "families.json"),
        ("families of a later version", "its schema is 9"),
        ("a family of another run", ""),
        ("decisions of text", "does not hold decisions"),
        ("decisions of nothing", "does not hold decisions"),
        ("decisions of a sort", "defect or variant, not 'odd'"),
        ("results of text", "results.jsonl"),
        ("no manifest", "run.json"),
    ],
)
def test_a_damaged_run_is_told_in_a_sentence_and_left_alone(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str, words: str
) -> None:
    damage(run, what)
    before = contents(run)
    assert call(monkeypatch, "decide", run, 1, "--is", "variant") in (1, 2)
    err = capsys.readouterr().err
    assert err.startswith("blemish: ") and words in err
    assert "Traceback" not in err
    assert contents(run) == before
    with pytest.raises(BlemishError):
        decide(run, 1, "variant")


@pytest.mark.parametrize("part", ["cache", "cache/photos", "families.json", "verdict", "verdict/estimate.npz"])
def test_a_run_without_its_cache_cannot_be_decided_about(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], part: str
) -> None:
    if (run / part).is_dir():
        shutil.rmtree(run / part)
    else:
        (run / part).unlink()
    before = contents(run)
    assert call(monkeypatch, "decide", run, 1, "--is", "variant") in (1, 2)
    err = capsys.readouterr().err
    assert err.startswith("blemish: ") and part in err and "Traceback" not in err
    assert contents(run) == before


def test_a_file_of_the_user_in_the_run_is_not_swept_away(run: Path) -> None:
    (run / "notes.txt").write_text("mine")
    before = contents(run)
    with pytest.raises(BlemishError, match=r"notes\.txt"):
        decide(run, 1, "variant")
    assert contents(run) == before


# arguments after RUN, words of the error
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["2", "--is", "variant"], "has no family 2; it has 1"),
        (["0", "--undo"], "has no family 0"),
        (["1"], "--is defect, --is variant or --undo"),
        (["1", "--is", "defect", "--undo"], "--is defect, --is variant or --undo"),
        (["1", "--is", "sound"], "defect or variant; received 'sound'"),
        (["one", "--undo"], "no scored photo 'one'"),
    ],
)
def test_wrong_usage(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    before = contents(run)
    assert call(monkeypatch, "decide", run, *arguments) == 2
    err = capsys.readouterr().err
    assert words in err and "Traceback" not in err
    assert contents(run) == before


def test_wrong_usage_from_python(run: Path, tmp_path: Path) -> None:
    for options in ({}, {"is_": "variant", "undo": True}, {"is_": "sound"}):
        with pytest.raises(InputError, match="defect or"):
            decide(run, 1, **options)
    with pytest.raises(InputError, match="not a finished run"):
        decide(tmp_path / "nowhere", 1, "defect")


def test_families_off(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    off = scan(made / "photos", CONFIG, families="off")
    assert (off.families, off.diagnosis, list(off.keep)) == ((), None, ["verdict", "nearest.npz"])
    run = save_result(off, tmp_path / "off")
    names = {file.name for file in run.iterdir()}
    assert "families.json" in names, "none were found is an answer"
    assert not names & {"cache", "diagnosis.json", "decisions.toml"}
    assert read_families(run / "families.json") == ()
    assert {row["family"] for row in rows_of(run).values()} == {""}
    with pytest.raises(InputError, match="none were found or looked for"):
        decide(run, 1, "variant")


def test_what_a_scan_says_about_a_family(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--size", "256", "--out", tmp_path / "run")
    assert call(monkeypatch, "scan", made / "photos", *options) == 0
    assert "Family 1: 6 photos share a look that the others do not have" in capsys.readouterr().out
    assert call(monkeypatch, "scan", made / "photos", *options, "--overwrite", "--json", "-q") == 0
    assert json.loads(capsys.readouterr().out)["families"] == [{"family": 1, "kind": "defect", "photos": 6}]


# decisions written and read: a name, and what is written of it. What cannot be shown is not needed: bytes decide
@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a.png", "a.png"),
        ("sub/ä ß.png", "sub/ä ß.png"),
        ('say "hi"\\.png', 'say "hi"\\.png'),
        ("😀.png", "😀.png"),
        ("tab\t.png", "tab?.png"),
        ("\x7f.png", "?.png"),
        ("\udcff.png", "?.png"),
    ],
)
def test_decisions_come_back_as_they_were(tmp_path: Path, name: str, written: str) -> None:
    decisions = (Decision("variant", ((name, "a" * 64), ("b.png", "b" * 64))), Decision("defect", ((name, "c" * 64),)))
    write_decisions(decisions, tmp_path / "decisions.toml")
    read = read_decisions(tmp_path / "decisions.toml")
    assert read == read_decisions(tmp_path)
    assert [decision.kind for decision in read] == ["variant", "defect"]
    assert read[0].photos == ((written, "a" * 64), ("b.png", "b" * 64))
    assert read[1].photos == ((written, "c" * 64),)


def test_a_run_may_have_no_decisions_but_a_named_file_must(tmp_path: Path) -> None:
    assert read_decisions(tmp_path) == ()
    with pytest.raises(InputError, match="Cannot read decisions"):
        read_decisions(tmp_path / "decisions.toml")


def test_deciding_needs_no_torch_and_no_scipy() -> None:
    check = "import sys, blemish.deciding; sys.exit(bool({'torch', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_a_decision_is_made_without_torch(run: Path) -> None:
    code = f"import sys; from blemish.deciding import decide; decide({str(run)!r}, 1, 'variant')"
    check = f"{code}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
    assert rows_of(run)
