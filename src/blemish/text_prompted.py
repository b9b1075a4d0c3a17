"""A learned prompt model as a method of scanning: AnomalyCLIP, or APRIL-GAN with good photos if there are any."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from blemish.errors import ConfigError
from blemish.extraction import Seen
from blemish.learning.anomalyclip import SMOOTH, AnomalyClip
from blemish.learning.aprilgan_shots import few_shot, joined, remember
from blemish.learning.learn import load_model
from blemish.learning.prompt_file import header
from blemish.learning.prompt_view import PromptModel, seen_of, view
from blemish.progress import Progress
from blemish.text_config import TextConfig
from blemish.text_scorers import Example, Float32, Look, Method, Scorer, fine

__all__ = ["prompted"]

FEW = 10  # photos below which the published scale of peaks, from the lowest to the highest of the batch, says nothing
HIGHEST = 3  # a layer's map of APRIL-GAN, zero-shot and few-shot together, at most


def prompted(config: TextConfig, device: str) -> Method:
    """Raises ``InputError`` for a file that is no learned model, ``BackboneError`` if its CLIP cannot be had,
    ``ConfigError`` for options that it cannot use."""
    file = Path(config.model or "").expanduser()
    known = header(file)
    _check(config, known.model)
    model = load_model(file, config.clip or known.clip, device)
    if isinstance(model, AnomalyClip):
        text, about = model.text().detach(), "a sound and a damaged object, in words that were learned"
    else:
        text = model.text(config.class_name)
        about = f'words about a sound and a damaged "{config.class_name}", by what was learned'
    sight = view(model, round(math.sqrt(known.size[0] * known.size[1])))

    def begin(examples: Sequence[Example], look: Look, progress: Progress) -> Scorer:
        seen = [seen_of(one.seen.grids, one.seen.embedding, text.device) for one in examples]
        return _Prompted(model, text, sight.facts.patch, remember(seen) if seen else None)

    told = f"Each photo was compared with {about} ({known.model}, {file.name})"
    facts = {"model": known.model, "model_sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    return Method(sight, begin, told, facts)


def _check(config: TextConfig, kind: str) -> None:
    if kind == "anomalyclip" and (config.good or config.class_name):
        option, why = ("--good", "compares photos with words alone") if config.good else ("--class", 'says "object"')
        raise ConfigError(
            f"AnomalyCLIP {why}; {option} belongs to --method text and to APRIL-GAN models. Leave it out."
        )
    if kind == "april-gan" and not config.class_name:
        raise ConfigError('An APRIL-GAN model asks words about the product, so it must be named: --class "metal nut"')


@dataclass(frozen=True)
class _Prompted:
    """``good``: what APRIL-GAN remembers of good photos."""

    model: PromptModel
    text: Tensor
    patch: int
    good: Sequence[Tensor] | None

    def score(self, seen: Seen, shape: tuple[int, int]) -> tuple[float, Float32]:
        photo = seen_of(seen.grids, seen.embedding, self.text.device)
        if isinstance(self.model, AnomalyClip):
            scores, maps = self.model.scores(photo, self.text, shape, SMOOTH * self.patch / 14)  # 14 in ViT-L/14
        else:
            scores, maps = self.model.scores(photo, self.text, shape)
            if self.good is not None:
                maps = maps + few_shot(photo, self.good, shape)
        return float(scores[0]), fine(maps[0].cpu().numpy(), shape, photo.grid)

    def settled(self, scores: Float32, peaks: Float32) -> Float32:
        if self.good is None:
            return scores
        if len(scores) < FEW:
            return np.asarray((scores + peaks / (HIGHEST * len(self.good))) / 2, dtype=np.float32)
        return joined(scores, peaks)
