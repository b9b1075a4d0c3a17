"""What of report.html lies in files of its own: styles, and scripts with the hashes that let them run."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files

from markupsafe import Markup

__all__ = ["Script", "script_of", "source_of"]


@dataclass(frozen=True)
class Script:
    """``hash``: as the page's content policy names it."""

    text: Markup
    hash: str


def script_of(*names: str) -> Script:
    """These files, one after the other in one script."""
    text = "".join(map(source_of, names))
    return Script(Markup(text), base64.b64encode(hashlib.sha256(text.encode()).digest()).decode())


def source_of(name: str) -> str:
    return files("blemish.sinks").joinpath(name).read_text(encoding="utf-8")
