"""What a detector says of the run's own photos, had they not been in it: from that its scale is learnt, how alike to a
defect an ordinary photo is, and how many good photos it would call blemished.

It knows banks and the run; the line and the margin themselves are arithmetic of ``scoring``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish import taught
from blemish.judgement import Interval
from blemish.judging import estimate_of
from blemish.progress import Progress
from blemish.result import Family
from blemish.scoring.calibration import Line, line_through
from blemish.scoring.defects import margin, slack
from blemish.scoring.examples import to_typical
from blemish.scoring.fusion import mean_maps
from blemish.scoring.memory import Memory
from blemish.scoring.mutual import highest
from blemish.scoring.place_bank import Placed
from blemish.scoring.places import Usual
from blemish.visit import TYPICAL, Visit

__all__ = ["Banks", "Own", "false_alarms", "line_of", "margins", "own_of"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]

ORDINARY = 60  # photos from which it is learnt how alike to a defect an ordinary photo is
NONE = np.zeros((0, 0), np.float32)
FEWEST = 3  # comparable photos that a scale is learnt from


@dataclass(frozen=True)
class Banks:
    """The bank of each pass; and for every fold of the photos in it, one that is made without them. By pass, ``tokens``
    are those that a bank may be chosen from, the rest their numbers."""

    tokens: list[Placed]
    whole: list[Ints]
    without: list[list[Ints]]  # fold, pass
    fold: dict[str, int]  # digest of a photo in the bank -> its fold

    def for_photo(self, digest: str | None = None) -> list[Placed]:
        """Those in which the photo is not."""
        chosen = self.without[self.fold[digest]] if digest in self.fold else self.whole
        return [tokens.taken(numbers) for tokens, numbers in zip(self.tokens, chosen, strict=True)]


@dataclass(frozen=True)
class Own:
    """Some rows of the run. By pass (n, h, w): distances to the bank without the photo itself, and to the defects; the
    latter is empty where there are none. Of volumes ``inside``: what counts, ``usual``: what weighs them by place, and
    ``unseen``: the same for each row, learnt from the others, as a volume that comes later is not among them either.
    """

    rows: list[int]
    to_bank: list[Float32]
    to_defects: list[Float32]
    embeddings: Float32  # (n, E)
    usual: Usual | None
    unseen: list[Usual]
    inside: Bools | None

    def maps(self, memories: Sequence[Memory], gain: float) -> Float32:
        """(n, h, w) as a detector with these memories would draw them."""
        passes = zip(memories, self.to_bank, self.to_defects, strict=True)
        return self.weighed(mean_maps([memory.values(bank, flaws) for memory, bank, flaws in passes]), gain)

    def weighed(self, maps: Float32, gain: float = 1.0) -> Float32:
        """Maps (n, *grid) of distances, by place where places count."""
        if self.inside is None:
            return maps
        maps = np.where(self.inside, maps, np.float32(0))
        if not self.unseen:
            return maps
        each = zip(self.unseen, maps, self.inside, strict=True)
        return np.concatenate([of.weighed(one[None], inside[None]) for of, one, inside in each]) * np.float32(gain)

    def scores(self, maps: Float32) -> Float32:
        """(n,) of maps, as a detector scores them."""
        return maps.max(axis=(1, 2)) if self.inside is None else highest(maps, self.inside)


def own_of(visit: Visit[Any], banks: Banks, defects: Sequence[Float32], progress: Progress) -> Own:
    rows = sorted(np.random.default_rng(1).permutation(len(visit.scored))[: visit.most].tolist())
    to_bank: list[list[Float32]] = [[] for _ in defects]
    to_defects: list[list[Float32]] = [[] for _ in defects]
    embeddings = []
    with progress.stage("learning the scale", len(rows)) as advance:
        for sight in visit.see([visit.photos[visit.scored[row].path] for row in rows], advance):
            embeddings.append(sight.embedding)
            for at, (bank, flaws) in enumerate(zip(banks.for_photo(sight.sha256), defects, strict=True)):
                to_bank[at].append(sight.near(at, bank))
                to_defects[at].append(sight.like(at, flaws) if len(flaws) else NONE)
    stacked, paths = [np.stack(one) for one in to_bank], [visit.scored[row].path for row in rows]
    maps = mean_maps(stacked)
    usual = visit.usual(maps, paths)
    unseen = []
    for at in range(len(rows)) if usual else ():
        others = visit.usual(np.delete(maps, at, 0), [*paths[:at], *paths[at + 1 :]])
        assert others is not None
        unseen.append(others)
    return Own(
        rows,
        stacked,
        [np.stack(one) for one in to_defects],
        np.stack(embeddings),
        usual,
        unseen,
        visit.inside(paths),
    )


def line_of(visit: Visit[Any], own: Own, families: Sequence[Family]) -> Line:
    """The line from distances to the run's scores, through photos whose scores are made alike: not those of a family
    that nobody has decided about, which vouch for each other in the run and are not in the bank, nor those that look
    like a taught defect."""
    undecided = {family.number for family in families if family.kind == "unsure"}
    known = taught.read(visit.run)
    lifted = set[str]()
    if known and known.lift.size:
        lifted = {path for path, lift in zip(known.paths, known.lift, strict=True) if lift.any()}
    photos = [visit.scored[row] for row in own.rows]
    alike = np.array([photo.family not in undecided and photo.path not in lifted for photo in photos])
    if alike.sum() < FEWEST:
        alike[:] = True
    largest = own.scores(own.weighed(mean_maps(own.to_bank)))
    in_run = np.array([photo.score for photo in photos], dtype=np.float64)
    return line_through(largest[alike], in_run[alike], through_zero=own.inside is not None)


def margins(visit: Visit[Any], own: Own, line: Line, shown: set[str], progress: Progress) -> list[float]:
    """By pass, how much nearer to a defect than to the bank an ordinary photo comes by chance. ``shown``: paths of
    photos that the defects are from, which are nearest to themselves."""
    if not any(one.size for one in own.to_defects):
        return [0.0] * len(own.to_defects)
    at = [at for at, row in enumerate(own.rows) if visit.scored[row].path not in shown]
    at = sorted(np.random.default_rng(2).permutation(at or range(len(own.rows)))[:ORDINARY].tolist())
    photos = [visit.photos[visit.scored[own.rows[one]].path] for one in at]
    usual: list[list[Float32]] = [[] for _ in own.to_bank]
    with progress.stage("learning the margin", len(at) + TYPICAL) as advance:
        typical = visit.typical(shown, advance)
        for sight in visit.see(photos, advance):
            others = [tokens for path, tokens in typical.items() if path != sight.path]
            for number in range(len(sight.grids)):
                usual[number].append(to_typical(partial(sight.near, number), [one[number] for one in others]))
    found = []
    for one, bank, flaws in zip(usual, own.to_bank, own.to_defects, strict=True):
        if not flaws.size:
            found.append(0.0)
            continue
        flaw = flaws[at].reshape(len(at), -1)
        distance = np.asarray(line(bank[at].reshape(len(at), -1)), dtype=np.float32)
        found.append(margin(distance - flaw, slack(np.stack(one).reshape(len(at), -1), distance, flaw)))
    return found


def false_alarms(
    visit: Visit[Any], own: Own, memories: Sequence[Memory], gain: float, families: Sequence[Family]
) -> Interval:
    """The share of good photos that score above the run's threshold, estimated from the detector's own scores."""
    maps = own.maps(memories, gain)
    scores = own.scores(maps)
    order = np.argsort(-scores, kind="stable")
    photos = [replace(visit.scored[own.rows[at]], score=float(scores[at])) for at in order]
    said = taught.said_in(visit.run)
    found = estimate_of(photos, maps[order], visit.evidence(own.embeddings[order], ()), families, said)
    low, middle, high = found.false_alarms(np.array([visit.manifest["verdict"]["threshold"]]))[:, 0].tolist()
    return Interval(middle, low, high)
