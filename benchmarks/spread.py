"""Recurring flaws in a batch that is dealt into parts: what each part finds alone, and what joining the parts finds.

    OMP_NUM_THREADS=1 python benchmarks/spread.py [PRODUCT:SEED ...] > benchmarks/spread.md

A column "undivided" (``--undivided``) searches all photos at once, as far as memory goes: what dealing costs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from blemish.config import FamilyConfig
from blemish.extraction import Branch
from blemish.features.cache import half
from blemish.features.registry import Features, load_backbone
from blemish.inputs.images import resize
from blemish.inputs.synthetic import render_batch
from blemish.matching.engine import match
from blemish.matching.store import ArrayStore, Budget
from blemish.scoring.families import FoundFamily, Pass, carriers, find_families, join, solitary

SIZE, PHOTOS, PARTS = 320, 400, 4  # pixels, photos, parts
GROUPS, SPORADIC = (8, 24, 60), 40
FLAW_SIZE = (0.06, 0.2)  # shares of the photo
# Seeds 1 to 3 of washer and board chose the constants of scoring/families/spread.py and resemblance.py.
BATCHES = ("washer:11", "washer:12", "board:11", "board:12", "bottle:11", "bottle:12")
CLEAN = ("washer:21", "board:21", "bottle:21")

Ints = npt.NDArray[np.intp]
Kinds = npt.NDArray[np.str_]


@dataclass(frozen=True)
class Found:
    """The families that one way of searching finds: their photos, and the seconds it took beyond the parts' search."""

    families: list[Ints]
    seconds: float = 0.0


def main() -> None:
    torch.set_num_threads(1)
    undivided = "--undivided" in sys.argv
    asked = [name for name in sys.argv[1:] if not name.startswith("--")]
    ways = ["each part alone", "joined", *(["undivided"] if undivided else [])]
    print("# Recurring flaws in a batch that is dealt into parts\n")
    print(
        f"Measured {date.today()}. {PHOTOS} rendered photos a batch, working size {SIZE}, effnet-lite2, dealt at random"
    )
    print(f"into {PARTS} parts; recurring groups of {', '.join(map(str, GROUPS))} photos, and {SPORADIC} photos with a")
    print("flaw of their own. Command: `OMP_NUM_THREADS=1 python benchmarks/spread.py > benchmarks/spread.md`\n")
    print("*found*: photos of the group in any family most of whose photos are of the group; *families*: how many")
    print("families the group is broken into; *strangers*: photos in them that are not of the group.\n")
    heads = " | ".join(f"{way}: found | families | strangers" for way in ways)
    print(f"| batch | group | {heads} |\n|{'---|' * (2 + 3 * len(ways))}")
    false: dict[str, dict[str, int]] = {}
    totals = np.zeros((len(ways), 4))  # photos, found, groups found, families
    for name in asked or BATCHES:
        kinds, found = searched(name, GROUPS, undivided)
        for group, size in enumerate(GROUPS, start=1):
            rows = [described(one.families, kinds, f"recurring-{group}") for one in found]
            cells = " | ".join(f"{caught} of {size} | {families} | {strangers}" for caught, families, strangers in rows)
            print(f"| {name} | {size} | {cells} |", flush=True)
            totals += [[size, caught, families > 0, families] for caught, families, _ in rows]
        false[name] = {way: len(unfounded(one.families, kinds)) for way, one in zip(ways, found, strict=True)}
        print(f"{name}: joined in {found[1].seconds:.1f} s", file=sys.stderr)
    summary = " | ".join(
        f"{caught / size:.0%} | {families / max(groups, 1):.2f} |" for size, caught, groups, families in totals
    )
    print(f"| **all** | | {summary} |\n")
    for name in () if asked else CLEAN:
        kinds, found = searched(name, (), undivided)
        false[f"{name}, nothing recurs"] = {
            way: len(unfounded(one.families, kinds)) for way, one in zip(ways, found, strict=True)
        }
    print("False families: those most of whose photos are of no group. Families of photos that all miss a piece do not")
    print("count: there are few pieces, and those that miss the same one are alike.\n")
    print(f"| batch | {' | '.join(ways)} |\n|{'---|' * (1 + len(ways))}")
    for name, counts in false.items():
        print(f"| {name} | {' | '.join(str(counts[way]) for way in ways)} |")


def searched(name: str, groups: tuple[int, ...], undivided: bool) -> tuple[Kinds, list[Found]]:
    """Kinds of the photos, and what each way finds."""
    product, _, seed = name.partition(":")
    tokens, kinds, grid = extracted(product, int(seed), groups)
    order = np.random.default_rng(int(seed)).permutation(len(kinds))
    config = FamilyConfig()
    alone: list[Ints] = []
    parts = []
    seconds = 0.0
    for photos in np.array_split(order, PARTS):
        one = matched(tokens[photos], grid)
        search = find_families([one], 1, config)
        start = time.perf_counter()
        found: tuple[FoundFamily, ...] = (*search.families, *solitary([one], search, config))
        parts.append(carriers(one, found, photos))
        seconds += time.perf_counter() - start
        alone += [photos[family.members] for family in search.families]
    start = time.perf_counter()
    spread = join(parts, len(kinds), config)
    seconds += time.perf_counter() - start
    ways = [Found(alone), Found([family.members for family in spread.families], seconds)]
    if undivided:
        ways.append(Found([family.members for family in find_families([matched(tokens, grid)], 1, config).families]))
    return kinds, ways


def extracted(
    product: str, seed: int, groups: tuple[int, ...]
) -> tuple[npt.NDArray[np.float32], Kinds, tuple[int, int]]:
    """Tokens (B, N, C), kinds (B,) and grid of one rendered batch."""
    backbone = load_backbone("effnet-lite2", None, "cpu")
    facts = backbone.facts
    rows, kinds = [], []
    grid = 0, 0
    for photo in render_batch(
        product, PHOTOS, size=SIZE, seed=seed, sporadic=SPORADIC, recurring=groups, flaw_size=FLAW_SIZE
    ):
        height, width = (side // facts.patch * facts.patch for side in photo.pixels.shape[:2])
        branch = Branch(backbone, (height, width), facts.radii, facts.join)
        pixels = torch.from_numpy(resize(photo.pixels, branch.shape, facts.resize)).permute(2, 0, 1)[None]
        features = half(backbone.extract(pixels))
        (tokens,) = branch.tokens(Features([one[0] for one in features.grids], features.embedding[0]))
        grid = tokens.shape[0], tokens.shape[1]
        rows.append(tokens.reshape(-1, tokens.shape[-1]))
        kinds.append(photo.kind)
    return np.stack(rows), np.array(kinds), grid


def matched(tokens: npt.NDArray[np.float32], grid: tuple[int, int]) -> Pass:
    store = ArrayStore(tokens.shape, np.float32)
    store.write(0, np.ascontiguousarray(tokens))
    return Pass(match(store, Budget(2**33, Path(tempfile.gettempdir()))), store, grid)


def of_kind(families: Sequence[Ints], kinds: Kinds, kind: str) -> Iterator[Ints]:
    for members in families:
        if 2 * np.count_nonzero(kinds[members] == kind) > len(members):
            yield members


def described(families: Sequence[Ints], kinds: Kinds, kind: str) -> tuple[int, int, int]:
    """Photos of the group that are found, its families, and strangers in them."""
    mine = list(of_kind(families, kinds, kind))
    photos = np.unique(np.concatenate([np.empty(0, np.intp), *mine]))
    caught = int(np.count_nonzero(kinds[photos] == kind))
    return caught, len(mine), len(photos) - caught


def unfounded(families: Sequence[Ints], kinds: Kinds) -> list[Ints]:
    groups = {kind for kind in kinds if kind.startswith("recurring")}
    true = {id(members) for kind in groups for members in of_kind(families, kinds, kind)}
    return [members for members in families if id(members) not in true and not (kinds[members] == "missing").all()]


if __name__ == "__main__":
    main()
