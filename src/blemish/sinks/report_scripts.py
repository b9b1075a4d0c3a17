"""What of report.html lies in files of its own: templates, and the pages' styles and modules, made into one script.

The service serves ``service/pages`` as files; a report opens from disk, where browsers load no modules, so the ones it
needs are written one after the other into a classic script, with the hash that lets it run. It knows their ``import``
and ``export`` lines and no more of the language.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from markupsafe import Markup

__all__ = ["Script", "joined", "script_of", "source_of"]

IMPORT = re.compile(r'import \{ (\w+(?:, \w+)*) \} from "\./(\w+\.js)";')
EXPORT = re.compile(r"export (?=(?:async )?function \w|const \w)")
NAME = re.compile(r"(?:export )?(?:async )?(?:function|const|let|class) (\w+|[\[{].*[\]}] =)")


@dataclass(frozen=True)
class Script:
    """``hash``: as the page's content policy names it."""

    text: Markup
    hash: str


def script_of(name: str) -> Script:
    """A module with all that it imports, or a classic script of ``vendor``."""
    text = source_of(name) if name.startswith("vendor/") else joined(name)
    return Script(Markup(text), base64.b64encode(hashlib.sha256(text.encode()).digest()).decode())


def joined(entry: str) -> str:
    """The module ``entry`` and all that it imports, each once and after what it needs, as one classic script.

    Raises ``ValueError`` for what one scope cannot hold: a name in two modules, an import by another name or of
    something that is not exported, modules that import each other."""
    texts: dict[str, str] = {}
    homes: dict[str, str] = {}  # name at the top of a module -> that module
    exported: set[tuple[str, str]] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise ValueError(f"modules import each other: {' -> '.join((*above, name))}")
        if name in texts:
            return
        lines = []
        for line in source_of(name).splitlines():
            if line.startswith("import"):
                found = IMPORT.fullmatch(line)
                if not found:
                    raise ValueError(f"{name}: write 'import {{ a, b }} from \"./file.js\";', not {line!r}")
                visit(found[2], (*above, name))
                for each in found[1].split(", "):
                    if (found[2], each) not in exported:
                        raise ValueError(f"{name}: {found[2]} exports no {each!r}")
                continue
            if line.startswith("export") and not EXPORT.match(line):
                raise ValueError(f"{name}: export a function or a const where it is made, not {line!r}")
            if found := NAME.match(line):
                for each in re.findall(r"\w+", found[1]):
                    if each in homes:
                        raise ValueError(f"{each!r} is in {homes[each]} and in {name}: one script has room for one")
                    homes[each] = name
                    if line.startswith("export"):
                        exported.add((name, each))
            lines.append(EXPORT.sub("", line) if line.startswith("export") else line)
        texts[name] = "\n".join(lines).strip()

    visit(entry, ())
    return '"use strict";\n' + "\n\n".join(texts.values()) + "\n"


def source_of(name: str) -> str:
    """A template of this room, or a file of the pages."""
    return _file(name).read_text(encoding="utf-8")


def _file(name: str) -> Traversable:
    beside = files("blemish.sinks").joinpath(name)
    return beside if beside.is_file() else files("blemish").joinpath("service", "pages", *name.split("/"))
