"""How much what the parts of a large batch have found resembles each other, by the few tokens that are kept of it.

Burn-out across parts: a look is the same where its tokens find matches much nearer than its own part has without it.
The endurance ratio takes the distance of rank omega for that; here it is the mean distance to the nearest photos
without the look, which needs no rank among photos that are no longer there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.scoring.families.carriers import Carriers
from blemish.scoring.families.evidence import NEAR, different
from blemish.scoring.families.family import Float32, Ints
from blemish.scoring.families.links import FLOOR

Float64 = npt.NDArray[np.float64]

__all__ = ["Nodes", "distinct_photos", "endurance", "nodes_of", "resemblance"]

# How many times as far a token must be from everything else as from the same look: no farther. 1.1 to 1.5 break one
# flaw on differently made parts into more families (2 a group at 1.3, 1.5 at 1.0) and find fewer of its photos, and the
# false families they avoid fall to the fence as well. Bounds like those of ``regions``, weighted by how far the token
# is from usual photos and relative to its place, were no better (benchmarks/spread.md).
RATIO = 1.0
BYTES = 2**26  # of products at once
SHARED = 64  # carriers of a community that are looked at closely
BEYOND = 3  # nearest photos that do not share the look


@dataclass(frozen=True)
class Nodes:
    """Every family and every lonely region of every part is a node, with n carriers and t tokens in all."""

    of: list[tuple[int, int]]  # (part, number in the part) of each node
    size: Ints  # carriers of each node
    node: Ints  # (n,) of each carrier
    photo: Ints  # (n,)
    beyond_batch: Float32  # (n,)
    beyond_place: Float32  # (n,)
    carrier: Ints  # (t,) ascending
    tokens: Float32  # (t, C) unit length
    isolation: Float32  # (t,)
    nearest: Float32  # (t, RANKS)
    overview: npt.NDArray[np.float16]  # (n, 9 or 27, C)


def nodes_of(parts: Sequence[Carriers]) -> Nodes:
    """The parts' carriers in one numbering."""
    before = np.cumsum([0, *(len(part.photo) for part in parts)])
    keys = [(at, int(number)) for at, part in enumerate(parts) for number in part.family]
    of = sorted(set(keys))
    number = {key: at for at, key in enumerate(of)}
    node = np.array([number[key] for key in keys], dtype=np.intp)
    tokens = np.concatenate([part.tokens for part in parts]).astype(np.float32)
    tokens /= np.maximum(np.linalg.norm(tokens, axis=1, keepdims=True), 1e-12)
    return Nodes(
        of=of,
        size=np.bincount(node, minlength=len(of)),
        node=node,
        photo=np.concatenate([part.photo for part in parts]).astype(np.intp),
        beyond_batch=np.concatenate([part.beyond_batch for part in parts]),
        beyond_place=np.concatenate([part.beyond_place for part in parts]),
        carrier=np.repeat(before[:-1], [len(part.carrier) for part in parts])
        + np.concatenate([part.carrier for part in parts]),
        tokens=tokens,
        isolation=np.concatenate([part.isolation for part in parts]),
        nearest=np.concatenate([part.nearest for part in parts]),
        overview=np.concatenate([part.overview for part in parts]),
    )


def resemblance(nodes: Nodes) -> tuple[Ints, Ints, Float64]:
    """Edges between nodes, each once: first, second, and the mean over all pairs of their carriers, in both
    directions, of the share of the one's tokens that the other has, 0 to 1. A photo is not compared with itself.

    t tokens of C channels are t^2 products of length C: 2 000 flawed photos with 16 tokens of 168 channels each take
    0.34 Tflop, some 5 s on two cores; and never more than ``BYTES`` beside the tokens."""
    keys, sums = _shares(nodes)
    a, b = np.divmod(keys, len(nodes.of))
    pair = np.minimum(a, b) * len(nodes.of) + np.maximum(a, b)
    known, at = np.unique(pair, return_inverse=True)
    first, second = np.divmod(known, len(nodes.of))
    total = np.bincount(at, weights=sums, minlength=len(known))
    pairs = nodes.size[first] * nodes.size[second] - _common(nodes, first, second)
    different = first != second
    return first[different], second[different], (total / (2 * pairs.clip(1)))[different]


def _shares(nodes: Nodes) -> tuple[Ints, Float64]:
    """Sums of shares from the carriers of one node to those of another: first times the number of nodes plus second,
    ascending; and the sum."""
    counts = np.bincount(nodes.carrier, minlength=len(nodes.photo))
    starts = np.concatenate([[0], np.cumsum(counts)])
    columns = np.argsort(-counts, kind="stable")  # carriers with many tokens first, so that a slot is the first few
    columns = columns[: np.count_nonzero(counts)]
    slots = [
        np.ascontiguousarray(nodes.tokens[starts[columns[: np.count_nonzero(counts > slot)]] + slot].T)
        for slot in range(int(counts.max(initial=0)))
    ]
    isolation = np.where(np.isfinite(nodes.isolation), nodes.isolation, 0)  # compared with nobody: it can match nobody
    near = (1 - np.square(isolation / RATIO) / 2).astype(np.float32)
    found: list[tuple[Ints, Float64]] = []
    at_once = max(1, BYTES // (9 * max(1, len(columns) * len(slots))))
    bearing = np.flatnonzero(counts)
    for chunk in np.array_split(bearing, -(-len(bearing) // at_once)) if len(bearing) else []:
        rows = np.concatenate([np.arange(starts[at], starts[at + 1]) for at in chunk])
        nearest = np.full((len(rows), len(columns)), -np.inf, dtype=np.float32)
        for slot in slots:
            wide = nearest[:, : slot.shape[1]]
            np.maximum(wide, nodes.tokens[rows] @ slot, out=wide)
        hits = np.add.reduceat(nearest > near[rows, None], np.cumsum([0, *counts[chunk[:-1]]]), axis=0, dtype=np.int32)
        hits[nodes.photo[chunk, None] == nodes.photo[columns]] = 0
        one, other = np.nonzero(hits)
        key = nodes.node[chunk[one]] * len(nodes.of) + nodes.node[columns[other]]
        found.append(_summed(key, hits[one, other] / counts[chunk[one]]))
    if not found:
        return np.empty(0, np.intp), np.empty(0)
    return _summed(np.concatenate([keys for keys, _ in found]), np.concatenate([sums for _, sums in found]))


def _summed(keys: Ints, values: Float64) -> tuple[Ints, Float64]:
    known, at = np.unique(keys, return_inverse=True)
    return known, np.bincount(at, weights=values, minlength=len(known)).astype(np.float64)


def _common(nodes: Nodes, first: Ints, second: Ints) -> Ints:
    """How many photos two nodes have in common, which only those of one part can."""
    common = np.zeros(len(first), dtype=np.intp)
    part = np.array([part for part, _ in nodes.of], dtype=np.intp)
    for at in np.flatnonzero(part[first] == part[second]):
        photos = (nodes.photo[nodes.node == node] for node in (first[at], second[at]))
        common[at] = len(np.intersect1d(*photos))
    return common


def endurance(nodes: Nodes, carriers: Ints) -> float:
    """The endurance ratio of a look: how far its tokens are from those of the other ``carriers``, relative to the
    nearest photos of their own part beyond the ones that share it. Matches that run out abruptly give less than 1;
    tokens that are merely at the edge of what is usual find good matches in any part, whether these stand out or not.

    Medians over the carriers and over all tokens."""
    part = np.array([part for part, _ in nodes.of], dtype=np.intp)[nodes.node]
    photos = {at: np.unique(nodes.photo[carriers[part[carriers] == at]]) for at in np.unique(part[carriers])}
    chosen = _some(carriers[np.argsort(nodes.photo[carriers], kind="stable")])  # whatever the order of the parts
    rows = np.flatnonzero(np.isin(nodes.carrier, chosen))
    squares = 2 - 2 * nodes.tokens[rows] @ nodes.tokens[rows].T
    starts = np.searchsorted(nodes.carrier[rows], np.unique(nodes.carrier[rows]))
    apart = np.sqrt(np.maximum(np.minimum.reduceat(squares, starts, axis=1), 0))
    of = nodes.carrier[rows][starts]
    ratios = []
    for carrier in of:
        others = nodes.photo[of] != nodes.photo[carrier]
        if others.any():
            shared = min(len(photos[part[carrier]]) - 1, nodes.nearest.shape[1] - BEYOND)
            mine = nodes.carrier[rows] == carrier
            beyond = nodes.nearest[rows[mine], shared : shared + BEYOND].mean(axis=1)
            ratios.append(np.median(apart[mine][:, others], axis=1) / np.maximum(beyond, FLOOR))
    return float(np.median(np.concatenate(ratios))) if ratios else np.inf


def distinct_photos(nodes: Nodes, carriers: Ints) -> int:
    """How many different parts the photos of ``carriers`` show, as ``evidence.distinct`` has it, among all carriers;
    of many photos, some are looked at."""
    photos, first = np.unique(nodes.photo, return_index=True)
    overview = nodes.overview[first].astype(np.float32)
    members = _some(np.flatnonzero(np.isin(photos, nodes.photo[carriers])))

    def apart(i: int) -> Float32:
        between = np.median(1 - np.einsum("npc,pc->np", overview, overview[i]), axis=1)
        between[i] = np.inf
        return np.asarray(np.sqrt(2 * np.maximum(between, 0)), dtype=np.float32)

    return different(members, apart, min(len(members) + round(NEAR * len(photos)), max(0, len(photos) - 2)))


def _some(ascending: Ints) -> Ints:
    """At most ``SHARED`` of them, evenly chosen."""
    return ascending[np.linspace(0, len(ascending) - 1, min(len(ascending), SHARED)).astype(np.intp)]
