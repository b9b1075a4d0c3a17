"""A tiny CLIP with both towers and a tokenizer of single letters, written to disk as transformers saves real ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from blemish.features.clip_weights import official_state

START, END = "<|startoftext|>", "<|endoftext|>"


def tiny_clip(activation: str = "quick_gelu", context: int = 40) -> Any:
    """A ``CLIPModel`` with random weights: patches of 8, 32 px, 4 vision blocks, 3 text blocks, 24 shared channels."""
    import transformers

    sizes = {"intermediate_size": 48, "num_attention_heads": 2, "hidden_act": activation}
    words = len(_vocabulary())
    config = transformers.CLIPConfig(
        text_config={
            **sizes,
            "hidden_size": 16,
            "num_hidden_layers": 3,
            "max_position_embeddings": context,
            "vocab_size": words,
            "bos_token_id": words - 2,
            "eos_token_id": words - 1,
            "pad_token_id": words - 1,
        },
        vision_config={**sizes, "hidden_size": 32, "num_hidden_layers": 4, "image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    torch.manual_seed(7)
    model = transformers.CLIPModel(config).eval().requires_grad_(False)
    for parameter in model.parameters():  # fresh LayerNorms and biases are 1 and 0 and would hide mistakes
        parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def save_tokenizer(folder: Path) -> None:
    """vocab.json and merges.txt, as older models on the hub have them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(_vocabulary()), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\nm e\nme t\na l</w>\nmet al</w>\n", encoding="utf-8")


def save_clip(folder: Path, activation: str = "quick_gelu", context: int = 40) -> Any:
    """Write a tiny CLIP's config, weights and tokenizer into ``folder``; returns the model."""
    model = tiny_clip(activation, context)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return model


def save_as_open_clip(model: Any, folder: Path) -> None:
    """The same as open_clip publishes models on the hub, with the config.json that timm has beside it."""
    from safetensors.torch import save_file

    save_tokenizer(folder)
    save_file(official_state(model.state_dict()), folder / "open_clip_model.safetensors")
    vision, text = model.config.vision_config, model.config.text_config
    config = {
        "model_cfg": {
            "embed_dim": model.config.projection_dim,
            "vision_cfg": {
                "image_size": vision.image_size,
                "layers": vision.num_hidden_layers,
                "width": vision.hidden_size,
                "head_width": vision.hidden_size // vision.num_attention_heads,
                "patch_size": vision.patch_size,
            },
            "text_cfg": {
                "context_length": text.max_position_embeddings,
                "vocab_size": text.vocab_size,
                "width": text.hidden_size,
                "heads": text.num_attention_heads,
                "layers": text.num_hidden_layers,
            },
            "quick_gelu": vision.hidden_act == "quick_gelu",
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text(json.dumps({"architecture": "vit_tiny_patch8_clip_32"}))


def _vocabulary() -> dict[str, int]:
    """Printable ASCII, alone and at the end of a word, a few merged pieces, start and end."""
    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "me", "met", "al</w>", "metal</w>", START, END]
    return {word: at for at, word in enumerate(words)}
