"""What the manifest of a run says about where it comes from: class, method, backbone; and which numbers fit it.

It reads manifests of any age: what is not there is not said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blemish.errors import ConfigError
from blemish.published.numbers import data_set, published

__all__ = ["class_of", "made", "suggestion"]

Manifest = Mapping[str, Any]

PARTS_OF_A_CLASS = {"test", "data", "images", "photos"}  # folders that somebody may have scanned alone


def class_of(manifest: Manifest) -> str:
    """The name of the folder that was scanned; of the folder above it if only its ``test`` was."""
    source = Path(manifest.get("source") or "unnamed")
    while source.name.lower() in PARTS_OF_A_CLASS and source.parent.name:
        source = source.parent
    return source.stem if source.suffix.lower() == ".csv" else source.name


def made(manifests: Sequence[Manifest]) -> str:
    """Method, backbone and size of the runs, and that they differ if they do."""
    ways = sorted({_way(manifest) for manifest in manifests})
    sizes = sorted({_size(manifest) for manifest in manifests})
    way = ways[0] if len(ways) == 1 else f"made in {len(ways)} ways ({'; '.join(ways[:3])})"
    size = sizes[0] if len(sizes) == 1 else f"sizes from {sizes[0]} to {sizes[-1]}"
    return ", ".join(filter(None, (way, size)))


def suggestion(classes: Sequence[str], manifests: Sequence[Manifest], data: str | None) -> tuple[str, ...]:
    """Names of published numbers that fit the method of the runs, if all were made with the same; else none."""
    fitting = {_fitting(manifest) for manifest in manifests}
    if len(fitting) != 1:
        return ()
    found = []
    for name in fitting.pop():
        try:
            found.append(published(name, data_set(classes, data)).name)
        except ConfigError:
            continue  # nothing is known of it on this data set, or no data set has these classes
    return tuple(found)


def _way(manifest: Manifest) -> str:
    config, text, method = _settings(manifest)
    backbones = [of.get("name", "?") for of in manifest.get("backbones") or ()]
    said = [f"method {method}", " + ".join(backbones) or str(config.get("backbone", ""))]
    if method == "mutual":
        said += [f"families {rule}" if (rule := (config.get("families") or {}).get("rule")) else ""]
        said += [f"RsCIN {','.join(map(str, config['rscin']))}" if config.get("rscin") else ""]
    said += [f"model {Path(text['model']).name}" if text.get("model") else ""]
    said += [f"words of {Path(text['prompts']).name}" if text.get("prompts") else ""]
    good = _shots(text)
    said += ["good photos of a folder" if good is None else _count(good, "good photo")]
    said += [_count(len(text.get("defects") or ()), "marked defect")]
    return ", ".join(filter(None, said))


def _size(manifest: Manifest) -> str:
    shapes = [of.get("working_size") or {} for of in manifest.get("backbones") or ()]
    return " + ".join(f"{shape['width']}x{shape['height']} px" for shape in shapes if {"width", "height"} <= set(shape))


def _fitting(manifest: Manifest) -> tuple[str, ...]:
    config, text, method = _settings(manifest)
    good = _shots(text)
    if method == "text":
        alone = ("winclip", "winclip-rerun") if good == 0 else _of_shots("winclip", good)
        return ("winclip+defect",) if text.get("defects") else alone
    if method == "prompt":
        model = str((manifest.get("resolved") or {}).get("model", ""))
        return _of_shots(model, good) if good != 0 else (model,)
    backbone, musc = str(config.get("backbone", "")), (config.get("families") or {}).get("rule") == "off"
    if "clip-vit-large-patch14-336" in backbone:
        return ("musc", "musc-paper") if musc else ("codegraph",)
    if "dinov2-large" in backbone:
        return ("musc-dinov2",) if musc else ("codegraph-dinov2",)
    return ()


def _settings(manifest: Manifest) -> tuple[Manifest, Manifest, str]:
    """All settings, those of words, and the method; runs of before there were words have but one method."""
    config = manifest.get("config") or {}
    return config, config.get("text") or {}, config.get("method", "mutual")


def _shots(text: Manifest) -> int | None:
    """Good photos that were shown; None if a folder of them was."""
    good = text.get("good") or ()
    return len(good) if all(Path(one).suffix for one in good) else None


def _of_shots(name: str, good: int | None) -> tuple[str, ...]:
    return tuple(f"{name}+{shots}" for shots in ((1, 2, 4) if good is None else (good,)))


def _count(things: int, noun: str) -> str:
    return f"{things} {noun}{'' if things == 1 else 's'}" if things else ""
