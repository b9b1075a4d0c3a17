"""A judged run becomes a detector for one photo: a small bank of tokens of its good photos, with scores on the run's
scale and a threshold with the same meaning.

It chooses whose tokens are kept and what a score means; how a detector is asked is told in ``frozen``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blemish import bundle, taught, verdict_file
from blemish.bundle import SUFFIX, Bundle, DetectorFacts
from blemish.errors import ConfigError, InputError, OutputError
from blemish.features.packing import pack
from blemish.frozen import scored
from blemish.paths import RUN_CACHE, RUN_VERDICT
from blemish.progress import Progress, Silent
from blemish.result import Photo, upsample
from blemish.revisiting import Revisit
from blemish.run_cache import read as read_run_cache
from blemish.scoring.calibration import Line, line_through
from blemish.scoring.coreset import SIZE, farthest_first, ordinary, thinned
from blemish.scoring.examples import BOOST
from blemish.scoring.memory import Memory
from blemish.sinks.families import read as read_families

__all__ = ["Frozen", "freeze"]

Float32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.intp]

FEWEST = 3  # good photos that a bank is made of
PHOTOS = 400  # good photos that tokens are drawn from, and photos that the scale is learnt from
NEAREST = 3  # tokens whose mean distance counts (benchmarks/frozen.md)
SMALLEST, LARGEST = 50, 50_000  # tokens of a bank
TOP = 1  # the score is the map's largest value, as that of the run


@dataclass(frozen=True)
class Frozen:
    """``file``: what was written. ``line``: how its distances became scores of the run."""

    file: Path
    facts: DetectorFacts
    line: Line


@dataclass(frozen=True)
class _Bank:
    """The tokens of one pass (M, C), and the number of the photo that each is from."""

    tokens: Float32
    photo: Ints


def freeze(
    run: str | Path,
    out: str | Path | None = None,
    *,
    tokens: int = SIZE,
    embed: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Frozen:
    """Turn a finished ``run`` into a detector for one photo, the file ``out`` (by default ``RUN.blemish``).

    The bank holds at most ``tokens`` tokens of photos that were called ok; recurring flaws are not among them. What was
    taught as a defect, and recurring flaws, go with it as things to look out for. ``embed``: the backbone's weights go
    into the file, too. Raises ``InputError`` or ``ConfigError`` if the run cannot be frozen, ``OutputError`` if ``out``
    cannot be written."""
    progress = progress or Silent()
    path = Path(run).expanduser().resolve()
    file = _out(Path(out).expanduser() if out else path.with_name(path.name + SUFFIX), overwrite)
    if not SMALLEST <= tokens <= LARGEST:
        raise ConfigError(f"tokens is {SMALLEST} to {LARGEST}; received {tokens}.")
    visit = Revisit.open(path, "frozen")
    _require_frozen_rule(visit)
    kept = verdict_file.read(path / RUN_VERDICT)
    good = _good(visit)
    banks = _banks(visit, good, kept.grids, tokens, progress)
    memories = tuple(
        Memory(bank.tokens, np.zeros((0, bank.tokens.shape[1]), np.float32), k=NEAREST) for bank in banks
    )
    line = _line(visit, good, banks, memories, progress)
    defects = _defects(visit, len(banks))
    memories = tuple(
        replace(memory, defects=found, scale=line.scale, offset=line.offset, boost=BOOST)
        for memory, found in zip(memories, defects, strict=True)
    )
    raise NotImplementedError


def _out(file: Path, overwrite: bool) -> Path:
    if file.suffix != SUFFIX:
        raise OutputError(f"A detector's file ends in {SUFFIX}; received {str(file)!r}. Type --out {file.stem}{SUFFIX}")
    if file.is_dir():
        raise OutputError(f"{str(file)!r} is a folder; --out names a file.")
    if file.exists() and not overwrite:
        raise OutputError(f"{str(file)!r} exists. Add --overwrite to replace it, or choose another --out.")
    if not file.parent.is_dir():
        raise OutputError(f"There is no folder {str(file.parent)!r} to write {file.name!r} into. Make it first.")
    return file


def _require_frozen_rule(visit: Revisit) -> None:
    """A photo on its own has no batch whose usual map could be subtracted, or whose photos could re-score it."""
    if visit.config.image_score != "max" or visit.config.rscin:
        raise ConfigError(
            f"{visit.run.name!r} was scored relative to its batch (image_score {visit.config.image_score}, rscin "
            f"{visit.config.rscin or 'off'}), which a photo on its own does not have. Scan again with --image-score max "
            "and without --rscin; features are cached, so it is quicker than the first time."
        )
