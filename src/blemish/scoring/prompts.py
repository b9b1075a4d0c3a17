"""What is said of a product in words: states ("flawless", "with damage") put into templates ("a photo of the ...").

The compositional prompt ensemble of WinCLIP (Jeong et al., CVPR 2023, section 4.1), the two texts of AnomalyCLIP (Zhou
et al., ICLR 2024) and the ensemble of APRIL-GAN (Chen et al., arXiv 2305.17382). The words are data, ``prompts.toml``,
which a user may replace. It knows strings; nothing of tokenizers or embeddings.

Of APRIL-GAN's ensemble the five anomalous states are known here, and that there are seven normal states and 35
templates; its templates are not part of this package, and those of WinCLIP stand in for them. ``Ensemble.published``
says whether a list composes the authors' prompts, letter for letter.
"""

from __future__ import annotations

import hashlib
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from blemish.errors import ConfigError

__all__ = ["Ensemble", "Prompts", "class_words", "ensemble"]

LONGEST = 100  # characters of a class name; CLIP reads 77 tokens, of which the template takes up to 16
MOST = 10_000  # texts of an ensemble: half an hour of CLIP on two cores
PLACE = "{}"


@dataclass(frozen=True)
class Prompts:
    """Texts of both sides, in the published order; what is there twice counts twice in the mean."""

    normal: tuple[str, ...]
    anomalous: tuple[str, ...]


@dataclass(frozen=True)
class Ensemble:
    """One table of ``prompts.toml``. Each entry holds ``{}`` once."""

    normal: tuple[str, ...]  # states
    anomalous: tuple[str, ...]
    templates: tuple[str, ...]
    subject: str = ""  # said in place of every class name
    unit_mean: bool = False  # how the embeddings are averaged, see ``text.text_pair``
    sha256: tuple[str, ...] = ()  # of the published prompts for "metal nut", normal and anomalous

    def prompts(self, name: str = "", *, as_published: bool = False) -> Prompts:
        """All states in all templates, states in the outer loop. ``name`` of the class as for ``class_words``; not
        needed where the ensemble has its ``subject``. Raises ``ConfigError`` for a name that nothing can be said of."""
        subject = self.subject or class_words(name, as_published=as_published)

        def composed(states: tuple[str, ...]) -> tuple[str, ...]:
            said = [state.replace(PLACE, subject) for state in states]
            return tuple(template.replace(PLACE, state) for state in said for template in self.templates)

        return Prompts(composed(self.normal), composed(self.anomalous))

    @property
    def published(self) -> bool:
        """Whether these are the authors' prompts, letter for letter."""
        example = self.prompts("metal nut")
        found = ("\n".join(side).encode() for side in (example.normal, example.anomalous))
        return tuple(hashlib.sha256(texts).hexdigest() for texts in found) == self.sha256


def class_words(name: str, *, as_published: bool = False) -> str:
    """What a product is called, as words: underscores become blanks, runs of blanks one.

    ``as_published``: underscores stay, as the published code inserts folder names ("metal_nut"), which gives other
    tokens and other scores. Raises ``ConfigError`` for a name without a letter or digit, with control characters, or
    beyond 100 characters. Fewer can still be too much for CLIP's 77 tokens; the tokenizer judges that."""
    words = (name if as_published else name.replace("_", " ")).strip()
    if not any(letter.isalnum() for letter in words):
        raise ConfigError(f'what the photos show must be named in words, such as "metal nut"; received {name!r}.')
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in words):
        raise ConfigError(
            f"a class name is one line of plain text; received {name[:LONGEST]!r} with control characters. "
            'Type it again, such as "metal nut".'
        )
    if len(words) > LONGEST:
        raise ConfigError(
            f"a class name has at most {LONGEST} characters; received {len(words)} ({words[:30]!r}...). "
            'Name the product in one to three words, such as "metal nut"; states such as "scratched" go into a file of '
            "prompts."
        )
    return words if as_published else " ".join(words.split())


def ensemble(name: str = "winclip", file: Path | None = None) -> Ensemble:
    """The ensemble ``name`` of the package: winclip, anomalyclip or april-gan; or as a user's TOML ``file`` has it.

    A table in the file need not be complete: what it lacks is the package's, or WinCLIP's under a new name.
    Raises ``ConfigError`` for an unreadable file, an unknown name or an entry that cannot be composed."""
    packaged = tomllib.loads(files("blemish.scoring").joinpath("prompts.toml").read_text(encoding="utf-8"))
    own = {} if file is None else _read(file)
    if name not in own and (file is not None or name not in packaged):
        where, known = (f"{str(file)!r}", own) if file else ("blemish", packaged)
        raise ConfigError(
            f"there are no prompts {name!r} in {where}; it has {', '.join(known) or 'none'}. "
            f"Choose one of these, or give a file with a table [{name}]."
        )
    try:
        return _ensemble({**packaged["winclip"], **packaged.get(name, {}), **own.get(name, {})})
    except ConfigError as error:
        raise ConfigError(f"{str(file)!r}, [{name}]: {error}") from error


def _read(file: Path) -> dict[str, dict[str, Any]]:
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"Cannot read the prompts {str(file)!r}: {error}.") from error
    if stray := [key for key, value in tables.items() if not isinstance(value, dict)]:
        raise ConfigError(f"{str(file)!r}: {', '.join(stray)} must stand below a table's name, such as [winclip].")
    return tables


def _ensemble(table: Mapping[str, Any]) -> Ensemble:
    known = [field.name for field in fields(Ensemble)]
    if unknown := sorted(set(table) - set(known)):
        raise ConfigError(f"prompts have no entry {', '.join(unknown)}; known are {', '.join(known)}.")
    for key in ("normal", "anomalous", "templates"):
        _check_list(key, table.get(key, []))
    texts = sum(len(table[side]) for side in ("normal", "anomalous")) * len(table["templates"])
    if texts > MOST:
        raise ConfigError(
            f"states and templates make {texts:,} texts, of which at most {MOST:,} are read. Give fewer of either."
        )
    for key, kind in (("subject", str), ("unit_mean", bool), ("sha256", list)):
        if key in table and not isinstance(table[key], kind):
            raise ConfigError(f"{key} must be {_KINDS[kind]}; received {table[key]!r}.")
    if table.get("subject"):
        class_words(table["subject"])
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in table.items()}
    return Ensemble(**values)


def _check_list(key: str, entries: object) -> None:
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f'{key} must be a list of texts with {PLACE}, such as ["a photo of a {PLACE}."].')
    for entry in entries:
        if not isinstance(entry, str) or entry.count(PLACE) != 1:
            raise ConfigError(f"every text of {key} must hold {PLACE} once, where words go; received {entry!r}.")


_KINDS = {str: "a text", bool: "true or false", list: "a list of texts"}
