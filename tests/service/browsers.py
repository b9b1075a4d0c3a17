"""A real browser and a real server for tests of the pages, and a run of thousands of rows that nobody scanned."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from blemish import verdict_file
from blemish.config import VerdictConfig
from blemish.extending import describe
from blemish.judging import estimate_of, judged, seed_level
from blemish.paths import RUN_DIVISION, RUN_MANIFEST, RUN_VERDICT
from blemish.rescoring import Evidence
from blemish.result import ColourScale, Photo, Result, ranked
from blemish.run import summary
from blemish.sinks import csv, families, jsonl, report
from test_report import EVIL, a_manifest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")  # without a graphics card, in place of --disable-gpu
# for root in a container without a graphics card, and nothing asked of a network
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
STARTS_S = 60
RUN, DATASET = "manyrowsaa", "manyphotos"


def browser_path() -> str | None:
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


@contextmanager
def server(data: Path, *options: str) -> Iterator[str]:
    """``blemish serve`` on a free port, as a user starts it; its address."""
    command = [sys.executable, "-m", "blemish", "serve", "--data", str(data), "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                yield found[0]
                return
        raise AssertionError(f"the server did not start: {''.join(lines)}")
    finally:
        process.terminate()
        process.wait(STARTS_S)
        process.stderr.close()  # type: ignore[union-attr]  # as above


def write_many(data: Path, count: int) -> str:
    """A finished run of ``count`` photos in the service's folder, a few of them called as no photo should be; its id.

    Each is one of some small pictures; scores and maps are made up, and judged as those of a scan."""
    folder = data / "datasets" / DATASET / "many"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    pictures = [folder / f"{at}.png" for at in range(8)]
    for at, picture in enumerate(pictures):
        Image.fromarray(rng.integers(60 + 10 * at, 90 + 10 * at, (48, 64, 3), dtype=np.uint8)).save(picture)
    result = _many(rng, count)
    where = {photo.path: pictures[at % len(pictures)] for at, photo in enumerate(result.photos)}
    facts = {"id": DATASET, "name": "many", "kind": "upload", "path": str(folder), "holds": "photos"}
    _dump(folder.parent / "dataset.json", {**facts, "photos": count, "bytes": 1, "created": "2026-01-02T03:04:05Z"})
    job = data / "runs" / RUN
    run = job / "run"
    run.mkdir(parents=True)
    facts = {"id": RUN, "dataset": DATASET, "name": "many", "kind": "photos", "settings": "{}"}
    _dump(job / "job.json", {**facts, "created": "2026-01-02T03:04:05Z"})
    jsonl.write(result, run / "results.jsonl")
    families.write(result, run / "families.json")
    for name, write in result.keep.items():
        write(run / name)
    csv.write(result, run / "results.csv")
    report.write(result, run / "report.html")
    digests = {path: hashlib.sha256(path.encode()).hexdigest() for path in where}
    _dump(run / RUN_DIVISION, describe([list(where)], where, digests, ()))
    _dump(run / RUN_MANIFEST, {**result.manifest, **summary(result)})
    return RUN


def _many(rng: np.random.Generator, count: int) -> Result:
    scores = np.concatenate([rng.normal(0.3, 0.03, count - 50), rng.uniform(0.5, 0.9, 50)]).astype(np.float32)
    paths = [f"line {at % 7}/part {at:05}.png" for at in range(count)]
    paths[-len(EVIL) :] = EVIL  # among the highest scores
    photos = [Photo(path, "ok", width=64, height=48) for path in paths]
    rows, order = ranked(photos, scores, {})
    grids = (rng.random((count, 6, 8), dtype=np.float32) * 0.1 + 0.2) * (scores / scores.max())[:, None, None]
    grids[:, 2, 3] = scores
    grids = grids[order]
    evidence = Evidence(rng.normal(size=(count, 4)).astype(np.float32), (), False, False)
    estimated = estimate_of(rows, grids, evidence, ())
    level = seed_level(estimated, grids)
    verdict = judged(rows, grids, estimated, level, (), (), VerdictConfig(), {}, alone=True)
    scale = ColourScale.of(grids)
    manifest = a_manifest(colour_scale={"low": scale.low, "high": scale.high})
    manifest["resolved"] |= {"told": "made up"}
    manifest["config"] |= {"exports": []}
    return Result(
        photos=verdict.photos,
        judgement=verdict.judgement,
        regions=verdict.regions,
        grids=grids,
        shape=(48, 64),
        pixels=lambda row: np.zeros((48, 64, 3), np.uint8),
        scale=scale,
        manifest=manifest,
        keep={RUN_VERDICT: _kept(estimated, grids, level, verdict.regions)},
    )


def _kept(*values: Any) -> Any:
    estimated, grids, level, regions = values
    return lambda folder: verdict_file.write(estimated, grids, (), level, (), regions, folder)


def _dump(file: Path, values: Any) -> None:
    file.write_text(json.dumps(values), encoding="utf-8")
