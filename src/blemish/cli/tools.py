"""What is installed and what can be had: ``backbones``, ``fetch``, ``doctor``."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from blemish.cli.options import AsJson
from blemish.errors import ConfigError

__all__ = ["backbones", "doctor", "fetch"]


def backbones(as_json: AsJson = False) -> None:
    """What can be typed after --backbone, under which licence."""
    from dataclasses import asdict

    from blemish.features.registry import list_backbones

    known = list_backbones()
    if as_json:
        print(json.dumps([asdict(facts) for facts in known], indent=2))
        return
    for facts in known:
        print(f"{facts.name}: {facts.summary}")
        print(f"    weights {facts.source}; licence {facts.licence}")
        print(f"    layers {', '.join(map(str, facts.layers))} of {', '.join(map(str, facts.all_layers))}; ", end="")
        print(f"{facts.size} px; sizes in multiples of {facts.patch}; install: {facts.install or 'nothing to do'}")
    print("any DINOv2, DINOv3, CLIP or SigLIP vision tower: hub name (facebook/dinov2-small) or local folder")
    print("    needs pip install 'blemish[hub]'; its licence is on its model card")
    print("two at once: effnet-lite2+vit averages their maps")


def fetch(
    name: Annotated[
        str,
        typer.Argument(help="vit, or a hub name such as openai/clip-vit-base-patch16: a CLIP comes with its words."),
    ],
) -> None:
    """Download a model once, so that it works offline."""
    if name == "vit":
        from blemish.features import vit

        print(f"Stored {vit.fetch(progress=lambda line: print(line, file=sys.stderr))}")
        return
    if "/" not in name:
        raise ConfigError(
            f"Nothing to fetch for {name!r}: only vit, or a model by its hub name, such as "
            "openai/clip-vit-base-patch16 or facebook/dinov2-small."
        )
    from blemish.features import clip, hub

    with_words = clip.is_pair(name)
    files = clip.model_files(name) if with_words else hub.model_files(name)
    size = sum(file.stat().st_size for file in files) / 2**20
    reads = "photos and words" if with_words else "photos alone"
    print(f"Stored {files[0].parent}: {len(files)} files, {size:.0f} MiB; it reads {reads}")


def doctor(as_json: AsJson = False) -> None:
    """Is everything there that a scan needs?

    Versions, devices, memory, weights, folders."""
    from blemish.doctor import examine

    findings = examine()
    if as_json:
        print(json.dumps([finding.as_dict() for finding in findings], indent=2))
    else:
        for finding in findings:
            print(f"{'ok ' if finding.ok else 'NO ' if finding.needed else '-  '} {finding.subject:<20} {finding.text}")
    if any(finding.needed and not finding.ok for finding in findings):
        sys.exit(1)
