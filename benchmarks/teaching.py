"""What a few good photos change in a run, by how much they are trusted; and how long that takes.

The whole way of the product: scan, teach, scores of the run. The good photos are not in the batch.

BLEMISH_DATA=../shared/data python benchmarks/teaching.py > benchmarks/teaching.md
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import numpy as np

import blemish
from batches import data_folder
from blemish import taught
from blemish.inputs.images import natural_key
from blemish.metrics.ranking import auroc
from blemish.scoring.examples import taught_maps
from blemish.scoring.mutual import image_scores

# set, good photos, flawed photos: few of the batch flawed, and most of it
SCENES = (
    ("toy_aliens", 40, 10),
    ("toy_aliens", 20, 50),
    ("cookies", 30, 10),
    ("cookies", 12, 30),
    ("magnetic_tile", 50, 12),
    ("magnetic_tile", 20, 50),
)
GIVEN = (1, 4)  # good photos
TRUST = (0.25, 0.5, 0.75, 1.0)
SEEDS = (5, 6)


def main() -> None:
    data = data_folder()
    if data is None:
        sys.exit("Set BLEMISH_DATA to the folder that holds toy_aliens, cookies and magnetic_tile.")
    print(f"# Teaching good photos\n\nMeasured {date.today()}; default backbone and size. Command:")
    print("`BLEMISH_DATA=../shared/data python benchmarks/teaching.py > benchmarks/teaching.md`\n")
    print(f"Image AUROC of a batch, mean of {len(SEEDS)} draws, alone and with good photos that are not in it.")
    print("Trust: `map = (1 - trust) * batch + trust * distance to the good photos`.")
    print("The default, 25 %, was chosen on other draws of the same sets: what costs little where a few photos")
    print(f"do not show all that is normal.\n\n{_head()}")
    gains: dict[tuple[int, float], list[float]] = defaultdict(list)
    seconds: list[float] = []
    for name, good, flawed in SCENES:
        found: dict[tuple[int, float], list[float]] = defaultdict(list)
        for seed in SEEDS:
            for key, value in _measured(data / name, good, flawed, seed, seconds).items():
                found[key].append(value)
        base = float(np.mean(found[0, 0.0]))
        cells = [f"{np.mean(found[given, trust]):.3f}" for given in GIVEN for trust in TRUST]
        print(f"| {name}, {good} good, {flawed} flawed | {base:.3f} | {' | '.join(cells)} |", flush=True)
        for key, values in found.items():
            gains[key].append(float(np.mean(values)) - base)
    means = [f"{np.mean(gains[given, trust]):+.3f}" for given in GIVEN for trust in TRUST]
    print(f"| mean gain | | {' | '.join(means)} |")
    worst = [f"{min(gains[given, trust]):+.3f}" for given in GIVEN for trust in TRUST]
    print(f"| worst row | | {' | '.join(worst)} |")
    print(f"\nA lesson takes {np.median(seconds):.1f} s (median of {len(seconds)}, batches of 40 to 70 photos).")


def _head() -> str:
    columns = [f"{given} good, trust {trust:.0%}" for given in GIVEN for trust in TRUST]
    return f"| batch | alone | {' | '.join(columns)} |\n|---|---|{'---|' * len(columns)}"


def _measured(root: Path, good: int, flawed: int, seed: int, seconds: list[float]) -> dict[tuple[int, float], float]:
    rng = np.random.default_rng(seed)
    kinds = sorted(folder.name for folder in (root / "test").iterdir())
    files = {kind: sorted((root / "test" / kind).iterdir(), key=lambda file: natural_key(file.name)) for kind in kinds}
    sound = [files["good"][at] for at in rng.permutation(len(files["good"]))]
    bad = [file for kind in kinds if kind != "good" for file in files[kind]]
    chosen = sound[max(GIVEN) :][:good] + [bad[at] for at in rng.permutation(len(bad))[:flawed]]
    with tempfile.TemporaryDirectory() as scratch:
        photos = Path(scratch) / "photos"
        for file in chosen:
            place = photos / file.parent.name / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(file)
        run = Path(scratch) / "run"
        result = blemish.scan(photos)
        result.save(run)
        found = {(0, 0.0): _auroc(result.scores)}
        shape = result.shape
        for given in GIVEN:
            start = time.perf_counter()
            blemish.teach(run, good=sound[:given])
            seconds.append(time.perf_counter() - start)
            known = taught.read(run)
            assert known is not None
            for trust in TRUST:  # as teach(run, trust=trust) would have it, without writing the run again
                maps = taught_maps(known.base, known.good, known.lift, trust)
                found[given, trust] = _auroc(dict(zip(known.paths, image_scores(maps, shape, "max"), strict=True)))
            blemish.teach(run, undo=True)
    return found


def _auroc(scores: Mapping[str, float]) -> float:
    return auroc(list(scores.values()), [not path.startswith("good/") for path in scores])


if __name__ == "__main__":
    main()
