"""Words, sound surface and a marked flaw together: the complete method of Abdali et al. (arXiv 2507.23712).

Published is one marked photo, whose surface beside the flaw is the memory of sound surface, and one good photo on which
the weights of the scores are chosen. More good photos than that add to the memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.extraction import Seen
from blemish.features.clip_views import windows
from blemish.inputs.augment import augmented
from blemish.progress import Progress
from blemish.scoring import text as by_text
from blemish.scoring import weights
from blemish.scoring.defects import Taught
from blemish.text_config import TextConfig
from blemish.text_scorers import Example, Float32, Look, Mask, Method, Scorer, fine, prompted_pair, views_of

__all__ = ["with_flaws"]

Float64 = npt.NDArray[np.float64]

SIZES = (1, 2, 3, 7)  # patches a side: 16, 32, 48 and 112 pixels
COPIES = 20  # of each photo on which weights are chosen; the paper's number is not known


def with_flaws(config: TextConfig, device: str) -> Method:
    """Errors as of ``text_scorers.winclip``; what is marked is read with the examples."""
    pair, text, told, facts = prompted_pair(config, device)
    chosen = config.weights if config.good else "uniform"

    def begin(examples: Sequence[Example], look: Look, progress: Progress) -> Scorer:
        return _begun(text, examples, chosen, look, progress)

    copies = COPIES if chosen != "uniform" else 0
    return Method(windows(pair, SIZES, tokens=False), begin, told, facts, copies)


def _begun(text: Float32, examples: Sequence[Example], strategy: str, look: Look, progress: Progress) -> Scorer:
    marked = [one for one in examples if one.mask is not None]
    good = [one for one in examples if one.mask is None]
    shown = [*marked, *good[1:]]  # the first good photo is for the weights
    masks = [np.zeros(one.pixels.shape[:2], np.bool_) if one.mask is None else one.mask for one in shown]
    known = by_text.banks(views_of([one.seen for one in shown], SIZES), masks)
    names = by_text.channel_names(known)
    if not good or strategy == "uniform":
        chosen = np.full(len(names), 1 / len(names))
        progress.note("All scores count alike; with a good photo (--good) their weights are chosen")
    else:
        chosen = _chosen(text, [good[0], *marked], known, strategy, look, progress)
    progress.note("Weights: " + ", ".join(f"{name} {share:.0%}" for name, share in zip(names, chosen, strict=True)))
    return _WithFlaws(text, known, chosen)


def _chosen(
    text: Float32,
    examples: Sequence[Example],
    known: Mapping[int, Taught],
    strategy: str,
    look: Look,
    progress: Progress,
) -> Float64:
    """Weights of the channels, from altered copies of a good photo and of the marked ones."""
    channels, flawed, kinds = [], [], []
    with progress.stage("choosing weights", COPIES * len(examples)) as advance:
        for number, one in enumerate(examples):
            shape = one.pixels.shape[:2]
            mask = np.zeros(shape, np.bool_) if one.mask is None else _resized(one.mask, shape)
            for copy in augmented(one.pixels, mask, COPIES, seed=number):
                views = views_of(look([copy.pixels]), SIZES)
                channels.append(by_text.image_channels(views, text, known)[0])
                flawed.append(one.mask is not None)
                kinds.append(copy.family)
                advance(1)
    return weights.choose(np.stack(channels)[..., None], flawed, kinds, strategy)


def _resized(mask: Mask, shape: tuple[int, ...]) -> Mask:
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
    known: Mapping[int, Taught]
    weights: Float64

    def score(self, seen: Seen, shape: tuple[int, int]) -> tuple[float, Float32]:
        views = views_of([seen], SIZES)
        score = by_text.image_channels(views, self.text, self.known)[0] @ self.weights
        found = weights.weighted(by_text.map_channels(views, self.text, self.known)[0], self.weights)
        return float(score), fine(found.reshape(views.grid), shape, views.grid)

    def settled(self, scores: Float32, peaks: Float32) -> Float32:
        return scores
