"""What a finished run can be asked, which changes nothing in it but the pictures asked for: ``diagnose``, ``eval``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from blemish.cli.options import AsJson, Quiet
from blemish.cli.words import progress_for

__all__ = ["diagnose", "evaluate_run"]


def diagnose(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    plots: Annotated[
        bool, typer.Option("--plots", help="Also draw pictures into RUN/diagnosis; needs blemish[plots].")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """How the photos of a run match each other, and whether recurring flaws can be told from chance in it."""
    from blemish.diagnosing import diagnose as diagnose_run

    found = diagnose_run(run, plots=plots)
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
        return
    print(found.diagnosis.reading)
    for name, value in found.lines():
        print(f"  {name:<18} {value}")
    for picture in found.pictures:
        print(picture)


def evaluate_run(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    truth: Annotated[
        Path, typer.Option(help="An MVTec-like tree of the same files, or a CSV: image_path,label,mask_path.")
    ],
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of the 95 % intervals.")] = 1000,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """How good a run was, given the truth.

    AUROC, average precision, F1-max and both PRO variants, with 95 % intervals."""
    from blemish.evaluation import evaluate

    evaluation = evaluate(run, truth, resamples=resamples, progress=progress_for(quiet))
    if as_json:
        print(json.dumps(evaluation.as_dict(), indent=2))
        return
    for row in evaluation.rows:
        interval = f"{row.low:.3f} to {row.high:.3f}" if row.low is not None and row.high is not None else ""
        value = "-" if row.value is None else f"{row.value:.4f}"
        print(f"{row.metric:<24} {value:>8}  {interval:<16}  {row.note}".rstrip())
    for note in evaluation.notes:
        print(f"Note: {note}")
