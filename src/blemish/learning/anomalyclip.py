"""AnomalyCLIP (Zhou et al., ICLR 2024, arXiv 2310.18961): one pair of learned texts that says "object", never which.

Learned are 12 vectors before "object." and 12 before "damaged object.", and 8 sets of 4 tokens put into the text
tower's deeper blocks; CLIP stays as it is, so what it sees of a photo can be computed once. Patches come from the v-v
path (DPAM). Numbers and losses are those of the official code, whose CLIP runs with QuickGELU and positions resized
bilinearly. It knows tensors; not where masks come from, and no loop of training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blemish.errors import ConfigError
from blemish.features.clip import ClipPair
from blemish.learning.losses import anomalyclip_pixel_loss, image_loss
from blemish.learning.prompt_file import SEED, Seen, cosines, enlarged, parameters, read, write
from blemish.scoring.prompts import ensemble

__all__ = ["AnomalyClip", "Settings"]

NAME = "anomalyclip"
PLACES = 12  # vectors in the published prompts: as many X stand in prompts.toml
SPREAD = 0.02  # standard deviation that learned vectors start with
SMOOTH = 4.0  # pixels: sigma of the published maps


@dataclass(frozen=True)
class Settings:
    """Published values for ViT-L/14; ``for_pair`` has them in proportion for other sizes."""

    layers: tuple[int, ...] = (24,)  # whose patches are compared with words
    value_value: int = 19  # last blocks with v-v attention
    length: int = PLACES  # learned vectors in a text
    deep: int = 8  # sets of deep prompts
    deep_length: int = 4  # tokens in each
    temperature: float = 0.07

    def __post_init__(self) -> None:
        at_least_1 = (*self.layers, self.length, self.deep_length)
        counts = (*((count, 1) for count in at_least_1), (self.value_value, 0), (self.deep, 0))
        if any(not isinstance(count, int) or count < least for count, least in counts):
            raise ConfigError(f"AnomalyCLIP counts layers and learned vectors from 1 on; received {self}.")
        if not self.layers or not 0 < self.temperature < float("inf"):
            raise ConfigError(f"AnomalyCLIP needs a layer and a temperature above 0; received {self}.")

    @classmethod
    def for_pair(cls, pair: ClipPair) -> Self:
        blocks = pair.vision.depth
        return cls(layers=(blocks,), value_value=round(blocks * 19 / 24), deep=min(8, pair.text.depth - 1))

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """From JSON. Raises ``TypeError``, ``KeyError`` or ``ConfigError`` if it is damaged."""
        return cls(**{**stored, "layers": tuple(stored["layers"])})


@dataclass(frozen=True)
class AnomalyClip:
    """``learned``: ``normal`` and ``anomalous``, (length, C), and ``deep``, (sets, tokens, C), C of the text tower."""

    pair: ClipPair
    settings: Settings
    learned: Mapping[str, nn.Parameter]

    @classmethod
    def fresh(cls, pair: ClipPair, settings: Settings | None = None, seed: int = SEED) -> Self:
        """Untrained: normally distributed vectors, the same for the same seed."""
        settings = settings or Settings.for_pair(pair)
        random, shapes = torch.Generator().manual_seed(seed), _shapes(pair, settings).items()
        start = {name: torch.randn(shape, generator=random) * SPREAD for name, shape in shapes}
        return cls(pair, settings, parameters(start, pair.text.positional_embedding.device))

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
        """``pixels: (b, 3, H, W)`` normalised -> what does not change while prompts are learned; patches (b, h*w, E) of
        unit length. CLS comes without the final LayerNorm, patches with it, as published."""
        vision = self.pair.vision
        seen = vision.encode(pixels, self.settings.layers, self.settings.value_value)
        patches = tuple(F.normalize(vision.project(layer[:, 1:]), dim=-1) for layer in seen.layers)
        return Seen(F.normalize(vision.project(seen.last[:, 0], norm=False), dim=-1), patches, seen.grid)

    def text(self) -> Tensor:
        """(2, E) of unit length, normal first; gradients reach ``learned``."""
        tower, length = self.pair.text, self.settings.length
        ids = self.pair.tokenizer(_texts(length)).to(tower.positional_embedding.device)
        with torch.no_grad():
            words = tower.words(ids)
        vectors = torch.stack([self.learned["normal"], self.learned["anomalous"]])
        words = torch.cat([words[:, :1], vectors, words[:, 1 + length :]], dim=1)
        # deep prompts pass through float16, as published
        return F.normalize(tower.encode_words(words, tower.ends(ids), [*self.learned["deep"]], half_deep=True), dim=-1)

    def maps(self, seen: Seen, text: Tensor, size: tuple[int, int]) -> list[Tensor]:
        """A layer each: (b, 2, H, W) probabilities (normal, anomalous) of pixels; ``size``: (H, W)."""
        found = [(cosines(layer, text) / self.settings.temperature).softmax(dim=-1) for layer in seen.patches]
        return [enlarged(layer, seen.grid, size, align_corners=False) for layer in found]

    def logits(self, seen: Seen, text: Tensor) -> Tensor:
        """(b, 2), normal and anomalous."""
        return cosines(seen.image[:, None], text)[:, 0] / self.settings.temperature

    def loss(
        self,
        seen: Seen,
        text: Tensor,
        target: Tensor,
        label: Tensor,
        weights: Tensor | None = None,
        photo_weights: Tensor | None = None,
    ) -> Tensor:
        """Cross-entropy of photos and 4 x focal and dice of pixels, a scalar. ``target: (b, H, W)``, ``label: (b,)``
        and the weights as in ``losses``."""
        maps = self.maps(seen, text, (target.shape[1], target.shape[2]))
        of_photos = image_loss(self.logits(seen, text), label, photo_weights)
        return of_photos + anomalyclip_pixel_loss(maps, target, weights, photo_weights)

    @torch.no_grad()
    def scores(self, seen: Seen, text: Tensor, size: tuple[int, int], smooth: float = SMOOTH) -> tuple[Tensor, Tensor]:
        """(b,) probabilities of photos and (b, H, W) maps: the sum over layers of (p anomalous + 1 - p normal) / 2,
        from 0 to the number of layers, smoothed by a Gaussian of ``smooth`` pixels (0: not at all)."""
        layers = [(one[:, 1] + 1 - one[:, 0]) / 2 for one in self.maps(seen, text, size)]
        return self.logits(seen, text).softmax(dim=-1)[:, 1], _smoothed(torch.stack(layers).sum(dim=0), smooth)


@cache
def _texts(length: int) -> tuple[str, ...]:
    """Normal, anomalous; an X at the place of each learned vector."""
    prompts = ensemble(NAME).prompts()
    published, wanted = (" ".join("X" * count) for count in (PLACES, length))
    return tuple(text.replace(published, wanted) for text in (*prompts.normal, *prompts.anomalous))


def _shapes(pair: ClipPair, settings: Settings) -> dict[str, tuple[int, ...]]:
    """Of what is learned. Raises ``ConfigError`` if ``pair`` does not have these blocks."""
    if settings.deep >= pair.text.depth or max(*settings.layers, settings.value_value) > pair.vision.depth:
        raise ConfigError(
            f"{pair.facts.name} has {pair.vision.depth} blocks for photos and {pair.text.depth} for words, too few for "
            f"{settings}. Leave the settings to it."
        )
    width = pair.text.positional_embedding.shape[1]
    vectors = (settings.length, width)
    return {"normal": vectors, "anomalous": vectors, "deep": (settings.deep, settings.deep_length, width)}


def _smoothed(maps: Tensor, sigma: float) -> Tensor:
    from scipy.ndimage import gaussian_filter

    if not sigma:
        return maps
    return torch.from_numpy(gaussian_filter(maps.cpu().numpy(), (0, sigma, sigma))).to(maps.device)
