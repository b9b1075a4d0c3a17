"""Lessons on a finished run: what they change, that they add up and come off again to the bit, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blemish.deciding import decide
from blemish.errors import BlemishError, ConfigError, InputError, RunError
from blemish.rejudging import rejudge
from blemish.run import read_rows
from blemish.run_folder import read_manifest
from blemish.taught import read as read_taught
from blemish.taught import said_in
from blemish.teaching import teach
from judged_runs import BOX, GRADED, THIRD, contents, scanned, stained, write_stained

MARK = ",".join(map(str, BOX))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``plain``: flaws of their own strength on four photos; ``hidden``: one flaw on a third of them, which nobody
    looked for; ``third``: the same, and it was."""
    home = tmp_path_factory.mktemp("made")
    scanned(write_stained(home / "parts"), home / "plain")
    scanned(write_stained(home / "shared", THIRD), home / "hidden", join=True)
    scanned(home / "shared", home / "third", families="auto", join=True)
    return home


@pytest.fixture
def copy_of(home: Path, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(home / name, tmp_path / "run" / name))


@pytest.fixture
def plain(copy_of: Callable[[str], Path]) -> Path:
    return copy_of("plain")


def scores(run: Path) -> dict[str, float]:
    return {row.path: row.score for row in read_rows(run) if row.score is not None}


def calls(run: Path) -> dict[str, str]:
    return {row.path: str(row.verdict) for row in read_rows(run)}


def numbers(run: Path) -> dict[str, bytes]:
    """What must come back to the bit."""
    kinds = ("results", "maps/", "masks/", "overlays/", "verdict/", "families", "taught/tokens")
    return {name: content for name, content in contents(run).items() if name.startswith(kinds)}


def photo(file: Path, seed: int = 3000, strength: float = 0.0) -> Path:
    Image.fromarray(stained(seed, strength)).save(file)
    return file


def test_examples_of_the_run_are_judged_as_they_were_given(plain: Path) -> None:
    assert calls(plain)["23.png"] == "blemished"
    done = teach(plain, good=["23.png"], defects=[("5.png", MARK)])
    rows = {row.path: row for row in read_rows(plain)}
    assert (rows["23.png"].verdict, rows["23.png"].reason) == ("ok", "as you said")
    assert (rows["5.png"].verdict, rows["5.png"].reason) == ("blemished", "as you said")
    assert said_in(plain) == {"23.png": "ok", "5.png": "blemished"}
    assert done.sentence.startswith("Taught by 1 good and 1 defective example")
    assert list(done.result.photos) == read_rows(plain)
    assert done.moved >= 2
    assert [child.name for child in plain.parent.iterdir()] == ["plain"], "no staging folder is left"


def test_a_flaw_that_recurs_is_found_once_it_is_taught(copy_of: Callable[[str], Path]) -> None:
    run = copy_of("hidden")
    before = scores(run)
    done = teach(run, defects=[("16.png", MARK)])
    after = scores(run)
    others = [f"{at}.png" for at in range(17, 24)]
    good = [f"{at}.png" for at in range(16)]
    assert min(after[path] for path in others) > 2 * max(after[path] for path in good)
    assert all(after[path] > 2 * before[path] for path in others)
    assert all(after[path] == before[path] for path in good), "only what looks like it is raised"
    assert {calls(run)[path] for path in others} == {"blemished"}
    assert done.resemblance is not None and len(done.resemblance.photos) >= 7
    assert "7 other photos have a place that is more like this defect than like a typical photo" in done.sentence


def test_a_flaw_that_occurs_nowhere_changes_nothing(plain: Path, tmp_path: Path) -> None:
    pixels = stained(3000)
    pixels[0:16, 40:60] = (20, 250, 20)
    Image.fromarray(pixels).save(tmp_path / "other.png")
    before = scores(plain)
    done = teach(plain, defects=[(tmp_path / "other.png", "40,0,60,16")])
    assert scores(plain) == before
    assert done.moved == 0
    assert "No other photo shows anything" in done.sentence


def test_good_examples_pull_scores_their_way(plain: Path, tmp_path: Path) -> None:
    before = scores(plain)
    done = teach(plain, good=[photo(tmp_path / f"{seed}.png", seed) for seed in range(3000, 3003)])
    assert done.resemblance is None
    after = scores(plain)
    assert after != before
    assert min(after[f"{at}.png"] for at in range(20, 24)) > 2 * max(after[f"{at}.png"] for at in range(20))
    trusting = teach(plain, trust=1.0).result.scores
    assert trusting != after and scores(plain) == trusting
    assert teach(plain, trust=0.0).result.scores == pytest.approx(before)


def test_lessons_add_up_and_come_off_to_the_bit(copy_of: Callable[[str], Path], tmp_path: Path) -> None:
    """Also where the order of the photos has changed in between."""
    run = copy_of("hidden")
    steps: list[dict[str, Any]] = [
        {"defects": [("16.png", MARK)]},
        {"good": ["3.png", photo(tmp_path / "new.png")]},
        {"good": ["4.png"], "defects": [("18.png", MARK), (photo(tmp_path / "bad.png", 3001, 1.0), MARK)]},
    ]
    states = [numbers(run)]
    for step in steps:
        teach(run, **step)
        states.append(numbers(run))
    known = read_taught(run)
    assert known is not None
    assert [len(lesson.examples) for lesson in known.lessons] == [1, 2, 3]
    assert read_manifest(run)["taught"] == {"good": 3, "defects": 3}
    for state in states[-2::-1]:
        teach(run, undo=True)
        assert numbers(run) == state
    assert not (run / "taught").exists() and "taught" not in read_manifest(run)
    with pytest.raises(InputError, match="was not taught anything, so there is nothing to undo"):
        teach(run, undo=True)


def test_one_lesson_is_as_good_as_two(copy_of: Callable[[str], Path], tmp_path: Path) -> None:
    run = copy_of("hidden")
    teach(run, defects=[("16.png", MARK)])
    teach(run, good=["3.png"])
    one = scores(run)
    other = Path(shutil.copytree(run.parent.parent / "run" / "hidden", tmp_path / "other"))
    teach(other, undo=True)
    teach(other, undo=True)
    teach(other, good=["3.png"], defects=[("16.png", MARK)])
    assert scores(other) == pytest.approx(one, abs=1e-6)


def test_deciding_and_teaching_keep_each_other(copy_of: Callable[[str], Path]) -> None:
    run = copy_of("third")
    decide(run, 1, "defect")
    decided = numbers(run)
    teach(run, good=["1.png"])
    taught = scores(run)
    decide(run, 1, "variant")
    assert scores(run)["20.png"] < taught["20.png"] / 2
    assert said_in(run) == {"1.png": "ok"} and calls(run)["1.png"] == "ok"
    decide(run, 1, "defect")
    assert scores(run) == pytest.approx(taught, abs=1e-6)
    teach(run, undo=True)
    after = numbers(run)
    assert {name for name in decided if after.get(name) != decided[name]} == set()
    assert (run / "decisions.toml").is_file()


def test_the_order_does_not_matter(copy_of: Callable[[str], Path], home: Path, tmp_path: Path) -> None:
    first = copy_of("third")
    teach(first, defects=[("20.png", MARK)])
    decide(first, 1, "defect")
    second = Path(shutil.copytree(home / "third", tmp_path / "second"))
    decide(second, 1, "defect")
    teach(second, defects=[("20.png", MARK)])
    assert scores(first) == pytest.approx(scores(second), abs=1e-6)
    assert calls(first) == calls(second)


def test_another_threshold_does_not_overrule_the_user(plain: Path) -> None:
    teach(plain, good=["23.png"], defects=[("5.png", MARK)])
    rejudge(plain, threshold=1e-6)
    assert calls(plain)["23.png"] == "ok"
    rejudge(plain, threshold=99.0)
    assert calls(plain)["5.png"] == "blemished"
    assert list(calls(plain).values()).count("blemished") == 1
    teach(plain, undo=True)
    assert calls(plain)["5.png"] == "ok", "and the threshold of the user is kept"


def test_a_family_can_be_taught(copy_of: Callable[[str], Path]) -> None:
    run = copy_of("third")
    with pytest.raises(InputError, match=r"question in this run\. If it is a defect, say so first: blemish decide"):
        teach(run, families=[1])
    decide(run, 1, "defect")
    before = scores(run)
    teach(run, families=[1])
    after = scores(run)
    assert all(after[f"{at}.png"] > before[f"{at}.png"] for at in range(16, 24))
    assert all(after[f"{at}.png"] == before[f"{at}.png"] for at in range(16))


@pytest.mark.parametrize("name", ["3.png", "FILE", "./parts/3.png", "LINK"])
def test_a_photo_of_the_run_is_known_however_it_is_named(
    plain: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(home)
    (tmp_path / "link").symlink_to(home / "parts")
    given = {"FILE": str(home / "parts" / "3.png"), "LINK": str(tmp_path / "link" / "3.png")}.get(name, name)
    done = teach(plain, good=[given])
    assert [example.path for example in done.examples] == ["3.png"]
    assert said_in(plain) == {"3.png": "ok"}


def test_a_copy_of_a_photo_of_the_run_is_that_photo(plain: Path, home: Path, tmp_path: Path) -> None:
    shutil.copy(home / "parts" / "23.png", tmp_path / "copy.png")
    teach(plain, good=[tmp_path / "copy.png"])
    assert said_in(plain) == {"23.png": "ok"}


def test_folders_of_good_photos(plain: Path, tmp_path: Path) -> None:
    folder = tmp_path / "good"
    folder.mkdir()
    for seed in range(3):
        photo(folder / f"{seed}.png", 3000 + seed)
    done = teach(plain, good=[folder])
    assert [example.kind for example in done.examples] == ["good"] * 3


def test_masks_boxes_and_arrays_are_the_same(plain: Path, home: Path, tmp_path: Path) -> None:
    mask = np.zeros((64, 64), bool)
    mask[BOX[1] : BOX[3], BOX[0] : BOX[2]] = True
    Image.fromarray(mask).save(tmp_path / "mask.png")
    found = []
    for mark in (MARK, mask, tmp_path / "mask.png", str(tmp_path / "mask.png")):
        teach(plain, defects=[("23.png", mark)])
        found.append(scores(plain))
        teach(plain, undo=True)
    assert found == [found[0]] * 4


def _mask(name: str, mask: np.ndarray) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        Image.fromarray(mask).save(folder / name)
        return str(folder / name)

    return write


DRAWN = np.pad(np.full((8, 8), 255, np.uint8), 28)

# masks that are given with photo 23 -> words
MASKS: dict[str, tuple[Callable[[Path], str], str]] = {
    "of another size": (_mask("m.png", DRAWN[:60]), "is 64 x 60 pixels and '23.png' is 64 x 64"),
    "empty": (_mask("m.png", DRAWN * 0), "is empty"),
    "everything": (_mask("m.png", DRAWN * 0 + 255), "wrong way round"),
    "inverted": (_mask("m.png", 255 - DRAWN), "wrong way round"),
    "a JPEG": (_mask("m.jpg", DRAWN), "is a JPEG"),
    "missing": (lambda folder: str(folder / "none.png"), "There is no mask"),
    "a box outside": (lambda folder: "60,60,70,70", "does not lie on '23.png'"),
    "a box of nothing": (lambda folder: "10,10,10,20", "does not lie on"),
}


@pytest.mark.parametrize("what", MASKS)
def test_masks_that_are_refused(plain: Path, tmp_path: Path, what: str) -> None:
    make, words = MASKS[what]
    before = contents(plain)
    with pytest.raises(InputError, match=words):
        teach(plain, defects=[("23.png", make(tmp_path))])
    assert contents(plain) == before


# what is taught -> words
@pytest.mark.parametrize(
    ("lesson", "words"),
    [
        ({}, "Give good photos, a defect with its mask or a family; or undo"),
        ({"good": ["3.png"], "undo": True}, "or undo the last lesson"),
        ({"good": ["none.png"]}, "There is no photo 'none.png', neither as a file nor in the run"),
        ({"good": ["run.json"]}, "There is no photo"),
        ({"good": [""]}, "There is no photo|no photos"),
        ({"good": ["x" * 5000]}, "There is no photo"),
        ({"defects": [("none.png", MARK)]}, "There is no photo"),
        ({"good": ["3.png", "3.png"]}, "'3.png' was given before, as good"),
        ({"good": ["3.png"], "defects": [("3.png", MARK)]}, "'3.png' was given before, as good"),
        ({"defects": [("3.png", MARK), ("3.png", "0,0,9,9")]}, "was given before, as defect"),
        ({"families": [1]}, "has no family 1; it has none"),
        ({"families": [0]}, "has no family 0"),
        ({"good": ["3.png"], "families": [-1]}, "has no family -1"),
        ({"trust": 0.5}, "was not taught anything yet"),
    ],
)
def test_lessons_that_are_refused(plain: Path, lesson: dict[str, Any], words: str) -> None:
    before = contents(plain)
    with pytest.raises(InputError, match=words):
        teach(plain, **lesson)
    assert contents(plain) == before
    assert [child.name for child in plain.parent.iterdir()] == ["plain"]


@pytest.mark.parametrize("trust", [-0.1, 1.1, float("nan")])
def test_trust_is_a_share(plain: Path, trust: float) -> None:
    with pytest.raises(ConfigError, match="trust is a share"):
        teach(plain, good=["3.png"], trust=trust)


def test_a_photo_that_was_taught_before(plain: Path, home: Path) -> None:
    teach(plain, good=["3.png"])
    for again in ("3.png", home / "parts" / "3.png"):
        with pytest.raises(InputError, match=r"was given before, as good .'3.png'.*--undo"):
            teach(plain, defects=[(again, MARK)])


def test_a_family_that_is_not_there(copy_of: Callable[[str], Path]) -> None:
    run = copy_of("third")
    with pytest.raises(InputError, match="'third' has no family 2; it has 1"):
        teach(run, families=[2])


def test_examples_that_cannot_be_read(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"broken")
    (tmp_path / "empty").mkdir()
    before = contents(plain)
    for lesson, words in (
        ({"good": [tmp_path / "broken.png"]}, "Cannot read .*broken.png.*not an image"),
        ({"defects": [(tmp_path / "broken.png", MARK)]}, "Cannot read .*broken.png"),
        ({"good": [tmp_path / "empty"]}, "is empty"),
        ({"good": [plain]}, "is a run of blemish"),
    ):
        with pytest.raises(InputError, match=words):
            teach(plain, **lesson)
    assert contents(plain) == before


def test_examples_of_another_size(plain: Path, tmp_path: Path) -> None:
    """Seen in the working size of the run, as its own photos are."""
    Image.fromarray(stained(3000, 1.0, (128, 192))).save(tmp_path / "large.png")
    teach(plain, defects=[(tmp_path / "large.png", "24,64,72,96")])
    assert all(np.isfinite(list(scores(plain).values())))


def test_photos_of_the_run_that_are_gone(tmp_path: Path) -> None:
    photos = write_stained(tmp_path / "parts", GRADED[12:])
    run = scanned(photos, tmp_path / "run")
    (photos / "3.png").unlink()
    with pytest.raises(InputError, match=r"1 of 12 photos are not there any more"):
        teach(run, good=["4.png"])


def test_a_run_that_one_stands_in(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (plain, plain / "maps"):
        monkeypatch.chdir(place)
        with pytest.raises(InputError, match=r"you are in it\. Change to another folder"):
            teach(plain, good=["3.png"])


def test_a_run_that_somebody_put_files_into(plain: Path) -> None:
    (plain / "notes.txt").write_text("mine")
    before = contents(plain)
    with pytest.raises(BlemishError, match=r"notes\.txt"):
        teach(plain, good=["3.png"])
    assert contents(plain) == before


@pytest.mark.parametrize("sink", ["csv", "families", "maps", "overlays", "report"])
def test_a_disk_that_fails_in_the_middle_leaves_the_old_run(
    plain: Path, monkeypatch: pytest.MonkeyPatch, sink: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = contents(plain)
    monkeypatch.setattr(f"blemish.sinks.{sink}.write", fail)
    with pytest.raises(RunError, match="disk is full"):
        teach(plain, good=["3.png"], defects=[("23.png", MARK)])
    assert contents(plain) == before
    assert [child.name for child in plain.parent.iterdir()] == ["plain"]


@pytest.mark.parametrize(
    "where", ["blemish.teaching.renew", "blemish.revisiting.Revisit.see", "blemish.taught.write_arrays"]
)
def test_being_interrupted_leaves_the_old_run(plain: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = contents(plain)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(where, stop)
        teach(plain, good=["3.png"])
    assert contents(plain) == before
    assert [child.name for child in plain.parent.iterdir()] == ["plain"]
    teach(plain, good=["3.png"])
    assert calls(plain)["3.png"] == "ok"


def test_runs_of_several_passes_come_back_to_the_bit(plain: Path) -> None:
    before = numbers(plain)
    teach(plain, good=["3.png"])
    teach(plain, undo=True)
    assert numbers(plain) == before


def test_a_trust_that_is_undone(plain: Path) -> None:
    """What came with a lesson goes with it."""
    teach(plain, good=["3.png"])
    before = scores(plain)
    teach(plain, good=["4.png"], trust=1.0)
    teach(plain, undo=True)
    assert scores(plain) == before


def test_vouching_for_good_photos_does_not_spare_the_bad(plain: Path) -> None:
    """Without what the user vouches for, only doubtful photos would be left to learn a threshold from."""
    bad = [f"{at}.png" for at in range(20, 24)]
    before = calls(plain)
    teach(plain, good=[f"{at}.png" for at in range(20)])
    after = calls(plain)
    assert all(after[f"{at}.png"] == "ok" for at in range(20))
    assert all(after[path] == "blemished" for path in bad if before[path] == "blemished")


def test_a_photo_that_was_changed_since_the_scan(tmp_path: Path) -> None:
    photos = write_stained(tmp_path / "parts", GRADED[12:])
    run = scanned(photos, tmp_path / "run")
    photo(photos / "3.png", seed=4000)
    before = contents(run)
    with pytest.raises(InputError, match=r"'3.png' was changed since it was scanned"):
        teach(run, good=["4.png"])
    assert contents(run) == before


def test_a_name_that_means_two_photos(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(tmp_path / "3.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="is a photo of the run, and another file is called so"):
        teach(plain, good=["3.png"])


def test_undoing_everything_needs_no_photo(tmp_path: Path) -> None:
    photos = write_stained(tmp_path / "parts", GRADED[12:])
    run = scanned(photos, tmp_path / "run")
    before = scores(run)
    teach(run, good=["4.png"])
    assert scores(run) != before
    photos.rename(tmp_path / "moved")
    teach(run, undo=True)
    assert scores(run) == before


def test_many_good_photos_are_thinned(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blemish.lessons.MOST", 100)
    teach(plain, good=["3.png", "4.png", "5.png"])
    known = read_taught(plain)
    assert known is not None
    for tokens in known.lessons[0].tokens:
        assert tokens.good.shape[0] == tokens.good_of.shape[0] == 100
        assert set(tokens.good_of.tolist()) == {0, 1, 2}


def test_examples_in_eight_orientations(plain: Path, tmp_path: Path) -> None:
    teach(plain, defects=[(photo(tmp_path / "new.png", strength=1.0), MARK)])
    once = read_taught(plain)
    teach(plain, undo=True)
    teach(plain, defects=[(tmp_path / "new.png", MARK)], turned=True)
    turned = read_taught(plain)
    assert once is not None and turned is not None
    assert len(turned.lessons[0].tokens[0].defects) > 5 * len(once.lessons[0].tokens[0].defects)
