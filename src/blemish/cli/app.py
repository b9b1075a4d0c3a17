"""The command itself: its verbs in the order of ``--help``, and words instead of tracebacks.

Exit codes: 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from blemish.cli.detector import check, export, freeze, watch
from blemish.cli.judging import decide, teach, verdict
from blemish.cli.learning import learn, pseudo_masks
from blemish.cli.looking import diagnose, evaluate_run
from blemish.cli.scanning import scan
from blemish.cli.serving import serve
from blemish.cli.tools import backbones, doctor, fetch
from blemish.cli.trying import demo, synth
from blemish.cli.words import printable
from blemish.errors import BlemishError

__all__ = ["app", "main"]

app = typer.Typer(
    name="blemish",
    help="Find the blemished parts in a folder of photos: no labels, no training, no GPU.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help needs no rich, which would take longer to load than the help to read
    pretty_exceptions_enable=False,
)

app.command()(scan)
app.command()(verdict)
app.command()(decide)
app.command()(teach)
app.command()(freeze)
app.command()(check)
app.command()(watch)
app.command()(export)
app.command("pseudo-masks")(pseudo_masks)
app.command()(learn)
app.command()(diagnose)
app.command("eval")(evaluate_run)
app.command()(serve)
app.command()(synth)
app.command()(demo)
app.command()(backbones)
app.command()(fetch)
app.command()(doctor)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        print(installed("blemish"))
        raise typer.Exit


def main() -> None:
    """Entry point: one sentence instead of a traceback for everything that can be foreseen to go wrong."""
    try:
        app()
    except BlemishError as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away (`| head`); Python would complain while closing
        sys.exit(1)
    except MemoryError:
        _fail("Out of memory. Allow less with --memory, or choose a smaller --size.", 1)
    except (OSError, RuntimeError) as error:  # a path that loops or is too long, a disk that fails in an odd place
        _fail(f"{type(error).__name__}: {error}", 1)


def _fail(words: str, code: int) -> None:
    print(f"blemish: {printable(words)}", file=sys.stderr)
    sys.exit(code)
