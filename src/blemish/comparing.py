"""The middle of a scan: all photos against all others, the families among them, and the scores without them.

It joins matching to scoring and lets every array go as soon as nobody needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.config import ScanConfig
from blemish.diagnostics import diagnose
from blemish.diagnostics.reading import reading
from blemish.extraction import Branch, Extracted
from blemish.family_facts import decided, describe, excluded, looks_of, with_effect
from blemish.looks import Look
from blemish.matching.engine import NearestTable, match
from blemish.matching.store import Budget
from blemish.rescoring import Rescoring, Sensitive
from blemish.result import Decision, Family
from blemish.scoring.families import FEWEST, Alternatives, Pass, Search, alternatives, find_families
from blemish.scoring.mutual import neighbours

__all__ = ["Compared", "compare"]

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Compared:
    """Everything is in the order of the extracted photos."""

    grids: Float32  # (B, h, w) anomaly maps
    scores: Float32  # (B,)
    between: Float32  # (B, B) mean distance between photos
    k: int
    searched: bool  # whether families were looked for
    families: tuple[Family, ...]
    looks: tuple[Look | None, ...]  # of each family
    rescoring: Rescoring
    diagnosis: dict[str, Any] | None


def match_all(
    branches: Sequence[Branch], budget: Budget, with_index: bool, advance: Callable[[int], None]
) -> list[NearestTable]:
    """The tables of all passes of all backbones."""
    return [
        match(tokens.store, budget, with_index=with_index, progress=advance)
        for branch in branches
        for tokens in branch.token_sets
    ]


def compare(
    branches: Sequence[Branch],
    extracted: Extracted,
    tables: Sequence[NearestTable],
    config: ScanConfig,
    budget: Budget,
    decisions: Sequence[Decision],
    advance: Callable[[int], None],
) -> Compared:
    """Families and scores from the tables, which are released. ``advance(1)``: one pass is finished with.

    ``decisions``: what the user has said about families of these photos before."""
    images = len(extracted.photos)
    paths = extracted.paths
    k = neighbours(config.k, images)
    sets = list(chain.from_iterable(branch.token_sets for branch in branches))
    passes = [Pass(table, tokens.store, tokens.grid) for table, tokens in zip(tables, sets, strict=True)]
    search = find_families(passes, k, config.families)
    found = search.families
    looks = looks_of(found, passes[0], _features(branches[0]))
    second = alternatives(passes, found) if found else [Alternatives(()) for _ in passes]
    between = _between(tables[: len(branches[0].token_sets)])
    diagnosis = _diagnosis(tables[0], paths, sets[0].grid, config, search)
    sensitive = []
    for one, table, tokens, other in zip(passes, tables, sets, second, strict=True):
        sensitive.append(Sensitive.of(one, k, other))
        table.release(budget)
        budget.release(tokens.store)
        advance(1)
    rescoring = Rescoring(
        passes=tuple(sensitive),
        of_backbone=tuple(len(branch.token_sets) for branch in branches),
        k=k,
        shape=branches[0].shape,
        image_score=config.image_score,
        rscin=config.rscin,
        embeddings=np.stack(branches[0].embeddings),
    )
    families = decided(describe(found, sets[0].grid, paths, extracted.sha256), decisions, looks)
    families = with_effect(families, rescoring, paths)
    grids = rescoring.maps(excluded(families))
    searched = config.families.rule != "off" and images >= FEWEST
    return Compared(
        grids, rescoring.image_scores(grids), between, k, searched, families, tuple(looks), rescoring, diagnosis
    )


def _features(branch: Branch) -> str:
    """What made the tokens of the first pass: only looks with the same can be compared."""
    facts = (branch.backbone.weights_sha256[:12], branch.backbone.layers, branch.radii, branch.join, branch.shape)
    return f"{branch.backbone.facts.name} {' '.join(map(str, facts))}"


def _between(tables: Sequence[NearestTable]) -> Float32:
    """(B, B) mean distance from each photo's tokens to the other photo, over the passes of the first backbone."""
    images = tables[0].store.shape[0]
    between = np.zeros((images, images), dtype=np.float32)
    for table in tables:
        for i in range(images):
            between[i] += table.row(i).mean(axis=1) / len(tables)
    np.fill_diagonal(between, 0)
    return between


def _diagnosis(
    table: NearestTable, paths: list[str], grid: tuple[int, int], config: ScanConfig, search: Search
) -> dict[str, Any] | None:
    """Does the theory behind families hold in this batch, and what were they chosen from? The theory is looked at in
    the first pass, at the middle reference rank."""
    if config.families.rule == "off":
        return None
    images = len(paths)
    share = config.families.omega[len(config.families.omega) // 2]
    omega = min(max(2, round(share * (images - 1))), images - 1)
    diagnosis = diagnose(
        table.row, images, grid[0] * grid[1], omega=omega, bound=search.link_bound, seed=config.families.seed
    )
    links = np.zeros((images, images), np.float32) if search.links is None else search.links
    first, second = np.nonzero(np.triu(links, 1))
    words = reading(diagnosis, len(search.families))
    return {
        **replace(diagnosis, reading=words).as_dict(),
        "rule": config.families.rule,
        "paths": paths,
        "communities": [_finite(asdict(community)) for community in search.communities],
        "links": [[int(a), int(b), round(float(links[a, b]), 3)] for a, b in zip(first, second, strict=True)],
    }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: null instead."""
    return {name: None if value == np.inf else value for name, value in values.items()}
