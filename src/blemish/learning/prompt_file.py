"""What every prompt model shares: what the frozen tower has seen of a photo, maps from it, and the file of what was
learned.

It knows tensors and that file; nothing of texts or losses.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blemish.errors import BackboneError, ConfigError, InputError
from blemish.features.clip import ClipPair
from blemish.features.clip_blocks import Activation
from blemish.features.clip_vision import Positions
from blemish.whole_file import write_whole

__all__ = ["SEED", "Header", "Seen", "cosines", "enlarged", "header", "manner", "parameters", "read", "write"]

S = TypeVar("S")

SEED = 111  # of the published trainings
SCHEMA = 1  # raised when older programs would misread the file
FORMAT = "blemish prompt model"


@dataclass(frozen=True)
class Seen:
    """What the frozen tower says of b photos: ``image: (b, E)`` of unit length; ``patches``: a layer each,
    (b, h*w, C), without CLS; ``grid``: (h, w)."""

    image: Tensor
    patches: tuple[Tensor, ...]
    grid: tuple[int, int]


def cosines(tokens: Tensor, text: Tensor) -> Tensor:
    """``tokens: (b, n, E)`` and ``text``, (2, E) for all photos or (b, 2, E), all of unit length -> (b, n, 2).

    Tokens may be kept in half precision; it is computed in that of the text."""
    return tokens.to(text.dtype) @ text.transpose(-1, -2)


def enlarged(tokens: Tensor, grid: tuple[int, int], size: tuple[int, int], *, align_corners: bool) -> Tensor:
    """``tokens: (b, h*w, n)`` on a ``grid`` (h, w) -> (b, n, H, W), bilinear; ``size``: (H, W)."""
    grids = tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)
    return F.interpolate(grids, size, mode="bilinear", align_corners=align_corners)


def parameters(start: Mapping[str, Tensor], device: torch.device) -> dict[str, nn.Parameter]:
    """What is learned, in float32."""
    return {name: nn.Parameter(tensor.float().to(device)) for name, tensor in start.items()}


@dataclass(frozen=True)
class Header:
    """What a file says of its model; the CLIP must be loaded in the same way, or scores are others. ``size``: height
    and width in pixels of the photos that it was learned on."""

    model: str
    clip: str
    weights_sha256: str
    activation: Activation
    positions: Positions
    size: tuple[int, int]
    settings: dict[str, Any]


def write(
    file: Path,
    model: str,
    pair: ClipPair,
    settings: Mapping[str, Any],
    learned: Mapping[str, Tensor],
    size: tuple[int, int] | None,
) -> None:
    """Learned tensors as safetensors, a ``Header`` as JSON in its metadata. ``size``: None is what CLIP was trained on.
    Raises ``OutputError``."""
    from safetensors.torch import save

    size = size or (pair.facts.native, pair.facts.native)
    place = Path(pair.facts.name).expanduser()
    name = str(place.resolve()) if place.is_dir() else pair.facts.name  # found from every folder
    known = Header(model, name, pair.weights_sha256, *manner(pair), size=size, settings=dict(settings))
    text = json.dumps({"format": FORMAT, "schema": SCHEMA, **asdict(known)})
    content = save({name: t.detach().cpu().contiguous() for name, t in learned.items()}, metadata={"blemish": text})
    write_whole(file, lambda stream: stream.write(content))


def header(file: Path) -> Header:
    """Of a learned model, without its tensors. Raises ``InputError`` for another file."""
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise InputError(f"There is no model {str(file)!r}. `blemish learn` makes one.")
    try:
        with safe_open(file, framework="pt") as stored:
            found = json.loads((stored.metadata() or {})["blemish"])
        if (said := (found.pop("format"), found.pop("schema"))) != (FORMAT, SCHEMA):
            raise ValueError(f"it says {said}, this blemish reads {(FORMAT, SCHEMA)}")
        height, width = found.pop("size")
        known = Header(**found, size=(height, width))
        fits = known.activation in get_args(Activation) and known.positions in get_args(Positions)
        fits &= all(isinstance(side, int) and side > 0 for side in known.size) and isinstance(known.settings, dict)
        if not fits or not all(isinstance(text, str) for text in (known.model, known.clip, known.weights_sha256)):
            raise ValueError("its header is damaged")
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{str(file)!r} is not a learned prompt model ({type(error).__name__}: {error}). Give a file that "
            "`blemish learn` has made."
        ) from error
    return known


def read(
    file: Path,
    model: str,
    pair: ClipPair,
    settings: Callable[[dict[str, Any]], S],
    shapes: Callable[[ClipPair, S], Mapping[str, tuple[int, ...]]],
) -> tuple[S, dict[str, nn.Parameter]]:
    """The settings and what was learned. ``settings``: made of what ``write`` was given; ``shapes``: of what is learned
    with them; both may find it damaged.

    Raises ``InputError`` for a file that is no such model, ``BackboneError`` if it was learned on another CLIP than
    ``pair``, or on one that was loaded in another way."""
    stored = _settings_of(file, model, pair)
    try:
        found = settings(stored)
        expected = shapes(pair, found)
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise InputError(f"The settings in {str(file)!r} are damaged: {error}. Train the model again.") from error
    return found, parameters(_tensors_of(file, expected), pair.vision.proj.device)


def _settings_of(file: Path, model: str, pair: ClipPair) -> dict[str, Any]:
    stored = header(file)
    if stored.model != model:
        raise InputError(
            f"{str(file)!r} holds a model of kind {stored.model!r}; wanted is {model!r}. Give one of that."
        )
    if stored.weights_sha256 != pair.weights_sha256:
        raise BackboneError(
            f"{str(file)!r} was learned on {stored.clip} (weights {stored.weights_sha256[:12]}); received "
            f"{pair.facts.name} (weights {pair.weights_sha256[:12]}). Load the former, or train again on the latter."
        )
    if (stored.activation, stored.positions) != manner(pair):
        raise BackboneError(
            f"{str(file)!r} was learned on {stored.clip} with activation {stored.activation} and positions "
            f"{stored.positions}; received it with {' and '.join(manner(pair))}. Load it in the same way."
        )
    return stored.settings


def _tensors_of(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Refused unless the file holds these names and ``shapes``, and finite numbers."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{str(file)!r} cannot be read ({error}). Copy it again.") from error
    if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != dict(shapes):
        raise InputError(f"The tensors in {str(file)!r} are not those of its settings. Train the model again.")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise InputError(f"{str(file)!r} holds values that are not numbers. Train the model again.")
    return {name: tensors[name] for name in shapes}


def manner(pair: ClipPair) -> tuple[Activation, Positions]:
    """Activation and rule for positions that the pair was loaded with."""
    first: Any = pair.vision.transformer.resblocks[0]
    return first.mlp.activation, pair.vision.positions
