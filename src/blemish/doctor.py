"""What a scan needs and whether it is here. Looks, never changes anything."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from blemish import machine
from blemish.errors import BackboneError
from blemish.paths import cache_dir

__all__ = ["Finding", "examine"]


@dataclass(frozen=True)
class Finding:
    subject: str
    ok: bool
    text: str
    needed: bool = False  # without it no scan works

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def examine() -> list[Finding]:
    """One finding a subject; needed ones first."""
    return [*_packages(), *_weights(), *_hardware(), *_folders()]


def _packages() -> list[Finding]:
    findings = []
    for name in ("blemish", "torch", "numpy", "pillow", "tifffile", "safetensors"):
        try:
            findings.append(Finding(name, True, version(name), needed=True))
        except PackageNotFoundError:
            findings.append(Finding(name, False, f"missing: pip install {name}", needed=True))
    for module, extra in (("transformers", "hub"), ("onnx", "vit")):
        there = find_spec(module) is not None
        findings.append(Finding(f"extra {extra}", there, "installed" if there else f"pip install 'blemish[{extra}]'"))
    return findings


def _weights() -> list[Finding]:
    from blemish.features.registry import list_backbones, load_backbone

    findings = []
    for facts in list_backbones():
        if facts.name == "mock":
            continue
        try:
            loaded = load_backbone(facts.name)
            text = f"loads; {facts.licence}; sha256 {loaded.weights_sha256[:12]}"
            findings.append(Finding(facts.name, True, text, needed=facts.name == "effnet-lite2"))
        except BackboneError as error:
            findings.append(Finding(facts.name, False, str(error), needed=facts.name == "effnet-lite2"))
    return findings


def _hardware() -> list[Finding]:
    device, reason = machine.choose_device("auto")
    return [
        Finding("device", True, f"{device}: {reason}"),
        Finding("cores", True, str(machine.cores())),
        Finding("memory", True, f"{machine.available_memory() / 2**30:.1f} GiB free; a scan takes half unless told"),
    ]


def _folders() -> list[Finding]:
    cache = cache_dir()
    size = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file()) if cache.is_dir() else 0
    nearest = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    writable = os.access(nearest, os.W_OK)
    free = shutil.disk_usage(nearest).free / 2**30
    text = f"{cache} holds {size / 2**20:.0f} MiB, {free:.0f} GiB free" + ("" if writable else "; NOT writable")
    offline = [
        f"{name}={os.environ[name]}" for name in ("HF_HUB_OFFLINE", "HF_HOME", "BLEMISH_CACHE") if name in os.environ
    ]
    return [
        Finding("cache", writable, text),
        Finding("here", os.access(Path.cwd(), os.W_OK), f"{Path.cwd()}"),
        Finding("environment", True, ", ".join(offline) or "no variable set that blemish heeds"),
    ]
