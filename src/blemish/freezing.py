"""A judged run becomes a detector for one photo: a small bank of tokens of its good photos, with scores on the run's
scale and a threshold with the same meaning.

It chooses whose tokens are kept and what a score means; how a detector is asked is told in ``frozen``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish import bundle, taught
from blemish.bundle import SUFFIX, Bundle, DetectorFacts
from blemish.calibrating import Banks, false_alarms, line_of, margins, own_of
from blemish.errors import ConfigError, InputError
from blemish.features.packing import pack
from blemish.frozen import require_new
from blemish.judgement import Interval
from blemish.paths import RUN_CACHE
from blemish.progress import Progress, Silent
from blemish.reopening import reopen
from blemish.result import Family, upsample
from blemish.run_cache import read as read_run_cache
from blemish.scoring.calibration import Line
from blemish.scoring.coreset import SIZE, farthest_first, ordinary
from blemish.scoring.examples import BOOST
from blemish.scoring.memory import Memory
from blemish.scoring.place_bank import Placed
from blemish.sinks.families import read as read_families
from blemish.verdict.wording import FEW, one_in
from blemish.visit import Visit

__all__ = ["Frozen", "freeze"]

Float32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.intp]

FEWEST = 3  # good photos that a bank is made of
SMALLEST, LARGEST = 50, 50_000  # tokens of a bank
DEFECTS = 1000  # tokens to look out for, at most: with the bank they make half of what one photo may take
NEVER = 1e9  # a score that no photo reaches
TOP = 1  # the score is the map's largest value, as that of the run


@dataclass(frozen=True)
class Frozen:
    """``file``: what was written. ``line``: how its distances became scores of the run."""

    file: Path
    facts: DetectorFacts
    line: Line


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
    file = require_new(Path(out).expanduser() if out else path.with_name(path.name + SUFFIX), SUFFIX, overwrite)
    if not SMALLEST <= tokens <= LARGEST:
        raise ConfigError(f"tokens is {SMALLEST} to {LARGEST}; received {tokens}.")
    visit = reopen(path, "frozen")
    if visit.unit == "volume" and tokens != SIZE:
        raise ConfigError("--tokens is for photos; of volumes a dozen tokens are kept at each place. Leave it out.")
    _require_frozen_rule(visit)
    visit.view(1.0)  # which has no answer for some ways of placing volumes
    kept = visit.kept()
    families = read_families(path / "families.json")
    for family in families:
        if family.asks:
            progress.note(
                f"Note: family {family.number} ({len(family.members)} {family.noun}s) waits for a decision. They are "
                f"not in the bank, so others like them score high. Better: blemish decide {path.name} {family.number} "
                "--is variant|defect, then freeze"
            )
    candidates = _candidates(visit, _good(visit, families), kept.grids, progress)
    banks = _banks(visit, candidates, tokens, progress)
    whole = banks.for_photo()
    defects = _defects(visit, families, [bank.tokens for bank in whole])
    own = own_of(visit, banks, defects.tokens, progress)
    line = line_of(visit, own, families)
    # what is weighed by place is put on the run's scale afterwards
    of_distances, gain = (line, 1.0) if own.usual is None else (replace(line, scale=1.0, offset=0.0), line.scale)
    memories = tuple(
        Memory(
            bank.tokens,
            found,
            scale=of_distances.scale,
            offset=of_distances.offset,
            boost=BOOST,
            margin=beyond,
            at=None if own.inside is None else bank.at,
        )
        for bank, found, beyond in zip(
            whole, defects.tokens, margins(visit, own, of_distances, defects.paths, progress), strict=True
        )
    )
    rate = false_alarms(visit, own, memories, gain, families)
    facts = _facts(visit, kept.level, memories, line, rate, candidates.digests, defects.digests)
    facts = replace(facts, volume=visit.view(gain))
    bundle.write(Bundle(facts, memories, pack(visit.branch.backbone) if embed else {}, own.usual), file)
    return Frozen(file, facts, line)


def _facts(
    visit: Visit[Any],
    level: float,
    memories: Sequence[Memory],
    line: Line,
    rate: Interval,
    good: Sequence[str],
    flawed: Sequence[str],
) -> DetectorFacts:
    """``level``: map value that seeds a region. ``good``, ``flawed``: digests of the photos whose tokens are in it."""
    branch, said = visit.branch, visit.manifest["verdict"]
    threshold, few = float(said["threshold"]), len(visit.scored) < FEW
    share = one_in(rate.estimate)
    expected = share if share.startswith("fewer") else f"about {share}"
    meaning = (
        f"Above {threshold:.4g} a {visit.unit} is blemished, {said['rule']}; {expected} good ones "
        f"would be called so (90 % interval {one_in(rate.high)} to {one_in(rate.low)})."
    )
    if few:
        meaning = f"Made from only {len(visit.scored)} {visit.unit}s: what scores above {threshold:.4g} needs a look."
    return DetectorFacts(
        product=visit.run.name,
        backbone=branch.backbone.facts.name,
        weights_sha256=branch.backbone.weights_sha256,
        licence=branch.backbone.facts.licence,
        layers=branch.backbone.layers,
        radii=branch.radii,
        join=branch.join,
        height=branch.shape[0],
        width=branch.shape[1],
        resize=branch.backbone.facts.resize,
        deep_ceiling=visit.deep_ceiling,
        top=TOP,
        threshold=threshold,
        unsure_low=threshold - line.difference,
        unsure_high=NEVER if few else threshold + line.difference,
        meaning=meaning,
        pixel_threshold=level,
        colour_low=float(visit.manifest["colour_scale"]["low"]),
        colour_high=float(visit.manifest["colour_scale"]["high"]),
        photos=tuple(sorted({*good, *flawed})),
        made_from={
            "photos": len(visit.scored),
            "good_photos": len(set(good)),
            "tokens": sum(len(memory.normal) for memory in memories),
            "defect_tokens": sum(len(memory.defects) for memory in memories),
        },
        made_by=version("blemish"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _require_frozen_rule(visit: Visit[Any]) -> None:
    """A photo on its own has no batch whose usual map could be subtracted, or whose photos could re-score it."""
    if visit.config.image_score != "max" or visit.config.rscin:
        raise ConfigError(
            f"{visit.run.name!r} was scored relative to its batch (image_score {visit.config.image_score}, rscin "
            f"{visit.config.rscin or 'off'}), which a photo on its own lacks. Scan again with --image-score max and "
            "without --rscin; features are cached, so it is quicker than the first time."
        )


def _good(visit: Visit[Any], families: Sequence[Family]) -> list[int]:
    """Rows of the photos that tokens are taken from: called ok, and in no family that is a flaw or may be one."""
    variants = {family.number for family in families if family.kind == "variant"}
    rows = [
        row
        for row, photo in enumerate(visit.scored)
        if photo.verdict == "ok" and (photo.family is None or photo.family in variants)
    ]
    distinct = len({visit.scored[row].duplicate_of or visit.scored[row].path for row in rows})
    if distinct < FEWEST:
        raise InputError(
            f"{visit.run.name!r} has {distinct} different {visit.unit}s that were called ok; a detector is made of at "
            f"least {FEWEST}. Scan more, or move the threshold: blemish verdict"
        )
    return sorted(np.random.default_rng(0).permutation(rows)[: visit.most].tolist())


@dataclass(frozen=True)
class _Candidates:
    """Tokens that a bank may be chosen from, and whose they are: by pass."""

    tokens: list[Placed]  # T
    photo: list[Ints]  # (T,) number of the photo
    digests: list[str]  # of these photos


def _candidates(visit: Visit[Any], good: Sequence[int], maps: Float32, progress: Progress) -> _Candidates:
    """Ordinary tokens of the ``good`` rows, and all of good photos that were taught. ``maps: (B, h, w)`` of the run."""
    values = np.asarray(maps[good])
    chosen = []
    paths = [visit.scored[row].path for row in good]
    for grid in visit.grids:
        allowed = ordinary(upsample(values, grid).reshape(len(good), -1))
        chosen.append(np.divmod(visit.candidates(allowed, paths), math.prod(grid)))
    tokens: list[list[Placed]] = [[] for _ in chosen]
    owners = [[photo] for photo, _ in chosen]
    digests = []
    with progress.stage("reading good photos", len(good)) as advance:
        for at, sight in enumerate(visit.see([visit.photos[path] for path in paths], advance)):
            digests.append(sight.sha256)
            for number, (found, (photo, token)) in enumerate(zip(tokens, chosen, strict=True)):
                found.append(sight.taken(number, token[photo == at]))
    known = taught.read(visit.run)
    if known:
        taught_good = [example for example in known.examples if example.kind == "good"]
        number_of = {at: len(digests) + row for row, at in enumerate(map(known.examples.index, taught_good))}
        digests += [example.sha256 for example in taught_good]
        for lesson in known.lessons:
            for at, examples in enumerate(lesson.tokens):
                tokens[at].append(examples.placed)
                owners[at].append(np.array([number_of[one] for one in examples.good_of.tolist()], dtype=np.intp))
    return _Candidates([Placed.joined(one) for one in tokens], [np.concatenate(one) for one in owners], digests)


def _banks(visit: Visit[Any], candidates: _Candidates, size: int, progress: Progress) -> Banks:
    """Copies of a photo are in one fold. The ``size`` is shared by the passes."""
    kinds = {digest: number for number, digest in enumerate(dict.fromkeys(candidates.digests))}
    of_kind = visit.folds(len(kinds))
    fold = np.array([of_kind[kinds[digest]] for digest in candidates.digests])
    most = size // len(candidates.tokens)
    count = int(fold.max()) + 1
    with progress.stage("choosing tokens", size * (1 + count)) as advance:

        def chosen(without: int | None) -> list[Ints]:
            banks = []
            for tokens, photo in zip(candidates.tokens, candidates.photo, strict=True):
                others = np.arange(len(photo)) if without is None else np.flatnonzero(fold[photo] != without)
                banks.append(others[visit.chosen(tokens.taken(others), most, advance)])
            return banks

        whole, without = chosen(None), [chosen(one) for one in range(count)]
    return Banks(candidates.tokens, whole, without, dict(zip(candidates.digests, fold.tolist(), strict=True)))


@dataclass(frozen=True)
class _Defects:
    """Tokens (d, C) to look out for, by pass, and the photos that they are from."""

    tokens: list[Float32]
    digests: list[str]
    paths: set[str]


def _defects(visit: Visit[Any], families: Sequence[Family], banks: Sequence[Float32]) -> _Defects:
    """Marked defects, and the looks of recurring flaws, which are known in the first pass."""
    known = taught.read(visit.run)
    found = [[bank[:0]] for bank in banks]
    digests, paths = [], set[str]()
    if known:
        marked = [example for example in known.examples if example.kind == "defect"]
        digests += [example.sha256 for example in marked if example.sha256]
        paths |= {path for path, call in known.said.items() if call == "blemished"}
        for lesson in known.lessons:
            for at, examples in enumerate(lesson.tokens):
                found[at].append(examples.defects)
    flaws = [family for family in families if family.kind == "defect"]
    looks = read_run_cache(visit.run / RUN_CACHE).looks if flaws else ()
    if flaws and len(looks) != len(families):
        raise InputError(f"{str(visit.run / RUN_CACHE)!r} does not fit the run. Scan again.")
    for family in flaws:
        look = looks[family.number - 1]
        if look is not None and look.features == visit.features:
            found[0].append(look.tokens)
            digests += [member.sha256 for member in family.members]  # the look is that of one of them
            paths |= set(family.paths)
    joined = [np.concatenate(tokens) for tokens in found]
    return _Defects([tokens[farthest_first(tokens, DEFECTS // len(joined))] for tokens in joined], digests, paths)
