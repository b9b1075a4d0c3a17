"""APRIL-GAN (Chen et al., arXiv 2305.17382): one linear layer for each of four blocks brings patches to the words.

Learned are only these layers; texts are an ensemble about the class, and a photo's score is plain CLIP's. Numbers and
losses are those of the official code, zero-shot, whose CLIP runs at 518 pixels with exact GELU and positions resized
bicubically with antialiasing. It knows tensors; not where masks come from, and no loop of training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blemish.errors import ConfigError
from blemish.features.clip import ClipPair
from blemish.learning.losses import aprilgan_pixel_loss
from blemish.learning.prompt_file import SEED, Seen, cosines, enlarged, parameters, read, write
from blemish.scoring.prompts import Ensemble, ensemble
from blemish.scoring.text import text_pair

__all__ = ["AprilGan", "Settings"]

NAME = "april-gan"


@dataclass(frozen=True)
class Settings:
    """Published values for ViT-L/14. ``words`` are kept with the model: with others its maps would be others."""

    layers: tuple[int, ...] = (6, 12, 18, 24)
    temperature: float = 0.01
    words: Ensemble = field(default_factory=lambda: ensemble(NAME))

    def __post_init__(self) -> None:
        if not self.layers or any(not isinstance(layer, int) or layer < 1 for layer in self.layers):
            raise ConfigError(f"APRIL-GAN counts layers from 1 on; received {self.layers}.")
        if not 0 < self.temperature < float("inf"):
            raise ConfigError(f"APRIL-GAN needs a temperature above 0; received {self.temperature}.")

    @classmethod
    def for_pair(cls, pair: ClipPair, words: Ensemble | None = None) -> Self:
        """The last block of each quarter of the tower."""
        layers = tuple(sorted({max(1, pair.vision.depth * quarter // 4) for quarter in (1, 2, 3, 4)}))
        return cls(layers, words=words or ensemble(NAME))

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """From JSON. Raises ``TypeError``, ``ValueError``, ``KeyError`` or ``ConfigError`` if it is damaged."""
        words = dict(stored["words"])
        for side in ("normal", "anomalous", "templates", "sha256"):
            words[side] = tuple(str(entry) for entry in words[side])
        return cls(**{**stored, "layers": tuple(stored["layers"]), "words": Ensemble(**words)})


@dataclass(frozen=True)
class AprilGan:
    """``learned``: ``weight``, (layers, E, C), and ``bias``, (layers, E); C of the vision tower."""

    pair: ClipPair
    settings: Settings
    learned: Mapping[str, nn.Parameter]

    @classmethod
    def fresh(cls, pair: ClipPair, settings: Settings | None = None, seed: int = SEED) -> Self:
        """Untrained: uniform within 1 / sqrt(C), as torch's linear layers start; the same for the same seed."""
        settings = settings or Settings.for_pair(pair)
        random, bound = torch.Generator().manual_seed(seed), len(pair.vision.proj) ** -0.5
        shapes = _shapes(pair, settings).items()
        start = {name: (torch.rand(shape, generator=random) * 2 - 1) * bound for name, shape in shapes}
        return cls(pair, settings, parameters(start, pair.vision.proj.device))

    @classmethod
    def load(cls, file: Path, pair: ClipPair) -> Self:
        """Raises ``InputError`` for a file that is no such model, ``BackboneError`` if it was learned on another CLIP
        than ``pair``."""
        return cls(pair, *read(file, NAME, pair, Settings.of, _shapes))

    def save(self, file: Path, size: tuple[int, int] | None = None) -> None:
        """Complete or not at all. ``size``: (H, W) of the photos it was learned on, CLIP's own if None. Raises
        ``OutputError``."""
        write(file, NAME, self.pair, asdict(self.settings), self.learned, size)

    @torch.no_grad()
    def see(self, pixels: Tensor) -> Seen:
        """``pixels: (b, 3, H, W)`` normalised -> what does not change while the layers are learned; patches
        (b, h*w, C) as they leave the blocks."""
        vision = self.pair.vision
        seen = vision.encode(pixels, self.settings.layers)
        patches = tuple(layer[:, 1:] for layer in seen.layers)
        return Seen(F.normalize(vision.project(seen.last[:, 0]), dim=-1), patches, seen.grid)

    def text(self, name: str) -> Tensor:
        """(2, E) of unit length, normal first, of the class ``name``; nothing in it is learned, so once is enough.
        Raises ``ConfigError`` for a name that nothing can be said of."""
        prompts = self.settings.words.prompts(name)
        sides = [self.pair.embed_texts(texts) for texts in (prompts.normal, prompts.anomalous)]
        pair = text_pair(*(side.cpu().numpy() for side in sides), unit_mean=self.settings.words.unit_mean)
        return F.normalize(torch.from_numpy(pair), dim=-1).to(sides[0].device)

    def maps(self, seen: Seen, text: Tensor, size: tuple[int, int]) -> list[Tensor]:
        """A layer each: (b, 2, H, W) probabilities (normal, anomalous) of pixels; ``size``: (H, W). ``text``: (2, E),
        or (b, 2, E) where the photos are of several classes."""
        layers = zip(seen.patches, self.learned["weight"], self.learned["bias"], strict=True)
        found = [cosines(_linear(*layer), text) / self.settings.temperature for layer in layers]
        return [enlarged(layer, seen.grid, size, align_corners=True).softmax(dim=1) for layer in found]

    def loss(
        self,
        seen: Seen,
        text: Tensor,
        target: Tensor,
        weights: Tensor | None = None,
        photo_weights: Tensor | None = None,
    ) -> Tensor:
        """Focal and dice of pixels, a scalar; there is no term of photos. ``target: (b, H, W)`` and the weights as in
        ``losses``."""
        maps = self.maps(seen, text, (target.shape[1], target.shape[2]))
        return aprilgan_pixel_loss(maps, target, weights, photo_weights)

    @torch.no_grad()
    def scores(self, seen: Seen, text: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """(b,) probabilities of photos, which are CLIP's own, and (b, H, W) maps: the sum over layers of the
        probability anomalous, from 0 to the number of layers."""
        photos = (cosines(seen.image[:, None], text)[:, 0] / self.settings.temperature).softmax(dim=-1)[:, 1]
        return photos, torch.stack([one[:, 1] for one in self.maps(seen, text, size)]).sum(dim=0)


def _linear(patches: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(b, n, C) -> (b, n, E) of unit length."""
    return F.normalize(F.linear(patches.to(weight.dtype), weight, bias), dim=-1)


def _shapes(pair: ClipPair, settings: Settings) -> dict[str, tuple[int, ...]]:
    """Of what is learned. Raises ``ConfigError`` if ``pair`` does not have these layers."""
    if max(settings.layers) > pair.vision.depth:
        raise ConfigError(f"{pair.facts.name} has layers 1 to {pair.vision.depth}; received {settings.layers}.")
    width, embedding = pair.vision.proj.shape
    return {"weight": (len(settings.layers), embedding, width), "bias": (len(settings.layers), embedding)}
