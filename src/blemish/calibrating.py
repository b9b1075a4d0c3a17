"""What a detector says of the run's own photos, had they not been in it: from that its scale is learnt, how alike to a
defect an ordinary photo is, and how many good photos it would call blemished.

It knows banks and the run; the line and the margin themselves are arithmetic of ``scoring``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from blemish import taught
from blemish.judgement import Interval
from blemish.judging import estimate_of
from blemish.progress import Progress
from blemish.rescoring import Evidence
from blemish.result import Family
from blemish.revisiting import TYPICAL, Revisit
from blemish.scoring.calibration import Line, line_through
from blemish.scoring.defects import margin, slack
from blemish.scoring.examples import to_typical
from blemish.scoring.fusion import mean_maps
from blemish.scoring.memory import Memory, nearest

__all__ = ["Banks", "Own", "false_alarms", "line_of", "margins", "own_of"]

Float32 = npt.NDArray[np.float32]

PHOTOS = 400  # of the run, drawn at random, from which the scale is learnt
ORDINARY = 60  # of these, from which it is learnt how alike to a defect an ordinary photo is
NONE = np.zeros((0, 0), np.float32)
FEWEST = 3  # comparable photos that a scale is learnt from


@dataclass(frozen=True)
class Banks:
    """The bank (M, C) of each pass; and for every fold of the photos in it, one that is made without them."""

    whole: list[Float32]
    without: list[list[Float32]]  # fold, pass
    fold: dict[str, int]  # digest of a photo in the bank -> its fold

    def for_photo(self, digest: str) -> list[Float32]:
        """Those in which the photo is not."""
        return self.without[self.fold[digest]] if digest in self.fold else self.whole


@dataclass(frozen=True)
class Own:
    """Some rows of the run. By pass (n, h, w): distances to the bank without the photo itself, and to the defects; the
    latter is empty where there are none."""

    rows: list[int]
    to_bank: list[Float32]
    to_defects: list[Float32]
    embeddings: Float32  # (n, E)

    def maps(self, memories: Sequence[Memory]) -> Float32:
        """(n, h, w) as a detector with these memories would draw them."""
        passes = zip(memories, self.to_bank, self.to_defects, strict=True)
        return mean_maps([memory.values(bank, flaws) for memory, bank, flaws in passes])


def own_of(visit: Revisit, banks: Banks, defects: Sequence[Float32], progress: Progress) -> Own:
    rows = sorted(np.random.default_rng(1).permutation(len(visit.scored))[:PHOTOS].tolist())
    to_bank: list[list[Float32]] = [[] for _ in defects]
    to_defects: list[list[Float32]] = [[] for _ in defects]
    embeddings = []
    with progress.stage("learning the scale", len(rows)) as advance:
        for done in visit.see([visit.photos[visit.scored[row].path] for row in rows], advance):
            (seen,) = done.seen
            embeddings.append(seen.embedding)
            own = banks.for_photo(done.ready.sha256)
            for at, (grid, bank, flaws) in enumerate(zip(seen.grids, own, defects, strict=True)):
                tokens, shape = grid.reshape(-1, grid.shape[2]), grid.shape[:2]
                to_bank[at].append(nearest(tokens, bank).reshape(shape))
                to_defects[at].append(nearest(tokens, flaws).reshape(shape) if len(flaws) else NONE)
    return Own(rows, [np.stack(one) for one in to_bank], [np.stack(one) for one in to_defects], np.stack(embeddings))


def line_of(visit: Revisit, own: Own, families: Sequence[Family]) -> Line:
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
    largest = mean_maps(own.to_bank).max(axis=(1, 2))
    in_run = np.array([photo.score for photo in photos], dtype=np.float64)
    return line_through(largest[alike], in_run[alike])


def margins(visit: Revisit, own: Own, line: Line, shown: set[str], progress: Progress) -> list[float]:
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
        for done in visit.see(photos, advance):
            others = [tokens for path, tokens in typical.items() if path != done.ready.file.path]
            for number, grid in enumerate(done.seen[0].grids):
                tokens = grid.reshape(-1, grid.shape[2])
                usual[number].append(to_typical(tokens, [one[number] for one in others]))
    found = []
    for one, bank, flaws in zip(usual, own.to_bank, own.to_defects, strict=True):
        if not flaws.size:
            found.append(0.0)
            continue
        flaw = flaws[at].reshape(len(at), -1)
        distance = np.asarray(line(bank[at].reshape(len(at), -1)), dtype=np.float32)
        found.append(margin(distance - flaw, slack(np.stack(one), distance, flaw)))
    return found


def false_alarms(visit: Revisit, own: Own, memories: Sequence[Memory], families: Sequence[Family]) -> Interval:
    """The share of good photos that score above the run's threshold, estimated from the detector's own scores."""
    maps = own.maps(memories)
    scores = maps.max(axis=(1, 2))
    order = np.argsort(-scores, kind="stable")
    photos = [replace(visit.scored[own.rows[at]], score=float(scores[at])) for at in order]
    said = taught.said_in(visit.run)
    found = estimate_of(photos, maps[order], Evidence(own.embeddings[order]), families, said)
    low, middle, high = found.false_alarms(np.array([visit.manifest["verdict"]["threshold"]]))[:, 0].tolist()
    return Interval(middle, low, high)
