"""A person's word about single photos of a finished run: good, or a defect. The photos are judged again, not scored.

A word overrules the call of its photo and nothing else: the threshold stays what the batch says, so it does not matter
in which order photos are reviewed, families decided and thresholds moved. To have the other photos scored by what one
shows, teach it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from blemish.errors import InputError
from blemish.progress import Progress, Silent
from blemish.rejudging import write_judged
from blemish.rereading import reread
from blemish.result import Result
from blemish.reviewed import CALLS, Review, calls, digests_of, read
from blemish.run import read_rows
from blemish.run_folder import read_manifest

__all__ = ["review", "review_again"]


def review(run: str | Path, words: Mapping[str, str | None], *, progress: Progress | None = None) -> Result:
    """Say of photos of a finished ``run`` (``words``: path -> what it is) that they are ``good`` or a ``defect``; None
    takes back what was said. Tables, report and masks are replaced.

    A scan that replaces the run knows the answer. Raises ``InputError`` if the run or a photo is not there,
    ``OutputError`` or ``RunError`` if the run cannot be written."""
    run = Path(run).expanduser().resolve()
    read_manifest(run)
    _check(run, words)
    digests = digests_of(run)
    same = {digests[path] for path in words if path in digests}
    kept = [one for one in read(run) if one.path not in words and (not one.sha256 or one.sha256 not in same)]
    said = [Review(path, word, digests.get(path, "")) for path, word in words.items() if word is not None]
    reviews = (*kept, *said)
    found = reread(run, reviews=calls(run, reviews))
    write_judged(found.result, run, found.places, progress or Silent(), reviews)
    return found.result


def review_again(run: Path, progress: Progress) -> Result | None:
    """Judge a run by what was said about its photos before it was made; None if nothing was. Raises as ``review``."""
    if not calls(run):
        return None
    found = reread(run)
    write_judged(found.result, run, found.places, progress)
    return found.result


def _check(run: Path, words: Mapping[str, str | None]) -> None:
    scored = {photo.path for photo in read_rows(run) if photo.status == "ok"}
    if not words:
        raise InputError("Give a photo and what it is: good or defect.")
    for path, word in words.items():
        if path not in scored:
            name = path.rpartition("/")[2]
            meant = next((known for known in sorted(scored) if known.endswith(name)), next(iter(sorted(scored)), ""))
            raise InputError(f"{run.name!r} has no scored photo {path!r}. Give its path as the run has it: {meant!r}?")
        if word is not None and word not in CALLS:
            raise InputError(f"A photo is good or a defect; received {word!r}.")
