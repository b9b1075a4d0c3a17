"""Flaws that keep coming back: plain mutual scoring, the published rule, our own, and an oracle that knows the truth.

    BLEMISH_DATA=../shared/data python benchmarks/recurrence.py --pools ../pools > benchmarks/recurrence.md

``--pools FOLDER`` keeps the pools of photos, which take longer than all the rest; ``--measured FILE`` keeps every
finished measurement, so that a run can be broken off and go on; ``--quick`` is a subset of some minutes.
Defaults are chosen on the selection half only.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

import recurrence_checks as checks
from recurrence_batches import draw, measure, take
from recurrence_checks import Setting
from recurrence_pools import WORKING_SIZE, Pool, get_pool
from recurrence_tables import print_tables

HALVES = {
    "selection": ("washer", "bottle", "board21", "tiles5", "tinted6", "aliens"),
    "reported": ("board", "bottle2", "tiles", "tinted"),
}
CLEAN = {"aliens": (30, 0), "cookies": (30, 0), "tiles": (30, 0), "tiles5": (30, 0)}
VARIANTS = {"bottle": (1, 3), "bottle2": (1, 3), "tinted": (3,), "tinted6": (3,)}
BATCHES = {"aliens": (30, 58), "tinted": (30, 58), "tinted6": (30, 58)}  # there are but 58 figures
DRAWS = {30: 3, 58: 3, 90: 2, 200: 1}  # small batches vary more, and cost less
THINNED = {90: (0, 0.1, 0.2, 0.3), 200: (0, 0.1, 0.3)}  # shares for vit, whose batches take several times as long
FEWEST = 3  # photos of a group
SWEPT = {  # (share, groups) of the settings on which parameters are swept, batches of 90
    "effnet-lite2": ((0, 0), (0.1, 1), (0.1, 3), (0.2, 1), (0.2, 3), (0.3, 1), (0.3, 6)),
    "vit": ((0, 0), (0.1, 1), (0.2, 3), (0.3, 1)),
}


NOTES = """
Every batch is drawn from a pool of photos, matched once: good ones, 5 % with a flaw of their own, and a share in which
one to six flaws recur, in groups of one size. Pools: washer, board, bottle are rendered (bottle: three prints; drawn
from one print as well where it has enough photos); tiles are good magnetic tiles on which crops of real flaws are
pasted with a soft edge, each at one place; tinted are real rubber figures turned to three colours, with soft-edged
stains; aliens are the same figures as they are, real anomalies without masks (for the batches without recurrence).
board21 and bottle2 are other specimens and flaws than board and bottle. Parameters were chosen on the selection half.

*plain*: mutual scoring with the K nearest photos. *published*: CoDeGraph's rule at its defaults. *auto*: ours.
*oracle*: only good photos are references, K being a share of these. Pixel figures at 96 x 96; working sizes 384
(effnet-lite2) and 252 (vit). Families about which auto asks a question are not excluded. Captured: share of the tokens
under recurring flaws that leave the references; excluded: share of all tokens.

Thinned out, to be measured in well under an hour on one thread: batches of 30 and 58 are drawn three times, of 90
twice (vit: once), of 200 once; vit leaves out shares of 5 % at 90 photos, 5 % and 20 % at 200. Groups of fewer than
three photos are left out: six groups need 18 recurring photos, three need 9. tinted and aliens have 58 specimens:
batches of 30 and 58.
"""


class Notebook:
    """Measurements by what they are of; kept in a file, if one is given."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._known: dict[str, dict[str, Any]] = {}
        self.entries: list[dict[str, Any]] = []  # of this run, in order
        if file and file.exists():
            for line in file.read_text().splitlines():
                entry = json.loads(line)
                self._known[entry["key"]] = entry

    def measure(self, key: dict[str, Any], how: Callable[[], dict[str, Any]]) -> None:
        text = json.dumps(key)
        if text not in self._known:
            start = time.perf_counter()
            self._known[text] = {"key": text} | key | {"found": how()}
            print(f"{time.perf_counter() - start:6.1f} s  {text}", file=sys.stderr, flush=True)
            if self._file:
                with self._file.open("a") as file:
                    file.write(json.dumps(self._known[text]) + "\n")
        self.entries.append(self._known[text])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", type=Path, metavar="FOLDER")
    parser.add_argument("--measured", type=Path, metavar="FILE")
    parser.add_argument("--backbones", nargs="+", default=list(WORKING_SIZE), choices=list(WORKING_SIZE))
    parser.add_argument("--only", nargs="+", default=[], metavar="POOL")
    parser.add_argument("--parts", nargs="+", default=["settings", "sweeps", "checks"])
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    notebook = Notebook(options.measured)
    names = [name for half in HALVES.values() for name in half]
    names += [name for name in CLEAN if name not in names]
    for backbone in options.backbones:
        for name in names:
            if name in (options.only or names):
                _all_of(name, backbone, options, notebook)
    print_tables(notebook.entries, HALVES, NOTES)


def _all_of(name: str, backbone: str, options: argparse.Namespace, notebook: Notebook) -> None:
    """Everything that is measured on one pool."""

    @cache
    def pool() -> Pool:
        found = get_pool(name, backbone, options.pools)
        if found is None:
            raise _Missing
        return found

    try:
        for part, case, how in _cases(name, backbone, options, pool):
            notebook.measure({"part": part, "pool": name, "backbone": backbone, "case": case}, how)
    except _Missing:
        print(f"{name} {backbone}: left out", file=sys.stderr)


class _Missing(Exception):  # noqa: N818 - no error: the photos of this pool are not at hand
    pass


def _cases(
    name: str, backbone: str, options: argparse.Namespace, pool: Callable[[], Pool]
) -> Iterator[tuple[str, Any, Callable[[], dict[str, Any]]]]:
    if "settings" in options.parts and name not in ("cookies",):
        for setting in settings(name, backbone, options.quick):
            yield "setting", asdict(setting), partial(_setting, pool, setting)
    if "sweeps" in options.parts and name in ("washer", "bottle", "board21") and not options.quick:
        variants = VARIANTS.get(name, (1,))[-1]
        swept = [Setting(90, share, groups, variants) for share, groups in SWEPT[backbone]]
        for case, how in checks.sweeps(pool, swept):
            yield "sweep", case, how
    if "checks" in options.parts:
        for part, found in _checks(name, pool):
            for case, how in found:
                yield part, case, how


def _checks(name: str, pool: Callable[[], Pool]) -> Iterator[tuple[str, Iterator[checks.Case]]]:
    if name in ("washer", "bottle", "board21", "board", "bottle2", "tiles", "tiles5"):
        yield "graph", checks.graphs(pool)
        yield "copies", checks.copies(pool)
    if 3 in VARIANTS.get(name, (1,)):
        yield "uneven", checks.uneven(pool)
    if name in CLEAN:
        yield "clean", checks.clean(pool, CLEAN[name])


def settings(name: str, backbone: str, quick: bool) -> Iterator[Setting]:
    """The settings of one pool, those with groups of fewer than three photos left out."""
    for variants, batch in product(VARIANTS.get(name, (1,)), BATCHES.get(name, (30, 90, 200))):
        draws = 1 if quick or (backbone == "vit" and batch == 90) else DRAWS[batch]
        for share, groups in product((0, 0.05, 0.1, 0.2, 0.3), (0, 1, 3, 6)):
            kept = backbone != "vit" or share in THINNED.get(batch, (share,))
            large_enough = round(share * batch) // groups >= FEWEST if groups else not share
            if kept and large_enough and not (share and name == "aliens") and not (quick and batch > 90):
                for seed in range(draws):
                    yield Setting(batch, share, groups, variants, seed)


def _setting(pool: Callable[[], Pool], setting: Setting) -> dict[str, Any]:
    rows = draw(pool(), setting.batch, setting.share, setting.groups, setting.variants, setting.seed)
    return {"left_out": True} if rows is None else measure(take(pool(), rows))


if __name__ == "__main__":
    main()
