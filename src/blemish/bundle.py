"""A frozen detector as one file: a zip of tokens (safetensors) and a manifest (JSON), versioned, without pickle.

It knows the file and what may be wrong with it; what its numbers mean is told in ``frozen``.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from blemish.errors import InputError
from blemish.scoring.memory import Memory
from blemish.scoring.places import Usual
from blemish.whole_file import write_whole

__all__ = ["SUFFIX", "Bundle", "DetectorFacts", "Eye", "VolumeView", "read", "write"]

SUFFIX = ".blemish"
SCHEMA = 2  # raised when older programs would misread the file
SCHEMA_OF_PHOTOS = 1  # which has not changed since
PLACES = ("middle", "deviation")  # of ``Usual``
FORMAT = "blemish detector"
MANIFEST, BANK, WEIGHTS = "manifest.json", "bank.safetensors", "weights/"
NUMBERS = ("scale", "offset", "boost", "margin")  # of a memory
LARGEST = 4 * 2**30  # bytes of one entry; more is a mistake or an attack
LARGEST_SIZE = 2**25  # pixels a photo may be enlarged to: twice of what the largest working size has
WEIGHTS_FILE = re.compile(r"\w[\w.-]*", re.ASCII)  # as the hub has them; nothing that leads out of a folder
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every entry, so that the same detector is the same file
WHAT_TO_GIVE = "Give a file that `blemish freeze RUN --out FILE` made."
Eye = Callable[[npt.NDArray[np.uint8]], tuple[float, npt.NDArray[np.float32]]]  # (H, W, 3), any size -> score, map
UNIT = 0.02  # how far from 1 the length of a token may be after rounding to half precision


@dataclass(frozen=True)
class VolumeView:
    """How a detector for volumes looks at one: what ``VolumeConfig`` has of it, and where its cube lies."""

    grid: int
    slices: int
    axes: tuple[int, ...]
    radius: int
    gain: float  # of a map that is weighed by place, to the run's scale
    side: float  # of the cube in mm; 0: the box around each brain
    middle: tuple[float, float, float] | None  # of the cube, mm, where volumes were registered
    turn: tuple[tuple[float, ...], ...] | None = None  # 3 x 3, the directions of these axes; None: not known
    ct: bool | None = None  # whether the run's volumes were CTs; None: made when runs did not say

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> VolumeView:
        """From JSON. Raises as ``DetectorFacts.of``."""
        middle = values["middle"]
        x, y, z = (_finite(at, "middle") for at in middle) if middle is not None else (0.0, 0.0, 0.0)
        axes = tuple(_natural(axis, "axes", 0) for axis in values["axes"])
        if not axes or not set(axes) <= {0, 1, 2}:
            raise ValueError(f"axes are {axes}")
        turn = values.get("turn")
        if turn is not None:
            turn = tuple(tuple(_finite(part, "turn") for part in row) for row in turn)
            if [len(row) for row in turn] != [3, 3, 3]:
                raise ValueError(f"turn is {turn}")
        if values.get("ct") not in (True, False, None):
            raise ValueError(f"ct is {values['ct']!r}")
        return cls(
            grid=_natural(values["grid"], "grid"),
            slices=_natural(values["slices"], "slices"),
            axes=axes,
            radius=_natural(values["radius"], "radius", -1),
            gain=_finite(values["gain"], "gain"),
            side=_finite(values["side"], "side"),
            middle=None if middle is None else (x, y, z),
            turn=turn,
            ct=values.get("ct"),
        )


@dataclass(frozen=True)
class DetectorFacts:
    """How a detector looks at a photo and what its score means."""

    product: str  # name of the run that it was made from
    backbone: str
    weights_sha256: str
    licence: str  # of the weights
    layers: tuple[int, ...]
    radii: tuple[int, ...]
    join: bool
    height: int  # working size, pixels
    width: int
    resize: str  # bilinear or bicubic
    deep_ceiling: int  # white level of 16-bit photos
    top: int  # largest values of the map whose mean is the score
    threshold: float  # score above which a photo is blemished
    unsure_low: float  # between these a person should look
    unsure_high: float
    meaning: str  # of the threshold, a sentence
    pixel_threshold: float  # map value that seeds a region
    colour_low: float  # the run's colour scale
    colour_high: float
    photos: tuple[str, ...]  # sha256 of the files whose tokens are in it, good and flawed
    made_from: dict[str, int]  # counts: photos of the run, of these in the bank, tokens of the bank and of defects
    made_by: str  # version of blemish
    created: str
    volume: VolumeView | None = None  # of a detector for volumes: height and width are the sides of its cube

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> DetectorFacts:
        """From JSON. Raises ``ValueError``, ``TypeError`` or ``KeyError`` if it is not what ``as_dict`` gave."""
        known = {name: values[name] for name in cls.__dataclass_fields__ if name != "volume"}
        known["volume"] = VolumeView.of(values["volume"]) if values.get("volume") is not None else None
        for name in ("layers", "radii"):
            known[name] = tuple(_natural(number, name) for number in known[name])
        known["photos"] = tuple(str(digest) for digest in known["photos"])
        known["made_from"] = {str(name): _natural(count, name, 0) for name, count in dict(known["made_from"]).items()}
        for name in ("height", "width", "deep_ceiling", "top"):
            known[name] = _natural(known[name], name)
        for name in ("threshold", "unsure_low", "unsure_high", "pixel_threshold", "colour_low", "colour_high"):
            known[name] = _finite(known[name], name)
        for name in ("product", "backbone", "weights_sha256", "licence", "meaning", "made_by", "created"):
            if not isinstance(known[name], str):
                raise ValueError(f"{name} is {known[name]!r}")
        if known["height"] * known["width"] > LARGEST_SIZE:
            raise ValueError(f"the working size is {known['width']} x {known['height']}")
        if known["resize"] not in ("bilinear", "bicubic") or not isinstance(known["join"], bool):
            raise ValueError("resize or join")
        return cls(**known)

    def as_dict(self) -> dict[str, Any]:
        """Without ``volume`` where it is of photos."""
        return {name: value for name, value in asdict(self).items() if name != "volume" or value is not None}


@dataclass(frozen=True)
class Bundle:
    """``memories``: one a matching pass. ``weights``: file name -> content of the backbone's own files, if embedded."""

    facts: DetectorFacts
    memories: tuple[Memory, ...]
    weights: Mapping[str, bytes]
    usual: Usual | None = None  # of volumes whose scores are weighed by place


def write(bundle: Bundle, file: Path) -> None:
    """Complete or not at all. Raises ``OutputError``."""
    tensors: dict[str, npt.NDArray[Any]] = {}
    for at, memory in enumerate(bundle.memories):
        tensors[f"normal{at}"] = memory.normal.astype(np.float16)
        tensors[f"defects{at}"] = memory.defects.astype(np.float16)
        if memory.at is not None:
            tensors[f"at{at}"] = memory.at
    if bundle.usual is not None:
        tensors |= {name: getattr(bundle.usual, name).astype(np.float32) for name in PLACES}
    entries = {BANK: save(tensors), **{WEIGHTS + name: content for name, content in bundle.weights.items()}}
    manifest = {
        "format": FORMAT,
        "schema": SCHEMA if bundle.facts.volume else SCHEMA_OF_PHOTOS,
        "facts": bundle.facts.as_dict(),
        "memories": [_numbers(memory) for memory in bundle.memories],
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in entries.items()},
    }
    manifest["digest"] = _digest(manifest)
    contents = {MANIFEST: json.dumps(manifest, indent=1).encode(), **entries}

    def fill(stream: BinaryIO) -> None:
        with ZipFile(stream, "w", ZIP_STORED) as archive:
            for name, content in contents.items():
                archive.writestr(ZipInfo(name, EPOCH), content)

    write_whole(file, fill)


def read(file: Path) -> Bundle:
    """Raises ``InputError`` that says whether the file is absent, something else, cut short, changed or too new."""
    try:
        with ZipFile(file) as archive:
            entries = {info.filename: info for info in archive.infolist()}
            if MANIFEST not in entries:
                raise InputError(f"{str(file)!r} is a zip file but no detector. {WHAT_TO_GIVE}")
            if any(info.file_size > LARGEST or info.compress_type != ZIP_STORED for info in entries.values()):
                raise ValueError("an entry is compressed or too large")
            manifest = json.loads(archive.read(MANIFEST))
            _check_version(manifest, file)
            if manifest["digest"] != _digest(manifest):
                raise ValueError("its manifest was changed")
            contents = {name: archive.read(name) for name in manifest["sha256"]}
        for name, expected in manifest["sha256"].items():
            if hashlib.sha256(contents[name]).hexdigest() != expected:
                raise ValueError(f"{name} was changed")
        tensors = load(contents.pop(BANK))
        memories = tuple(
            _memory(tensors[f"normal{at}"], tensors[f"defects{at}"], tensors.get(f"at{at}"), numbers)
            for at, numbers in enumerate(manifest["memories"])
        )
        if not memories:
            raise ValueError("it holds no tokens")
        weights = {name.removeprefix(WEIGHTS): content for name, content in contents.items()}
        if not all(name.startswith(WEIGHTS) for name in contents) or not all(map(WEIGHTS_FILE.fullmatch, weights)):
            raise ValueError("a file name is not one of ours")
        facts = DetectorFacts.of(manifest["facts"])
        usual = Usual(*(tensors[name] for name in PLACES)) if PLACES[0] in tensors else None
        _check_places(facts.volume, memories, usual)
        return Bundle(facts, memories, weights, usual)
    except FileNotFoundError as error:
        raise InputError(f"There is no file {str(file)!r}. {WHAT_TO_GIVE}") from error
    except IsADirectoryError as error:
        raise InputError(f"{str(file)!r} is a folder. {WHAT_TO_GIVE}") from error
    except PermissionError as error:
        raise InputError(f"Cannot read {str(file)!r}: {error.strerror}. {WHAT_TO_GIVE}") from error
    except BadZipFile as error:
        raise InputError(
            f"{str(file)!r} is not a detector, or it was cut short ({error}). Copy it again, or freeze the run again."
        ) from error
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        RuntimeError,  # zipfile's word for an encrypted entry
        struct.error,
        SafetensorError,
    ) as error:
        raise InputError(
            f"{str(file)!r} is damaged or was changed ({error}). Copy it again, or freeze the run again."
        ) from error


def _check_version(manifest: dict[str, Any], file: Path) -> None:
    if manifest.get("format") != FORMAT:
        raise InputError(f"{str(file)!r} is no detector. {WHAT_TO_GIVE}")
    schema = manifest["schema"]
    if not isinstance(schema, int) or schema > SCHEMA:
        raise InputError(
            f"{str(file)!r} was made by a newer blemish (schema {schema}; this one reads {SCHEMA}). "
            "Type: pip install --upgrade blemish"
        )


def _digest(manifest: Mapping[str, Any]) -> str:
    said = {name: value for name, value in manifest.items() if name != "digest"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _numbers(memory: Memory) -> dict[str, float | int]:
    return {name: getattr(memory, name) for name in ("k", *NUMBERS)}


def _check_places(view: VolumeView | None, memories: tuple[Memory, ...], usual: Usual | None) -> None:
    if any((memory.at is None) != (view is None) for memory in memories) or (usual is not None and view is None):
        raise ValueError("places where there are none, or none where there are some")
    if view is None:
        return
    cells = view.grid**3
    for memory in memories:
        at = np.asarray(memory.at)
        if at.shape != memory.normal.shape[:1] or at.dtype != np.int32 or at.min() < 0 or at.max() >= cells:
            raise ValueError("tokens that lie at no place")
    for values in (usual.middle, usual.deviation) if usual else ():
        if values.shape != (view.grid,) * 3 or not np.isfinite(values).all():
            raise ValueError("what is usual at a place is missing")


def _memory(normal: Any, defects: Any, at: Any, numbers: Mapping[str, Any]) -> Memory:
    normal, defects = (np.asarray(tokens, dtype=np.float32) for tokens in (normal, defects))
    if normal.ndim != 2 or defects.ndim != 2 or not len(normal) or normal.shape[1] != defects.shape[1]:
        raise ValueError(f"tokens of the shapes {normal.shape} and {defects.shape}")
    return Memory(
        normal=_unit(normal),
        defects=_unit(defects),
        k=_natural(numbers["k"], "k"),
        at=at,
        **{name: _finite(numbers[name], name) for name in NUMBERS},
    )


def _unit(tokens: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Of length 1 again, which half precision has nearly left them."""
    lengths = np.linalg.norm(tokens, axis=1, keepdims=True)
    if not np.all(np.abs(lengths - 1) < UNIT):  # also false where one is NaN
        raise ValueError("a token has not the length 1")
    return np.asarray(tokens / lengths, dtype=np.float32)


def _natural(value: Any, name: str, least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}")
    return value


def _finite(value: Any, name: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}")
    return float(value)
