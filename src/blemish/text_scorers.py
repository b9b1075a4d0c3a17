"""What a scan by words makes of one photo: WinCLIP, or WinCLIP+ with good photos; and what every such method is.

It joins CLIP's views of a photo to the scores of words; which photos there are, and what becomes of the scores, is the
scan's matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from blemish.extraction import Seen
from blemish.features import clip
from blemish.features.clip_views import ClipView, windows
from blemish.progress import Progress
from blemish.scoring import text as by_text
from blemish.scoring.prompts import ensemble
from blemish.scoring.text import Views
from blemish.text_config import TextConfig

__all__ = ["CLIP", "Example", "Look", "Method", "Scorer", "fine", "prompted_pair", "views_of", "winclip"]

Float32 = npt.NDArray[np.float32]
RGB = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

CLIP = "timm/vit_base_patch16_plus_clip_240.laion400m_e31"  # of WinCLIP
FINE = 4  # values a patch on a map: a published map lies between patches, and is smooth from one to the next
ZERO_SHOT = (2, 3)  # patches a side of WinCLIP's windows


@dataclass(frozen=True)
class Example:
    """A photo that the user has shown. ``mask``: (H, W) at the photo's own size, of a defect."""

    path: str
    seen: Seen
    pixels: RGB  # (H, W, 3) at the working resolution
    mask: Mask | None = None


Look = Callable[[Sequence[RGB]], list[Seen]]  # what CLIP makes of pictures at the working resolution


class Scorer(Protocol):
    """Higher is more anomalous."""

    def score(self, seen: Seen, shape: tuple[int, int]) -> tuple[float, Float32]:
        """A photo's score and its map, a few values for each patch. ``shape``: (H, W), working resolution."""
        ...

    def settled(self, scores: Float32, peaks: Float32) -> Float32:
        """Scores (B,) once all photos are known. ``peaks``: (B,) largest values of their maps."""
        ...


@dataclass(frozen=True)
class Method:
    """``view``: how photos are seen. ``begin``: what the examples make of it, called once. ``told``: what the photos
    are compared with, for the user. ``copies``: altered pictures of each example that ``begin`` will look at.
    ``facts``: for the run's manifest."""

    view: ClipView
    begin: Callable[[Sequence[Example], Look, Progress], Scorer]
    told: str
    facts: dict[str, Any]
    copies: int = 0


def winclip(config: TextConfig, device: str) -> Method:
    """WinCLIP, and WinCLIP+ if there are good photos. Raises ``BackboneError`` if CLIP cannot be had or reads no words,
    ``ConfigError`` for words that cannot be."""
    pair, text, told, facts = prompted_pair(config, device)
    tokens = bool(config.good)
    sizes = (1, *ZERO_SHOT) if tokens else ZERO_SHOT

    def begin(examples: Sequence[Example], look: Look, progress: Progress) -> Scorer:
        return _WinClip(text, sizes, views_of([one.seen for one in examples], sizes) if examples else None)

    return Method(windows(pair, ZERO_SHOT, tokens=tokens), begin, told, facts)


def prompted_pair(config: TextConfig, device: str) -> tuple[clip.ClipPair, Float32, str, dict[str, Any]]:
    """CLIP, the (2, E) embeddings of what is said of the class, that in a sentence, and facts for the manifest."""
    words = ensemble(file=Path(config.prompts).expanduser() if config.prompts else None)
    prompts = words.prompts(config.class_name)  # before the weights, which can be a download
    pair = clip.load(config.clip or CLIP, torch.device(device))
    sides = (pair.embed_texts(texts).cpu().numpy() for texts in (prompts.normal, prompts.anomalous))
    normal, anomalous = len(prompts.normal), len(prompts.anomalous)
    told = (
        f'Each photo was compared with words: {normal} way{"s" * (normal > 1)} to say that a "{config.class_name}" is '
        f"sound and {anomalous} that it is flawed"
    )
    facts = {"prompts": {"normal": normal, "anomalous": anomalous}, "published_prompts": words.published}
    return pair, by_text.text_pair(*sides, unit_mean=words.unit_mean), told, facts


def views_of(photos: Sequence[Seen], sizes: Sequence[int]) -> Views:
    """B photos that were seen with windows of these ``sizes``, ascending; those that do not fit the grid are absent."""
    h, w = photos[0].grids[0].shape[:2]
    found = {
        size: np.stack([seen.grids[at].reshape(-1, seen.grids[at].shape[-1]) for seen in photos])
        for at, size in enumerate(sizes[: len(photos[0].grids)])
    }
    return Views(np.stack([seen.embedding for seen in photos]), found, (h + sizes[0] - 1, w + sizes[0] - 1))


def fine(maps: Float32, shape: tuple[int, int], patches: tuple[int, int]) -> Float32:
    """(h, w) map, of patches or of pixels, as a run keeps it."""
    return by_text.aligned(maps, shape, (FINE * patches[0], FINE * patches[1]))


@dataclass(frozen=True)
class _WinClip:
    """Zero-shot, or WinCLIP+ with the views of ``good`` photos."""

    text: Float32
    sizes: tuple[int, ...]
    good: Views | None

    def score(self, seen: Seen, shape: tuple[int, int]) -> tuple[float, Float32]:
        views = views_of([seen], self.sizes)
        found = by_text.zero_shot(views, self.text)
        if self.good is not None:
            found = by_text.combined(found, by_text.few_shot(views, self.good))
        scores, maps = found
        return float(scores[0]), fine(maps[0], shape, views.grid)

    def settled(self, scores: Float32, peaks: Float32) -> Float32:
        return scores
