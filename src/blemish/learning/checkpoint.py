"""The state of a training between two epochs, in a file, so that what was interrupted ends with the same weights.

It knows tensors by name and that file; nothing of models. Without pickle: safetensors, with JSON in its metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from blemish.whole_file import write_whole

__all__ = ["Epoch", "State", "read", "write"]

SCHEMA = 1


@dataclass(frozen=True)
class Epoch:
    """``loss``: mean over the photos that were learned from; ``held_out``: of those that were not, None if there are
    none."""

    number: int
    loss: float
    held_out: float | None


@dataclass(frozen=True)
class State:
    """After the last epoch of ``history``. ``tensors``: a role and a name each, such as "first.normal"."""

    history: tuple[Epoch, ...]
    steps: int
    tensors: Mapping[str, Tensor]


def write(file: Path, state: State, fingerprint: str) -> None:
    """Complete or not at all. ``fingerprint``: of all that decides the training. Raises ``OutputError``."""
    from safetensors.torch import save

    facts = {"schema": SCHEMA, "fingerprint": fingerprint, "steps": state.steps}
    text = json.dumps({**facts, "history": [asdict(epoch) for epoch in state.history]})
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    content = save(tensors, metadata={"blemish": text})
    write_whole(file, lambda stream: stream.write(content))


def read(file: Path, fingerprint: str, shapes: Mapping[str, Sequence[int]]) -> tuple[State | None, str]:
    """The state, if there is one of this training; or why it is of no use, "" where there is none. ``shapes``: of the
    tensors that it must hold."""
    from safetensors import SafetensorError, safe_open

    if not file.exists():
        return None, ""
    try:
        with safe_open(file, framework="pt") as stored:
            facts = json.loads((stored.metadata() or {})["blemish"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - it is no mapping
        if facts["schema"] != SCHEMA or facts["fingerprint"] != fingerprint:
            return None, f"{str(file)!r} is of another training, with other settings, photos or CLIP: begun anew"
        if {name: tuple(one.shape) for name, one in tensors.items()} != {n: tuple(s) for n, s in shapes.items()}:
            raise ValueError("its tensors are not those of this training")
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
            raise ValueError("it holds values that are not numbers")
        return State(tuple(_epoch(row) for row in facts["history"]), int(facts["steps"]), tensors), ""
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        return None, f"{str(file)!r} cannot be used ({type(error).__name__}: {error}): begun anew"


def _epoch(row: Mapping[str, float | None]) -> Epoch:
    number, loss, held_out = row["number"], row["loss"], row["held_out"]
    if number is None or loss is None:
        raise ValueError("its history is damaged")
    return Epoch(int(number), float(loss), None if held_out is None else float(held_out))
