"""What every prompt model shares: what the frozen tower has seen of a photo, and the file of what was learned.

It knows tensors and that file; nothing of texts or losses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blemish.errors import BackboneError, InputError
from blemish.features.clip import ClipPair
from blemish.whole_file import write_whole

__all__ = ["SEED", "Header", "Seen", "cosines", "header", "settings_of", "tensors_of", "write"]

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


@dataclass(frozen=True)
class Header:
    """What a file says of its model; the CLIP must be loaded in the same way, or scores are others."""

    model: str
    clip: str
    weights_sha256: str
    activation: str
    positions: str
    settings: dict[str, Any]


def write(file: Path, model: str, pair: ClipPair, settings: Mapping[str, Any], learned: Mapping[str, Tensor]) -> None:
    """Learned tensors as safetensors, a ``Header`` as JSON in its metadata. Raises ``OutputError``."""
    from safetensors.torch import save

    known = Header(model, pair.facts.name, pair.weights_sha256, *_manner(pair), settings=dict(settings))
    text = json.dumps({"format": FORMAT, "schema": SCHEMA, **asdict(known)})
    content = save({name: t.detach().cpu().contiguous() for name, t in learned.items()}, metadata={"blemish": text})
    write_whole(file, lambda stream: stream.write(content))


def header(file: Path) -> Header:
    """Of a learned model, without its tensors. Raises ``InputError`` for another file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as stored:
            found = json.loads((stored.metadata() or {})["blemish"])
        if (said := (found.pop("format"), found.pop("schema"))) != (FORMAT, SCHEMA):
            raise ValueError(f"it says {said}, this blemish reads {(FORMAT, SCHEMA)}")
        known = Header(**found)
        if not isinstance(known.settings, dict) or any(
            not isinstance(found[name], str) for name in found if name != "settings"
        ):
            raise ValueError("its header is damaged")
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{str(file)!r} is not a learned prompt model ({type(error).__name__}: {error}). Give a file that was "
            "saved as one."
        ) from error
    return known


def settings_of(file: Path, model: str, pair: ClipPair) -> dict[str, Any]:
    """What ``write`` was given. Raises ``InputError`` for another kind of file or model, ``BackboneError`` if ``pair``
    is not the CLIP that it was learned on, or not loaded in the same way."""
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
    if (stored.activation, stored.positions) != _manner(pair):
        raise BackboneError(
            f"{str(file)!r} was learned on {stored.clip} with activation {stored.activation} and positions "
            f"{stored.positions}; received it with {' and '.join(_manner(pair))}. Load it in the same way."
        )
    return stored.settings


def tensors_of(file: Path, shapes: Mapping[str, tuple[int, ...]], device: torch.device) -> dict[str, nn.Parameter]:
    """What was learned. Raises ``InputError`` unless the file holds these names and ``shapes``, and finite numbers."""
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
    return {name: nn.Parameter(tensors[name].float().to(device)) for name in shapes}


def _manner(pair: ClipPair) -> tuple[str, str]:
    """Activation and rule for positions that the pair was loaded with."""
    first: Any = pair.vision.transformer.resblocks[0]
    return first.mlp.activation, pair.vision.positions
