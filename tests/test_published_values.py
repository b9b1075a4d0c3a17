"""Runs over the classes of a data set beside published numbers: the numbers, the mean, what is judged, what is said."""

from __future__ import annotations

import json
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from blemish import cli
from blemish.cli.app import app
from blemish.errors import BlemishError, ConfigError, InputError
from blemish.evaluation import evaluate
from blemish.progress import Silent
from blemish.published.numbers import METRICS, Accepted, class_key, data_set, names, published
from blemish.published.provenance import class_of, made, suggestion
from blemish.published.table import Gap, evaluate_classes
from truth_runs import photos_of, write_run, write_tree

KINDS = {"good": 4, "bad": 3}
DATA = ("mvtec", "visa", "btad")
WORDS = {"method": "text", "text": {"class_name": "cable"}}


def write_set(root: Path, classes: tuple[str, ...], *, maps: bool = True, config: dict[str, Any] | None = None) -> None:
    """root/set/<class>, a tree each, and root/runs/<class>, a run of it; each class with other noise."""
    for seed, name in enumerate(classes):
        tree = write_tree(root / "set" / name, KINDS)
        facts = {"source": str(tree), "config": config or {}, "backbones": [{"name": "mock"}]}
        write_run(root / "runs" / name, photos_of(tree, tree), maps=maps, seed=seed, **facts)


def runs_of(root: Path) -> list[Path]:
    return sorted((root / "runs").iterdir())


@pytest.fixture
def btad(tmp_path: Path) -> Path:
    write_set(tmp_path, ("01", "02", "03"), config={"method": "mutual", "backbone": "mock"})
    return tmp_path


def all_published() -> list[tuple[str, str]]:
    found = []
    for name in names():
        for data in DATA:
            try:
                published(name, data_set([], data))
                found.append((name, data))
            except ConfigError:
                continue
    return found


@pytest.mark.parametrize(("name", "data"), all_published())
def test_every_published_number_is_whole(name: str, data: str) -> None:
    found = published(name, data_set([], data))
    assert found.title
    assert found.source
    assert len(found.mean) == len(found.accepted) == len(METRICS)
    values = [*found.mean, *(value for row in found.classes.values() for value in row)]
    assert any(value is not None for value in values)
    assert all(0 < value <= 100 for value in values if value is not None)
    assert all(0.3 <= accepted.points < 7 for accepted in found.accepted)
    assert set(found.classes) <= set(found.data.classes)
    assert (found.class_accepted is not None) == (name in ("musc", "winclip+defect"))


@pytest.mark.parametrize("data", DATA)
def test_published_classes_have_the_published_mean(data: str) -> None:
    found = published("musc", data_set([], data))
    assert tuple(found.classes) == found.data.classes
    for column, mean in enumerate(found.mean):
        values = [row[column] for row in found.classes.values()]
        slip = 0.13 if (data, METRICS[column]) == ("visa", "pixel AUROC") else 0.0  # of the published table
        assert sum(values) / len(values) == pytest.approx(mean + slip, abs=0.0101)  # both sides were rounded


@pytest.mark.parametrize(
    ("name", "data", "of_mean"),  # by how much independent re-runs differ from papers is accepted, and no less
    [
        ("winclip", "mvtec", {0: 91.8 - 90.4, 2: 96.5 - 95.6, 3: 85.1 - 82.3, 6: 64.6 - 61.9}),
        ("winclip", "visa", {0: 78.1 - 75.5, 2: 81.2 - 78.7, 3: 79.6 - 73.2, 6: 56.8 - 51.0}),
        ("anomalyclip", "visa", {0: 82.1 - 81.2, 6: 87.0 - 85.8}),
        ("musc", "mvtec", {0: 0.3, 4: 0.5}),
        ("musc", "visa", {0: 0.3, 4: 0.5}),
    ],
)
def test_accepted_where_a_re_run_is_known(name: str, data: str, of_mean: dict[int, float]) -> None:
    found = published(name, data_set([], data))
    for column, points in of_mean.items():
        assert found.accepted[column] == Accepted(pytest.approx(points), inferred=False)
    assert found.accepted[1].inferred == (name != "musc")


@pytest.mark.parametrize(
    ("classes", "name", "expected"),
    [
        (["Metal Nut", "pill"], None, "mvtec"),  # as somebody may call the folder
        (["pipe-fryum"], None, "visa"),
        (["02"], None, "btad"),
        (["capsules"], "visa", "visa"),  # not MVTec's capsule
        (["tiles"], None, "Which published data set has the classes tiles"),
        (["bottle", "candle"], None, "Which published data set"),  # of two
        (["bottle"], "visa", "VisA has no class bottle"),
        (["bottle"], "mvtek", "mvtec, visa, btad; received 'mvtek'"),
    ],
)
def test_data_set_by_its_classes(classes: list[str], name: str | None, expected: str) -> None:
    if expected in DATA:
        assert data_set(classes, name).name == expected
    else:
        with pytest.raises(ConfigError, match=expected):
            data_set(classes, name)


def test_nothing_published() -> None:
    with pytest.raises(ConfigError, match=r"nothing is known as 'winclp'. Known are winclip, .*anomalyclip"):
        published("winclp", data_set([], "mvtec"))
    with pytest.raises(ConfigError, match=r"No number of winclip on BTAD .* those of musc, musc-dinov2"):
        published("winclip", data_set([], "btad"))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/data/mvtec/metal_nut", "metal_nut"),
        ("/data/mvtec/metal_nut/test", "metal_nut"),  # only the test photos were scanned
        ("/data/VisA/candle/Data/Images", "candle"),
        ("/data/bottle.csv", "bottle"),
        ("/test", "test"),  # nothing above it
    ],
)
def test_class_of_a_run(source: str, name: str) -> None:
    assert class_of({"source": source}) == name
    assert class_key(" Metal-Nut ") == "metal_nut"


@pytest.mark.parametrize(
    ("config", "fitting"),
    [
        ({"method": "text", "text": {"class_name": "pill"}}, ("winclip", "winclip-rerun")),
        ({"method": "text", "text": {"good": ["a.png"] * 4}}, ("winclip+4",)),
        ({"method": "text", "text": {"good": ["a.png"] * 3}}, ()),  # nobody has published three
        ({"method": "text", "text": {"good": ["train/good"]}}, ("winclip+1", "winclip+2", "winclip+4")),  # a folder
        ({"method": "text", "text": {"defects": ["a.png"]}}, ()),  # known for VisA only
        ({"method": "prompt", "text": {"model": "m.safetensors"}}, ("anomalyclip",)),
        ({"backbone": "effnet-lite2", "families": {"rule": "auto"}}, ()),
        ({"backbone": "openai/clip-vit-large-patch14-336", "families": {"rule": "off"}}, ("musc", "musc-paper")),
        ({"backbone": "/models/dinov2-large", "families": {"rule": "auto"}}, ("codegraph-dinov2",)),
        ({}, ()),  # an old run
    ],
)
def test_suggestion(config: dict[str, Any], fitting: tuple[str, ...]) -> None:
    manifest = {"config": config, "resolved": {"model": "anomalyclip"}}
    assert suggestion(["pill", "screw"], [manifest] * 2, None) == fitting
    assert suggestion(["pill", "my_part"], [manifest] * 2, None) == ()
    assert suggestion(["pill", "screw"], [manifest, {"config": {"method": "other"}}], None) == ()


def test_suggestion_for_a_learned_model() -> None:
    shown = {"config": {"method": "prompt", "text": {"good": ["a.png"] * 4}}, "resolved": {"model": "april-gan"}}
    assert suggestion(["candle"], [shown], None) == ("april-gan+4",)
    assert suggestion(["candle"], [{"config": {"method": "prompt"}}], None) == ()  # it does not say which


def test_made() -> None:
    square = {"name": "clip", "working_size": {"height": 240, "width": 240}}
    wide = {"name": "clip", "working_size": {"height": 180, "width": 240}}
    words = {"method": "text", "text": {"good": ["a.png"], "prompts": "/x/own.toml"}}
    assert made([{"config": words, "backbones": [square]}]) == (
        "method text, clip, words of own.toml, 1 good photo, 240x240 px"
    )
    assert made([{"config": words, "backbones": [shape]} for shape in (square, wide)]).endswith(
        "sizes from 240x180 px to 240x240 px"
    )
    mutual = {"backbone": "mock", "families": {"rule": "off"}, "rscin": [1, 2]}
    assert made([{"config": mutual}]) == "method mutual, mock, families off, RsCIN 1,2"
    assert made([{"config": mutual}, {"config": words}]).startswith("made in 2 ways (method mutual")


def test_mean_is_over_classes_and_in_percent(btad: Path) -> None:
    table = evaluate_classes(runs_of(btad), btad / "set")
    assert [row.name for row in table.rows] == ["01", "02", "03"]
    for row in table.rows:
        alone = {
            line.metric: line.value
            for line in evaluate(btad / "runs" / row.name, btad / "set" / row.name, resamples=0).rows
        }
        assert row.values == tuple(pytest.approx(100 * alone[name]) for name in METRICS)
        assert row.photos == 7
        assert all(line.low is None for line in row.evaluation.rows)  # intervals only if they are asked for
    for column, mean in enumerate(table.mean):
        assert mean == pytest.approx(sum(row.values[column] for row in table.rows) / 3)
    assert table.comparison is None
    json.dumps(table.as_dict(), allow_nan=False)


def test_comparison_of_all_classes(btad: Path) -> None:
    found = evaluate_classes(runs_of(btad), btad / "set", compare_with="musc").comparison
    assert found is not None
    assert (found.with_.data.name, found.missing, found.same_classes) == ("btad", (), False)
    for gap, published_mean in zip(found.mean, (96.16, 93.90, 97.85, 97.35, 57.86, 57.15, 83.43), strict=True):
        assert gap.published == published_mean
        assert gap.difference == pytest.approx(gap.ours - gap.published)
        assert gap.within == (round(abs(gap.difference), 2) <= gap.accepted.points)
    assert list(found.classes) == ["01", "02", "03"]
    assert all(gap.accepted == Accepted(1.5, inferred=False) for gaps in found.classes.values() for gap in gaps)
    assert any(gap.within is False for gaps in found.classes.values() for gap in gaps)  # noise is not MuSc
    json.dumps(found.as_dict(), allow_nan=False)


def test_a_mean_over_fewer_classes_is_not_judged(btad: Path) -> None:
    found = evaluate_classes(runs_of(btad)[:2], btad / "set", compare_with="musc").comparison
    assert found is not None
    assert found.missing == ("03",)
    assert found.same_classes
    assert found.mean[0].published == pytest.approx((98.74 + 90.23) / 2)
    assert all(gap.within is None and gap.accepted is None for gap in found.mean)
    assert all(gap.within is not None for gaps in found.classes.values() for gap in gaps)
    without_classes = evaluate_classes(runs_of(btad)[:2], btad / "set", compare_with="musc-dinov2").comparison
    assert without_classes is not None
    assert not without_classes.same_classes
    assert without_classes.mean[0].published == 95.62
    assert all(gap.within is None for gap in without_classes.mean)


def test_what_is_not_published_or_undefined_is_not_judged(tmp_path: Path) -> None:
    write_set(tmp_path, ("cable", "pill"), maps=False)
    table = evaluate_classes(runs_of(tmp_path), tmp_path / "set", compare_with="codegraph", data="mvtec")
    assert table.mean[0] is not None
    assert table.mean[3:] == (None,) * 4
    assert ("", "pixel AP is skipped: the run has no anomaly maps; so is its mean.") in list(table.notes())
    assert table.comparison is not None
    nothing = Gap(table.mean[1], None, None, None, None)
    assert table.comparison.mean[1] == nothing  # CoDeGraph's F1-max of images is not published
    assert table.comparison.mean[4] == Gap(None, 66.8, None, None, None)


def test_notes_say_which_classes_they_are_about(btad: Path) -> None:
    (btad / "set" / "02" / "ground_truth" / "bad" / "0_mask.png").unlink()
    notes = list(evaluate_classes(runs_of(btad), btad / "set").notes())
    assert [classes for classes, note in notes if "without a mask" in note] == ["02"]
    assert [classes for classes, note in notes if note.startswith("Masks:")] == [""]


def test_truth_by_folder_name_and_by_table(btad: Path) -> None:
    expected = evaluate_classes(runs_of(btad)[:1], btad / "set" / "01").rows[0].values  # the class's own folder
    assert evaluate_classes(runs_of(btad)[:1], btad / "set").rows[0].values == expected  # or the one above it
    lines = [
        f"{path},{'good' if 'good' in path else 'bad'}" for path in photos_of(btad / "set" / "01", btad / "set/01")
    ]
    table = btad / "truth.csv"
    table.write_text("\n".join(["image_path,label", *lines]))
    assert evaluate_classes(runs_of(btad), table).mean[0] is not None  # one table for all


@pytest.mark.parametrize(
    ("runs", "truth", "options", "message"),
    [
        (["runs/01", "runs/01"], "set", {}, "both of 01"),  # one class twice
        (["runs/01", "set"], "set", {}, "not a finished run"),
        (["runs/01", "runs/02"], "set/01", {}, "the truth of one class, and the runs are of 2"),
        (["runs/01", "runs/02"], "short", {}, "no folder for 02; it has 01"),
        (["runs/01", "runs/02"], "runs/01/maps", {}, "the truth of one class"),  # it holds a folder test
        (["runs/01", "runs/02"], "absent", {}, "no truth at"),
        (["runs/01"], "set", {"compare_with": "winclop"}, "Known are winclip"),
        (["runs/01"], "set", {"compare_with": "winclip"}, "No number of winclip on BTAD"),
        (["runs/01"], "set", {"compare_with": "musc", "data": "visa"}, "VisA has no class 01"),
        (["runs/01"], "set", {"data": "visa"}, "VisA has no class 01"),  # although nothing is compared
    ],
)
def test_refused(btad: Path, runs: list[str], truth: str, options: dict[str, str], message: str) -> None:
    (btad / "short" / "01").mkdir(parents=True)
    with pytest.raises(BlemishError, match=message) as error:
        evaluate_classes([btad / run for run in runs], btad / truth, **options)
    assert isinstance(error.value, InputError | ConfigError)


def test_progress_says_which_class(btad: Path) -> None:
    stages = []

    class Listener(Silent):
        @contextmanager
        def stage(self, name, total):
            stages.append(name)
            yield lambda steps: None

    evaluate_classes(runs_of(btad)[:2], btad / "set", progress=Listener())
    assert stages == ["01: surveying maps", "01: counting pixels", "02: surveying maps", "02: counting pixels"]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run ``blemish eval`` in this process; the exit code."""
    monkeypatch.setattr(sys, "argv", ["blemish", "eval", "--quiet", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_printed_tables(btad: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    runs, truth = runs_of(btad), btad / "set"
    assert call(monkeypatch, *runs, "--truth", truth, "--published", "musc") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert not any(line.endswith(" ") for line in lines)
    table = evaluate_classes(runs, truth, compare_with="musc")
    mean = next(line for line in lines if line.startswith("mean of 3"))
    assert mean.split()[3:] == [*(f"{value:.2f}" for value in table.mean), "21"]
    assert any(line.split()[0:2] == ["accepted", "±0.3"] for line in lines if line)
    assert "of 7 means are within what is accepted" in "\n".join(lines)
    starts = [next(i for i, c in enumerate(line) if c == ".") for line in lines if line.startswith(("01", "mean of"))]
    assert len(set(starts)) == 1  # columns stand below each other, marks or not


def test_printed_words(btad: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    runs, truth = runs_of(btad), btad / "set"
    assert call(monkeypatch, *runs[:2], "--truth", truth, "--published", "musc-dinov2") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "Only 2 of 3 classes: the published mean is over all 3" in printed
    assert "Missing: 03." in printed
    assert "within" not in printed  # no row that judges
    assert "These runs: method mutual, mock." in printed
    assert call(monkeypatch, *runs, "--truth", truth, "--published", "winclip") == 2
    assert "No number of winclip on BTAD" in capsys.readouterr().err


def test_offer_and_other_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_set(tmp_path, ("cable", "pill"), config=WORDS)
    runs, truth = runs_of(tmp_path), tmp_path / "set"
    assert call(monkeypatch, *runs, "--truth", truth) == 0
    printed = capsys.readouterr().out
    assert "Published values to compare with: --published winclip or --published winclip-rerun" in printed
    assert call(monkeypatch, *runs, "--truth", truth, "--published", "musc") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "musc is another method; what fits these runs is --published winclip or" in printed
    assert "both means are over these; they are shown and not judged" in printed


def test_one_run_prints_as_ever_and_may_be_compared(
    btad: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, truth = btad / "runs" / "01", btad / "set" / "01"
    assert call(monkeypatch, run, "--truth", truth, "--json", "--resamples", "20") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(evaluate(run, truth, resamples=20).as_dict()))
    assert call(monkeypatch, run, "--truth", truth, "--json", "--resamples", "20", "--published", "musc") == 0
    assert json.loads(capsys.readouterr().out)["published"]["classes"]["01"]["PRO (MuSc)"]["published"] == 85.05
    assert call(monkeypatch, run, "--truth", truth, "--resamples", "20") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("image AUROC ")
    assert " to " in printed  # an interval
    assert "mean of" not in printed


def test_commands_of_the_docs_exist() -> None:
    """Nobody can run them here for want of weights; so verbs, options and names of published numbers are held."""
    import typer

    verbs = typer.main.get_command(app).commands
    page = (Path(__file__).parents[1] / "docs" / "text.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:bash|sh)\n(.*?)```", page, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    commands = [words for line in lines if (words := line.partition("#")[0].split())[:1] == ["blemish"]]
    assert len(commands) > 15
    for _, verb, *words in commands:
        known = {option for of in verbs[verb].params for option in (*of.opts, *of.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= known, (verb, words)
        if "--published" in words:
            name = words[words.index("--published") + 1].strip('"').replace("$shots", "1")
            assert name in names()
