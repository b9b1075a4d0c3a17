"""A few normal photos as the only memory: our image score beside the published AnomalyDINO's, on the same tokens.

    BLEMISH_DATA=../shared/data python benchmarks/few_shot.py report
    BLEMISH_DATA=../shared/data python benchmarks/few_shot.py study

The first is the table of `few_shot.md`; the second repeats on fewer photos the exploration noted there.

Every real set is cut in two: every second photo of a kind. The study, which chose our rule, sees the first half only,
the report the second; references come from the half that is judged and are left out of the photos judged. A set of
references is the first k of a random order of the good photos.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch.nn import functional as F

from batches import LabelledBatch, data_folder, real, synthetic
from blemish.inputs.truth import fit_mask
from blemish.metrics.ranking import auroc, auroc_of, average_precision_of, rank_counts
from blemish.result import upsample
from blemish.scoring.memory import cosine_nearest, image_score, mean_of_top, mean_of_top_share, spread, windows
from verdict_pools import extracted

SETS = ("toy_aliens", "cookies", "magnetic_tile")
RENDERED = ("washer", "board", "bottle")
SHOTS = (1, 2, 4, 8)
CHOICES = 5
ALL = 10**6  # photos of a kind
STUDIED = 25  # good and flawed photos of a set that the study judges
STUDY_CHOICES = 3
ANGLES = (90, 180, 270)
MASK_SIDE = 96  # pixels; AUROC and AP of pixels are measured at this size

Float32 = npt.NDArray[np.float32]
Rule = Callable[[Float32], float]


def distances(cosine: Float32) -> Float32:
    return np.sqrt(np.maximum(2 * cosine, 0))


def level_off(share: float, quantile: float) -> Rule:
    return lambda cosine: mean_of_top_share(cosine, share) - float(np.quantile(cosine, quantile))


# cosine distances (N,) of a photo -> its score
PEER: Rule = lambda cosine: mean_of_top_share(cosine, 0.01)  # noqa: E731
RULES: dict[str, Rule] = {
    "peer: mean of the top 1 %": PEER,
    "top 0.5 %": lambda cosine: mean_of_top_share(cosine, 0.005),
    "top 1 %, level off": level_off(0.01, 0.05),
    "ours: top 0.5 %, level off": lambda cosine: image_score(distances(cosine)),
}
OTHERS: dict[str, Rule] = {
    "maximum": lambda cosine: float(cosine.max()),
    "mean of the top 3": lambda cosine: mean_of_top(cosine, 3),
    "top 5 %": lambda cosine: mean_of_top_share(cosine, 0.05),
    "top 1 %, as Euclidean distances": lambda cosine: mean_of_top_share(distances(cosine), 0.01),
    "maximum, level off": lambda cosine: float(cosine.max() - np.quantile(cosine, 0.05)),
    "level: 1st percentile": level_off(0.005, 0.01),
    "level: 10th percentile": level_off(0.005, 0.10),
    "level: 20th percentile": level_off(0.005, 0.20),
    "level: median": level_off(0.005, 0.50),
    "level: half the median, Euclidean": lambda cosine: (
        mean_of_top_share(distances(cosine), 0.005) - 0.5 * float(np.median(distances(cosine)))
    ),
}


def orders(labels: npt.NDArray[np.bool_], half: int, choices: int) -> list[npt.NDArray[np.intp]]:
    good = np.flatnonzero(~labels)
    return [np.random.default_rng([half, choice]).permutation(good)[: max(SHOTS)] for choice in range(choices)]


def shots(tests: Float32, references: Float32) -> Iterator[tuple[int, Float32]]:
    """(T, N, C), (8, M, C) -> k and the cosine distances (T, N) to the first k references."""
    best = np.full(tests.shape[:2], np.inf, dtype=np.float32)
    for count, reference in enumerate(references, start=1):
        best = np.minimum(best, [cosine_nearest(photo, reference) for photo in tests])
        if count in SHOTS:
            yield count, best


def flat(tokens: Float32) -> Float32:
    return tokens.reshape(len(tokens), -1, tokens.shape[-1])


def report(data: Path) -> None:
    print("# A few normal photos as the only memory\n")
    print(f"Measured {date.today()}. Command: `BLEMISH_DATA=../shared/data python benchmarks/few_shot.py report`\n")
    print(
        f"Means over {CHOICES} random choices of k good photos as references, effnet-lite2 at the default size. Peer:"
    )
    print("AnomalyDINO's scoring (cosine distance to the nearest reference token, mean of the top 1 %) on the same")
    print(
        "tokens. Ours: `blemish.scoring.memory.image_score`. *Level off*: minus the 5th percentile of the photo's own"
    )
    print("squared distances. The second half of every set, which chose nothing; +- is the standard deviation over the")
    print("choices. *won*: choices in which ours is higher or equal.\n")
    print(f"| set | k | judged | {' | '.join(RULES)} | won | pixel AUROC, peer | ours | pixel AP, peer | ours |")
    print(f"|---|---|---|{'---|' * (len(RULES) + 5)}")
    everything = defaultdict(list)
    for name in SETS:
        batch = real(data, name, good=ALL, bad=ALL, part=1, parts=2)
        tokens, _ = extracted(batch.photos)
        image, pixel = defaultdict(list), defaultdict(list)
        for order in orders(batch.labels, 1, CHOICES):
            judged = np.setdiff1d(np.arange(len(tokens)), order)  # the same photos for every k
            for k, cosines in shots(flat(tokens[judged]), flat(tokens[order])):
                image[k].append([auroc([rule(c) for c in cosines], batch.labels[judged]) for rule in RULES.values()])
                if batch.masks is not None:
                    pixel[k].append(pixels(cosines, batch, judged, tokens.shape[1:3]))
        for k in SHOTS:
            cells = " | ".join(f"{m:.4f} +- {s:.3f}" for m, s in zip(*mean_and_spread(image[k]), strict=True))
            won = sum(row[-1] >= row[0] for row in image[k])
            of_pixels = [f"{value:.4f}" for value in np.mean(pixel[k], axis=0)] if pixel[k] else ["-"] * 4
            print(f"| {name} | {k} | {len(judged)} | {cells} | {won}/{CHOICES} | {' | '.join(of_pixels)} |", flush=True)
            everything[k].append(np.mean(image[k], axis=0))
    for k in SHOTS:
        print(f"| **mean** | {k} | | {' | '.join(f'{m:.4f}' for m in np.mean(everything[k], axis=0))} | | | | | |")
    overall = np.mean([everything[k] for k in SHOTS], axis=(0, 1))
    print(f"| **mean** | all | | {' | '.join(f'**{m:.4f}**' for m in overall)} | | | | | |\n")


def mean_and_spread(rows: list[list[float]]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    return np.mean(rows, axis=0), np.std(rows, axis=0)


def pixels(
    cosines: Float32, batch: LabelledBatch, judged: npt.NDArray[np.intp], grid: tuple[int, int]
) -> tuple[float, float, float, float]:
    """AUROC of the peer's and our maps, then AP of both: they differ only between tokens, as cosines or distances."""
    assert batch.masks is not None
    side = (MASK_SIDE, MASK_SIDE)
    truth = np.stack([fit_mask(batch.masks[at], side) for at in judged])
    counts = [rank_counts(upsample(maps.reshape(-1, *grid), side), truth) for maps in (cosines, distances(cosines))]
    return (*(auroc_of(c) for c in counts), *(average_precision_of(c) for c in counts))  # type: ignore[return-value]


def study(data: Path) -> None:
    print("## What the rule is chosen from\n")
    print(f"Measured {date.today()}. Command: `BLEMISH_DATA=../shared/data python benchmarks/few_shot.py study`\n")
    print(
        f"The first half of every real set, of which about {STUDIED} good and {STUDIED} flawed photos are judged, and"
    )
    print(
        "rendered parts with faint flaws of 2 to 6 % of the photo's side. Image AUROC, means over k = 1 and 4 and over"
    )
    print(f"{STUDY_CHOICES} choices. Each row is one change of the peer; *level*: this of the photo's own squared")
    print("distances is subtracted from the top 0.5 %.\n")
    sets = (*SETS, *RENDERED)
    print(f"| change | {' | '.join(sets)} | real mean | rendered mean |\n|---|{'---|' * (len(sets) + 2)}")
    table: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for name in sets:
        batch = (
            real(data, name, good=ALL, bad=ALL, part=0, parts=2)
            if name in SETS
            else synthetic(name, 60, flaw_size=(0.02, 0.06), sporadic=28, size=640, seed=77)
        )
        tokens, _ = extracted(batch.photos)
        for order in orders(batch.labels, 0, STUDY_CHOICES):
            rest = np.setdiff1d(np.arange(len(tokens)), order)
            judged = np.concatenate([_some(rest[batch.labels[rest] == flawed]) for flawed in (False, True)])
            for k in (1, 4):
                references = tokens[order[:k]]
                found = scored(tokens[judged], references)
                if name in SETS:
                    turned, _ = extracted([turn(batch.photos[at], angle) for at in order[:k] for angle in ANGLES])
                    found |= passes(tokens[judged], references, turned)
                for rule, scores in found.items():
                    table[rule][name].append(auroc(scores, batch.labels[judged]))
        print(f"{name} studied", file=sys.stderr, flush=True)
    for rule, cells in table.items():
        means = [f"{np.mean(cells[name]):.4f}" if name in cells else "-" for name in sets]
        groups = [[np.mean(cells[n]) for n in group if n in cells] for group in (SETS, RENDERED)]
        overall = [f"{np.mean(group):.4f}" if group else "-" for group in groups]
        print(f"| {rule} | {' | '.join(means + overall)} |")


def _some(rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    return rows[:: max(1, len(rows) // STUDIED)]


def turn(photo: npt.NDArray[np.uint8], angle: int) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(ndimage.rotate(photo, angle, reshape=False, order=1, mode="reflect"))


def scored(tests: Float32, references: Float32) -> dict[str, list[float]]:
    """The photos' scores by every rule, of the same distances."""
    bank = flat(references).reshape(-1, tests.shape[-1])
    cosines = [cosine_nearest(photo, bank) for photo in flat(tests)]
    return {name: [rule(c) for c in cosines] for name, rule in (RULES | OTHERS).items()}


def passes(tests: Float32, references: Float32, turned: Float32) -> dict[str, list[float]]:
    """The photos' scores by the peer's rule, of distances found otherwise. ``turned``: the references' rotations."""
    photos, bank = flat(tests), flat(references).reshape(-1, tests.shape[-1])
    all_ways = np.concatenate([bank, turned.reshape(-1, tests.shape[-1])])
    usual = left_out(flat(references)).mean(axis=0) if len(references) > 1 else np.float32(0)
    found = {
        "mean of 3 nearest": [cosine_nearest(photo, bank, 3) for photo in photos],
        "windows of 2 x 2 tokens": windowed(tests, references, 2),
        "windows of 3 x 3 tokens": windowed(tests, references, 3),
        "tokens averaged over 3 x 3 once more": neighbourhood(tests, references),
        "references also turned by 90, 180, 270": [cosine_nearest(photo, all_ways) for photo in photos],
        "minus half of what references lack there (k > 1)": [
            cosine_nearest(photo, bank) - usual / 2 for photo in photos
        ],
    }
    return {name: [PEER(c) for c in cosines] for name, cosines in found.items()}


def windowed(tests: Float32, references: Float32, size: int) -> list[Float32]:
    bank = np.concatenate([windows(grid, size).reshape(-1, grid.shape[-1]) for grid in references])
    seen = [windows(grid, size) for grid in tests]
    return [spread(cosine_nearest(w.reshape(-1, w.shape[-1]), bank).reshape(w.shape[:2]), size) for w in seen]


def neighbourhood(tests: Float32, references: Float32) -> list[Float32]:
    def wider(grids: Float32) -> Float32:
        pooled = F.avg_pool2d(torch.from_numpy(grids).permute(0, 3, 1, 2), 3, stride=1, padding=1)
        return flat(F.normalize(pooled.permute(0, 2, 3, 1), dim=-1).numpy())

    bank = wider(references).reshape(-1, tests.shape[-1])
    return [cosine_nearest(photo, bank) for photo in wider(tests)]


def left_out(references: Float32) -> Float32:
    """(k, M) cosine distance of each reference's tokens to the other references."""
    rows = range(len(references))
    return np.array(
        [cosine_nearest(references[i], np.concatenate([references[j] for j in rows if j != i])) for i in rows]
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = data_folder()
    if folder is None:
        sys.exit("BLEMISH_DATA is not set: it names the folder of real sets")
    {"report": report, "study": study}[sys.argv[1]](folder)
