"""From JPEG files to stored tokens, against the network alone in a bare loop.

    python benchmarks/extraction.py > benchmarks/extraction.md

The bare loop has its tensors ready and does nothing else; of all ways to batch it and to spread it over two threads the
quickest counts. Both sides alternate, since machines drift; processor time stands beside, which a busy machine
disturbs less.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import torch
from PIL import Image

from batches import synthetic
from blemish import extraction
from blemish.extraction import Branch, extract
from blemish.features.cache import FeatureCache
from blemish.features.effnet import EfficientNetLite2
from blemish.features.registry import load_backbone
from blemish.inputs.images import PhotoFile
from blemish.matching.store import Budget

PHOTOS = 16
SIDE, SIZE = 1024, 512  # of the files and of what the network sees
PAIRS = 7
THREADS = 2
BATCHES = (1, 2, 4, 8)
BAR = 0.9

Timed = tuple[float, float]  # seconds, seconds of processor time


def main() -> None:
    torch.set_num_threads(THREADS)
    network = load_backbone("effnet-lite2")
    assert isinstance(network, EfficientNetLite2)
    with tempfile.TemporaryDirectory() as folder:
        photos = write_photos(Path(folder) / "photos")
        size = statistics.median(photo.file.stat().st_size for photo in photos) / 1000
        whole_path(network, photos, Path(folder))  # the first run pays for set-up
        trial = {way: min(way_of(network, *way, way[0] * way[1])() for _ in range(2))[0] for way in ways()}
        trial = {way: seconds / way[0] / way[1] for way, seconds in trial.items()}
        best = [min((way for way in trial if way[0] == kind), key=trial.__getitem__) for kind in (1, THREADS)]
        best = [way for way in best if trial[way] < 2 * min(trial.values())]  # else it cannot win, and takes minutes
        load = os.getloadavg()[0]
        rounds: dict[str, list[Timed]] = defaultdict(list)
        for _ in range(PAIRS):
            rounds["ours"].append(whole_path(network, photos, Path(folder)))
            for way in best:
                rounds[named(way)].append(way_of(network, *way, PHOTOS)())
        busy = (load + os.getloadavg()[0]) / 2
        print("## Extraction\n")
        print(
            f"Measured {date.today()}: {THREADS} threads, {os.cpu_count()} cores, {platform.machine()}, torch "
            f"{torch.__version__}; load average while measuring {busy:.1f} ({THREADS} is what the benchmark makes)."
        )
        print("Command: `python benchmarks/extraction.py > benchmarks/extraction.md`\n")
        print(
            f"{PHOTOS} JPEG files of {SIDE} x {SIDE} (median {size:.0f} kB), effnet-lite2 at {SIZE} x {SIZE}, nothing "
            f"cached. {PAIRS} alternating rounds.\n"
        )
        table(rounds)
        trials = ", ".join(f"{named(way)} {1 / seconds:.1f}" for way, seconds in trial.items())
        print(f"\nWays of the bare loop, photos/s, the better of two calls before the rounds: {trials}.\n")
        shares(network, photos, Path(folder))


def table(rounds: dict[str, list[Timed]]) -> None:
    """Every side, and ours against the best of the others by its median."""
    speeds = {side: [PHOTOS / seconds for seconds, _ in runs] for side, runs in rounds.items()}
    cost = {side: statistics.median(1e3 * cpu / PHOTOS for _, cpu in runs) for side, runs in rounds.items()}
    bare = max((side for side in rounds if side != "ours"), key=lambda side: statistics.median(speeds[side]))
    print("| side | median photos/s | min to max | processor ms a photo |\n|---|---|---|---|")
    for side, values in speeds.items():
        name = "`extract`: file to tokens and cache entry" if side == "ours" else f"bare loop, {side}"
        spread = f"{min(values):.1f} to {max(values):.1f}"
        print(f"| {name} | {statistics.median(values):.1f} | {spread} | {cost[side]:.1f} |")
    ratios = sorted(own / other for own, other in zip(speeds["ours"], speeds[bare], strict=True))
    costs = sorted(other[1] / own[1] for own, other in zip(rounds["ours"], rounds[bare], strict=True))
    print(
        f"\nRatio to the best bare loop ({bare}): median {statistics.median(ratios):.2f}, {ratios[0]:.2f} to "
        f"{ratios[-1]:.2f} (bar {BAR}). By processor time: {statistics.median(costs):.2f}, {costs[0]:.2f} to "
        f"{costs[-1]:.2f}."
    )


def write_photos(folder: Path) -> list[PhotoFile]:
    folder.mkdir()
    files = [folder / f"{at:03}.jpg" for at in range(PHOTOS)]
    for pixels, file in zip(
        synthetic("washer", PHOTOS, size=SIDE, flaw_size=(0.03, 0.15), sporadic=3).photos, files, strict=True
    ):
        Image.fromarray(pixels).save(file, quality=92)
    return [PhotoFile(file.name, file) for file in files]


def whole_path(network: EfficientNetLite2, photos: list[PhotoFile], folder: Path) -> Timed:
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        branch = Branch(network, (SIZE, SIZE), network.facts.radii, network.facts.join)
        branch.cache = FeatureCache(Path(cache), branch.cache_settings(branch.shape, 65535))
        timed = _timed(lambda: extract(photos, [branch], Budget(2**32, folder), decoders=THREADS))
        assert not branch.cache.broken
        assert len(list(branch.cache.folder.glob("*/*"))) == len(branch.embeddings) == PHOTOS
    return timed


def ways() -> list[tuple[int, int]]:
    """(Python threads, batch): one call over all of torch's threads, or a call in each of several threads."""
    return [(threads, batch) for threads in (1, THREADS) for batch in BATCHES]


def named(way: tuple[int, int]) -> str:
    threads, batch = way
    return f"{'one call over' if threads == 1 else 'a call in each of'} {THREADS} threads, batch {batch}"


def way_of(network: EfficientNetLite2, threads: int, batch: int, photos: int) -> Callable[[], Timed]:
    rng = torch.Generator().manual_seed(0)
    ready = (
        torch.rand(batch, 3, SIZE, SIZE, generator=rng).mul_(2).sub_(1).contiguous(memory_format=torch.channels_last)
    )

    @torch.inference_mode()
    def calls(alone: bool) -> None:
        if alone:
            torch.set_num_threads(1)
        for _ in range(photos // batch // threads):
            network(ready)

    def run() -> None:
        if threads == 1:
            calls(alone=False)
            return
        running = [threading.Thread(target=calls, args=(True,)) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()

    def timed() -> Timed:
        try:
            with torch.inference_mode():
                network(ready)
            return _timed(run)
        finally:
            torch.set_num_threads(THREADS)

    return timed


def shares(network: EfficientNetLite2, photos: list[PhotoFile], folder: Path) -> None:
    """Where a photo's processor time goes, in the threads that do the work."""
    spent: dict[str, float] = defaultdict(float)
    places: list[tuple[str, object, str]] = [
        ("decode and hash", extraction, "read_photo"),
        ("resize", extraction, "_resized"),
        ("network", EfficientNetLite2, "forward"),
        ("tokens", Branch, "see"),
        ("cache write", FeatureCache, "put"),
        ("rows into arrays", extraction, "_keep"),
    ]
    with _metered(places, spent):
        runs = [whole_path(network, photos, folder)[1] for _ in range(3)]
    spent["the rest"] = sum(runs) - sum(spent.values())
    print("| where a photo's time goes | processor ms |\n|---|---|")
    for name, seconds in spent.items():
        print(f"| {name} | {1e3 * seconds / PHOTOS / len(runs):.2f} |")


@contextmanager
def _metered(places: list[tuple[str, object, str]], spent: dict[str, float]):  # type: ignore[no-untyped-def]
    """Add up the processor time of some functions while they are watched; of one thread at a time, so none is lost."""
    lock = threading.Lock()
    before = [getattr(owner, name) for _, owner, name in places]

    def meter(label: str, function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            start = time.thread_time()
            try:
                return function(*args, **options)
            finally:
                with lock:
                    spent[label] += time.thread_time() - start

        return call

    for (label, owner, name), function in zip(places, before, strict=True):
        spent[label] = 0.0
        setattr(owner, name, meter(label, function))
    try:
        yield
    finally:
        for (_, owner, name), function in zip(places, before, strict=True):
            setattr(owner, name, function)


def _timed(call: Callable[[], object]) -> Timed:
    start, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - start, time.process_time() - cpu


if __name__ == "__main__":
    main()
