"""From runs on disk to the file of a model, on a tiny CLIP in the real format, and back; interrupted and refused."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from blemish.errors import BackboneError, ConfigError, InputError, OutputError, RunError
from blemish.extraction import Branch, Finished, each
from blemish.features import clip
from blemish.inputs.images import PhotoFile
from blemish.learning import learn as verbs
from blemish.learning import seeing
from blemish.learning.anomalyclip import AnomalyClip
from blemish.learning.aprilgan import AprilGan
from blemish.learning.learn import Learned, checkpoint_of, learn, load_model
from blemish.learning.prompt_file import Seen, header
from blemish.learning.prompt_view import seen_of, view
from blemish.learning.sources import read_source
from blemish.learning.training import TrainConfig
from blemish.matching.store import Budget
from blemish.progress import Silent
from clip_models import save_clip
from judged_runs import scanned, write_stained

pytest.importorskip("transformers")
KINDS = ("anomalyclip", "april-gan")
QUICK = TrainConfig(epochs=3, batch=4, rate=1e-2, holdout=0.2)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``nut/``: photos; ``run``: their scan; ``clip``: a tiny CLIP with room for long texts."""
    home = tmp_path_factory.mktemp("made")
    write_stained(home / "nut", (0.0,) * 20 + (0.3, 0.4, 0.5, 0.6, 0.8, 1.0))
    scanned(home / "nut", home / "run")
    save_clip(home / "clip", context=140)
    return home


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("BLEMISH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def learned(home: Path, out: Path, kind: str = "anomalyclip", **more: object) -> Learned:
    settings = {"config": QUICK, "device": "cpu", **more}
    return learn(kind, [str(home / "run")], str(home / "clip"), out, **settings)  # type: ignore[arg-type]


class Watching(Silent):
    """Remembers notes and stages; Ctrl-C after so many steps of one of them."""

    def __init__(self, stage: str = "", after: float = math.inf) -> None:
        self.stopping, self.after = stage, after
        self.notes: list[str] = []
        self.stages: dict[str, tuple[int, int]] = {}

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        self.stages[name] = (0, total)

        def advance(steps: int) -> None:
            self.stages[name] = (self.stages[name][0] + steps, total)
            if name == self.stopping and self.stages[name][0] >= self.after:
                raise KeyboardInterrupt

        yield advance


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_becomes_a_model_that_scores_the_same_when_loaded(home: Path, tmp_path: Path, kind: str) -> None:
    out, progress = tmp_path / "model.safetensors", Watching()
    found = learned(home, out, kind, progress=progress, activation="gelu")
    assert found.file == out and out.is_file() and not checkpoint_of(out).exists()
    assert found.history[-1].loss < found.history[0].loss
    assert (found.size, header(out).size, header(out).model) == ((32, 32), (32, 32), kind)
    assert (header(out).activation, header(out).positions == "bilinear") == ("gelu", kind == "anomalyclip")
    source = read_source(str(home / "run"))
    assert (found.defective, found.good) == (source.defective, len(source.items) - source.defective)
    assert progress.stages["seeing photos"] == (len(source.items), len(source.items))
    assert progress.stages["learning"][1] % QUICK.epochs == 0
    assert set(found.notes) <= set(progress.notes)

    loaded = load_model(out, str(home / "clip"))
    scores = []
    for model in (found.model, loaded):
        branch = Branch(view(model, 32), (32, 32), radii=(), join=False)
        files = [PhotoFile(f"{at}.png", home / "nut" / f"{at}.png") for at in (0, 20)]
        for done in each(files, [branch], Budget(2**30, tmp_path)):
            assert isinstance(done, Finished)
            seen = seen_of(done.seen[0].grids, done.seen[0].embedding)
            text = model.text() if isinstance(model, AnomalyClip) else model.text("nut")
            scores.append(torch.cat([one.flatten() for one in model.scores(seen, text, (32, 32))]))
    assert torch.equal(torch.stack(scores[:2]), torch.stack(scores[2:]))
    assert torch.isfinite(torch.stack(scores)).all()


# while photos are seen; in the middle of epoch 2; and with features that do not come from the cache
@pytest.mark.parametrize(
    ("stage", "after", "cached"), [("seeing photos", 5, True), ("learning", 5, True), ("learning", 5, False)]
)
def test_the_same_call_goes_on(home: Path, tmp_path: Path, stage: str, after: int, cached: bool) -> None:
    whole = learned(home, tmp_path / "whole.safetensors", cache=cached)
    out = tmp_path / "model.safetensors"
    with pytest.raises(KeyboardInterrupt):
        learned(home, out, cache=cached, progress=Watching(stage, after))
    assert not out.exists() and checkpoint_of(out).exists() == (stage == "learning")
    again = learned(home, out, cache=cached)
    assert out.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert any("Taken up after epoch 1 of 3" in note for note in again.notes) == (stage == "learning")
    assert again.history == whole.history and not checkpoint_of(out).exists()


def test_features_come_from_the_cache(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learned(home, tmp_path / "one.safetensors")
    monkeypatch.setattr(AnomalyClip, "see", lambda *_: pytest.fail("seen a second time"))
    learned(home, tmp_path / "other.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "other.safetensors").read_bytes()


def test_features_that_do_not_fit_the_memory_are_read_from_the_disk(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned(home, tmp_path / "one.safetensors", "april-gan")
    monkeypatch.setattr(seeing, "Budget", lambda left, scratch: Budget(10, scratch))
    learned(home, tmp_path / "other.safetensors", "april-gan")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "other.safetensors").read_bytes()


def test_several_sources_and_what_they_show(home: Path, tmp_path: Path) -> None:
    sources = [f"metal nut={home / 'run'}", f"metal plate={home / 'run'}"]
    found = learn("april-gan", sources, str(home / "clip"), tmp_path / "m", QUICK, device="cpu")
    assert sum(note.startswith(("metal nut (", "metal plate (")) for note in found.notes) == 2
    source = read_source(str(home / "run"))
    assert found.defective == source.defective  # a photo that is there twice could be learned from and held out
    assert any(note.startswith(f"{len(source.items)} photos were there already") for note in found.notes)


def test_the_seed_decides_the_first_weights(home: Path, tmp_path: Path) -> None:
    still = replace(QUICK, rate=1e-12, epochs=1)
    first, other = (
        learn("april-gan", [str(home / "run")], str(home / "clip"), tmp_path / str(seed), replace(still, seed=seed))
        for seed in (111, 5)
    )
    assert not torch.equal(first.model.learned["weight"], other.model.learned["weight"])


def test_photos_that_cannot_be_read_are_left_out(home: Path, tmp_path: Path) -> None:
    root = tmp_path / "home"
    shutil.copytree(home / "nut", root / "nut")
    run = scanned(root / "nut", root / "run")
    shutil.copytree(home / "clip", root / "clip")
    victim = read_source(str(run)).items[0].photo.file
    victim.write_bytes(b"no photo")
    found = learned(root, tmp_path / "m.safetensors", cache=False)
    assert any(str(victim) in note and "left out" in note for note in found.notes)
    for item in read_source(str(run)).items:
        if item.label:
            item.photo.file.write_bytes(b"no photo")
    with pytest.raises(InputError, match=r"is defective \(0 defective.*photos cannot be read, first"):
        learned(root, tmp_path / "other.safetensors", cache=False)


def test_a_model_is_not_written_over_unless_asked(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "model.safetensors"
    out.write_text("mine")
    with monkeypatch.context() as patched:
        patched.setattr(verbs, "read_source", lambda *_: pytest.fail("something was read"))
        with pytest.raises(OutputError, match=r"is there already\. Add --overwrite"):
            learned(home, out)
        with pytest.raises(OutputError, match="is a folder"):
            learned(home, tmp_path)
        with pytest.raises(OutputError, match="There is no folder"):
            learned(home, tmp_path / "none" / "model.safetensors")
    assert out.read_text() == "mine"
    learned(home, out, overwrite=True)
    assert header(out).model == "anomalyclip"


def test_a_damaged_checkpoint_is_told_of(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.safetensors"
    checkpoint_of(out).write_text("damaged")
    found = learned(home, out)
    assert any("begun anew" in note for note in found.notes) and not checkpoint_of(out).exists()


def test_a_loss_that_is_no_number(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    see = AprilGan.see

    def broken(model: AprilGan, pixels: torch.Tensor) -> Seen:
        seen = see(model, pixels)
        return Seen(seen.image, (seen.patches[0] * float("nan"), *seen.patches[1:]), seen.grid)

    monkeypatch.setattr(AprilGan, "see", broken)
    out = tmp_path / "model.safetensors"
    with pytest.raises(RunError, match="The loss became nan at epoch 1, batch 1"):
        learned(home, out, "april-gan")
    assert not out.exists()


# what is wrong, and what is said
@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"kind": "winclip"}, ConfigError, "anomalyclip and april-gan; received 'winclip'"),
        ({"sources": []}, InputError, "nothing to learn from"),
        ({"sources": ["nowhere"]}, InputError, "There is no 'nowhere'"),
        ({"clip": "nowhere/at-all"}, BackboneError, "nowhere/at-all"),
        ({"memory": 2**20}, ConfigError, "1 MiB of memory are too little to train at 32 x 32"),
        ({"device": "abacus"}, ConfigError, "device is auto"),
        ({"kind": "april-gan", "words": "screw " * 200}, ConfigError, 'at most 100.*--from "metal nut='),
        ({"kind": "april-gan", "words": "q" * 100}, ConfigError, '--from "metal nut='),
    ],
)
def test_what_cannot_work_is_said_before_photos_are_seen(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict, error: type[Exception], words: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(verbs, "see", lambda *_, **__: pytest.fail("photos were seen"))
    said = more.pop("words", "nut")
    call = {"kind": "anomalyclip", "sources": [f"{said}={home / 'run'}"], "clip": str(home / "clip"), "device": "cpu"}
    with pytest.raises(error, match=words):
        learn(out=tmp_path / "m", **{**call, **more})


# asked for, native size, patch: height and width
@pytest.mark.parametrize(
    ("asked", "native", "patch", "size"),
    [
        (None, 336, 14, 518),  # as published
        (None, 224, 16, 512),
        (None, 32, 8, 32),  # a tiny CLIP
        (100, 336, 14, 98),  # whole patches
        (3, 32, 8, 8),
    ],
)
def test_working_size(asked: int | None, native: int, patch: int, size: int) -> None:
    from types import SimpleNamespace

    pair = SimpleNamespace(facts=SimpleNamespace(native=native, patch=patch))
    assert seeing.working_size(asked, pair) == (size, size)  # type: ignore[arg-type]


# a header that says what no tower can do
@pytest.mark.parametrize("wrong", [{"size": [0, 32]}, {"size": 32}, {"positions": "best"}, {"activation": "relu"}])
def test_a_damaged_header(home: Path, tmp_path: Path, wrong: dict) -> None:
    import json

    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    out = tmp_path / "model.safetensors"
    pair = clip.load(str(home / "clip"), torch.device("cpu"), positions="bilinear")
    AnomalyClip.fresh(pair).save(out, (48, 40))
    assert header(out).size == (48, 40)
    with safe_open(out, "pt") as stored:
        facts = json.loads(stored.metadata()["blemish"])
    save_file(load_file(out), out, metadata={"blemish": json.dumps({**facts, **wrong})})
    with pytest.raises(InputError, match="is not a learned prompt model"):
        load_model(out, str(home / "clip"))
