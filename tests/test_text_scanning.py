"""Scans by words: the published scores reach the run, examples count, and what cannot be is said."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from blemish import text_scorers
from blemish.config import ScanConfig, TextConfig, VerdictConfig
from blemish.diagnosing import diagnose
from blemish.errors import BackboneError, ConfigError, InputError, OutputError, RunError
from blemish.extending import Earlier
from blemish.features import clip
from blemish.features.clip_views import windows
from blemish.freezing import freeze
from blemish.inputs.images import PhotoFile, read_photo, resize
from blemish.learning.anomalyclip import AnomalyClip
from blemish.learning.aprilgan import AprilGan
from blemish.learning.aprilgan_shots import few_shot, remember
from blemish.rejudging import rejudge
from blemish.result import Decision, Result, upsample
from blemish.run_folder import read_manifest
from blemish.scanning import scan
from blemish.scoring import text as by_text
from blemish.scoring.prompts import ensemble
from blemish.scoring.text import Views
from blemish.teaching import teach
from clip_models import save_clip
from photos import part, write_parts

PHOTOS = 6
HALF = 2e-3  # features are kept in half precision


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("words")
    save_clip(home / "clip", context=77)
    write_parts(home / "parts", PHOTOS, flawed=(2, 4))
    write_parts(home / "good", 8)
    Image.fromarray(np.kron([[0, 1], [0, 0]], np.ones((32, 32))).astype(np.uint8) * 255).save(home / "mask.png")
    return home


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLEMISH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def scanned(home: Path) -> Callable[..., Result]:
    def by_words(source: str = "parts", method: str = "text", config: ScanConfig | None = None, **said: Any) -> Result:
        text = TextConfig(clip=str(home / "clip"), **({"class_name": "metal nut"} if method == "text" else {}) | said)
        return scan(home / source, config, method=method, text=text)

    return by_words


def pixels(home: Path, name: str, side: int = 32) -> torch.Tensor:
    """(1, 3, side, side) uint8, as a scan sees it."""
    photo = read_photo(PhotoFile(name, home / "parts" / name), at_least=(side, side))
    return torch.from_numpy(resize(photo.pixels, (side, side), "bicubic")).permute(2, 0, 1)[None]


def published(home: Path, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """WinCLIP's scores and maps of photos, by the functions that are equal to the published code."""
    pair = clip.load(str(home / "clip"), torch.device("cpu"))
    said = ensemble().prompts("metal nut")
    text = by_text.text_pair(*(pair.embed_texts(side).numpy() for side in (said.normal, said.anomalous)))
    seen = windows(pair, (2, 3), tokens=False).extract(torch.cat([pixels(home, name) for name in names]))
    by_size = {size: grid.flatten(1, 2).numpy() for size, grid in zip((2, 3), seen.grids, strict=True)}
    return by_text.zero_shot(Views(seen.embedding.numpy(), by_size, (4, 4)), text)


def test_scores_and_maps_are_those_of_winclip(home: Path, scanned: Callable[..., Result]) -> None:
    result = scanned()
    names = [photo.path for photo in result.scored]
    scores, maps = published(home, names)
    np.testing.assert_allclose([photo.score for photo in result.scored], scores, atol=HALF)
    for name, grid in zip(names, maps, strict=True):
        np.testing.assert_allclose(result.maps[name], by_text.enlarged(grid, (32, 32)), atol=5 * HALF)
        np.testing.assert_allclose(result.maps.at(name, (64, 64)), upsample(result.maps[name], (64, 64)), atol=0.01)


def test_what_a_run_is_told_by(scanned: Callable[..., Result], home: Path, tmp_path: Path) -> None:
    result = scanned()
    assert '"metal nut"' in result.manifest["resolved"]["told"]
    assert result.manifest["config"]["text"]["class_name"] == "metal nut"
    assert result.manifest["backbones"][0]["name"] == str(home / "clip")
    run = result.save(tmp_path / "run")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "compared with words" in page and "compared with the others" not in page and "nearest look-alike" not in page


@pytest.mark.parametrize("count", [1, 2, 3])  # of two nobody can say which is odd, but words can
def test_few_photos(count: int, home: Path, scanned: Callable[..., Result], tmp_path: Path) -> None:
    write_parts(home / f"few{count}", count, flawed=(0,))
    result = scanned(f"few{count}")
    alone = {photo.path: photo.score for photo in scanned().scored}
    assert len(result.scored) == count
    assert {photo.verdict for photo in result.scored} == {"unsure"}  # nothing says from which score on
    assert all("--threshold" in photo.reason for photo in result.scored)
    assert result.save(tmp_path / "run").is_dir()
    assert result.scores["0.png"] != alone["0.png"]  # flawed here, sound there
    if count > 1:
        assert result.scores["1.png"] == alone["1.png"]  # nothing but the photo itself decides


def test_few_photos_and_a_threshold(home: Path, scanned: Callable[..., Result]) -> None:
    write_parts(home / "one", 1)
    (score,) = scanned("one").scores.values()
    for threshold, call in ((score - 0.01, "blemished"), (score + 0.01, "ok")):
        config = ScanConfig(verdict=VerdictConfig(threshold=threshold))
        result = scanned("one", config=config)
        assert result.photos[0].verdict == call
        assert result.judgement is not None and "score the same" not in result.judgement.sentence


def test_photos_that_all_score_alike_can_all_be_flawed(home: Path, scanned: Callable[..., Result]) -> None:
    (home / "alike").mkdir()
    for at in range(12):
        shutil.copy(home / "parts" / "2.png", home / "alike" / f"{at}.png")
    assert {photo.verdict for photo in scanned("alike").scored} == {"unsure"}


def test_features_are_kept_and_serve_other_words(scanned: Callable[..., Result]) -> None:
    first, again, other = scanned(), scanned(), scanned(class_name="zipper")
    assert [run.manifest["counts"]["from_cache"] for run in (first, again, other)] == [0, PHOTOS, PHOTOS]
    assert first.scores == again.scores and np.array_equal(first.grids, again.grids)
    assert first.scores != other.scores


def test_good_photos_count(scanned: Callable[..., Result], home: Path) -> None:
    alone, beside = scanned(), scanned(good=(str(home / "good" / "7.png"),))
    folder = scanned(good=(str(home / "good"),))
    assert len({tuple(run.scores.items()) for run in (alone, beside, folder)}) == 3
    assert "1 good photo" in beside.manifest["resolved"]["told"]


def test_a_photo_that_is_its_own_reference_scores_half_of_its_words(scanned: Callable[..., Result], home: Path) -> None:
    alone = scanned()
    result = scanned(good=(str(home / "parts" / "1.png"),))
    assert result.scores["1.png"] == pytest.approx(alone.scores["1.png"] / 2, abs=HALF)


@pytest.mark.parametrize("good", [False, True])  # with a good photo weights are chosen, without they are equal
def test_marked_flaws_count(good: bool, scanned: Callable[..., Result], home: Path) -> None:
    result = scanned(
        defects=(str(home / "parts" / "2.png"),),
        masks=("8,32,24,48",),
        good=(str(home / "good" / "0.png"),) if good else (),
    )
    assert result.photos[0].path in ("2.png", "4.png")  # the same stain
    assert 0 <= min(result.scores.values()) <= max(result.scores.values()) <= 1
    assert result.maps["2.png"][16:24, 4:12].mean() > result.maps["2.png"].mean()


def test_windows_that_do_not_fit_a_narrow_photo_are_left_out(home: Path, scanned: Callable[..., Result]) -> None:
    (home / "strips").mkdir()
    for at in range(3):
        Image.fromarray(part(at, at == 1, (64, 512))).save(home / "strips" / f"{at}.png")
    marked = {"defects": (str(home / "strips" / "1.png"),), "masks": ("8,32,24,48",)}
    result = scanned("strips", config=ScanConfig(size=96), **marked)  # 4 x 34 patches: none of 7 x 7
    assert len(result.scored) == 3


def test_examples_are_counted_once_and_are_good(scanned: Callable[..., Result], home: Path, tmp_path: Path) -> None:
    one = str(home / "good" / "0.png")
    with pytest.raises(InputError, match="given before"):
        scanned(good=(one,), defects=(one,), masks=("8,32,24,48",))
    shutil.copytree(home / "good", tmp_path / "twins")
    shutil.copy(one, tmp_path / "twins" / "twin.png")
    assert "8 good photos" in scanned(good=(str(tmp_path / "twins"), one)).manifest["resolved"]["told"]
    assert "8 good photos" in scanned(good=(str(home / "good"),)).manifest["resolved"]["told"]
    shutil.copytree(home / "parts", tmp_path / "data" / "test" / "bad")
    for part_of_it in ("data", "data/test"):
        with pytest.raises(InputError, match="labelled data set"):
            scanned(good=(str(tmp_path / part_of_it),))


def test_a_run_that_compared_photos_is_not_replaced(scanned: Callable[..., Result], home: Path, tmp_path: Path) -> None:
    run = scan(home / "parts", backbone="mock", families="off", cache=False).save(tmp_path / "run")
    with pytest.raises(OutputError, match="needs a folder of its own"):
        scanned().save(run, overwrite=True)
    assert read_manifest(run)["config"]["method"] == "mutual"


def test_scores_that_are_no_numbers(scanned: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_scorers._WinClip, "score", lambda *_: (float("nan"), np.zeros((4, 4), np.float32)))
    with pytest.raises(RunError, match="is no number"):
        scanned()


def test_other_runs_are_neither_extended_nor_decided_about(home: Path, scanned: Callable[..., Result]) -> None:
    text = TextConfig("nut", clip=str(home / "clip"))
    with pytest.raises(ConfigError, match="judges each on its own"):
        scan(home / "parts", method="text", text=text, decisions=[Decision("defect", (("0.png", ""),))])


def test_prompts_of_ones_own(scanned: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "prompts.toml"
    file.write_text('[winclip]\nnormal = ["a grey {}"]\nanomalous = ["a {} with a red stain"]\ntemplates = ["{}."]\n')
    result = scanned(prompts=str(file))
    assert "1 way to say" in result.manifest["resolved"]["told"]
    assert result.manifest["resolved"]["published_prompts"] is False
    assert result.scores != scanned().scores


def test_broken_photos_are_listed(scanned: Callable[..., Result], home: Path) -> None:
    shutil.copytree(home / "parts", home / "torn", dirs_exist_ok=True)
    (home / "torn" / "0.png").write_bytes((home / "torn" / "0.png").read_bytes()[:300])
    (home / "torn" / "9.jpg").write_bytes(b"no photo")
    result = scanned("torn")
    assert {photo.path for photo in result.unreadable} == {"0.png", "9.jpg"}
    assert len(result.scored) == PHOTOS - 1


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        ({"class_name": "metal " * 200}, ConfigError, "at most 100 characters"),  # a description, no name
        ({"class_name": "a" * 70}, ConfigError, "reads at most"),  # too many tokens for this CLIP
        ({"class_name": ""}, ConfigError, "--class"),
        ({"class_name": "..."}, ConfigError, "named in words"),
        ({"good": ("nowhere.png",)}, InputError, "no photo 'nowhere.png'"),
        ({"defects": ("nowhere.png",), "masks": ("0,0,9,9",)}, InputError, "no photo"),
        ({"prompts": "bad.toml"}, ConfigError, "templates must be a list"),
        ({"prompts": "many.toml"}, ConfigError, "at most 10,000"),
        ({"prompts": "nowhere.toml"}, ConfigError, "Cannot read the prompts"),
    ],
)
def test_what_cannot_be_said(
    said: dict[str, Any],
    error: type[Exception],
    message: str,
    scanned: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.toml").write_text("[winclip]\ntemplates = 5\n")
    Path("many.toml").write_text("[winclip]\nanomalous = [" + ", ".join(['"bent {}"'] * 1000) + "]\n")
    with pytest.raises(error, match=message):
        scanned(**said)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("0,0,99,99", "does not lie on"),  # larger than the photo
        ("nowhere.png", "no mask"),
        ("mask.png", ""),  # right
    ],
)
def test_masks_are_checked(mask: str, message: str, scanned: Callable[..., Result], home: Path) -> None:
    place = str(home / mask) if mask == "mask.png" else mask
    said = {"defects": (str(home / "parts" / "2.png"),), "masks": (place,)}
    if not message:
        scanned(**said)
        return
    with pytest.raises(InputError, match=message):
        scanned(**said)


def test_an_example_that_is_no_photo(scanned: Callable[..., Result], home: Path, tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"no photo")
    with pytest.raises(InputError, match=r"no\.png"):
        scanned(good=(str(tmp_path / "no.png"),))
    with pytest.raises(InputError, match=r"no\.png"):
        scanned(defects=(str(tmp_path / "no.png"),), masks=("0,0,9,9",))


def test_a_vision_tower_alone_reads_no_words(home: Path, tmp_path: Path) -> None:
    import transformers

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    transformers.Dinov2Model(transformers.Dinov2Config(**sizes)).save_pretrained(tmp_path / "dino")
    with pytest.raises(BackboneError, match="cannot read words"):
        scan(home / "parts", method="text", text=TextConfig("nut", clip=str(tmp_path / "dino")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0.2}, "--k says how photos are compared"),
        ({"families": "off"}, "--families"),
        ({"backbone": "facebook/dinov2-small"}, "Name a CLIP by --clip"),
        ({"method": "words"}, "method is mutual, text or prompt"),
        ({"method": "mutual"}, "--class, --clip belong to a scan by words"),
        ({"method": "prompt"}, "--model"),
        ({"text": {"class_name": "nut", "defects": ["a.png"]}}, "needs its mask"),
        ({"text": {"class_name": 3}}, "text.class_name cannot be 3"),
        ({"text": {"class": "nut"}}, "text has no setting class"),
        ({"text": {"class_name": "nut", "model": "m.safetensors"}}, "--method prompt"),
        ({"text": {"class_name": "nut", "weights": "best"}}, "monte-carlo or uniform"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str, home: Path) -> None:
    said = {"method": "text", "text": TextConfig("nut", clip=str(home / "clip")), **options}
    with pytest.raises(ConfigError, match=message):
        scan(home / "parts", **said)


def test_what_such_a_run_is_not_for(scanned: Callable[..., Result], home: Path, tmp_path: Path) -> None:
    run = scanned().save(tmp_path / "run")
    refused: list[Callable[[], object]] = [
        lambda: teach(run, good=[home / "good" / "0.png"]),
        lambda: freeze(run),
        lambda: diagnose(run),
        lambda: Earlier.read(run, home / "good"),
    ]
    for verb in refused:
        with pytest.raises(InputError, match="judged one by one"):
            verb()


def test_the_threshold_can_be_moved(scanned: Callable[..., Result], tmp_path: Path) -> None:
    run = scanned().save(tmp_path / "run")
    middle = float(np.median(list(scanned().scores.values())))
    moved = rejudge(run, threshold=middle)
    assert [photo.verdict for photo in moved.photos] == ["blemished"] * 3 + ["ok"] * 3


@pytest.fixture
def learned(home: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A file of an untrained model, which scores like any other."""

    def write(kind: str) -> Path:
        positions: Any = "bilinear" if kind == "anomalyclip" else "antialiased"
        pair = clip.load(str(home / "clip"), torch.device("cpu"), positions=positions)
        file = tmp_path / f"{kind}.safetensors"
        model = AnomalyClip.fresh(pair) if kind == "anomalyclip" else AprilGan.fresh(pair)
        model.save(file, (32, 32))
        return file

    return write


def test_scores_are_those_of_anomalyclip(scanned: Callable[..., Result], home: Path, learned: Any) -> None:
    file = learned("anomalyclip")
    result = scanned(method="prompt", model=str(file))
    model = AnomalyClip.load(file, clip.load(str(home / "clip"), torch.device("cpu"), positions="bilinear"))
    for photo in result.scored:
        seen = model.see(model.pair.pixels(pixels(home, photo.path)))
        scores, maps = model.scores(seen, model.text(), (32, 32), smooth=4 * 8 / 14)
        assert photo.score == pytest.approx(float(scores[0]), abs=HALF)
        np.testing.assert_allclose(result.maps[photo.path], maps[0], atol=5 * HALF)


@pytest.mark.parametrize("good", [False, True])
def test_scores_are_those_of_aprilgan(good: bool, scanned: Callable[..., Result], home: Path, learned: Any) -> None:
    file = learned("april-gan")
    shown = (str(home / "parts" / "1.png"),) if good else ()
    result = scanned(method="prompt", model=str(file), class_name="metal nut", good=shown)
    model = AprilGan.load(file, clip.load(str(home / "clip"), torch.device("cpu")))
    names = [photo.path for photo in result.scored]
    seen = model.see(model.pair.pixels(torch.cat([pixels(home, name) for name in names])))
    scores, maps = model.scores(seen, model.text("metal nut"), (32, 32))
    if good:
        one = model.see(model.pair.pixels(pixels(home, "1.png")))
        maps = maps + few_shot(seen, remember([one]), (32, 32))
    peaks = maps.amax(dim=(1, 2)).numpy()
    # so few photos have no scale of their own: a peak is compared with the highest that could be, 3 for each layer
    expected = (scores.numpy() + peaks / 12) / 2 if good else scores
    np.testing.assert_allclose([photo.score for photo in result.scored], expected, atol=0.02)
    for name, one_map in zip(names, maps, strict=True):
        # softmax at a temperature of 0.01 turns the rounding of features into more
        np.testing.assert_allclose(result.maps[name], one_map, atol=0.2)


@pytest.mark.parametrize(
    ("kind", "said", "message"),
    [
        ("april-gan", {}, "--class"),  # its words name the product
        ("anomalyclip", {"good": ("parts/1.png",)}, "words alone"),
        ("", {}, "There is no model"),
    ],
)
def test_models_that_cannot_be_asked(
    kind: str, said: dict[str, Any], message: str, scanned: Callable[..., Result], home: Path, learned: Any
) -> None:
    file = learned(kind) if kind else home / "nothing.safetensors"
    with pytest.raises((ConfigError, InputError), match=message):
        scanned(method="prompt", model=str(file), **{name: (str(home / one[0]),) for name, one in said.items()})


def test_settings_are_kept_and_read_again(home: Path) -> None:
    text = TextConfig("nut", clip="a", good=("b.png",), defects=("c.png",), masks=("1,2,3,4",))
    config = ScanConfig(method="text", text=text)
    assert ScanConfig(**config.as_dict()) == config
    assert replace(config, size=64).text == text
