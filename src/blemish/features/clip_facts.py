"""What a CLIP pair's config files say, in the two formats that CLIPs with both towers are published in.

* transformers (``openai/clip-vit-base-patch16``): config.json of model_type "clip", and preprocessor_config.json;
* open_clip (``timm/vit_base_patch16_plus_clip_240.laion400m_e31``, the backbone of WinCLIP): open_clip_config.json.

It knows files of settings, nothing of weights. Where both formats lie side by side, transformers' is read.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from blemish.errors import BackboneError
from blemish.features import hub_files
from blemish.features.clip_blocks import Activation
from blemish.features.hub import CLIP_MEAN, CLIP_STD, FAMILIES

__all__ = ["OPEN_CLIP", "ClipFacts", "TowerFacts", "described", "folder_of", "layout_of"]

Layout = Literal["transformers", "open_clip"]  # of the files

OPEN_CLIP = "open_clip_config.json"
# what a config of open_clip may set: with anything else the network would be another one than ours
_TOP = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
_VISION = {"image_size", "layers", "width", "head_width", "patch_size", "mlp_ratio"}
_TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}


@dataclass(frozen=True)
class TowerFacts:
    width: int  # channels of a token
    depth: int  # blocks
    heads: int
    activation: Activation  # what the model was trained with
    eps: float = 1e-5  # of LayerNorm


@dataclass(frozen=True)
class ClipFacts:
    """What is known of a pair before its weights are loaded."""

    name: str
    layout: Layout
    source: str
    licence: str
    patch: int  # pixels; height and width of photos must be multiples of it
    native: int  # pixels: the side of the square it was trained on
    embedding: int  # channels of the space that photos and words share
    context: int  # the most tokens of a text, start and end included
    vocabulary: int
    vision: TowerFacts
    text: TowerFacts
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: str = "bicubic"  # interpolation of photos; antialiased


def folder_of(name: str) -> Path:
    """The folder with the config files of a hub name or local folder. Raises ``BackboneError`` if there is none."""
    from huggingface_hub import errors, try_to_load_from_cache

    local = Path(name).expanduser()
    if local.is_dir():
        return local if (local / OPEN_CLIP).is_file() else hub_files.folder_of(name)
    try:  # repositories of open_clip lack files of transformers, for which the hub's helpers would go online
        cached = try_to_load_from_cache(name, OPEN_CLIP)
    except errors.HFValidationError:
        cached = None  # that it cannot be a name is said there
    return Path(cached).parent if isinstance(cached, str) else hub_files.folder_of(name)


def layout_of(name: str, folder: Path) -> Layout | None:
    """The format of a CLIP with both towers; None of any other model."""
    kind = _kind(folder)
    if kind == "clip":
        return "transformers"
    if kind is not None:
        return None
    # timm's repositories have a config.json of their own besides open_clip's
    found = folder / OPEN_CLIP if hub_files.is_local(name) else hub_files.fetch_file(name, OPEN_CLIP, folder.name)
    return "open_clip" if found is not None and found.is_file() else None


def described(name: str, folder: Path) -> ClipFacts:
    """Raises ``BackboneError`` if the model is no CLIP with both towers, or one that our towers cannot reproduce."""
    layout = layout_of(name, folder)
    if layout == "transformers":
        return _of_transformers(name, folder)
    if layout == "open_clip":
        return _of_open_clip(name, folder, hub_files.read_json(folder / OPEN_CLIP))
    kind = _kind(folder)
    alone = "a vision tower alone" if kind in FAMILIES and kind != "siglip" else "not a CLIP"
    raise BackboneError(
        f"{name} is of the kind {kind!r}, {alone}, so it cannot read words. Give a model that holds both towers of "
        f"CLIP (model_type 'clip' in config.json, or an {OPEN_CLIP}), for example openai/clip-vit-base-patch16."
    )


def _kind(folder: Path) -> str | None:
    config = folder / "config.json"
    kind = hub_files.read_json(config).get("model_type") if config.is_file() else None
    return None if kind is None else str(kind)


def _of_transformers(name: str, folder: Path) -> ClipFacts:
    transformers: Any = importlib.import_module("transformers")
    try:
        with hub_files.quiet():  # it fills gaps: configs on the hub leave out what its defaults say
            config = transformers.CLIPConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers and its validation raise many kinds
        raise BackboneError(f"The config.json of {name} cannot be used: {error}") from error
    vision, text = config.vision_config, config.text_config
    mean, std = hub_files.mean_std(folder, (CLIP_MEAN, CLIP_STD))
    return ClipFacts(
        name=name,
        layout="transformers",
        source=hub_files.source(name, folder),
        licence=hub_files.licence(name, folder),
        patch=hub_files.patch_side(name, vision.patch_size),
        native=_side(name, vision.image_size),
        embedding=int(config.projection_dim),
        context=int(text.max_position_embeddings),
        vocabulary=int(text.vocab_size),
        vision=_tower(name, vision),
        text=_tower(name, text),
        mean=mean,
        std=std,
    )


def _tower(name: str, config: Any) -> TowerFacts:
    activation = config.hidden_act
    if activation not in ("quick_gelu", "gelu"):
        raise BackboneError(
            f"{name} uses the activation {activation!r}; CLIP's are quick_gelu (OpenAI) and gelu (most of LAION's), "
            "and with another one the weights would mean something else."
        )
    return TowerFacts(
        width=int(config.hidden_size),
        depth=int(config.num_hidden_layers),
        heads=int(config.num_attention_heads),
        activation=activation,
        eps=float(config.layer_norm_eps),
    )


def _of_open_clip(name: str, folder: Path, config: dict[str, Any]) -> ClipFacts:
    try:
        model, seen = config["model_cfg"], config.get("preprocess_cfg", {})
        vision, text = model["vision_cfg"], model["text_cfg"]
        if strange := [*(model.keys() - _TOP), *(vision.keys() - _VISION), *(text.keys() - _TEXT)]:
            raise BackboneError(
                f"{name} is a variant of CLIP that blemish does not have: its {OPEN_CLIP} sets "
                f"{', '.join(sorted(strange))}. Give a plain one, for example timm/vit_large_patch14_clip_336.openai."
            )
        activation: Activation = "quick_gelu" if model.get("quick_gelu") else "gelu"  # open_clip's default is gelu
        red, green, blue = seen.get("mean", CLIP_MEAN)
        mean = float(red), float(green), float(blue)
        red, green, blue = seen.get("std", CLIP_STD)
        return ClipFacts(
            name=name,
            layout="open_clip",
            source=hub_files.source(name, folder),
            licence=hub_files.licence(name, folder),
            patch=hub_files.patch_side(name, vision["patch_size"]),
            native=_side(name, vision["image_size"]),
            embedding=int(model["embed_dim"]),
            context=int(text.get("context_length", 77)),
            vocabulary=int(text.get("vocab_size", 49408)),
            vision=TowerFacts(
                vision["width"], vision["layers"], vision["width"] // vision.get("head_width", 64), activation
            ),
            text=TowerFacts(text["width"], text["layers"], text["heads"], activation),
            mean=mean,
            std=(float(red), float(green), float(blue)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BackboneError(f"The {OPEN_CLIP} of {name} cannot be used: {error!r}. Fetch the model again.") from error


def _side(name: str, size: Any) -> int:
    sides = set(size) if isinstance(size, list | tuple) else {size}
    if len(sides) != 1:
        raise BackboneError(f"{name} was trained on photos of {size} pixels; only square ones are supported.")
    return int(sides.pop())
