"""A run turned into a detector, and photos judged by one: ``freeze``, ``check``, ``watch``, ``export``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from blemish.cli.options import AsJson, Quiet
from blemish.cli.words import printable, progress_for

__all__ = ["check", "export", "freeze", "watch"]

SEVERAL = 10  # photos from which progress is told

DetectorFile = Annotated[Path, typer.Argument(help="A file that `blemish freeze` or `blemish export` made.")]


def freeze(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    out: Annotated[Path | None, typer.Option(help="The file to write; default: RUN.blemish beside the run.")] = None,
    tokens: Annotated[
        int | None, typer.Option(help="Most patches of good photos to keep; more are slower, hardly better.")
    ] = None,
    embed: Annotated[bool, typer.Option("--embed", help="Put the backbone's weights into the file.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Turn a judged run into a detector that judges the next photo, or volume, on its own.

    Its scores are on the run's scale, and its threshold means what the run's does."""
    from blemish.freezing import freeze as freeze_run

    chosen: dict[str, Any] = {} if tokens is None else {"tokens": tokens}
    done = freeze_run(run, out, embed=embed, overwrite=overwrite, progress=progress_for(quiet or as_json), **chosen)
    if as_json:
        print(json.dumps({"file": str(done.file), "bytes": done.file.stat().st_size, **done.facts.as_dict()}, indent=2))
    elif not quiet:
        print(printable(done.facts.meaning))
        size = done.file.stat().st_size / 2**20
        what = "VOLUMES" if done.facts.volume else "PHOTOS"
        print(f"Detector: {done.file} ({size:.1f} MB). blemish check {done.file} {what}")


def check(
    detector: DetectorFile,
    photos: Annotated[
        list[Path], typer.Argument(help="Photos or volumes, as the run was made of, or folders of them.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="A folder for the lines and for pictures of what is not ok, of volumes for maps; it may exist."
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Judge photos, or volumes, one by one: a line of JSON each, with path, score, verdict and threshold.

    A photo that cannot be judged gets a line with its error, and the exit code is 1 then."""
    from contextlib import nullcontext

    from blemish.checking import Results, check_files, listed, require_apart
    from blemish.frozen import Detector

    for path in photos if out else ():
        assert out is not None
        if path.is_dir():
            require_apart(out, path)
    loaded = Detector.load(detector)
    files = listed(photos, loaded)
    progress = progress_for(quiet or sys.stdout.isatty() or len(files) < SEVERAL)  # lines on a screen are enough
    with Results(out, loaded) if out else nullcontext() as results, progress.stage("judging", len(files)) as advance:
        failed = _print(check_files(loaded, files, results), advance)
    if failed:
        raise typer.Exit(1)


def export(
    detector: Annotated[Path, typer.Argument(help="A file that `blemish freeze` made.")],
    out: Annotated[Path | None, typer.Option(help="The file to write; default: the same name with .onnx.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
) -> None:
    """Write a detector for photos as one ONNX graph: pixels of any size in, score and map out.

    It runs in ONNX Runtime without torch, several times as fast; check and watch take it, too."""
    from blemish.frozen import export_onnx

    file = export_onnx(detector, out or detector.with_suffix(".onnx"), overwrite=overwrite)
    print(f"{file} ({file.stat().st_size / 2**20:.1f} MB). blemish check {file} PHOTOS")


def watch(
    detector: DetectorFile,
    folder: Annotated[Path, typer.Argument(help="The folder that photos arrive in.")],
    out: Annotated[
        Path | None, typer.Option(help="The folder for the lines and pictures; default: FOLDER-checked beside it.")
    ] = None,
    interval: Annotated[
        float, typer.Option(help="Seconds for which a file must not change before it is judged.")
    ] = 0.5,
    once: Annotated[bool, typer.Option("--once", help="Stop when all that is there has been judged.")] = False,
    quiet: Quiet = False,
) -> None:
    """Judge the photos, or volumes, of a folder as they arrive: a line of JSON each, until Ctrl-C.

    What was judged before is not judged again, also after a restart."""
    from blemish.checking import Results
    from blemish.frozen import Detector
    from blemish.watching import require_watchable, watch_folder

    progress = progress_for(quiet)
    place = out or folder.expanduser().resolve().with_name(folder.resolve().name + "-checked")
    require_watchable(folder, place, interval)
    loaded = Detector.load(detector)
    with Results(place, loaded) as results:
        progress.note(f"Watching {folder}; results go to {place}. Ctrl-C stops.")
        try:
            _print(watch_folder(loaded, folder, results, interval=interval, once=once, note=progress.note))
        except KeyboardInterrupt:
            progress.note("Stopped.")


def _print(lines: Iterator[dict[str, Any]], advance: Callable[[int], None] = lambda photos: None) -> int:
    """How many photos could not be judged."""
    failed = 0
    for line in lines:
        print(json.dumps(line), flush=True)
        failed += "error" in line
        advance(1)
    return failed
