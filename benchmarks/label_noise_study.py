"""The study of label noise: its CLIP, its products, what teachers say of them, and how their students come out.

It knows which teacher says what; not which teachers, students and remedies are compared, nor how they are printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from batches import data_folder
from blemish.errors import InputError
from blemish.features import clip
from blemish.features.clip_vision import Positions
from blemish.learning.anomalyclip import AnomalyClip
from blemish.learning.aprilgan import AprilGan
from blemish.learning.noise import Noise, noisy
from blemish.learning.prompt_file import Seen
from blemish.learning.training import TrainConfig
from label_noise_data import Product, Taught, halves, own, picked, rendered, seen, taught
from label_noise_students import Model, Remedy, f1, judged, repeats, small, student, taught_set
from label_noise_surrogate import surrogate, surrogate_settings

Floats = npt.NDArray[np.float64]
Kind = Literal["AnomalyCLIP", "APRIL-GAN"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Teacher = tuple[Noise, float] | str  # or a name below
NAMES = {
    "clean": "the truth",
    "balanced": "the truth, as few good photos as the scan keeps",
    "chosen": "the truth of what the scan keeps",
    "own": "the scan's own",
}

FLAWS = (0.1, 0.4)  # of the side
RENDERED = {"washer": 11, "board": 12, "bottle": 13}  # product: seed


@dataclass
class Study:
    args: argparse.Namespace
    work: Path

    @cached_property
    def fresh(self) -> dict[Kind, Model]:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

        def pair(positions: Positions) -> clip.ClipPair:
            return surrogate(positions) if self.stands_in else clip.load(self.args.clip, device, positions=positions)

        one = pair("bilinear")
        settings = surrogate_settings() if self.stands_in else None
        return {"AnomalyCLIP": AnomalyClip.fresh(one, settings), "APRIL-GAN": AprilGan.fresh(pair("antialiased"))}

    @property
    def stands_in(self) -> bool:
        return bool(self.args.clip == "surrogate")

    @cached_property
    def side(self) -> int:
        patch = self.fresh["APRIL-GAN"].pair.facts.patch
        return int(self.args.size or (224 if self.stands_in else 518 // patch * patch))

    @property
    def target(self) -> int:
        """The side of masks and maps: as photos, or a quarter of it for the stand-in, to be fast."""
        return self.side // 4 if self.stands_in else self.side

    @property
    def patch(self) -> float:
        """In pixels of masks and maps."""
        return self.fresh["APRIL-GAN"].pair.facts.patch * self.target / self.side

    @cached_property
    def products(self) -> dict[str, list[tuple[Product, Product]]]:
        """Of either side the photos to learn from and those to be tested on."""
        folders = {"train": self.args.train, "test": self.args.test}
        if not folders["train"]:
            made = [
                rendered(name, 2 * self.args.photos, int(0.8 * self.args.photos), seed, self.work / "products", FLAWS)
                for name, seed in RENDERED.items()
            ]
            data = data_folder()
            real = [data / name for name in ("magnetic_tile", "cookies")] if data else []
            folders = {"train": made[:2], "test": [*made[2:], *real]}
        return {side: [halves(Path(one), self.args.photos, self.target) for one in folders[side]] for side in folders}

    def seen(self, kind: Kind, item: Product) -> Seen:
        folder = self.work / "seen"
        folder.mkdir(exist_ok=True)
        return seen(self.fresh[kind], item, self.side, folder)

    def told(self, teacher: Teacher, item: Product, seed: int) -> Taught | None:
        """None if the scan calls nothing in this product defective."""
        if teacher == "own":
            try:
                return own(item, self.target, self.work / "runs")
            except InputError:
                return None
        if teacher in {"chosen", "balanced"}:
            scan = self.told("own", item, seed)
            clean = taught(item.labels, item.masks, self.target, self.patch)
            if scan is None:
                return None
            return picked(clean, scan.rows if teacher == "chosen" else as_many_good(item, scan, seed))
        masks, labels = list(item.masks), list(item.labels)
        if not isinstance(teacher, str):
            made = noisy(masks, labels, *teacher, seed=seed)
            masks, labels = list(made.masks), made.labels.tolist()
        return taught(labels, masks, self.target, self.patch)

    def taught(self, teacher: Teacher, side: str, seed: int) -> list[tuple[Product, Taught]]:
        """Raises ``InputError`` if the scans call nothing defective in any product."""
        told = [(item, self.told(teacher, item, seed)) for item, _ in self.products[side]]
        if not any(one is not None for _, one in told):
            raise InputError(f"The scans of {', '.join(item.words for item, _ in told)} call nothing defective.")
        return [(item, one) for item, one in told if one is not None]

    def student(
        self,
        kind: Kind,
        lessons: Sequence[tuple[Product, Taught]],
        seed: int,
        remedy: Remedy | None = None,
        balance: bool = False,
    ) -> Model:
        data = taught_set(
            [self.seen(kind, item) for item, _ in lessons],
            [told for _, told in lessons],
            [item.words for item, _ in lessons],
        )
        fresh = self.fresh[kind]
        config = TrainConfig(epochs=self.args.epochs, holdout=0, seed=seed, balance=balance)
        return student(type(fresh).fresh(fresh.pair, fresh.settings, seed), data, config, remedy)  # type: ignore[arg-type]

    def figures(self, model: Model, side: str) -> Floats:
        """``students.judged`` of photos that nobody was taught, mean over the products of ``side``."""
        kind: Kind = "AnomalyCLIP" if isinstance(model, AnomalyClip) else "APRIL-GAN"
        items = [item for _, item in self.products[side]]
        return mean_of(np.array([judged(model, item, self.seen(kind, item), self.target) for item in items]))

    def repeats(self, model: Model, lessons: Sequence[tuple[Product, Taught]]) -> Floats:
        kind: Kind = "AnomalyCLIP" if isinstance(model, AnomalyClip) else "APRIL-GAN"
        rows = [repeats(model, told, item, self.seen(kind, item), self.target) for item, told in lessons]
        return mean_of(np.array(rows))

    def teacher(self, lessons: Sequence[tuple[Product, Taught]]) -> Floats:
        """IoU and F1 of the pixels of the photos that are taught, share of labels that are wrong, photos left out."""
        rows = []
        for item, told in lessons:
            said, truth = np.stack(told.masks), small(item, self.target)[list(told.rows)]
            wrong = np.mean(np.array(told.labels) != np.array(item.labels)[list(told.rows)])
            union = (said | truth).sum()
            rows.append(
                [(said & truth).sum() / union if union else 1.0, f1(said, truth), wrong, 1 - len(told.rows) / len(item)]
            )
        return np.mean(rows, axis=0)


def mean_of(rows: Floats) -> Floats:
    """Of the rows that have a value, column by column; NaN where none has."""
    known = ~np.isnan(rows)
    counts = known.sum(axis=0)
    sums = np.where(known, rows, 0).sum(axis=0)
    return np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)


def name_of(teacher: Teacher) -> str:
    return NAMES[teacher] if isinstance(teacher, str) else f"{teacher[0]} {teacher[1]:g}"


def as_many_good(item: Product, scan: Taught, seed: int) -> tuple[int, ...]:
    """All defective photos, and at random as many good ones as ``scan`` keeps."""
    good = [row for row, label in enumerate(item.labels) if not label]
    kept = sum(not item.labels[row] for row in scan.rows)
    chosen = np.random.default_rng(seed).permutation(good)[:kept].tolist()
    return tuple(sorted([*chosen, *(row for row, label in enumerate(item.labels) if label)]))
