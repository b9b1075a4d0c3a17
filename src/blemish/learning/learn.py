"""From sources to the file of a trained prompt model: the order of the work, and the words for the user.

It knows what comes first, so that what cannot work is said before photos are seen; no arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from blemish import machine
from blemish.errors import BackboneError, ConfigError, InputError, OutputError
from blemish.features import clip as clips
from blemish.features.clip_blocks import Activation
from blemish.features.clip_vision import Positions
from blemish.learning import anomalyclip, aprilgan
from blemish.learning.anomalyclip import AnomalyClip
from blemish.learning.aprilgan import AprilGan
from blemish.learning.prompt_file import header
from blemish.learning.prompt_view import PromptModel
from blemish.learning.pseudo_calls import Recipe
from blemish.learning.seeing import room_for, see, working_size
from blemish.learning.sources import Source, read_source, require_both
from blemish.learning.training import Epoch, TrainConfig, train
from blemish.progress import Progress, Silent

__all__ = ["Learned", "PromptKind", "checkpoint_of", "learn", "load_model"]

PromptKind = Literal["anomalyclip", "april-gan"]

MODELS: dict[str, type[AnomalyClip] | type[AprilGan]] = {anomalyclip.NAME: AnomalyClip, aprilgan.NAME: AprilGan}
POSITIONS: dict[str, Positions] = {anomalyclip.NAME: "bilinear", aprilgan.NAME: "antialiased"}  # as published


@dataclass(frozen=True)
class Learned:
    """``stopped_at``: the epoch whose weights these are, and ``why``. ``notes``: all that was told."""

    file: Path
    model: PromptModel
    size: tuple[int, int]  # (H, W) that photos were seen at
    history: tuple[Epoch, ...]
    stopped_at: int
    why: str
    defective: int  # photos
    good: int
    notes: tuple[str, ...]


def learn(
    kind: PromptKind,
    sources: Sequence[str],
    clip: str,
    out: Path,
    config: TrainConfig | None = None,
    *,
    activation: Activation | None = None,
    recipe: Recipe | None = None,
    overwrite: bool = False,
    device: str = "auto",
    memory: int | None = None,
    cache: bool = True,
    progress: Progress | None = None,
) -> Learned:
    """Train a prompt model of ``kind`` on ``clip`` (hub name or folder) and save it as ``out``.

    ``sources``: see ``sources.read_source``. ``activation`` replaces the one that CLIP's config names. ``recipe``: how
    runs become masks. ``memory``: bytes in all. ``cache``: of features, the user's. Killed, the same call goes on after
    the last epoch that was finished: a hidden file beside ``out`` holds it until then.

    Raises ``OutputError`` if ``out`` is there already (unless ``overwrite``) or cannot be written; ``ConfigError``,
    ``InputError`` or ``BackboneError`` if kind, settings, sources or CLIP cannot be used; ``RunError`` if the loss
    is no number."""
    config, progress = config or TrainConfig(), progress or Silent()
    out = _checked(out, overwrite)
    if kind not in get_args(PromptKind):
        raise ConfigError(f"Models to learn are {' and '.join(get_args(PromptKind))}; received {kind!r}.")
    device, reason = machine.choose_device(device)
    read = _read(sources, recipe)
    pair = clips.load(clip, torch.device(device), positions=POSITIONS[kind], activation=activation)
    model = MODELS[kind].fresh(pair, seed=config.seed)
    if isinstance(model, AprilGan):
        _check_words(model, read)
    size = working_size(config.size, pair)
    room = room_for(read, memory, model, size, config.batch, out.parent)
    notes = [note for source in read for note in source.notes]
    notes.append(f"{kind} on {clip} at {size[1]} x {size[0]} pixels; {device}: {reason}")
    _tell(progress, notes)
    seen = see(model, read, size, room, device=device, cache=cache, progress=progress)
    unreadable = [f"{path} cannot be read and was left out: {why}" for path, why in seen.unreadable.items()]
    if seen.again:
        were = "photos were" if seen.again > 1 else "photo was"
        said = f", as its first source has it ({seen.disputed} with another label)" if seen.disputed else ""
        notes.append(f"{seen.again} {were} there already, byte by byte; each counts once{said}")
        _tell(progress, notes[-1:])
    _tell(progress, unreadable)
    trained = train(model, seen.data, config, checkpoint=checkpoint_of(out), progress=progress)
    trained.model.save(out, size)
    checkpoint_of(out).unlink(missing_ok=True)
    defective = int(seen.data.labels.sum())
    return Learned(
        out,
        trained.model,
        size,
        trained.history,
        trained.stopped_at,
        trained.why,
        defective,
        len(seen.data) - defective,
        (*notes, *unreadable, *trained.notes),
    )


def load_model(file: Path, clip: str, device: torch.device | str = "cpu") -> PromptModel:
    """A saved model with its CLIP, loaded in the way that it was learned on. The size that photos are seen at is
    ``header(file).size``. Raises ``InputError`` for another file, ``BackboneError`` for another CLIP."""
    known = header(file)
    if known.model not in MODELS:
        raise InputError(f"{str(file)!r} holds a model of kind {known.model!r}; known are {', '.join(MODELS)}.")
    try:
        pair = clips.load(clip, torch.device(device), positions=known.positions, activation=known.activation)
    except BackboneError as error:
        raise BackboneError(
            f"{str(file)!r} was learned on {known.clip}. {error} If that CLIP lies elsewhere now, say so: --clip FOLDER"
        ) from error
    return MODELS[known.model].load(file, pair)


def checkpoint_of(out: Path) -> Path:
    """Where a training that is to become ``out`` leaves its state."""
    return out.with_name(f".{out.name}.training")


def _checked(out: Path, overwrite: bool) -> Path:
    out = out.expanduser().resolve()
    if out.is_dir():
        raise OutputError(f"{str(out)!r} is a folder; --out names the file of the model, such as model.safetensors.")
    if out.exists() and not overwrite:
        raise OutputError(f"{str(out)!r} is there already. Add --overwrite to replace it, or choose another --out.")
    if not out.parent.is_dir():
        raise OutputError(f"There is no folder {str(out.parent)!r}. Make it, or choose another --out.")
    return out


def _read(sources: Sequence[str], recipe: Recipe | None) -> list[Source]:
    if not sources:
        raise InputError("There is nothing to learn from. Name a run, or a folder of pseudo-masks: --from RUN.")
    read = [read_source(source, recipe) for source in sources]
    require_both(read)
    return read


def _check_words(model: AprilGan, sources: Sequence[Source]) -> None:
    """Whether CLIP can read of each class, before anything is seen."""
    for source in sources:
        try:
            prompts = model.settings.words.prompts(source.words)
            model.pair.tokenizer([*prompts.normal, *prompts.anomalous])
        except ConfigError as error:
            raise ConfigError(f'{error} Say it before the path: --from "metal nut={source.path}".') from error


def _tell(progress: Progress, notes: Iterable[str]) -> None:
    for note in notes:
        progress.note(note)
