"""The weights of a CLIP that transformers saved, under the key names of OpenAI's and open_clip's state dicts.

It knows two sets of names for the same tensors, nothing of what they do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from blemish.errors import BackboneError

__all__ = ["official_state", "read", "towers"]

_NAMES = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",  # their spelling
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "logit_scale": "logit_scale",
}
_TRANSPOSED = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}
_IN_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_BLOCK = re.compile(r"(text|vision)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_BUFFERS = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")  # 0, 1, 2, ...; old files


def official_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All tensors of transformers' CLIPModel, renamed; queries, keys and values joined, projections (C, E).

    Raises ``BackboneError`` if there is a tensor that CLIP does not have.
    """
    state: dict[str, Tensor] = {}
    joined: dict[str, dict[str, Tensor]] = {}  # in_proj_weight or in_proj_bias of a block -> q, k, v
    for key, tensor in tensors.items():
        if key in _NAMES:
            state[_NAMES[key]] = tensor
        elif key in _TRANSPOSED:
            state[_TRANSPOSED[key]] = tensor.T.contiguous()
        elif found := _BLOCK.fullmatch(key):
            tower, index, part, kind = found.groups()
            block = f"{'visual.' if tower == 'vision' else ''}transformer.resblocks.{index}."
            if part in _IN_BLOCK:
                state[f"{block}{_IN_BLOCK[part]}.{kind}"] = tensor
            elif part in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"):
                joined.setdefault(f"{block}attn.in_proj_{kind}", {})[part[-6]] = tensor
            else:
                raise _stranger(key)
        elif key not in _BUFFERS:
            raise _stranger(key)
    for key, parts in joined.items():
        if len(parts) == 3:  # else the key is missing, and whoever fills a tower says so
            state[key] = torch.cat([parts[name] for name in "qkv"])
    return state


def towers(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """An official state dict's vision part, without ``visual.``, and its text part, without ``logit_scale``: both
    published methods that use words set the temperature themselves."""
    prefix = "visual."
    vision = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    text = {key: tensor for key, tensor in state.items() if not key.startswith(prefix) and key != "logit_scale"}
    return vision, text


def read(files: Sequence[Path]) -> dict[str, Tensor]:
    """All tensors of a model's safetensors files. Raises ``BackboneError`` if one is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    found: dict[str, Tensor] = {}
    for path in files:
        try:
            found |= load_file(path)
        except (OSError, SafetensorError) as error:
            raise BackboneError(f"The weights at {path} cannot be read: {error}. Fetch the model again.") from error
    return found


def _stranger(key: str) -> BackboneError:
    return BackboneError(
        f"These weights hold a tensor called {key}, which CLIP does not have. Give a model of the kind that "
        "transformers' CLIPModel saves, for example openai/clip-vit-large-patch14-336."
    )
