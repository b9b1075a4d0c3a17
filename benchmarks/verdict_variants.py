"""A second legitimate variant in a clean batch: is it asked about, or condemned?

    BLEMISH_DATA=../shared/data python benchmarks/verdict_variants.py > table.md

prints a table of `verdict.md` in some minutes. Batches of good photos, 2, 5 or 10 % of them of another variant: another
print on rendered bottles, another colour of real rubber figures. Two photos are no group; smaller shares are drawn from
larger batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from batches import RGB, data_folder
from blemish.config import FamilyConfig, VerdictConfig
from blemish.family_facts import describe, excluded
from blemish.inputs.images import PhotoFile, read_photo
from blemish.inputs.synthetic import render_batch
from blemish.judging import estimate_of, judged, seed_level
from blemish.rescoring import Part, Rescoring, Sensitive
from blemish.result import Photo, ranked
from blemish.scoring.families import Pass, alternatives, find_families
from blemish.scoring.mutual import neighbours
from recurrence_batches import Matches, Tokens
from recurrence_photos import _turn_hue, listed
from verdict_pools import extracted, matched

DRAWS = 10
BATCHES = ((30, 0.1), (50, 0.1), (60, 0.05), (100, 0.1), (150, 0.02))
FEWEST = 3  # photos of a group


@dataclass
class Pool:
    tokens: npt.NDArray[np.float32]  # (P, h, w, C)
    embeddings: npt.NDArray[np.float32]
    nearest: npt.NDArray[np.float32]  # (P, P, N)
    index: npt.NDArray[np.integer]
    variant: npt.NDArray[np.bool_]


def main() -> None:
    torch.set_num_threads(1)
    print("| set | photos | variant | asked about | some called blemished | others called blemished |")
    print("|---|---|---|---|---|---|")
    for name, photos, variant in sets():
        pool = build(photos, np.array(variant))
        for images, share in BATCHES:
            others = round(share * images)
            if others >= FEWEST and others <= pool.variant.sum() and images - others <= 0.95 * (~pool.variant).sum():
                outcomes = np.array([outcome(pool, images, others, seed) for seed in range(DRAWS)])
                asked, condemned, false = outcomes.mean(axis=0)
                print(f"| {name} | {images} | {others} | {asked:.0%} | {condemned:.0%} | {false:.2%} |", flush=True)


def sets() -> Iterator[tuple[str, list[RGB], list[bool]]]:
    usual = [photo.pixels for photo in render_batch("bottle", 160, size=512, seed=78, sporadic=0, recurring=())]
    mixed = render_batch("bottle", 60, size=512, seed=77, sporadic=0, recurring=(), variants=3)
    prints: dict[int, list[RGB]] = {1: [], 2: []}
    for photo in mixed:
        if photo.variant:
            prints[photo.variant].append(photo.pixels)
    for number, others in prints.items():
        yield f"bottle, print {number + 1}", usual + others[:15], [False] * 160 + [True] * len(others[:15])
    data = data_folder()
    if data:
        figures = [
            read_photo(PhotoFile(file.name, file)).pixels for file in listed(data / "toy_aliens" / "test" / "good")
        ]
        for turn, colour in ((0.33, "green"), (0.62, "blue")):
            photos = figures[:50] + [_turn_hue(figure, turn) for figure in figures[50:]]
            yield f"figures, {colour}", photos, [False] * 50 + [True] * (len(figures) - 50)


def build(photos: list[RGB], variant: npt.NDArray[np.bool_]) -> Pool:
    tokens, embeddings = extracted(photos)
    table = matched(tokens)
    return Pool(tokens, embeddings, table.store.read(0, len(tokens)), table.index_store.read(0, len(tokens)), variant)


def outcome(pool: Pool, images: int, others: int, seed: int) -> tuple[bool, bool, float]:
    """Whether most photos of the variant are in one group that is asked about, whether any is called blemished, and
    the share of the rest that is."""
    rng = np.random.default_rng([seed, images, others])
    usual, rare = np.flatnonzero(~pool.variant), np.flatnonzero(pool.variant)
    rows = rng.permutation(np.concatenate([rng.permutation(usual)[: images - others], rng.permutation(rare)[:others]]))
    grid = (pool.tokens.shape[1], pool.tokens.shape[2])
    tokens = Tokens(pool.tokens[rows].reshape(images, -1, pool.tokens.shape[3]))
    one = Pass(Matches(pool.nearest[np.ix_(rows, rows)], pool.index[np.ix_(rows, rows)]), tokens, grid, images - 1)
    k = neighbours(0.3, images)
    found = find_families([one], k, FamilyConfig()).families
    (second,) = alternatives([one], found)
    kept = Sensitive.of(one, k, second)
    numbers = tuple((number,) for number in range(len(found)))
    rescoring = Rescoring(
        (Part((kept.scores,), lambda: (kept,), k, numbers),), (1,), (512, 512), "max", (), pool.embeddings[rows]
    )
    paths = [f"{row}.jpg" for row in rows]
    families = describe(found, grid, paths, paths)
    maps = rescoring.maps(excluded(families))
    photos = [Photo(path, "ok", width=512, height=512) for path in paths]
    ordered, order = ranked(photos, rescoring.image_scores(maps), {})
    estimated = estimate_of(ordered, maps[order], rescoring.evidence(excluded(families)).ordered(order), families)
    level = seed_level(estimated, maps[order])
    calls = judged(ordered, maps[order], estimated, level, families, (), VerdictConfig(), {}).photos
    rare_paths = {f"{row}.jpg" for row in rare}
    called = {photo.path: photo for photo in calls}
    asked = [path for path in paths if path in rare_paths and "variant" in called[path].reason]
    blemished = [photo.path in rare_paths for photo in calls if photo.verdict == "blemished"]
    false = blemished.count(False) / (images - others)
    return 2 * len(asked) > others, any(blemished), false


if __name__ == "__main__":
    main()
