"""The file of a frozen detector: what it keeps to the bit, and one sentence for every way in which it can be spoilt."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
import pytest
from safetensors.numpy import save

from blemish import bundle
from blemish.bundle import BANK, MANIFEST, SCHEMA_OF_PHOTOS, WEIGHTS, Bundle, DetectorFacts
from blemish.errors import InputError, OutputError
from blemish.scoring.memory import Memory
from token_batches import unit

FACTS = DetectorFacts(
    product="parts",
    backbone="mock",
    weights_sha256="0" * 64,
    licence="none",
    layers=(1, 2),
    radii=(3,),
    join=False,
    height=64,
    width=48,
    resize="bilinear",
    deep_ceiling=4095,
    top=1,
    threshold=0.30000000000000004,
    unsure_low=0.25,
    unsure_high=1 / 3,
    meaning="Above 0.3 a photo is blemished – as agreed.",
    pixel_threshold=0.2,
    colour_low=0.0,
    colour_high=1.5,
    photos=("a" * 64, "b" * 64),
    made_from={"photos": 24, "tokens": 40},
    made_by="0.1",
    created="2026-01-01T00:00:00+00:00",
)


def memory(tokens: int, defects: int, channels: int, seed: int) -> Memory:
    """With tokens as half precision leaves them, and of unit length again."""
    rng = np.random.default_rng(seed)

    def rounded(count: int) -> np.ndarray:
        return unit(unit(rng.normal(size=(count, channels))).astype(np.float16).astype(np.float32))

    return Memory(rounded(tokens), rounded(defects), k=2, scale=0.1 + 0.2, offset=-1 / 3, boost=0.7, margin=-0.01)


MADE = Bundle(FACTS, (memory(40, 0, 8, 1), memory(20, 3, 16, 2)), {"network.safetensors": b"\x00\x01weights"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    bundle.write(MADE, tmp_path / "part.blemish")
    return tmp_path / "part.blemish"


def rewritten(
    file: Path,
    change: Callable[[dict[str, Any], dict[str, bytes]], object],
    *,
    sealed: bool = True,
    compression: int = ZIP_STORED,
) -> None:
    """The file with another manifest or other entries. ``sealed``: by somebody who also knows how to make the digests
    fit, so that only the values themselves can be refused."""
    with ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(entries.pop(MANIFEST))
    change(manifest, entries)
    if sealed:
        manifest["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in entries.items()}
        manifest["digest"] = bundle._digest(manifest)
    with ZipFile(file, "w", compression) as archive:
        for name, content in {MANIFEST: json.dumps(manifest).encode(), **entries}.items():
            archive.writestr(name, content)


def test_what_was_written_is_read_again(file: Path) -> None:
    found = bundle.read(file)
    assert found.facts == FACTS, "numbers to the last bit, tuples as tuples"
    assert found.weights == MADE.weights
    for read, made in zip(found.memories, MADE.memories, strict=True):
        assert all(getattr(read, name) == getattr(made, name) for name in ("k", *bundle.NUMBERS))
        for ours, theirs in ((read.normal, made.normal), (read.defects, made.defects)):
            assert (ours.dtype.name, ours.shape) == ("float32", theirs.shape)
            np.testing.assert_allclose(ours, theirs, atol=1e-3)  # half precision
            np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)


def test_reading_and_writing_again_changes_no_byte(file: Path, tmp_path: Path) -> None:
    bundle.write(bundle.read(file), tmp_path / "again.blemish")
    assert (tmp_path / "again.blemish").read_bytes() == file.read_bytes()


def test_the_same_detector_is_the_same_file_but_for_its_date(file: Path, tmp_path: Path) -> None:
    later = replace(MADE, facts=replace(FACTS, created="2027-12-31T23:59:59+00:00"))
    bundle.write(MADE, tmp_path / "same.blemish")
    bundle.write(later, tmp_path / "later.blemish")
    assert (tmp_path / "same.blemish").read_bytes() == file.read_bytes()
    assert replace(bundle.read(tmp_path / "later.blemish").facts, created=FACTS.created) == FACTS


def test_it_is_a_plain_zip_without_pickle(file: Path) -> None:
    with ZipFile(file) as archive:
        assert archive.namelist() == [MANIFEST, BANK, f"{WEIGHTS}network.safetensors"]
        assert all(info.compress_type == ZIP_STORED for info in archive.infolist())
        assert json.loads(archive.read(MANIFEST))["schema"] == SCHEMA_OF_PHOTOS
        length = int.from_bytes(archive.read(BANK)[:8], "little")
        assert json.loads(archive.read(BANK)[8 : 8 + length])["normal0"]["dtype"] == "F16"


@pytest.mark.parametrize("name", ["no-such-folder/part.blemish", "folder.blemish"])
def test_a_place_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.blemish").mkdir()
    with pytest.raises(OutputError, match=r"Cannot write .* Choose another --out"):
        bundle.write(MADE, tmp_path / name)
    assert [child.name for child in tmp_path.iterdir()] == ["folder.blemish"]


@pytest.mark.parametrize(("raised", "seen"), [(OSError(28, "No space left"), OutputError), (KeyboardInterrupt(),) * 2])
def test_writing_that_is_cut_short_leaves_the_old_file(
    file: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException, seen: Any
) -> None:
    def fail(*_: object) -> None:
        raise raised

    before = file.read_bytes()
    monkeypatch.setattr(ZipFile, "writestr", fail)
    with pytest.raises(seen if isinstance(seen, type) else type(seen)):
        bundle.write(MADE, file)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def _absent(file: Path) -> None:
    file.unlink()


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _secret(file: Path) -> None:
    file.chmod(0)


def _other_zip(file: Path) -> None:
    with ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "hello")


def _other_manifest(file: Path) -> None:
    with ZipFile(file, "w") as archive:
        archive.writestr(MANIFEST, '{"name": "somebody else\'s"}')


def _manifest_of(text: str | bytes) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        with ZipFile(file, "w") as archive:
            archive.writestr(MANIFEST, text)

    return write


def _compressed(file: Path) -> None:
    rewritten(file, lambda manifest, entries: None, compression=ZIP_DEFLATED)


def _bomb(file: Path) -> None:
    rewritten(file, lambda manifest, entries: entries.update({"weights/a": bytes(10**7)}), compression=ZIP_DEFLATED)


def _edited(file: Path) -> None:
    """By hand, to be stricter."""

    def change(manifest: dict[str, Any], entries: dict[str, bytes]) -> None:
        manifest["facts"]["threshold"] = 0.01

    rewritten(file, change, sealed=False)


def _byte_of(name: str) -> Callable[[Path], None]:
    """One byte in the middle of an entry, seen by the zip's own checksum."""

    def flip(file: Path) -> None:
        data = bytearray(file.read_bytes())
        with ZipFile(file) as archive:
            info = archive.getinfo(name)
        data[info.header_offset + 30 + len(info.filename) + info.file_size // 2] ^= 1
        file.write_bytes(data)

    return flip


def _other_bank(file: Path) -> None:
    """Of another detector, in a zip whose own checksums fit."""
    tensors = {f"{kind}{at}": np.eye(4, dtype=np.float16) for at in (0, 1) for kind in ("normal", "defects")}
    rewritten(file, lambda manifest, entries: entries.update({BANK: save(tensors)}), sealed=False)


# what is done to a sound file; words of the one sentence that is said
SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (_absent, "There is no file .*blemish freeze RUN"),
    "a folder": (_folder, "is a folder"),
    "empty": (lambda file: file.write_bytes(b""), "not a detector, or it was cut short"),
    "a photo": (lambda file: file.write_bytes(b"\x89PNG\r\n\x1a\n" * 99), "not a detector, or it was cut"),
    "another zip": (_other_zip, "is a zip file but no detector"),
    "another zip with a manifest": (_other_manifest, "is no detector"),
    "a manifest that is no JSON": (_manifest_of("threshold = 3"), "damaged or was changed"),
    "a manifest that is a list": (_manifest_of("[1, 2]"), "damaged or was changed"),
    "a manifest that is not Unicode": (_manifest_of(b"\xff\xfe{}"), "damaged or was changed"),
    "a manifest without end": (_manifest_of("[" * 200_000), "damaged or was changed"),
    "compressed": (_compressed, "an entry is compressed"),
    "a zip bomb": (_bomb, "an entry is compressed or too large"),
    "an edited threshold": (_edited, "its manifest was changed"),
    "a byte of the manifest": (_byte_of(MANIFEST), "cut short .*CRC"),
    "a byte of the bank": (_byte_of(BANK), "cut short .*CRC"),
    "a byte of the weights": (_byte_of(f"{WEIGHTS}network.safetensors"), "cut short .*CRC"),
    "the bank of another": (_other_bank, "bank.safetensors was changed"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_file_that_was_spoilt(file: Path, how: str) -> None:
    spoil, words = SPOILT[how]
    spoil(file)
    with pytest.raises(InputError, match=words) as raised:
        bundle.read(file)
    assert "part.blemish" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_may_not_be_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("blemish.bundle.ZipFile", refuse)  # a superuser may read everything
    with pytest.raises(InputError, match=r"Cannot read .*Permission denied"):
        bundle.read(file)


def _set(*keys: str, to: Any) -> Callable[[dict[str, Any], dict[str, bytes]], None]:
    def change(manifest: dict[str, Any], entries: dict[str, bytes]) -> None:
        place: Any = manifest
        for key in keys[:-1]:
            place = place[int(key)] if isinstance(place, list) else place[key]
        place[keys[-1]] = to

    return change


def _bank(**tensors: np.ndarray) -> Callable[[dict[str, Any], dict[str, bytes]], None]:
    """Other tokens in the place of some of the bank's."""

    def change(manifest: dict[str, Any], entries: dict[str, bytes]) -> None:
        sound = {
            "normal0": MADE.memories[0].normal,
            "defects0": MADE.memories[0].defects,
            "normal1": MADE.memories[1].normal,
            "defects1": MADE.memories[1].defects,
        }
        entries[BANK] = save(
            {name: np.ascontiguousarray(values, np.float16) for name, values in (sound | tensors).items()}
        )

    return change


def _named(name: str) -> Callable[[dict[str, Any], dict[str, bytes]], None]:
    return lambda manifest, entries: entries.update({name: b"root::0:0"})


EYE = np.eye(8, dtype=np.float16)

# what somebody writes who also makes the digests fit; words of the sentence
FORGED: dict[str, tuple[Callable[[dict[str, Any], dict[str, bytes]], object], str]] = {
    "a newer schema": (_set("schema", to=3), r"made by a newer blemish \(schema 3; this one reads 2\)"),
    "a schema in words": (_set("schema", to="two"), "newer blemish"),
    "no facts": (_set("facts", to={}), "damaged"),
    "facts that are a number": (_set("facts", to=3), "damaged"),
    "no threshold": (_set("facts", "threshold", to=None), "threshold is None"),
    "a threshold that is no number": (_set("facts", "threshold", to=float("nan")), "threshold is nan"),
    "an infinite threshold": (_set("facts", "unsure_high", to=float("inf")), "unsure_high is inf"),
    "infinitely many photos": (_set("facts", "made_from", "photos", to=float("inf")), "damaged"),
    "a size of 0": (_set("facts", "height", to=0), "height is 0"),
    "a size that takes all memory": (_set("facts", "width", to=10**9), "1000000000 x 64"),
    "a negative top": (_set("facts", "top", to=-1), "top is -1"),
    "a layer in words": (_set("facts", "layers", to=["1"]), "layers is '1'"),
    "another interpolation": (_set("facts", "resize", to="nearest"), "resize or join"),
    "join as a number": (_set("facts", "join", to=1), "resize or join"),
    "a backbone that is a number": (_set("facts", "backbone", to=7), "backbone is 7"),
    "a meaning that is a list": (_set("facts", "meaning", to=[]), r"meaning is \[\]"),
    "no memory": (_set("memories", to=[]), "no tokens"),
    "one memory more than tokens": (
        _set("memories", to=[{"k": 1, "scale": 1, "offset": 0, "boost": 1, "margin": 0}] * 3),
        "normal2",
    ),
    "k of 0": (_set("memories", "0", "k", to=0), "k is 0"),
    "a scale that is no number": (_set("memories", "0", "scale", to="big"), "scale is 'big'"),
    "tokens that are no numbers": (_bank(normal0=np.full((4, 8), np.nan)), "not the length 1"),
    "infinite tokens": (_bank(normal0=np.full((4, 8), np.inf)), "not the length 1"),
    "tokens that are long": (_bank(normal0=2 * EYE), "not the length 1"),
    "tokens that are zero": (_bank(normal0=0 * EYE), "not the length 1"),
    "no tokens": (_bank(normal0=EYE[:0]), r"shapes \(0, 8\)"),
    "tokens in three dimensions": (_bank(normal0=EYE[None]), "shapes"),
    "defects of another width": (_bank(defects0=np.eye(9, dtype=np.float16)), r"shapes \(40, 8\) and \(9, 9\)"),
    "a bank that is no bank": (lambda manifest, entries: entries.update({BANK: b"hello"}), "damaged"),
    "a bank without end": (lambda manifest, entries: entries.update({BANK: b"\xff" * 64}), "damaged"),
    "no bank": (lambda manifest, entries: entries.pop(BANK), "damaged"),
    "a way out": (_named("weights/../../etc/passwd"), "not one of ours"),
    "a way out on Windows": (_named("weights/..\\evil"), "not one of ours"),
    "a hidden file": (_named("weights/.bashrc"), "not one of ours"),
    "an absolute file": (_named("/etc/passwd"), "not one of ours"),
    "a way out beside the weights": (_named("../evil"), "not one of ours"),
    "a stranger": (_named("setup.py"), "not one of ours"),
    "a drive": (_named("weights/C:evil"), "not one of ours"),
    "a file without a name": (_named("weights/"), "not one of ours"),
}


@pytest.mark.parametrize("how", FORGED)
def test_a_file_that_was_forged(file: Path, how: str) -> None:
    change, words = FORGED[how]
    rewritten(file, change)
    with pytest.raises(InputError, match=words) as raised:
        bundle.read(file)
    assert "\n" not in str(raised.value)


def test_sound_files_pass_the_same_forge(file: Path) -> None:
    """The tables above fail for what they change, not for how it is written."""
    rewritten(file, lambda manifest, entries: None)
    assert bundle.read(file).facts == FACTS
    rewritten(file, _bank())
    assert len(bundle.read(file).memories) == 2


def test_a_file_cut_short_anywhere(file: Path) -> None:
    data = file.read_bytes()
    for length in [*range(0, len(data), 97), len(data) - 1]:
        file.write_bytes(data[:length])
        with pytest.raises(InputError, match=r"cut short|damaged"):
            bundle.read(file)


def test_random_damage_is_seen_or_harmless(file: Path, tmp_path: Path) -> None:
    data = file.read_bytes()
    spoilt = tmp_path / "spoilt.blemish"
    rng = random.Random(0)
    for _ in range(400):
        changed = bytearray(data)
        for _ in range(rng.choice([1, 1, 1, 3, 20])):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        if rng.random() < 0.1:
            at = rng.randrange(len(changed))
            changed[at:at] = rng.randbytes(rng.randrange(1, 50))
        spoilt.write_bytes(changed)
        try:
            found = bundle.read(spoilt)
        except InputError:
            continue
        assert found.facts == FACTS, "a date or a comment of the zip"
        assert found.weights == MADE.weights
        for ours, theirs in zip(found.memories, MADE.memories, strict=True):
            np.testing.assert_allclose(ours.normal, theirs.normal, atol=1e-3)
