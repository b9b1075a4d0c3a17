"""A judged run as a detector: whose tokens it keeps, on which scale it scores, and what cannot be frozen."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from blemish import bundle
from blemish.deciding import decide
from blemish.errors import BlemishError, ConfigError, InputError, OutputError
from blemish.freezing import freeze
from blemish.frozen import Detector
from blemish.rejudging import rejudge
from blemish.run import read_rows
from blemish.run_folder import read_manifest
from blemish.teaching import teach
from judged_runs import BOX, GRADED, THIRD, contents, scanned, stained, write_stained


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``plain``: four photos with flaws of their own strength; ``third``: a third share one, which is a family."""
    home = tmp_path_factory.mktemp("made")
    scanned(write_stained(home / "parts"), home / "plain")
    scanned(write_stained(home / "shared", THIRD), home / "third", families="auto")
    return home


@pytest.fixture
def plain(home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(home / "plain", tmp_path / "plain"))


@pytest.fixture
def third(home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(home / "third", tmp_path / "third"))


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def verdicts(detector: Detector, strength: float, count: int = 6) -> list[str]:
    """Of photos that nobody has seen."""
    return [detector.check(stained(5000 + at, strength)).verdict for at in range(count)]


def test_what_a_detector_knows_of_its_run(plain: Path, home: Path) -> None:
    done = freeze(plain)
    assert done.file == plain.with_name("plain.blemish")
    manifest, facts = read_manifest(plain), done.facts
    used = manifest["backbones"][0]
    assert (facts.product, facts.backbone, facts.weights_sha256) == ("plain", "mock", used["weights_sha256"])
    assert [facts.height, facts.width] == [used["working_size"][side] for side in ("height", "width")]
    assert facts.threshold == manifest["verdict"]["threshold"], "the run's, to the bit"
    assert facts.unsure_low < facts.threshold < facts.unsure_high
    assert manifest["verdict"]["rule"] in facts.meaning and "good ones would be called so" in facts.meaning
    assert (facts.colour_low, facts.colour_high) == tuple(manifest["colour_scale"].values())
    ok = {row.path for row in read_rows(plain) if row.verdict == "ok"}
    assert sorted(facts.photos) == sorted(digest(home / "parts" / path) for path in ok), "those called ok and no other"
    assert facts.made_from["photos"] == 24 and facts.made_from["good_photos"] == len(ok)
    assert sum(len(memory.normal) for memory in bundle.read(done.file).memories) == facts.made_from["tokens"] <= 2000
    assert Detector.load(done.file).facts == facts


def test_the_same_run_is_the_same_file(plain: Path, tmp_path: Path) -> None:
    first, second = (freeze(plain, tmp_path / name) for name in ("a.blemish", "b.blemish"))
    made = [bundle.read(one.file) for one in (first, second)]
    for ours, theirs in zip(made[0].memories, made[1].memories, strict=True):
        np.testing.assert_array_equal(ours.normal, theirs.normal)
        assert (ours.scale, ours.offset) == (theirs.scale, theirs.offset)
    assert contents(plain).keys() == contents(plain.parent / "plain").keys(), "the run is left as it was"


def test_it_judges_photos_that_it_has_not_seen(plain: Path) -> None:
    detector = Detector.load(freeze(plain).file)
    assert verdicts(detector, 0.0).count("ok") >= 5
    assert verdicts(detector, 1.0) == ["blemished"] * 6
    assert verdicts(detector, 0.3) == ["blemished"] * 6


def test_its_scores_are_on_the_scale_of_the_batch(plain: Path, tmp_path: Path) -> None:
    """The same new photos among the old ones, and each on its own."""
    detector = Detector.load(freeze(plain).file)
    photos = write_stained(tmp_path / "together")
    strengths = [0.0] * 12 + [0.1, 0.4, 0.6, 0.7]
    for at, strength in enumerate(strengths):
        Image.fromarray(stained(7000 + at, strength)).save(photos / f"new{at}.png")
    batch = {row.path: row.score for row in read_rows(scanned(photos, tmp_path / "run"))}
    together = np.array([batch[f"new{at}.png"] for at in range(len(strengths))])
    alone = np.array([detector.check(photos / f"new{at}.png").score for at in range(len(strengths))])
    assert spearmanr(together, alone).statistic > 0.7
    assert np.median(alone[:12]) == pytest.approx(np.median(together[:12]), rel=0.2), "good ones in the middle"
    assert alone[12:].min() > np.median(together[12:]) / 2 > 2 * alone[:12].max(), "flaws far above them"


def test_families_are_not_in_the_bank(third: Path, home: Path) -> None:
    """Asked about, decided or taught: no photo of a recurring flaw gives tokens, unless it is a legitimate variant."""
    carriers = {digest(home / "shared" / f"{at}.png") for at in range(16, 24)}
    asked = freeze(third)
    assert not carriers & set(asked.facts.photos)
    assert asked.facts.made_from["defect_tokens"] == 0, "nobody has said that it is a flaw"
    decide(third, 1, "defect")
    decided = freeze(third, overwrite=True)
    assert decided.facts.made_from["good_photos"] == asked.facts.made_from["good_photos"]
    assert decided.facts.made_from["defect_tokens"] > 0, "its look is known"
    assert carriers <= set(decided.facts.photos), "and of one of them, which would match itself"
    assert verdicts(Detector.load(decided.file), 1.0) == ["blemished"] * 6
    assert verdicts(Detector.load(decided.file), 0.0).count("ok") >= 5
    decide(third, 1, "variant")
    variant = freeze(third, overwrite=True)
    assert carriers & set(variant.facts.photos)
    assert "blemished" not in verdicts(Detector.load(variant.file), 1.0)


def test_an_undecided_family_does_not_bend_the_scale(third: Path) -> None:
    """Its photos score low in the run, where they vouch for each other, and high in the detector, which lacks them."""
    asked = freeze(third)
    decide(third, 1, "defect")
    decided = freeze(third, overwrite=True)
    assert asked.line.scale == pytest.approx(decided.line.scale, rel=0.3)


def test_better_than_the_same_bank_without_families(home: Path, third: Path, tmp_path: Path) -> None:
    decide(third, 1, "defect")
    blind = Detector.load(freeze(scanned(home / "shared", tmp_path / "blind"), tmp_path / "blind.blemish").file)
    knowing = Detector.load(freeze(third).file)
    assert verdicts(knowing, 1.0) == ["blemished"] * 6
    assert verdicts(blind, 1.0) == ["ok"] * 6, "what a third of the photos show is usual"


def test_what_was_taught_goes_with_it(plain: Path) -> None:
    before = Detector.load(freeze(plain).file)
    taught = stained(9000)
    taught[2:14, 40:60] = (40, 200, 40)
    new = plain.with_name("taught.png")
    Image.fromarray(taught).save(new)
    teach(plain, defects=[(new, "40,2,60,14")])
    done = freeze(plain, overwrite=True)
    assert done.facts.made_from["defect_tokens"] > 0
    after, again = Detector.load(done.file), stained(9001)
    again[40:52, 8:28] = (40, 200, 40)  # elsewhere
    assert after.check(again).score > before.check(again).score
    for seed in range(5000, 5006):
        assert after.check(stained(seed)).score == pytest.approx(before.check(stained(seed)).score, abs=0.02)
    with pytest.raises(InputError, match="one of the photos that the detector was made from"):
        after.check(new)


@pytest.mark.parametrize("tokens", [50, 300, 50_000])
def test_a_smaller_bank_is_a_smaller_file(plain: Path, tokens: int) -> None:
    done = freeze(plain, tokens=tokens)
    assert done.facts.made_from["tokens"] <= tokens
    assert np.isfinite(Detector.load(done.file).check(stained(1)).score)


def test_copies_in_the_batch(tmp_path: Path) -> None:
    """Copies do not vouch for themselves: the scale is that of the batch without them."""
    photos = write_stained(tmp_path / "parts")
    for at in range(6):
        shutil.copy(photos / f"{at + 8}.png", photos / f"copy{at}.png")
    run = scanned(photos, tmp_path / "run")
    assert sum(bool(row.duplicate_of) for row in read_rows(run)) >= 6
    done = freeze(run)
    assert verdicts(Detector.load(done.file), 0.0).count("ok") >= 5
    assert verdicts(Detector.load(done.file), 1.0) == ["blemished"] * 6


def _move_threshold(run: Path, threshold: float) -> None:
    rejudge(run, threshold=threshold, max_unsure=0)


def test_a_threshold_of_the_users(plain: Path) -> None:
    """It means what was asked for, and photos that are ok by it are kept."""
    scores = [row.score or 0.0 for row in read_rows(plain)]
    _move_threshold(plain, (scores[3] + scores[4]) / 2)
    facts = freeze(plain).facts
    assert facts.threshold == (scores[3] + scores[4]) / 2
    assert len(facts.photos) == 20


def test_too_few_good_photos(plain: Path) -> None:
    scores = [row.score or 0.0 for row in read_rows(plain)]
    _move_threshold(plain, scores[-3] - 1e-6)
    with pytest.raises(InputError, match=r"has 2 different photos that were called ok; .* at least 3.*blemish verdict"):
        freeze(plain)
    _move_threshold(plain, scores[-4] - 1e-6)
    assert np.isfinite(Detector.load(freeze(plain).file).check(stained(1)).score), "three will do"


# settings of the scan -> words
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image_score": "excess"}, "relative to its batch .image_score excess.*--image-score max"),
        ({"rscin": (1, 2)}, "relative to its batch.*without --rscin"),
        ({"backbone": "mock+effnet-lite2", "size": 64}, "made with 2 backbones.*--backbone mock"),
    ],
)
def test_runs_that_cannot_be_frozen(home: Path, tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    run = scanned(home / "parts", tmp_path / "run", **settings)
    with pytest.raises(ConfigError, match=words) as raised:
        freeze(run)
    assert "  " not in str(raised.value)
    assert not run.with_name("run.blemish").exists()


# out, options -> words
@pytest.mark.parametrize(
    ("out", "options", "error", "words"),
    [
        ("there.blemish", {}, OutputError, "exists. Add --overwrite"),
        ("folder.blemish", {}, OutputError, "is a folder; --out names a file"),
        ("folder.blemish", {"overwrite": True}, OutputError, "is a folder; --out names a file"),
        ("part.zip", {}, OutputError, r"must end in \.blemish; .* Type --out part\.blemish"),
        ("part", {}, OutputError, r"must end in \.blemish"),
        ("none/part.blemish", {}, OutputError, "There is no folder .*none' to write 'part.blemish' into"),
        ("part.blemish", {"tokens": 49}, ConfigError, "50 to 50000; received 49"),
        ("part.blemish", {"tokens": 50_001}, ConfigError, "received 50001"),
        ("part.blemish", {"tokens": 0}, ConfigError, "received 0"),
        ("part.blemish", {"tokens": -1}, ConfigError, "received -1"),
    ],
)
def test_places_and_sizes_that_are_refused(
    home: Path, tmp_path: Path, out: str, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    (tmp_path / "folder.blemish").mkdir()
    (tmp_path / "there.blemish").write_text("mine")
    with pytest.raises(error, match=words):
        freeze(home / "plain", tmp_path / out, **options)
    assert (tmp_path / "there.blemish").read_text() == "mine"
    assert {child.name for child in tmp_path.iterdir()} == {"folder.blemish", "there.blemish"}


def test_overwriting(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "part.blemish").write_text("mine")
    freeze(plain, tmp_path / "part.blemish", overwrite=True)
    assert bundle.read(tmp_path / "part.blemish").facts.product == "plain"


def test_photos_of_the_run_that_are_gone(tmp_path: Path) -> None:
    photos = write_stained(tmp_path / "parts")
    run = scanned(photos, tmp_path / "run")
    photos.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"18 of 18 photos are not there any more.*Mount or restore"):
        freeze(run)


def test_a_photo_of_the_run_that_was_spoilt(tmp_path: Path) -> None:
    photos = write_stained(tmp_path / "parts")
    run = scanned(photos, tmp_path / "run")
    (photos / "10.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"Cannot read '10.png': empty file"):
        freeze(run)


def test_what_is_no_run(tmp_path: Path, home: Path) -> None:
    for folder in (tmp_path, tmp_path / "none", home / "parts"):
        with pytest.raises(InputError, match="is not a finished run"):
            freeze(folder, tmp_path / "part.blemish")


def _without(*keys: str | int) -> Callable[[Path], None]:
    """An edited manifest."""

    def change(run: Path) -> None:
        manifest = json.loads((run / "run.json").read_text())
        place = manifest
        for key in keys[:-1]:
            place = place[key]
        del place[keys[-1]]
        (run / "run.json").write_text(json.dumps(manifest))

    return change


def _rows(change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def edit(run: Path) -> None:
        file = run / "results.jsonl"
        file.write_text("\n".join(change(file.read_text().splitlines())) + "\n")

    return edit


def _bytes(name: str, content: bytes | None) -> Callable[[Path], None]:
    def spoil(run: Path) -> None:
        (run / name).unlink()
        if content is not None:
            (run / name).write_bytes(content)

    return spoil


FILES = (
    *("run.json", "results.jsonl", "division.json", "families.json", "verdict/estimate.npz", "verdict/maps.npy"),
    *("verdict/facts.json", "taught/lessons.json", "taught/maps.npz", "taught/tokens.npz"),
)

DAMAGE: dict[str, Callable[[Path], None]] = {
    **{f"{name} is gone": _bytes(name, None) for name in FILES},
    **{f"{name} is empty": _bytes(name, b"") for name in FILES},
    **{f"{name} holds nothing": _bytes(name, b"[]") for name in FILES},
    **{f"no {keys[-1]}": _without(*keys) for keys in (("verdict",), ("colour_scale",), ("verdict", "threshold"))},
    **{f"no {key} of the backbone": _without("backbones", 0, key) for key in ("name", "grids", "radii", "layers")},
    "no backbone": _without("backbones", 0),
    "a row too few": _rows(lambda lines: lines[1:]),
    "a row too many": _rows(lambda lines: [*lines, lines[-1]]),
    "rows in another order": _rows(lambda lines: lines[::-1]),
    "a row of another photo": _rows(lambda lines: [lines[0].replace(".png", ".tif"), *lines[1:]]),
}


@pytest.fixture(scope="module")
def everything(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was decided about and taught: it has all files that a run can have."""
    run = Path(shutil.copytree(home / "third", tmp_path_factory.mktemp("taught") / "run"))
    decide(run, 1, "defect")
    teach(run, good=["1.png"], defects=[("20.png", ",".join(map(str, BOX)))])
    return run


@pytest.mark.parametrize("what", DAMAGE)
def test_a_run_that_was_damaged(everything: Path, tmp_path: Path, what: str) -> None:
    run = Path(shutil.copytree(everything, tmp_path / "run"))
    DAMAGE[what](run)
    before = contents(run)
    for verb in (
        lambda: freeze(run, tmp_path / "part.blemish"),
        lambda: teach(run, good=["2.png"]),
        lambda: teach(run, undo=True),
    ):
        with pytest.raises(BlemishError, match=r"Scan|Give|scan|Type the path"):
            verb()
    assert contents(run) == before
    assert [child.name for child in tmp_path.iterdir()] == ["run"], "nothing is left behind"


def test_freezing_that_is_interrupted_leaves_nothing(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("blemish.bundle.save", stop)
    with pytest.raises(KeyboardInterrupt):
        freeze(plain)
    assert [child.name for child in plain.parent.iterdir()] == ["plain"]


def _no_backbones(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the weights are in the file")

    monkeypatch.setattr("blemish.features.packing.load_backbone", refuse)
    monkeypatch.setattr("blemish.features.effnet._packaged_state", refuse)


def test_the_default_backbone_goes_with_the_file(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = scanned(home / "parts", tmp_path / "run", backbone="effnet-lite2", size=64)
    plain, embedded = freeze(run, tmp_path / "plain.blemish"), freeze(run, tmp_path / "with.blemish", embed=True)
    assert plain.file.stat().st_size < 3e6 < embedded.file.stat().st_size < 40e6
    expected = [Detector.load(plain.file).check(stained(at, 0.5)).score for at in range(3)]
    _no_backbones(monkeypatch)
    detector = Detector.load(embedded.file)
    assert [detector.check(stained(at, 0.5)).score for at in range(3)] == expected


def test_a_model_of_the_hub_goes_with_the_file(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}
    transformers.Dinov2Model(transformers.Dinov2Config(**sizes)).save_pretrained(tmp_path / "model")
    run = scanned(home / "parts", tmp_path / "run", backbone=str(tmp_path / "model"), size=56)
    done = freeze(run, embed=True)
    expected = Detector.load(done.file).check(stained(1, 0.5)).score
    shutil.rmtree(tmp_path / "model")
    _no_backbones(monkeypatch)
    assert Detector.load(done.file).check(stained(1, 0.5)).score == expected


def test_a_run_that_was_scanned_from_a_list(home: Path, tmp_path: Path) -> None:
    listing = tmp_path / "photos.csv"
    with listing.open("w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(["image_path"])
        rows.writerows([[os.fspath(home / "parts" / f"{at}.png")] for at in range(24)])
    done = freeze(scanned(listing, tmp_path / "run"))
    assert verdicts(Detector.load(done.file), 1.0) == ["blemished"] * 6


def test_good_photos_that_were_taught_are_in_the_bank(plain: Path, tmp_path: Path) -> None:
    """A rare but sound look scores low once somebody has vouched for it."""
    odd = stained(9000)
    odd[10:22, 10:40] = (90, 160, 90)
    again = stained(9001)
    again[10:22, 10:40] = (90, 160, 90)
    before = Detector.load(freeze(plain).file).check(again).score
    Image.fromarray(odd).save(tmp_path / "odd.png")
    teach(plain, good=[tmp_path / "odd.png"])
    after = Detector.load(freeze(plain, overwrite=True).file)
    assert after.check(again).score < 0.7 * before
    with pytest.raises(InputError, match="one of the photos that the detector was made from"):
        after.check(tmp_path / "odd.png")


def test_from_a_few_photos_nothing_is_condemned(tmp_path: Path) -> None:
    """As in the run itself."""
    run = scanned(write_stained(tmp_path / "parts", GRADED[14:22]), tmp_path / "run")
    done = freeze(run)
    assert done.facts.meaning.startswith("Made from only 8 photos")
    assert set(verdicts(Detector.load(done.file), 1.0)) == {"unsure"}


def test_good_photos_must_differ(tmp_path: Path) -> None:
    """Copies of one photo match each other, and are no more than that photo."""
    photos = write_stained(tmp_path / "parts", (0.0, 0.8, 0.9, 1.0, 0.7, 0.6, 0.5, 0.8, 0.9, 1.0))
    for at in range(10, 16):
        (photos / f"{at}.png").write_bytes((photos / "0.png").read_bytes())
    run = scanned(photos, tmp_path / "run")
    copies = [row.score or 0.0 for row in read_rows(run) if row.path == "0.png" or row.duplicate_of]
    assert len(copies) == 7
    _move_threshold(run, max(copies) + 1e-6)
    with pytest.raises(InputError, match="has 1 different photos that were called ok"):
        freeze(run)
