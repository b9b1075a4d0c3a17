"""What verbs print: progress, the verdict, a family, the settings as a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blemish.config import ScanConfig
    from blemish.progress import Progress
    from blemish.result import Family, Result

__all__ = ["LISTED", "as_toml", "family_line", "print_verdict", "printable", "progress_for"]

LISTED = 8  # photos on the screen; the others are in the report


def printable(words: str) -> str:
    """File names can hold control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in words)


def progress_for(quiet: bool) -> Progress:
    """Bars on a terminal, lines in a log, or nothing; always on standard error."""
    from blemish.progress import LiveBars, PlainLines, Silent

    if quiet:
        return Silent()
    return LiveBars() if sys.stderr.isatty() else PlainLines()


def print_verdict(result: Result) -> None:
    """The sentence, and the photos that need somebody: most severe first."""
    if result.judgement is None:
        return
    print(printable(result.judgement.sentence))
    calls = [photo for photo in result.scored if photo.verdict in ("blemished", "unsure")]
    calls.sort(key=lambda photo: (photo.verdict != "blemished", -(photo.severity or 0.0)))
    for photo in calls[:LISTED]:
        why = f"  ({photo.reason})" if photo.reason else ""
        print(f"  {photo.verdict:<9}  score {photo.score:.4f}  {photo.area_share:6.2%}  {printable(photo.path)}{why}")
    if len(calls) > 1:
        of = "share of the brain" if result.volumes else "area of the picture"
        more = f"; {len(calls) - LISTED} more in the report" if len(calls) > LISTED else ""
        print(f"  (most severe first: {of} times height{more})")


def family_line(family: Family, run: Path) -> str:
    """One line about a family, and what can be typed about it."""
    photos = f"{len(family.members)} {family.noun}s share a look"
    if family.kind == "variant":
        return f"{photos}; you said that it is a legitimate variant"
    if family.asks:
        return f"{photos}: flaw or variant? {family.asks}. blemish decide {run} {family.number} --is defect|variant"
    return f"{photos} that the others do not have, so it counts as a recurring flaw"


def as_toml(settings: ScanConfig) -> str:
    """The settings as a file that --config reads; what is left to the backbone is commented out."""
    lines: list[str] = []
    tables: list[str] = []
    for name, value in settings.as_dict().items():
        if isinstance(value, dict):
            tables += ["", f"[{name}]", *(_toml_line(key, entry) for key, entry in value.items())]
        else:
            lines.append(_toml_line(name, value))
    return "\n".join(lines + tables) + "\n"


def _toml_line(name: str, value: Any) -> str:
    return f"# {name} =  # chosen for you" if value is None else f"{name} = {_toml_value(value)}"


def _toml_value(value: Any) -> str:
    return json.dumps(list(value)) if isinstance(value, tuple) else json.dumps(value)
