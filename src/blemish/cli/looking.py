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
    runs: Annotated[list[Path], typer.Argument(help="A finished run folder, or several, one for each class.")],
    truth: Annotated[
        Path,
        typer.Option(
            help="An MVTec-like tree of the same files, a folder with one for each class, or a CSV: "
            "image_path,label,mask_path. Of volumes: a folder of NIfTI masks, BIDS derivatives, or a CSV: path,label,"
            "mask."
        ),
    ],
    published: Annotated[
        str | None,
        typer.Option(help="Numbers of others to compare with, such as winclip or musc; a wrong name lists them all."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="The data set: mvtec, visa or btad; default: told by the classes' names.")
    ] = None,
    resamples: Annotated[
        int | None,
        typer.Option(help="Bootstrap resamples of the 95 % intervals; default: 1000 for one run, 0 for several."),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """How good a run was, given the truth; or several, as published tables have it.

    One run: AUROC, average precision, F1-max and both PRO variants, with 95 % intervals. Several: a line for each and
    the mean over classes. --published sets what others have reached beside it."""
    from blemish.cli.tables import print_classes, print_comparison, print_evaluation
    from blemish.published.table import evaluate_classes

    alone = len(runs) == 1
    table = evaluate_classes(
        runs,
        truth,
        compare_with=published,
        data=data,
        resamples=resamples if resamples is not None else 1000 if alone else 0,
        progress=progress_for(quiet),
    )
    if as_json:
        found = table.rows[0].evaluation.as_dict() if alone else table.as_dict()
        beside = {"published": table.comparison.as_dict()} if table.comparison else {}
        print(json.dumps(found | beside, indent=2))
        return
    if alone:
        print_evaluation(table.rows[0].evaluation)
    else:
        print_classes(table)
    if table.comparison:
        print_comparison(table, table.comparison)
