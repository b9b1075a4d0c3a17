"""A backbone's own files inside another file, so that a detector can go where no package and no hub is.

It knows which files each kind of backbone is loaded from; nothing of detectors.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from blemish.errors import BackboneError
from blemish.features import effnet, hub, vit
from blemish.features.registry import Backbone, load_backbone

__all__ = ["pack", "unpack"]

STATE = "network.safetensors"


def pack(backbone: Backbone) -> dict[str, bytes]:
    """File name -> content of everything that ``unpack`` needs. Raises ``BackboneError`` if the files are gone."""
    if isinstance(backbone, effnet.EfficientNetLite2):
        return {STATE: save({name: tensor.contiguous() for name, tensor in backbone.state_dict().items()})}
    if isinstance(backbone, vit.VisionTransformer):
        return {STATE: vit.weights_file().read_bytes()}
    if isinstance(backbone, hub.HubTower):
        return {file.name: file.read_bytes() for file in hub.model_files(backbone.facts.name)}
    return {}


def unpack(name: str, files: Mapping[str, bytes], layers: tuple[int, ...], device: torch.device | str) -> Backbone:
    """The backbone that was packed. Raises ``BackboneError`` if the files are not its own."""
    if not files:
        return load_backbone(name, layers, device)
    try:
        if STATE not in files:
            return _from_folder(files, layers, torch.device(device))
        state = load(files[STATE])
        if name == "vit":
            network = vit.VisionTransformer(layers)
            network.weights_sha256 = hashlib.sha256(files[STATE]).hexdigest()
            network.load_state_dict(state)
            return network.eval().requires_grad_(False).to(device)
        return effnet.restored(state, layers, torch.device(device))
    except (RuntimeError, SafetensorError, KeyError) as error:  # torch's word for a state that does not fit
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise BackboneError(f"The weights in the file do not fit {name} ({first}). Freeze the run again.") from error


def _from_folder(files: Mapping[str, bytes], layers: tuple[int, ...], device: torch.device) -> Backbone:
    folder = Path(tempfile.mkdtemp(prefix="blemish-weights-"))
    try:
        for file, content in files.items():
            (folder / file).write_bytes(content)
        tower = hub.load(str(folder), layers, device)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(tower, shutil.rmtree, folder, ignore_errors=True)  # its tensors may be mapped from there
    return tower
