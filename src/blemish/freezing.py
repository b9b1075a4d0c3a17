"""A judged run becomes a detector for one photo: a small bank of tokens of its good photos, with scores on the run's
scale and a threshold with the same meaning.

It chooses whose tokens are kept and what a score means; how a detector is asked is told in ``frozen``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blemish import bundle, taught
from blemish.bundle import SUFFIX, Bundle, DetectorFacts
from blemish.errors import ConfigError, InputError
from blemish.features.packing import pack
from blemish.frozen import require_new, scored
from blemish.judgement import Interval
from blemish.judging import estimate_of
from blemish.paths import RUN_CACHE
from blemish.progress import Progress, Silent
from blemish.rescoring import Evidence
from blemish.result import Photo, upsample
from blemish.revisiting import TYPICAL, Revisit
from blemish.run_cache import read as read_run_cache
from blemish.scoring.calibration import Line, line_through
from blemish.scoring.coreset import SIZE, farthest_first, folds, ordinary, thinned
from blemish.scoring.defects import margin, slack
from blemish.scoring.examples import BOOST, to_typical
from blemish.scoring.memory import Memory, nearest
from blemish.sinks.families import read as read_families
from blemish.verdict.wording import one_in

__all__ = ["Frozen", "freeze"]

Float32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.intp]

FEWEST = 3  # good photos that a bank is made of
PHOTOS = 400  # good photos that tokens are drawn from, and photos that the scale is learnt from
SMALLEST, LARGEST = 50, 50_000  # tokens of a bank
ORDINARY_PHOTOS = 60  # of the run, from which it is learnt how alike to a defect an ordinary photo is
DEFECTS = 1000  # tokens to look out for, at most: with the bank they make half of what one photo may take
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
    visit = Revisit.open(path, "frozen")
    _require_frozen_rule(visit)
    kept = visit.kept()
    good = _good(visit)
    candidates = _candidates(visit, good, kept.grids, progress)
    banks = _banks(candidates, visit.scored, good, tokens, progress)
    own = _own(visit, banks, progress)
    line = line_through(own.scores, [visit.scored[row].score or 0.0 for row in own.rows])
    defects = _defects(visit, banks.whole)
    memories = tuple(
        Memory(bank, found, scale=line.scale, offset=line.offset, boost=BOOST, margin=beyond)
        for bank, found, beyond in zip(
            banks.whole, defects, _margins(visit, banks, defects, line, progress), strict=True
        )
    )
    facts = _facts(visit, kept.level, memories, line, _false_alarms(visit, own, line), candidates.digests)
    bundle.write(Bundle(facts, memories, pack(visit.branch.backbone) if embed else {}), file)
    return Frozen(file, facts, line)


def _facts(
    visit: Revisit, level: float, memories: Sequence[Memory], line: Line, rate: Interval, digests: Sequence[str]
) -> DetectorFacts:
    """``level``: map value that seeds a region. ``digests``: of the photos in the bank."""
    branch, said = visit.branch, visit.manifest["verdict"]
    threshold = float(said["threshold"])
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
        unsure_high=threshold + line.difference,
        meaning=(
            f"Above {threshold:.4g} a photo is blemished, {said['rule']}; about {one_in(rate.estimate)} good ones "
            f"would be called so (90 % interval {one_in(rate.high)} to {one_in(rate.low)})."
        ),
        pixel_threshold=level,
        colour_low=float(visit.manifest["colour_scale"]["low"]),
        colour_high=float(visit.manifest["colour_scale"]["high"]),
        photos=tuple(digests),
        made_from={
            "photos": len(visit.scored),
            "good_photos": len(digests),
            "tokens": sum(len(memory.normal) for memory in memories),
            "defect_tokens": sum(len(memory.defects) for memory in memories),
        },
        made_by=version("blemish"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _require_frozen_rule(visit: Revisit) -> None:
    """A photo on its own has no batch whose usual map could be subtracted, or whose photos could re-score it."""
    if visit.config.image_score != "max" or visit.config.rscin:
        raise ConfigError(
            f"{visit.run.name!r} was scored relative to its batch (image_score {visit.config.image_score}, rscin "
            f"{visit.config.rscin or 'off'}), which a photo on its own lacks. Scan again with --image-score max and "
            "without --rscin; features are cached, so it is quicker than the first time."
        )


def _good(visit: Revisit) -> list[int]:
    """Rows of the photos that tokens are taken from: called ok, and in no family that is a flaw or may be one."""
    variants = {family.number for family in read_families(visit.run / "families.json") if family.kind == "variant"}
    rows = [
        row
        for row, photo in enumerate(visit.scored)
        if photo.verdict == "ok" and (photo.family is None or photo.family in variants)
    ]
    if len(rows) < FEWEST:
        raise InputError(
            f"{visit.run.name!r} has {len(rows)} photos that were called ok; a detector is made of at least {FEWEST}. "
            "Scan more photos, or move the threshold: blemish verdict"
        )
    return sorted(np.random.default_rng(0).permutation(rows)[:PHOTOS].tolist())


@dataclass(frozen=True)
class _Candidates:
    """Tokens that a bank may be chosen from, and where they are from: by pass."""

    tokens: list[Float32]  # (T, C)
    photo: list[Ints]  # (T,) number among the good photos
    digests: list[str]  # of these photos


def _candidates(visit: Revisit, good: Sequence[int], maps: Float32, progress: Progress) -> _Candidates:
    """Ordinary tokens of the ``good`` rows. ``maps: (B, h, w)`` of the run."""
    values = np.asarray(maps[good])
    chosen = []
    for h, w in visit.grids:
        allowed = ordinary(upsample(values, (h, w)).reshape(len(good), -1))
        chosen.append(np.divmod(thinned(allowed), h * w))
    tokens: list[list[Float32]] = [[] for _ in chosen]
    digests = []
    with progress.stage("reading good photos", len(good)) as advance:
        photos = [visit.photos[visit.scored[row].path] for row in good]
        for at, done in enumerate(visit.see(photos, advance)):
            digests.append(done.ready.sha256)
            for found, grid, (photo, token) in zip(tokens, done.seen[0].grids, chosen, strict=True):
                found.append(grid.reshape(-1, grid.shape[2])[token[photo == at]])
    return _Candidates([np.concatenate(found) for found in tokens], [photo for photo, _ in chosen], digests)


@dataclass(frozen=True)
class _Banks:
    """The bank (M, C) of each pass; and for every fold of the good photos, one that is made without them."""

    whole: list[Float32]
    without: list[list[Float32]]  # fold, pass
    fold: dict[int, int]  # row of a good photo -> its fold


def _banks(
    candidates: _Candidates, rows: Sequence[Photo], good: Sequence[int], size: int, progress: Progress
) -> _Banks:
    """Copies of a photo are in one fold. The ``size`` is shared by the passes."""
    first = [rows[row].duplicate_of or rows[row].path for row in good]
    kinds = {path: number for number, path in enumerate(dict.fromkeys(first))}
    of_kind = folds(len(kinds))
    fold = np.array([of_kind[kinds[path]] for path in first])
    most = size // len(candidates.tokens)
    count = int(fold.max()) + 1
    with progress.stage("choosing tokens", size * (1 + count)) as advance:

        def chosen(without: int | None) -> list[Float32]:
            banks = []
            for tokens, photo in zip(candidates.tokens, candidates.photo, strict=True):
                others = tokens if without is None else tokens[fold[photo] != without]
                banks.append(others[farthest_first(others, most, progress=advance)])
            return banks

        return _Banks(chosen(None), [chosen(one) for one in range(count)], dict(zip(good, fold.tolist(), strict=True)))


@dataclass(frozen=True)
class _Own:
    """What a detector would say of some of the run's own photos, had they not been in it; not yet on its scale."""

    rows: list[int]
    scores: list[float]
    maps: Float32  # (n, h, w)
    embeddings: Float32  # (n, E)


def _comparable(visit: Revisit) -> list[int]:
    """Rows whose scores in the run are made as ``_own`` makes them: not those of a family that nobody has decided
    about, which vouch for each other in the run and are not in the bank, nor those that look like a taught defect."""
    undecided = {family.number for family in read_families(visit.run / "families.json") if family.kind == "unsure"}
    known = taught.read(visit.run)
    lifted = set[str]()
    if known and known.lift.size:
        lifted = {path for path, lift in zip(known.paths, known.lift, strict=True) if lift.any()}
    rows = list(range(len(visit.scored)))
    kept = [row for row in rows if visit.scored[row].family not in undecided and visit.scored[row].path not in lifted]
    return kept if len(kept) >= FEWEST else rows


def _own(visit: Revisit, banks: _Banks, progress: Progress) -> _Own:
    rows = sorted(np.random.default_rng(1).permutation(_comparable(visit))[:PHOTOS].tolist())
    photos = [visit.photos[visit.scored[row].path] for row in rows]
    scores, maps, embeddings = [], [], []
    with progress.stage("learning the scale", len(rows)) as advance:
        for row, done in zip(rows, visit.see(photos, advance), strict=True):
            (seen,) = done.seen
            bank = banks.without[banks.fold[row]] if row in banks.fold else banks.whole
            score, whole = scored(seen.grids, tuple(Memory(tokens, tokens[:0]) for tokens in bank), TOP)
            scores.append(score)
            maps.append(whole)
            embeddings.append(seen.embedding)
    return _Own(rows, scores, np.stack(maps), np.stack(embeddings))


def _false_alarms(visit: Revisit, own: _Own, line: Line) -> Interval:
    """The share of good photos that score above the run's threshold, estimated from the detector's own scores."""
    scores = line(own.scores)
    photos = [replace(visit.scored[row], score=float(score)) for row, score in zip(own.rows, scores, strict=True)]
    found = estimate_of(
        photos,
        np.asarray(line(own.maps), dtype=np.float32),
        Evidence(own.embeddings),
        read_families(visit.run / "families.json"),
        taught.said_in(visit.run),
    )
    low, middle, high = found.false_alarms(np.array([visit.manifest["verdict"]["threshold"]]))[:, 0].tolist()
    return Interval(middle, low, high)


def _defects(visit: Revisit, banks: Sequence[Float32]) -> list[Float32]:
    """Tokens (d, C) to look out for, by pass: marked defects, and the looks of recurring flaws, known in the first."""
    known = taught.read(visit.run)
    found = [[bank[:0]] for bank in banks]
    for lesson in known.lessons if known else ():
        for at, examples in enumerate(lesson.tokens):
            found[at].append(examples.defects)
    families = read_families(visit.run / "families.json")
    if any(family.kind == "defect" for family in families):
        looks = read_run_cache(visit.run / RUN_CACHE).looks
        if len(looks) != len(families):
            raise InputError(f"{str(visit.run / RUN_CACHE)!r} does not fit the run. Scan the photos again.")
        for family, look in zip(families, looks, strict=True):
            if family.kind == "defect" and look is not None and look.features == visit.features:
                found[0].append(look.tokens)
    joined = [np.concatenate(tokens) for tokens in found]
    return [tokens[farthest_first(tokens, DEFECTS // len(joined))] for tokens in joined]


def _margins(visit: Revisit, banks: _Banks, defects: Sequence[Float32], line: Line, progress: Progress) -> list[float]:
    """By pass, how much nearer to a defect than to the bank an ordinary photo comes by chance."""
    if not any(len(tokens) for tokens in defects):
        return [0.0] * len(defects)
    said = taught.said_in(visit.run)
    rows = [row for row, photo in enumerate(visit.scored) if photo.path not in said]
    rows = sorted(np.random.default_rng(2).permutation(rows)[:ORDINARY_PHOTOS].tolist())
    photos = [visit.photos[visit.scored[row].path] for row in rows]
    distances: list[list[Float32]] = [[] for _ in defects]  # by pass: (usual, found, to the defect) of each photo
    with progress.stage("learning the margin", len(rows) + TYPICAL) as advance:
        typical = visit.typical([path for path, call in said.items() if call == "blemished"], advance)
        for row, done in zip(rows, visit.see(photos, advance), strict=True):
            bank = banks.without[banks.fold[row]] if row in banks.fold else banks.whole
            others = [tokens for path, tokens in typical.items() if path != done.ready.file.path]
            for at, (grid, flaws) in enumerate(zip(done.seen[0].grids, defects, strict=True)):
                if len(flaws):
                    tokens = grid.reshape(-1, grid.shape[2])
                    usual = to_typical(tokens, [one[at] for one in others])
                    found = line(nearest(tokens, bank[at])).astype(np.float32)
                    distances[at].append(np.stack([usual, found, nearest(tokens, flaws)]))
    return [_margin(np.stack(of_pass)) if of_pass else 0.0 for of_pass in distances]


def _margin(distances: Float32) -> float:
    """``distances: (n, 3, N)`` to a typical photo, on the detector's scale to its bank, and to the defects."""
    usual, found, flaw = distances[:, 0], distances[:, 1], distances[:, 2]
    return margin(found - flaw, slack(usual, found, flaw))
