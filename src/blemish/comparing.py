"""The middle of a scan: photos against each other, the families among them, and the scores without them.

A batch is one part, or, if it is large, several that know nothing of each other until their families are joined. It
joins matching to scoring and lets every array go as soon as nobody needs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.config import ScanConfig
from blemish.diagnostics import diagnose
from blemish.diagnostics.reading import reading
from blemish.extraction import Branch
from blemish.family_facts import decided, describe, excluded, looks_of, with_effect
from blemish.looks import Look, look_of
from blemish.matching.engine import NearestTable
from blemish.matching.store import Budget
from blemish.nearest import Nearest, nearest_of
from blemish.rescoring import Part, Rescoring, Sensitive
from blemish.result import Decision, Family
from blemish.scoring.families import (
    FEWEST,
    Carriers,
    FoundFamily,
    Pass,
    Search,
    alternatives,
    carriers,
    find_families,
    join,
    solitary,
    whole,
)
from blemish.scoring.places import unusual_grey

__all__ = ["Compared", "ComparedPart", "compare", "searched", "together"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ComparedPart:
    """What is left of b photos that were compared with each other when their tables and tokens are gone."""

    scores: tuple[Float32, ...]  # (b, h, w) of each pass
    passes: Callable[[], tuple[Sensitive, ...]]
    of_backbone: tuple[int, ...]  # passes of each backbone
    k: int  # neighbours that voted
    found: tuple[FoundFamily, ...]  # its families, and after them, in one part of many, what stands alone in it
    own: int  # how many of these are families
    looks: tuple[Look | None, ...]  # of its families, where it is the whole batch
    carriers: Carriers | None  # of ``found``, where it is one part of many
    between: Float32  # (b, b) mean distance between photos; of many parts only the first has it
    diagnosis: dict[str, Any] | None
    nearest: Nearest | None = None  # what its hottest places in the first pass are nearest to

    @property
    def grids(self) -> list[list[tuple[int, ...]]]:
        """(h, w), of volumes (x, y, z), of each pass of each backbone."""
        shapes = iter([one.shape[1:] for one in self.scores])
        return [[next(shapes) for _ in range(count)] for count in self.of_backbone]


@dataclass(frozen=True)
class Compared:
    """Everything is in the order of the parts' photos, one part after the other."""

    grids: Float32  # (B, h, w) anomaly maps
    scores: Float32  # (B,)
    families: tuple[Family, ...]
    looks: tuple[Look | None, ...]  # of each family
    rescoring: Rescoring


def compare(
    branches: Sequence[Branch],
    paths: Sequence[str],
    tables: Sequence[NearestTable],
    config: ScanConfig,
    budget: Budget,
    *,
    k: int,
    references: int,
    first: int | None = None,
    inside: Bools | None = None,
    radius: int | None = None,
    advance: Callable[[int], None],
) -> ComparedPart:
    """Families and scores from the tables of one part, which are released with the tokens.

    ``k``: neighbours that vote. ``references``: photos that each was compared with. ``first``: number of the part's
    first photo in the batch if there are other parts. ``inside``: (b, N) tokens that count, and ``radius``: how far
    from its own place each was compared, as ``matching.nearby`` had them. ``advance(1)``: one pass is finished with."""
    sets = list(chain.from_iterable(branch.token_sets for branch in branches))
    passes = [
        Pass(table, tokens.store, tokens.grid, references, inside, radius)
        for table, tokens in zip(tables, sets, strict=True)
    ]
    search = find_families(passes, k, config.families)
    found = search.families
    looks: tuple[Look | None, ...] = ()
    carried = None
    if first is None:
        looks = tuple(looks_of(found, passes[0], features_of(branches[0])))
    else:
        found += solitary(passes, search, config.families)
        carried = carriers(passes[0], found, np.arange(first, first + len(paths)))
    stands_for_all = first is None or first == 0
    between = _between(passes[: len(branches[0].token_sets)]) if stands_for_all else np.empty((0, 0), np.float32)
    diagnosis = _diagnosis(passes[0], paths, config, search) if stands_for_all else None
    sensitive: list[Sensitive] = []
    nearest: Nearest | None = None
    # What stands alone may vouch for itself even if the other parts make it a family: a handful of photos (TAKEN_AWAY)
    # cannot, among the votes of a part, and second choices of every lonely region would be as large as the table.
    for one, table, tokens, other in zip(passes, tables, sets, alternatives(passes, search.families), strict=True):
        sensitive.append(Sensitive.of(one, k, other))
        if one is passes[0]:
            nearest = nearest_of(one, sensitive[0].scores)
        table.release(budget)
        budget.release(tokens.store)
        advance(1)
    of_backbone = tuple(len(branch.token_sets) for branch in branches)
    kept = tuple(sensitive)
    return ComparedPart(
        scores=tuple(one.scores for one in kept),
        passes=lambda: kept,
        of_backbone=of_backbone,
        k=k,
        found=found,
        own=len(search.families),
        looks=looks,
        carriers=carried,
        between=between,
        diagnosis=diagnosis,
        nearest=nearest,
    )


def together(
    parts: Sequence[ComparedPart],
    branches: Sequence[Branch],
    paths: Sequence[str],
    sha256: Sequence[str],
    embeddings: Float32,
    config: ScanConfig,
    decisions: Sequence[Decision],
    *,
    inside: Bools | None = None,
    grey: Float32 | None = None,
) -> Compared:
    """The families and scores of the batch. ``paths``, ``sha256`` and ``embeddings`` (B, E) are in the parts' order.

    ``decisions``: what the user has said about families of these photos before. ``inside``: (B, x, y, z), of volumes
    the cells that count. ``grey``: the same of their grey levels, where these count too."""
    found, numbers, looks = _families(parts, len(paths), branches, config)
    rescoring = Rescoring(
        parts=tuple(Part(part.scores, part.passes, part.k, own) for part, own in zip(parts, numbers, strict=True)),
        of_backbone=parts[0].of_backbone,
        shape=_scored_at(parts[0].grids, branches[0].shape),
        image_score=config.image_score if inside is None or config.image_score != "max" else "top",
        rscin=config.rscin,
        embeddings=embeddings,
        inside=inside,
        places=inside is not None and config.volumes.places,
        grey=None if grey is None or inside is None else unusual_grey(grey, inside, config.volumes.grey),
    )
    families = decided(describe(found, parts[0].grids[0][0], paths, sha256), decisions, looks)
    families = with_effect(families, rescoring, paths)
    grids = rescoring.maps(excluded(families))
    return Compared(grids, rescoring.image_scores(grids), families, looks, rescoring)


def _scored_at(grids: Sequence[Sequence[tuple[int, ...]]], working: tuple[int, int]) -> tuple[int, ...]:
    """Where a map's largest value is looked for: at the working resolution, as published; of volumes, at the tokens
    of the finest grid, since voxels are many and lie in between."""
    finest = max(chain.from_iterable(grids), key=math.prod)
    return working if len(finest) == 2 else finest


Numbers = tuple[tuple[int, ...], ...]  # of each family of the batch, those it has in a part


def _families(
    parts: Sequence[ComparedPart], images: int, branches: Sequence[Branch], config: ScanConfig
) -> tuple[Sequence[FoundFamily], list[Numbers], tuple[Look | None, ...]]:
    """The families of the batch, which of each part's they are made of, and their looks."""
    if len(parts) == 1:
        found = parts[0].found
        return found, [tuple((number,) for number in range(len(found)))], parts[0].looks
    carried = [part.carriers for part in parts if part.carriers is not None]
    several = len(parts[0].scores) > 2
    spread = join(carried, images, config.families, several=several)
    starts = np.cumsum([0, *(len(part.scores[0]) for part in parts)])
    photos = [np.arange(start, stop) for start, stop in pairwise(starts)]
    made_of: list[Numbers] = [
        tuple(tuple(number for part, number in family.of if part == at) for family in spread.families)
        for at in range(len(parts))
    ]
    numbers = [
        tuple(tuple(number for number in own if number < part.own) for own in of)
        for of, part in zip(made_of, parts, strict=True)
    ]
    joined = [whole(family, [part.found for part in parts], photos, images) for family in spread.families]
    looks = tuple(_look(made_of, at, carried, features_of(branches[0])) for at in range(len(joined)))
    return joined, numbers, looks


def _look(numbers: Sequence[Numbers], family: int, carried: Sequence[Carriers], features: str) -> Look | None:
    """From the tokens that the parts have kept of its members."""
    members = []
    for own, part in zip(numbers, carried, strict=True):
        for carrier in np.flatnonzero(np.isin(part.family, own[family])):
            tokens = part.tokens[part.carrier == carrier]
            if len(tokens):
                members.append(tokens.astype(np.float32))
    return look_of(members, features) if len(members) > 1 else None


def features_of(branch: Branch) -> str:
    """What made the tokens of the first pass: only looks with the same can be compared."""
    facts = (branch.backbone.weights_sha256[:12], branch.backbone.layers, branch.radii, branch.join, branch.shape)
    return f"{branch.backbone.facts.name} {' '.join(map(str, facts))}{branch.view and f' {branch.view}'}"


def _between(passes: Sequence[Pass]) -> Float32:
    """(B, B) mean distance from each photo's tokens to the other photo, over the passes of the first backbone;
    infinite where the one was not compared with the other."""
    images = passes[0].images
    between = np.zeros((images, images), dtype=np.float32)
    for one in passes:
        for i in range(images):
            between[i] += one.matches.row(i)[:, one.own(i)].mean(axis=1) / len(passes)
    np.fill_diagonal(between, 0)
    return between


def _diagnosis(one: Pass, paths: Sequence[str], config: ScanConfig, search: Search) -> dict[str, Any] | None:
    """Does the theory behind families hold in this batch, and what were they chosen from? The theory is looked at in
    the first pass, at the middle reference rank, and where every photo has a token that counts."""
    if config.families.rule == "off" or one.screened:
        return None
    images = len(paths)
    share = config.families.omega[len(config.families.omega) // 2]
    omega = min(max(2, round(share * one.references)), one.references)
    places = np.arange(one.size) if one.inside is None else np.flatnonzero(one.inside.all(axis=0))
    if not len(places):
        return None
    diagnosis = diagnose(
        one.matches.row if one.inside is None else lambda i: one.matches.row(i)[:, places],
        images,
        len(places),
        omega=omega,
        bound=search.link_bound,
        seed=config.families.seed,
    )
    links = np.zeros((images, images), np.float32) if search.links is None else search.links
    first, second = np.nonzero(np.triu(links, 1))
    words = reading(diagnosis, len(search.families), volumes=one.inside is not None)
    return {
        **replace(diagnosis, reading=words).as_dict(),
        "rule": config.families.rule,
        "paths": list(paths),
        "communities": [_finite(asdict(community)) for community in search.communities],
        "links": [[int(a), int(b), round(float(links[a, b]), 3)] for a, b in zip(first, second, strict=True)],
    }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: null instead."""
    return {name: None if value == np.inf else value for name, value in values.items()}


def searched(config: ScanConfig, images: int) -> bool:
    """Whether families are looked for."""
    return config.families.rule != "off" and images >= FEWEST
