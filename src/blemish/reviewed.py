"""The file ``reviews.json`` of a run: what a person who has looked at single photos says of them.

A photo is known again by its bytes, so that a scan of the same photos knows the answer; of volumes, whose bytes a run
does not keep, by its path. It knows the file, not what a word changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from blemish.errors import InputError
from blemish.judgement import Call
from blemish.paths import RUN_DIVISION, RUN_REVIEWS

__all__ = ["CALLS", "Review", "calls", "digests_of", "read", "write"]

CALLS: Mapping[str, Call] = {"good": "ok", "defect": "blemished"}


@dataclass(frozen=True)
class Review:
    """``sha256``: of the photo's bytes, empty where they are not known."""

    path: str
    is_: str  # good or defect
    sha256: str = ""


def read(run: Path) -> tuple[Review, ...]:
    """Also of photos that the run does not have. Raises ``InputError`` if the file is damaged."""
    file = run / RUN_REVIEWS
    if not file.exists():
        return ()
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        found = tuple(Review(str(one["path"]), str(one["is_"]), str(one["sha256"])) for one in stored["reviews"])
        if not {one.is_ for one in found} <= CALLS.keys():
            raise ValueError("a photo is good or a defect")
        return found
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{str(file)!r} is damaged ({error}). Remove it, and say again what you said about single photos."
        ) from error


def write(reviews: tuple[Review, ...], file: Path) -> None:
    """One a line."""
    lines = ",\n".join(json.dumps(asdict(one)) for one in reviews)
    file.write_text(f'{{"reviews": [\n{lines}\n]}}\n', encoding="utf-8")


def calls(run: Path, reviews: Sequence[Review] | None = None) -> dict[str, Call]:
    """Path -> what was said, of the photos that the run has. ``reviews``: by default those in the file. Raises as
    ``read``."""
    reviews = read(run) if reviews is None else reviews
    if not reviews:
        return {}
    digests = digests_of(run)
    by_digest: dict[str, list[str]] = {}
    for path, digest in digests.items():
        by_digest.setdefault(digest, []).append(path)
    said: dict[str, Call] = {}
    for one in reviews:
        for path in by_digest.get(one.sha256, []) if one.sha256 and digests else [one.path]:
            said[path] = CALLS[one.is_]
    return said


def digests_of(run: Path) -> dict[str, str]:
    """Path -> sha256 of the bytes that were scanned; empty where the run does not keep them."""
    try:
        stored = json.loads((run / RUN_DIVISION).read_text(encoding="utf-8")).get("sha256", {})
        return {str(path): str(digest) for path, digest in stored.items()}
    except (OSError, ValueError, AttributeError):
        return {}
