"""What a scan by words makes of one photo: WinCLIP in its three forms, or a learned prompt model.

It joins CLIP's views of a photo to the scores of words; which photos there are, and what becomes of the scores, is the
scan's matter.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from blemish.errors import ConfigError
from blemish.extraction import Seen
from blemish.features import clip
from blemish.features.clip_views import ClipView, windows
from blemish.inputs.augment import augmented
from blemish.learning.anomalyclip import SMOOTH, AnomalyClip
from blemish.learning.aprilgan_shots import few_shot, joined, remember
from blemish.learning.learn import load_model
from blemish.learning.prompt_file import header
from blemish.learning.prompt_view import PromptModel, seen_of
from blemish.learning.prompt_view import view as view_of_model
from blemish.progress import Progress
from blemish.scoring import text as by_text
from blemish.scoring import weights
from blemish.scoring.prompts import Prompts, ensemble
from blemish.scoring.text import Views
from blemish.text_config import TextConfig

__all__ = ["CLIP", "Example", "Method", "Scorer", "method_of"]

Float32 = npt.NDArray[np.float32]
RGB = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

CLIP = "timm/vit_base_patch16_plus_clip_240.laion400m_e31"  # of WinCLIP
FINE = 4  # values a patch on a map: a published map lies between patches, and is smooth from one to the next
SIZES = (1, 2, 3, 7)  # patches a side of the windows of arXiv 2507.23712: 16, 32, 48 and 112 pixels
COPIES = 20  # of a good photo and of each marked one, on which weights are chosen


@dataclass(frozen=True)
class Example:
    """A photo that the user has shown. ``mask``: (H, W) at the photo's own size, of a defect."""

    path: str
    seen: Seen
    pixels: RGB  # (H, W, 3) at the working resolution
    mask: Mask | None = None


See = Callable[[Sequence[RGB]], list[Seen]]  # what CLIP makes of pictures at the working resolution


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
    are compared with, for the user. ``facts``: for the run's manifest."""

    view: ClipView
    begin: Callable[[Sequence[Example], See, Progress], Scorer]
    told: str
    facts: dict[str, Any]


def method_of(name: str, config: TextConfig, device: str) -> Method:
    """Load what ``--method text`` or ``prompt`` needs. Raises ``BackboneError`` if CLIP cannot be had or reads no
    words, ``ConfigError`` for words that cannot be, ``InputError`` for a file that is no learned model."""
    return _winclip(config, device) if name == "text" else _learned(config, device)


def _winclip(config: TextConfig, device: str) -> Method:
    words = ensemble(file=Path(config.prompts).expanduser() if config.prompts else None)
    prompts = words.prompts(config.class_name)  # before the weights, which can be a download
    pair = clip.load(config.clip or CLIP, torch.device(device))
    # of marked flaws, windows of all sizes; of good photos, the tokens that WinCLIP+ compares
    sizes = tuple(size for size in SIZES if size <= pair.facts.native // pair.facts.patch) if config.defects else (2, 3)
    tokens = bool(config.good) and not config.defects
    view = windows(pair, sizes, tokens=tokens)
    text = _text_of(pair, prompts)

    def begin(examples: Sequence[Example], see: See, progress: Progress) -> Scorer:
        sizes_seen = (1, *sizes) if tokens else sizes
        if config.defects:
            return _with_flaws(text, sizes_seen, examples, config.weights, see, progress)
        return _WinClip(text, sizes_seen, _together([_views(one.seen, sizes_seen) for one in examples]))

    told = (
        f'Each photo was compared with words: {len(prompts.normal)} ways to say that a "{config.class_name}" is sound '
        f"and {len(prompts.anomalous)} that it is flawed"
    )
    shown = (("good photo", config.good), ("marked flaw", config.defects))
    examples = " and ".join(f"{len(some)} {what}{'s' * (len(some) > 1)}" for what, some in shown if some)
    told += f"; and with {examples}" if examples else ""
    return Method(view, begin, told, {"prompts": _counts(prompts), "published_prompts": words.published})


def _counts(prompts: Prompts) -> dict[str, int]:
    return {"normal": len(prompts.normal), "anomalous": len(prompts.anomalous)}


def _text_of(pair: clip.ClipPair, prompts: Prompts) -> Float32:
    sides = (pair.embed_texts(texts).cpu().numpy() for texts in (prompts.normal, prompts.anomalous))
    return by_text.text_pair(*sides)


def _views(seen: Seen, sizes: Sequence[int]) -> Views:
    """Of one photo, B = 1."""
    found = {size: grid.reshape(1, -1, grid.shape[-1]) for size, grid in zip(sizes, seen.grids, strict=True)}
    h, w = seen.grids[0].shape[:2]
    return Views(seen.embedding[None], found, (h + sizes[0] - 1, w + sizes[0] - 1))


def _together(views: Sequence[Views]) -> Views | None:
    if not views:
        return None
    joined = {size: np.concatenate([one.windows[size] for one in views]) for size in views[0].windows}
    return Views(np.concatenate([one.image for one in views]), joined, views[0].grid)


def _fine(maps: Float32, shape: tuple[int, int], patches: tuple[int, int]) -> Float32:
    return by_text.aligned(maps, shape, (FINE * patches[0], FINE * patches[1]))


@dataclass(frozen=True)
class _WinClip:
    """Zero-shot, or WinCLIP+ with the views of ``good`` photos."""

    text: Float32
    sizes: tuple[int, ...]
    good: Views | None

    def score(self, seen: Seen, shape: tuple[int, int]) -> tuple[float, Float32]:
        views = _views(seen, self.sizes)
        found = by_text.zero_shot(views, self.text)
        if self.good is not None:
            found = by_text.combined(found, by_text.few_shot(views, self.good))
        scores, maps = found
        return float(scores[0]), _fine(maps[0], shape, views.grid)

    def settled(self, scores: Float32, peaks: Float32) -> Float32:
        return scores


def _with_flaws(
    text: Float32, sizes: tuple[int, ...], examples: Sequence[Example], strategy: str, see: See, progress: Progress
) -> Scorer:
    """The complete method of arXiv 2507.23712. Good photos besides the marked ones add to the memory of sound surface,
    and are what the weights are chosen against."""
    joined = _together([_views(one.seen, sizes) for one in examples])
    assert joined is not None  # the marked photos
    masks = [np.zeros(one.pixels.shape[:2], np.bool_) if one.mask is None else one.mask for one in examples]
    known = by_text.banks(joined, masks)
    names = by_text.channel_names(known)
    good = any(one.mask is None for one in examples)
    chosen = np.full(len(names), 1 / len(names))
    if good and strategy != "uniform":
        chosen = _chosen(text, sizes, examples, known, strategy, see, progress)
    elif strategy != "uniform":
        progress.note("Words, sound surface and the flaw count alike; with a good photo (--good) weights are chosen")
    progress.note("Weights: " + ", ".join(f"{name} {share:.0%}" for name, share in zip(names, chosen, strict=True)))
    return _WithFlaws(text, sizes, known, chosen)


def _chosen(
    text: Float32,
    sizes: tuple[int, ...],
    examples: Sequence[Example],
    known: Any,
    strategy: str,
    see: See,
    progress: Progress,
) -> npt.NDArray[np.float64]:
    """Weights of the channels, from altered copies of the examples."""
    channels, flawed, kinds = [], [], []
    with progress.stage("choosing weights", COPIES * len(examples)) as advance:
        for number, one in enumerate(examples):
            shape = one.pixels.shape[:2]
            mask = np.zeros(shape, np.bool_) if one.mask is None else _resized(one.mask, shape)
            for copy in augmented(one.pixels, mask, COPIES, seed=number):
                (seen,) = see([copy.pixels])
                channels.append(by_text.image_channels(_views(seen, sizes), text, known)[0])
                flawed.append(one.mask is not None)
                kinds.append(copy.family)
                advance(1)
    return weights.choose(np.stack(channels)[..., None], flawed, kinds, strategy)


def _resized(mask: Mask, shape: tuple[int, int]) -> Mask:
    """Nearest, but a flaw of a few pixels stays."""
    rows, columns = (np.minimum(np.arange(m) * n // m, n - 1) for n, m in zip(mask.shape, shape, strict=True))
    found = mask[np.ix_(rows, columns)]
    if not found.any():
        at = np.argwhere(mask)[0] * np.array(shape) // np.array(mask.shape)
        found[tuple(at)] = True
    return np.asarray(found)


@dataclass(frozen=True)
class _WithFlaws:
    text: Float32
    sizes: tuple[int, ...]
    known: Any
    weights: npt.NDArray[np.float64]

    def score(self, seen: Seen, shape: tuple[int, int]) -> tuple[float, Float32]:
        views = _views(seen, self.sizes)
        score = by_text.image_channels(views, self.text, self.known)[0] @ self.weights
        found = weights.weighted(by_text.map_channels(views, self.text, self.known)[0], self.weights)
        return float(score), _fine(found.reshape(views.grid), shape, views.grid)

    def settled(self, scores: Float32, peaks: Float32) -> Float32:
        return scores


def _learned(config: TextConfig, device: str) -> Method:
    file = Path(config.model or "").expanduser()
    known = header(file)
    model = load_model(file, config.clip or known.clip, device)
    view = view_of_model(model, round(math.sqrt(known.size[0] * known.size[1])))
    if isinstance(model, AnomalyClip):
        if config.good:
            raise ConfigError(
                "AnomalyCLIP compares photos with words alone; --good belongs to --method text and to APRIL-GAN "
                "models. Leave it out."
            )
        text, about = model.text().detach(), "a sound and a damaged object, in words that were learned"
    else:
        if not config.class_name:
            raise ConfigError(
                'An APRIL-GAN model asks words about the product, so it must be named: --class "metal nut"'
            )
        text = model.text(config.class_name)
        about = f'words about a sound and a damaged "{config.class_name}", by what was learned'

    def begin(examples: Sequence[Example], see: See, progress: Progress) -> Scorer:
        seen = [seen_of(one.seen.grids, one.seen.embedding, text.device) for one in examples]
        return _Prompted(model, text, view.facts.patch, remember(seen) if seen else None)

    told = f"Each photo was compared with {about} ({known.model}, {file.name})"
    if config.good:
        told += f"; and with {len(config.good)} good photo{'s' * (len(config.good) > 1)}"
    facts = {"model": known.model, "model_sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    return Method(view, begin, told, facts)


@dataclass(frozen=True)
class _Prompted:
    """``good``: what APRIL-GAN remembers of good photos."""

    model: PromptModel
    text: Tensor
    patch: int
    good: Sequence[Tensor] | None

    def score(self, seen: Seen, shape: tuple[int, int]) -> tuple[float, Float32]:
        photo = seen_of(seen.grids, seen.embedding, self.text.device)
        if isinstance(self.model, AnomalyClip):  # published is 4 pixels at 37 patches a side
            smooth = SMOOTH * self.patch / 14
            scores, maps = self.model.scores(photo, self.text, shape, smooth)
        else:
            scores, maps = self.model.scores(photo, self.text, shape)
            if self.good is not None:
                maps = maps + few_shot(photo, self.good, shape)
        return float(scores[0]), _fine(maps[0].cpu().numpy(), shape, photo.grid)

    def settled(self, scores: Float32, peaks: Float32) -> Float32:
        return scores if self.good is None else joined(scores, peaks)
