"""CLIP pairs: both towers and the tokenizer, by hub name or local folder, in transformers' or open_clip's format.

The towers are our own port (clip_vision.py, clip_text.py), since the methods that compare photos with words reach
inside their blocks. It knows where a model's files lie, nothing of prompts or scores. For batch scans, which read no
words, CLIP's vision tower is a backbone like any other (hub.py).

What was checked, and with what: outputs of the published code of WinCLIP, APRIL-GAN and AnomalyCLIP on small random
models (tests/golden/test_golden_clip.py), and transformers' CLIPModel on such models on disk (tests/test_clip.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from blemish.errors import BackboneError
from blemish.features import hub_files
from blemish.features.clip_blocks import Activation
from blemish.features.clip_facts import OPEN_CLIP, ClipFacts, described, folder_of, layout_of
from blemish.features.clip_text import TextTower
from blemish.features.clip_tokens import TOKENIZER_FILES, Tokenizer, load_tokenizer
from blemish.features.clip_vision import Positions, VisionTower
from blemish.features.clip_weights import official_state, read, towers

__all__ = ["ClipPair", "facts", "is_pair", "load", "model_files"]

TEXTS = 64  # encoded at once
SETTINGS = ("config.json", "preprocessor_config.json", OPEN_CLIP, hub_files.WEIGHTS_INDEX, *TOKENIZER_FILES)
OPEN_CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")


@dataclass(frozen=True)
class ClipPair:
    """A loaded pair, frozen and in evaluation mode."""

    facts: ClipFacts
    vision: VisionTower
    text: TextTower
    tokenizer: Tokenizer
    weights_sha256: str

    def pixels(self, photos: Tensor) -> Tensor:
        """``photos: (b, 3, H, W)`` uint8 RGB -> what ``vision`` takes: float32, CLIP's mean and deviation."""
        mean, std = (photos.new_tensor(v, dtype=torch.float32).view(3, 1, 1) for v in (self.facts.mean, self.facts.std))
        return (photos.float() / 255 - mean) / std

    @torch.no_grad()  # not inference_mode: whoever trains multiplies by them
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """(n, E) embeddings of texts, not normalised. Raises ``ConfigError`` for a text that is too long."""
        ids = self.tokenizer(texts).to(self.text.positional_embedding.device)
        return torch.cat([self.text.encode(ids[at : at + TEXTS]) for at in range(0, len(ids), TEXTS)])


def facts(name: str) -> ClipFacts:
    """Facts of a hub name or local folder, from its config files alone.

    Raises ``BackboneError`` if the model is not to be had, or is no CLIP with both towers.
    """
    hub_files.require_extra()
    return described(name, folder_of(name))


def is_pair(name: str) -> bool:
    """Whether a hub name or local folder is a CLIP with both towers. Raises ``BackboneError`` if there is none."""
    hub_files.require_extra()
    return layout_of(name, folder_of(name)) is not None


def model_files(name: str) -> list[Path]:
    """All files that ``load`` reads, downloaded if need be: settings, words, weights. Raises ``BackboneError``."""
    hub_files.require_extra()
    folder = folder_of(name)
    weights = _weights(described(name, folder), folder)
    _fetch_tokenizer(name, folder)
    return [folder / file for file in SETTINGS if (folder / file).is_file()] + weights


def load(
    name: str,
    device: torch.device,
    *,
    positions: Positions = "antialiased",
    activation: Activation | None = None,
) -> ClipPair:
    """Load a pair (float32), downloading its files into the hub's cache if they are not there.

    ``positions``: how the position embedding is resized for other sizes than the native one. ``activation`` replaces
    the one that the config names, in both towers: the published code of MuSc and APRIL-GAN runs OpenAI's weights, which
    were trained with ``quick_gelu``, with ``gelu`` at 518 px. Raises ``BackboneError`` if files cannot be had, exist
    only as pickle, hold no text tower, or do not fill the towers that the config describes.
    """
    hub_files.require_extra()
    folder = folder_of(name)
    known = described(name, folder)
    files = _weights(known, folder)
    _fetch_tokenizer(name, folder)
    with hub_files.quiet():
        tokenizer = load_tokenizer(name, folder, known.context, known.vocabulary)
    tensors = read(files)
    vision_state, text_state = towers(official_state(tensors) if known.layout == "transformers" else tensors)
    vision = VisionTower.from_state(
        vision_state,
        heads=known.vision.heads,
        activation=activation or known.vision.activation,
        positions=positions,
        eps=known.vision.eps,
    )
    text = TextTower.from_state(
        text_state,
        heads=known.text.heads,
        activation=activation or known.text.activation,
        end=tokenizer.end,
        eps=known.text.eps,
    )
    _agree(known, vision, text)
    return ClipPair(known, vision.to(device), text.to(device), tokenizer, hub_files.sha256(files))


def _weights(known: ClipFacts, folder: Path) -> list[Path]:
    """Those of a hub model are downloaded if they are not in the cache. Raises ``BackboneError`` if there are none."""
    name = known.name
    if known.layout == "transformers":
        return hub_files.weight_files(name, folder)
    for file in OPEN_CLIP_WEIGHTS:
        if (folder / file).is_file():
            return [folder / file]
    for file in () if hub_files.is_local(name) else OPEN_CLIP_WEIGHTS:
        if found := hub_files.fetch_file(name, file, folder.name, bar=True):
            return [found]
    raise BackboneError(
        f"{name} has no {OPEN_CLIP_WEIGHTS[0]}, and blemish opens no pickle files (.bin, .pt). Give a model that has, "
        "for example timm/vit_large_patch14_clip_336.openai."
    )


def _fetch_tokenizer(name: str, folder: Path) -> None:
    """Bring a hub model's tokenizer files into the snapshot, where they are not there yet."""
    one, *others = TOKENIZER_FILES
    if hub_files.is_local(name) or (folder / one).is_file() or all((folder / f).is_file() for f in others):
        return
    if hub_files.fetch_file(name, one, folder.name) is None:
        for file in others:
            hub_files.fetch_file(name, file, folder.name)


def _agree(known: ClipFacts, vision: VisionTower, text: TextTower) -> None:
    """Raise ``BackboneError`` unless the weights are of the model that the config describes."""
    said = (known.vision, known.text)
    found = (
        ("patch", known.patch, vision.patch),
        ("positions of patches", (known.native // known.patch) ** 2, len(vision.positional_embedding) - 1),
        ("vision blocks", said[0].depth, vision.depth),
        ("vision channels", said[0].width, len(vision.class_embedding)),
        ("text blocks", said[1].depth, text.depth),
        ("text channels", said[1].width, text.positional_embedding.shape[1]),
        ("tokens of context", known.context, text.context),
        ("words", known.vocabulary, text.token_embedding.num_embeddings),
        ("shared channels of photos", known.embedding, vision.proj.shape[1]),
        ("shared channels of words", known.embedding, text.text_projection.shape[1]),
    )
    wrong = [f"{what}: {want} in config.json, {have} in the weights" for what, want, have in found if want != have]
    if wrong:
        raise BackboneError(f"Config and weights of {known.name} do not agree ({'; '.join(wrong)}). Fetch it again.")
