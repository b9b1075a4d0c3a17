"""CLIP's text tower (our own port): token ids, or embeddings that somebody learns in their place, to embeddings.

It knows learnable prompts as tensors that stand in the place of words, and AnomalyCLIP's deep prompts; nothing of
tokenizers, photos or scores. Nothing here switches gradients off: whoever calls decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from blemish.errors import ConfigError
from blemish.features.clip_blocks import Activation, Transformer, filled, sizes_of

__all__ = ["TextTower"]


class TextTower(nn.Module):
    """``end``: the id of the end-of-text token, where the embedding is read; by default the last of the vocabulary."""

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        context: int,
        vocabulary: int,
        embedding: int,
        activation: Activation,
        end: int | None = None,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.end = vocabulary - 1 if end is None else end
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.zeros(context, width))
        self.transformer = Transformer(width, depth, heads, hidden, activation, eps)
        self.ln_final = nn.LayerNorm(width, eps=eps)
        self.text_projection = nn.Parameter(torch.zeros(width, embedding))

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, Tensor],
        *,
        heads: int,
        activation: Activation,
        end: int | None = None,
        eps: float = 1e-5,
    ) -> TextTower:
        """The tower that an official state dict belongs to (without ``visual.*`` and ``logit_scale``), frozen.

        Raises ``BackboneError`` if tensors are missing, left over or of another shape.
        """

        def described() -> TextTower:
            vocabulary, width = state["token_embedding.weight"].shape
            return cls(
                width=width,
                heads=heads,
                context=len(state["positional_embedding"]),
                vocabulary=vocabulary,
                embedding=state["text_projection"].shape[1],
                activation=activation,
                end=end,
                eps=eps,
                **sizes_of(state),
            )

        return filled(described, state, "a CLIP text tower")

    @property
    def depth(self) -> int:
        return len(self.transformer.resblocks)

    @property
    def context(self) -> int:
        """The most tokens a text can have, start and end included."""
        return len(self.positional_embedding)

    def words(self, ids: Tensor) -> Tensor:
        """``ids: (n, t) -> (n, t, C)``: word embeddings without positions, what a learnable prompt is put into."""
        y: Tensor = self.token_embedding(ids)
        return y

    def ends(self, ids: Tensor) -> Tensor:
        """``ids: (n, t) -> (n,)``: where each text ends. Raises ``ConfigError`` if one has no end-of-text token."""
        is_end = ids == self.end
        if not bool(is_end.any(dim=1).all()):
            raise ConfigError(f"Each text must hold CLIP's end-of-text token, {self.end}. Make ids with the tokenizer.")
        return is_end.int().argmax(dim=1)

    def encode(self, ids: Tensor) -> Tensor:
        """``ids: (n, t)`` with t at most the context -> ``(n, E)``, the space shared with photos, not normalised."""
        if ids.shape[1] > self.context:
            raise ConfigError(f"This CLIP reads texts of {self.context} tokens, got {ids.shape[1]}.")
        return self.encode_words(self.words(ids), self.ends(ids))

    def encode_words(
        self, words: Tensor, ends: Tensor, deep: Sequence[Tensor] = (), *, half_deep: bool = False
    ) -> Tensor:
        """``words: (n, t, C)`` without positions, ``ends: (n,)`` where to read the embedding -> ``(n, E)``.

        ``deep``: AnomalyCLIP's deep prompts (Zhou et al. 2024), each ``(m, C)``; the i-th (from 1) takes the places 1
        to m, right after the start token, in what enters block 1 + i. ``half_deep`` rounds them to float16 first, and
        their gradients with them, as the published code does in a float32 model too (2e-4 on the embeddings).
        Raises ``ConfigError`` if there are more deep prompts than blocks to put them before, or they do not fit.
        """
        if len(deep) >= self.depth:
            raise ConfigError(
                f"A text tower of {self.depth} blocks takes at most {self.depth - 1} deep prompts, got {len(deep)}."
            )
        longest = max((len(prompt) for prompt in deep), default=0)
        if longest >= words.shape[1]:
            raise ConfigError(f"Deep prompts of {longest} tokens do not fit texts of {words.shape[1]}.")
        # attention is causal, so what stands behind the last end changes nothing; texts are short and contexts long
        length = max(int(ends.max()), longest) + 1
        x = words[:, :length] + self.positional_embedding[:length]
        for index, block in enumerate(self.transformer.resblocks):
            if 1 <= index <= len(deep):
                x = _inserted(x, deep[index - 1], half_deep)
            x = block(x, causal=True)
        y: Tensor = self.ln_final(x[torch.arange(len(x), device=x.device), ends]) @ self.text_projection
        return y


def _inserted(x: Tensor, prompt: Tensor, half: bool) -> Tensor:
    if half:
        prompt = prompt.half()
    prompt = prompt.to(x.dtype).expand(len(x), -1, -1)
    return torch.cat([x[:, :1], prompt, x[:, 1 + prompt.shape[1] :]], dim=1)
