"""DINOv2, DINOv3, CLIP and SigLIP vision towers, by hub name or local folder, loaded with ``transformers``.

It knows how each family wants its photos and where its patch tokens are; nothing of downloads (hub_files.py) or
scores. A model once fetched is read from the hub's cache and never checked for updates: later runs see the
same model. Only safetensors are read, never pickle.

What is returned per family; CLS and register tokens are never part of a grid:

* DINOv2 (with or without registers), DINOv3: each layer's tokens after the *final* LayerNorm, as the official
  ``get_intermediate_layers(norm=True)``; the embedding is the last block's CLS after it.
* CLIP: the raw residual stream after each block, without post-LayerNorm, as MuSc and APRIL-GAN take it; the
  embedding is the last CLS after post-LayerNorm and, if the files hold both towers, the projection into the
  space shared with text. The activation is the config's: QuickGELU for OpenAI's weights.
* SigLIP: the raw residual stream likewise; the embedding is its attention pooling (the mean without a head).

Position embeddings are resized by ``transformers``: bicubic to the target size. For DINOv2 without registers
the official code adds an offset of 0.1 patches, so at other than native sizes the two differ a little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blemish.errors import BackboneError
from blemish.features import hub_files
from blemish.features.registry import IMAGENET_MEAN, IMAGENET_STD, BackboneFacts, Features

__all__ = ["CLIP_MEAN", "CLIP_STD", "FAMILIES", "HubTower", "facts", "load", "model_files"]

WORKING_SIZE = 336  # pixels; the usual 518 takes a CPU about three times as long
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class _Family:
    title: str
    config: str  # class names in transformers
    model: str
    norm: str  # attribute of the final LayerNorm that is applied to each returned layer; empty: none is
    cls_tokens: int
    resizes_on_request: bool  # whether forward() wants to be told to resize its position embedding
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: str


def _dino(title: str, prefix: str, norm: str) -> _Family:
    names = (f"{prefix}Config", f"{prefix}Model")
    return _Family(title, *names, norm, 1, False, IMAGENET_MEAN, IMAGENET_STD, "bilinear")


_CLIP = _Family("CLIP", "CLIPVisionConfig", "CLIPVisionModel", "", 1, True, CLIP_MEAN, CLIP_STD, "bicubic")
_SIGLIP = _Family("SigLIP", "SiglipVisionConfig", "SiglipVisionModel", "", 0, True, HALF, HALF, "bicubic")
FAMILIES = {  # by the model_type in config.json
    "dinov2": _dino("DINOv2", "Dinov2", "layernorm"),
    "dinov2_with_registers": _dino("DINOv2 with registers", "Dinov2WithRegisters", "layernorm"),
    "dinov3_vit": _dino("DINOv3", "DINOv3ViT", "norm"),
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
}


class HubTower:
    """A loaded vision tower; ``layers`` are blocks counted from 1."""

    def __init__(
        self,
        facts: BackboneFacts,
        layers: tuple[int, ...],
        *,
        weights_sha256: str,
        family: _Family,
        model: nn.Module,
        projection: Tensor | None,
    ) -> None:
        self.facts = facts
        self.layers = layers
        self.weights_sha256 = weights_sha256
        self._family = family
        self._model = model
        self._projection = projection  # (E, C)
        self._norm: nn.Module = getattr(model, family.norm) if family.norm else nn.Identity()
        self._prefix = family.cls_tokens + getattr(model.config, "num_register_tokens", 0)
        self._tokens: dict[int, Tensor] = {}
        # Hooks rather than output_hidden_states: versions of transformers differ on whether the last of them
        # has been through the final LayerNorm, and the outputs of all blocks would be kept.
        blocks = _blocks(model, len(facts.all_layers))
        for layer in layers:
            blocks[layer - 1].register_forward_hook(self._keeper(layer))

    @torch.inference_mode()
    def extract(self, photos: Tensor) -> Features:
        """``photos: (b, 3, H, W)`` uint8 RGB, sides multiples of the patch -> grids ``(b, h, w, C)``."""
        b, _, height, width = photos.shape
        if height % self.facts.patch or width % self.facts.patch:
            wanted = f"multiples of {self.facts.patch}"
            raise ValueError(f"{self.facts.name} needs height and width in {wanted}, got {height} x {width}.")
        h, w = height // self.facts.patch, width // self.facts.patch
        mean, std = (photos.new_tensor(v, dtype=torch.float32) for v in (self.facts.mean, self.facts.std))
        x = (photos.float() / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
        options = {"interpolate_pos_encoding": True} if self._family.resizes_on_request else {}
        output = self._model(pixel_values=x, **options)
        embedding = output.pooler_output
        if embedding is None:  # a SigLIP without its pooling head
            embedding = output.last_hidden_state.mean(dim=1)
        if self._projection is not None:
            embedding = embedding @ self._projection.T
        grids = [self._norm(self._tokens[layer])[:, self._prefix :].reshape(b, h, w, -1) for layer in self.layers]
        self._tokens.clear()
        return Features(grids=grids, embedding=embedding)

    def _keeper(self, layer: int) -> Callable[[nn.Module, Any, Any], None]:
        def keep(block: nn.Module, inputs: Any, output: Any) -> None:
            self._tokens[layer] = output[0] if isinstance(output, tuple) else output

        return keep


def facts(name: str) -> BackboneFacts:
    """Facts of a hub name or local folder, from its config.json and preprocessor_config.json.

    Default layers are the quarter points (3, 6, 9, 12 of 12 blocks). The default size is the multiple of the
    patch nearest to 336 px, so that a CPU can do it; with a GPU, 518 (512 for patches of 16) shows more.
    Raises ``BackboneError`` if the model is not to be had, or of a kind that is not supported.
    """
    return _described(name)[0]


def load(name: str, layers: tuple[int, ...], device: torch.device) -> HubTower:
    """Load the weights (float32), downloading them into the hub's cache if they are not there.

    Raises ``BackboneError`` if they cannot be had, exist only as pickle, or do not fill the network.
    """
    described, family, folder = _described(name)
    files = hub_files.weight_files(name, folder)
    with hub_files.quiet():
        import transformers

        try:
            model, report = getattr(transformers, family.model).from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
        except Exception as error:  # transformers raises many kinds; all mean that these files do not fit
            raise BackboneError(f"transformers cannot load {name} from {folder}: {error}") from error
    if missing := sorted(report["missing_keys"]):
        raise BackboneError(
            f"The weights of {name} lack {', '.join(missing[:3])}{', ...' if missing[3:] else ''}, which "
            f"transformers would fill with random numbers. Is {folder} the complete {family.title} model?"
        )
    projection = _projection(files) if family is _CLIP else None
    model = model.eval().requires_grad_(False).to(device)
    if projection is not None:
        projection = projection.to(device)
    return HubTower(
        described, layers, weights_sha256=hub_files.sha256(files), family=family, model=model, projection=projection
    )


def _described(name: str) -> tuple[BackboneFacts, _Family, Path]:
    """Facts, family and the folder that holds the model's files."""
    hub_files.require_extra()
    folder = hub_files.folder_of(name)
    raw = hub_files.read_json(folder / "config.json")
    family = FAMILIES.get(str(raw.get("model_type")))
    if family is None:
        raise BackboneError(
            f"{name} is of the kind {raw.get('model_type')!r}, which blemish cannot use as a backbone. "
            f"Supported model_type in config.json: {', '.join(FAMILIES)}."
        )
    config = _config(name, family, folder)
    mean, std = hub_files.mean_std(folder, (family.mean, family.std))
    depth, patch = config.num_hidden_layers, hub_files.patch_side(name, config.patch_size)
    described = BackboneFacts(
        name=name,
        summary=f"{family.title}, {depth} blocks of {config.hidden_size} channels, by transformers",
        source=hub_files.source(name, folder),
        licence=hub_files.licence(name, folder),
        patch=patch,
        layers=tuple(sorted({-(-depth * quarter // 4) for quarter in (1, 2, 3, 4)})),
        all_layers=tuple(range(1, depth + 1)),
        mean=mean,
        std=std,
        size=max(1, round(WORKING_SIZE / patch)) * patch,
        join=False,
        radii=(1, 3),
        resize=family.resize,
        install="pip install 'blemish[hub]'" + ("" if hub_files.is_local(name) else f" && hf download {name}"),
    )
    return described, family, folder


def model_files(name: str) -> list[Path]:
    """All files that ``load`` reads, downloaded if need be: settings, weights. Raises ``BackboneError`` as it does."""
    _, _, folder = _described(name)
    settings = [folder / file for file in ("config.json", "preprocessor_config.json", hub_files.WEIGHTS_INDEX)]
    return [file for file in settings if file.is_file()] + hub_files.weight_files(name, folder)


def _config(name: str, family: _Family, folder: Path) -> Any:
    """The vision tower's config, gaps filled with the family's defaults; of a two-tower model, its part."""
    import transformers

    try:
        with hub_files.quiet():
            return getattr(transformers, family.config).from_pretrained(folder, local_files_only=True)
    except AttributeError as error:
        raise BackboneError(
            f"{name} needs a transformers newer than {transformers.__version__}, which does not know "
            f"{family.title}. Type: pip install --upgrade transformers"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise BackboneError(f"The config.json of {name} cannot be used: {error}") from error


def _blocks(model: nn.Module, depth: int) -> nn.ModuleList:
    """The transformer blocks; families and versions keep them in different places, but always in one list."""
    return next(m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == depth)


def _projection(files: list[Path]) -> Tensor | None:
    """CLIP's projection ``(E, C)`` into the space shared with text, if the files are of a two-tower model."""
    from safetensors import safe_open

    for path in files:
        with safe_open(path, framework="pt") as file:
            if "visual_projection.weight" in file.keys():  # noqa: SIM118 - it is not a dict
                tensor: Tensor = file.get_tensor("visual_projection.weight")
                return tensor.float()
    return None
