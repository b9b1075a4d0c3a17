"""A detector frozen from a batch a third of which carries recurring flaws: with families and without.

The whole way of the product: scan, verdict, freeze, and every unseen photo on its own. Rendered parts, and good
magnetic tiles with pasted flaws where BLEMISH_DATA is set.

BLEMISH_DATA=../shared/data python benchmarks/frozen_families.py > benchmarks/frozen_families.md
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from PIL import Image

import blemish
from batches import data_folder
from blemish.errors import BlemishError
from blemish.inputs.synthetic import render_batch
from blemish.metrics.ranking import auroc
from recurrence_photos import Example, pasted_tiles

BATCH = 72  # photos, a third of them with a flaw that recurs
GROUPS = {1: (24,), 2: (12, 12), 3: (8, 8, 8)}
UNSEEN_GOOD, UNSEEN_FLAWED = 40, 20
RULES = ("off", "auto")


@dataclass
class Scene:
    """``batch`` is frozen, ``unseen`` is judged; the flaws of both are of the same groups."""

    name: str
    batch: list[Example]
    unseen: list[Example]


def scenes(data: Path | None) -> Iterator[Scene]:
    for number, groups in GROUPS.items():
        for product in ("washer", "bottle", "board"):
            for seed in (0, 1):
                yield _split(f"{product}, {number} groups, seed {seed}", _rendered(product, groups, seed), groups)
        for seed in (0, 1) if data else ():
            assert data is not None
            yield _split(
                f"tiles, {number} groups, seed {seed}", list(pasted_tiles(data / "magnetic_tile", seed)), groups
            )


def _rendered(product: str, groups: tuple[int, ...], seed: int) -> list[Example]:
    each = [2 * count for count in groups]
    photos = render_batch(
        product, sum(each) + BATCH - sum(groups) + UNSEEN_GOOD, seed=seed, recurring=each, flaw_size=(0.06, 0.2)
    )
    return [Example(photo.pixels, photo.mask, photo.kind, 0, at) for at, photo in enumerate(photos)]


def _split(name: str, photos: list[Example], groups: tuple[int, ...]) -> Scene:
    good = [photo for photo in photos if photo.kind == "good"]
    batch, unseen = good[: BATCH - sum(groups)], good[BATCH - sum(groups) :][:UNSEEN_GOOD]
    for number, count in enumerate(groups, 1):
        same = [photo for photo in photos if photo.kind == f"recurring-{number}"]
        batch += same[:count]
        unseen += same[count:][: UNSEEN_FLAWED // len(groups)]
    return Scene(name, batch, unseen)


def measure(scene: Scene, rule: str) -> list[str]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "photos"
        folder.mkdir()
        for at, photo in enumerate(scene.batch):
            Image.fromarray(photo.pixels).save(folder / f"{at:03}-{photo.kind}.png")
        result = blemish.scan(folder, families=rule, cache=True)
        run = result.save(Path(scratch) / "run")
        let_in = sum(photo.verdict == "ok" and "good" not in photo.path for photo in result.scored)
        try:
            detector = blemish.Detector.load(blemish.freeze(run).file)
        except BlemishError as error:
            return [f"{len(result.families)}", f"{let_in}", f"not frozen: {error}"[:60], "", ""]
        found = [detector.judge("", photo.pixels) for photo in scene.unseen]
    flawed = np.array([photo.kind != "good" for photo in scene.unseen])
    scores = np.array([one.score for one in found])
    called = np.array([one.verdict == "blemished" for one in found])
    return [
        str(len(result.families)),
        str(let_in),
        f"{auroc(scores, flawed):.3f}",
        f"{called[flawed].mean():.2f}",
        f"{called[~flawed].mean():.3f}",
    ]


def main() -> None:
    only = sys.argv[1:]
    print(f"# Frozen detectors and recurring flaws\n\nMeasured {date.today()}; default backbone and size. Command:")
    print("`BLEMISH_DATA=../shared/data python benchmarks/frozen_families.py > benchmarks/frozen_families.md`\n")
    print(
        f"{BATCH} photos are scanned and frozen, 24 of them with flaws that recur; up to {UNSEEN_GOOD} good and about"
    )
    print(f"{UNSEEN_FLAWED} flawed ones of the same kinds are judged one by one. *Let in*: flawed photos called ok.\n")
    print("| scene | families | found | let in | image AUROC, unseen | flawed called | good called |")
    print("|---|---|---|---|---|---|---|")
    means: dict[str, list[float]] = {rule: [] for rule in RULES}
    for scene in scenes(data_folder()):
        if only and not any(word in scene.name for word in only):
            continue
        for rule in RULES:
            cells = measure(scene, rule)
            print(f"| {scene.name} | {rule} | {' | '.join(cells)} |", flush=True)
            if not cells[2].startswith("not"):
                means[rule].append(float(cells[2]))
    print()
    for rule, values in means.items():
        print(f"Mean with families {rule}: **{np.mean(values):.3f}** ({len(values)} scenes).")


if __name__ == "__main__":
    main()
