"""Options that several verbs share, and what is typed after an option turned into a value."""

from __future__ import annotations

from typing import Annotated

import typer

from blemish.errors import ConfigError

__all__ = [
    "AsJson",
    "ExpectDefects",
    "MaxFalseAlarms",
    "MaxUnsure",
    "Overwrite",
    "Quiet",
    "Threshold",
    "numbers",
    "share",
]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON on standard output.")]
ExpectDefects = typer.Option(help="Share of the photos that are defective, e.g. 2%: so many score above the threshold.")
MaxFalseAlarms = typer.Option(help="Share of good photos that may be called blemished, e.g. 1%.")
Threshold = typer.Option(help="Score above which a photo is blemished.")
MaxUnsure = typer.Option(help="Share of the photos that may be sent to a person; default 10%.")
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run that --out already holds.")]


def numbers(name: str, text: str | None) -> tuple[int, ...] | None:
    """``8,16`` -> (8, 16)."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.replace(" ", "").split(",") if part)
    except ValueError as error:
        raise ConfigError(f"--{name} takes numbers joined by commas, such as 1,3; received {text!r}.") from error


def share(name: str, text: str | None) -> float | None:
    """``2%`` -> 0.02."""
    from blemish.config import parse_share

    return None if text is None else parse_share(text, f"--{name}")
