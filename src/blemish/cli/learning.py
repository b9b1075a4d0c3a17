"""A finished run as a teacher: ``pseudo-masks`` writes what it says as labels, ``learn`` trains a model on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from blemish.cli.options import AsJson, Quiet
from blemish.cli.words import printable, progress_for
from blemish.errors import ConfigError

__all__ = ["learn", "pseudo_masks"]

KINDS = {"anomalyclip": "anomalyclip", "aprilgan": "april-gan"}


def pseudo_masks(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    out: Annotated[Path, typer.Option(help="A new folder for the tree.")],
    labels: Annotated[
        str, typer.Option(help="verdict: the run's own calls; otsu: Otsu's threshold on the scores.")
    ] = "verdict",
    masks: Annotated[
        str, typer.Option(help="regions: as the run marks them; level: all pixels above Q3 + 3 IQR of good photos.")
    ] = "regions",
    unsure: Annotated[
        str, typer.Option(help="Photos that need a look: 'leave out', or 'weigh' them by their little confidence.")
    ] = "leave out",
    copy: Annotated[bool, typer.Option("--copy", help="Copy the photos instead of linking to them.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write what a run says as labels and masks that any trainer can read: an MVTec-like tree.

    Hard masks, soft ones and the confidence of each pixel and photo. `blemish learn` takes the tree, or the run."""
    from blemish.learning.pseudo_masks import Recipe, pseudo_labels
    from blemish.learning.pseudo_tree import write

    found = pseudo_labels(run, Recipe(labels=labels, masks=masks, unsure=unsure))  # type: ignore[arg-type]  # it checks
    tree = write(found, out, copy=copy, progress=progress_for(quiet or as_json))
    defective = sum(photo.label for photo in found.photos)
    good = len(found.photos) - defective
    if as_json:
        facts = {"tree": str(tree), "defective": defective, "good": good, "left_out": dict(found.left_out)}
        print(json.dumps(facts, indent=2))
    elif not quiet:
        print(f"{defective} defective and {good} good photos; {len(found.left_out)} left out, see pseudo.json for why.")
        print(printable(f"Tree: {tree}"))


def learn(
    kind: Annotated[str, typer.Argument(help="anomalyclip or april-gan.")],
    more: Annotated[list[str] | None, typer.Argument(metavar="[MORE]", help="Further sources, as --from.")] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            help="A run, a tree of pseudo-masks, or a labelled data set's class; words=PATH names its product.",
        ),
    ] = None,
    clip: Annotated[str, typer.Option(help="The CLIP to learn on: a hub name or a folder.")] = "",
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("model.safetensors"),
    epochs: Annotated[int | None, typer.Option(help="At most; default 15.")] = None,
    holdout: Annotated[
        float | None,
        typer.Option(help="Share of the photos kept for stopping early; default 0.1 of 300 or more; 0: all epochs."),
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Epochs without a better loss on these, after which it stops.")
    ] = None,
    balance: Annotated[
        bool | None,
        typer.Option("--balance/--all-good", help="As many good photos as defective ones, or all there are."),
    ] = None,
    size: Annotated[int | None, typer.Option(help="Working size in pixels; default 518, or what CLIP is for.")] = None,
    batch: Annotated[int | None, typer.Option(help="Photos a step; default 8.")] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate; default 0.001.")] = None,
    targets: Annotated[
        str | None, typer.Option(help="hard: masks, as published; soft: how far they are believed.")
    ] = None,
    weigh: Annotated[
        bool | None, typer.Option("--weigh/--alike", help="Weigh pixels and photos by confidence, or count all alike.")
    ] = None,
    average: Annotated[float | None, typer.Option(help="Decay of a moving average of the weights, e.g. 0.99.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the first weights and the order; default 111.")] = None,
    activation: Annotated[
        str | None,
        typer.Option(help="quick_gelu or gelu, in the place of CLIP's own; gelu as APRIL-GAN was published."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    memory: Annotated[str | None, typer.Option(help="Most memory to use, e.g. 2GiB.")] = None,
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Keep what CLIP sees for the next time.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a prompt model on what finished runs say, for photos of other products: `blemish scan --method prompt`.

    CLIP sees each photo once; epochs are quick after that. Stopped, the same command goes on with the last epoch."""
    from blemish.config import parse_bytes
    from blemish.learning.learn import learn as train
    from blemish.learning.training import TrainConfig

    known = KINDS.get(kind.lower().replace("-", "").replace("_", ""))
    if known is None:
        raise ConfigError(f"There is no prompt model {kind!r}; learn anomalyclip or april-gan.")
    if activation not in (None, "quick_gelu", "gelu"):
        raise ConfigError(f"--activation takes quick_gelu or gelu; received {activation!r}.")
    sources = [*(source or ()), *(more or ())]
    if not sources:
        raise ConfigError("Learn from what? blemish learn anomalyclip --from RUN --clip NAME --out model.safetensors")
    if not clip:
        raise ConfigError("Learn on which CLIP? Type --clip timm/vit_large_patch14_clip_336.openai, or a local folder.")
    said = {
        "epochs": epochs,
        "holdout": holdout,
        "balance": balance,
        "patience": patience,
        "size": size,
        "batch": batch,
        "rate": rate,
        "targets": targets,
        "weigh": weigh,
        "average": average,
        "seed": seed,
    }
    config = TrainConfig(**{name: value for name, value in said.items() if value is not None})  # type: ignore[arg-type]
    done = train(
        known,  # type: ignore[arg-type]  # one of the two
        sources,
        clip,
        out,
        config,
        activation=activation,  # type: ignore[arg-type]  # one of the two, as just checked
        overwrite=overwrite,
        device=device,
        memory=None if memory is None else parse_bytes(memory),
        cache=cache,
        progress=progress_for(quiet or as_json),
    )
    last = done.history[done.stopped_at - 1]
    if as_json:
        facts = {
            "model": str(done.file),
            "defective": done.defective,
            "good": done.good,
            "epochs": [[epoch.loss, epoch.held_out] for epoch in done.history],
            "kept_epoch": done.stopped_at,
            "why": done.why,
            "notes": list(done.notes),
        }
        print(json.dumps(facts, indent=2))
    elif not quiet:
        print(
            f"Learned from {done.defective} defective and {done.good} good photos; {done.why} (loss {last.loss:.4f})."
        )
        print(f"Model: {done.file}. blemish scan PHOTOS --method prompt --model {done.file}")
