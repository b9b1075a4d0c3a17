"""A scan into its run folder, with all that was said about the run that stood there before.

Decisions about families hold before photos are scored; examples and words about single photos, after. It knows the
order of these, not what any of them does.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from blemish.config import ScanConfig
from blemish.decisions import read_decisions
from blemish.errors import ConfigError, InputError, RunError
from blemish.paths import RUN_REVIEWS, RUN_TAUGHT_BEFORE
from blemish.progress import Progress
from blemish.result import Result
from blemish.reviewing import review_again
from blemish.run import write_sinks
from blemish.run_folder import check_out, default_out, require_same_method, staging
from blemish.scanning import scan
from blemish.taught import put_aside, read

__all__ = ["Run", "scan_into"]


@dataclass(frozen=True)
class Run:
    folder: Path
    result: Result


def scan_into(
    source: Path,
    out: Path | None,
    settings: ScanConfig,
    progress: Progress,
    *,
    decisions: Path | None = None,
    extends: Path | None = None,
    overwrite: bool = False,
) -> Run:
    """Scan ``source`` and write the run ``out``, by default beside the photos.

    ``decisions``: a run whose decisions, examples and words hold here too; by default the run that is replaced. Raises
    ``OutputError`` before anything is read if a run may not be written there, ``RunError`` if the user stops it, and
    what ``scanning.scan`` raises."""
    target = check_out(out or default_out(source, settings.method), source, overwrite)
    require_same_method(target, settings.method)
    said = decisions or target
    known = decisions is not None or (settings.method == "mutual" and target.is_dir())
    made = read_decisions(said) if known else ()
    if made:
        progress.note(f"Honouring {len(made)} decision{'s' * (len(made) > 1)} about families from {said}")
    try:
        with staging(target, overwrite) as staged:
            result = scan(source, settings, progress=progress, scratch=staged, decisions=made, extends=extends)
            write_sinks(result, staged, target, settings.maps, progress)
            if settings.method == "mutual":
                put_aside(said, staged)
            if (said / RUN_REVIEWS).is_file():
                shutil.copyfile(said / RUN_REVIEWS, staged / RUN_REVIEWS)
        result = _taught(target, progress) or result
        result = _reviewed(target, progress) or result
    except KeyboardInterrupt:
        again = "Type the same command to go on." if settings.cache else ""
        raise RunError(f"Stopped; {str(target)!r} was not written. {again}".rstrip()) from None
    return Run(target, result)


def _taught(run: Path, progress: Progress) -> Result | None:
    """Examples that were given to an earlier run hold for the new one, if it sees with the same features. Whatever goes
    wrong, they are not lost."""
    if not (run / RUN_TAUGHT_BEFORE).is_dir():
        return None
    from blemish.teaching import teach_again

    try:
        known = read(run, RUN_TAUGHT_BEFORE)
        done = teach_again(run, known, progress) if known else None
    except KeyboardInterrupt:
        raise RunError(
            f"Stopped. {str(run)!r} was written; what was taught before is kept in it, and the next scan applies it."
        ) from None
    except (InputError, ConfigError) as error:
        progress.note(f"Note: what was taught before was not applied, but is kept in {RUN_TAUGHT_BEFORE}. {error}")
        return None
    if known is None or done is None:
        progress.note(
            f"Note: what was taught before was seen with another backbone or size, so it is kept in "
            f"{RUN_TAUGHT_BEFORE} and not applied. Give the examples again: blemish teach"
        )
        return None
    count = len(known.examples)
    progress.note(f"Honouring {count} example{'s' * (count > 1)} that were taught before")
    return done.result


def _reviewed(run: Path, progress: Progress) -> Result | None:
    """What a person said of single photos holds for the new run; where its file is damaged it is kept, and told of."""
    try:
        return review_again(run, progress)
    except InputError as error:
        progress.note(f"Note: what was said about single photos was not applied, but is kept. {error}")
        return None
