"""Made-up photos with known flaws, to try blemish on: ``synth`` makes them, ``demo`` also scans and evaluates them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from blemish.cli.looking import evaluate_run
from blemish.cli.options import Quiet, numbers
from blemish.cli.scanning import scan_into
from blemish.cli.words import progress_for
from blemish.errors import OutputError

__all__ = ["demo", "synth"]


def synth(
    out: Annotated[Path, typer.Argument(help="A new folder: photos/, masks/ and truth.csv are made in it.")],
    product: Annotated[str, typer.Option(help="Which product; an unknown name lists them.")] = "washer",
    photos: Annotated[int, typer.Option(help="How many.")] = 60,
    size: Annotated[int, typer.Option(help="Side in pixels.")] = 512,
    sporadic: Annotated[int | None, typer.Option(help="Photos with a flaw of their own; default: a tenth.")] = None,
    recurring: Annotated[str, typer.Option(help="Photos in each group that shares one flaw, e.g. 8 or 8,5.")] = "",
    variants: Annotated[int, typer.Option(help="Legitimate variants mixed in the batch.")] = 1,
    seed: Annotated[int, typer.Option(help="Another seed, another batch.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Make photos of parts with known flaws, to try things on."""
    from blemish.inputs.synthetic import render_batch, write_batch

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{str(out)!r} is not an empty folder. Name a new one.")
    batch = render_batch(
        product,
        photos,
        size=size,
        seed=seed,
        sporadic=photos // 10 if sporadic is None else sporadic,
        recurring=numbers("recurring", recurring or None) or (),
        variants=variants,
    )
    progress = progress_for(quiet)
    with progress.stage("rendering", photos) as advance:
        write_batch(out, _counted(batch, advance))
    if not quiet:
        print(f"Photos: {out / 'photos'}\nTruth:  {out / 'truth.csv'}")


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the demo photos; the run lies beside it.")] = Path("demo"),
    quiet: Quiet = False,
) -> None:
    """Make photos of a part and scan them.

    60 photos: four have a flaw of their own, eight share one; afterwards the result is compared with the truth."""
    from blemish.config import ScanConfig

    if not (out / "truth.csv").is_file():  # absent, or left unfinished by an interrupted demo
        for part in ("photos", "masks"):
            shutil.rmtree(out / part, ignore_errors=True)
        synth(out, product="washer", photos=60, size=512, sporadic=4, recurring="8", variants=1, seed=0, quiet=quiet)
    run = scan_into(
        out / "photos", out.with_name(out.name + "-blemish"), ScanConfig(), overwrite=True, quiet=quiet, as_json=False
    )
    if not quiet:
        evaluate_run([run], truth=out / "truth.csv", resamples=200, quiet=True, as_json=False)


def _counted(items: Any, advance: Callable[[int], None]) -> Any:
    for item in items:
        yield item
        advance(1)
