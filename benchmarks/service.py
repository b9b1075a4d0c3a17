"""Fifty readers of the grid's data while a scan runs: how long they wait, measured by wrk.

    python benchmarks/service.py [SECONDS]

A run of 5,000 photos is made, a scan of others is started so that all cores have work, and wrk asks for random pages of
200 rows through 50 connections, each as soon as it has its answer: more than 50 people would. The same without a scan.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

PHOTOS, SCANNED = 5000, 400
CONNECTIONS = 50
SMALL = {"backbone": "mock", "families": "off", "size": 32, "subset": 100}  # a scan that takes little time
PAGES = {
    "a page of the grid (200 rows)": "wrk.path .. math.random(0, 4800)",
    "the verdict with its stops": "wrk.path",
    "one photo in detail": "wrk.path .. math.random(0, 4999)",
}
LUA = """
function request() return wrk.format("GET", {path}) end
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("RESULT %f %f %f %f %d %d\\n", latency:percentile(50) / 1000, latency:percentile(95) / 1000,
    latency:percentile(99) / 1000, latency.max / 1000, summary.requests,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


def main() -> None:
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    if shutil.which("wrk") is None:
        sys.exit("wrk is not here: apt-get install wrk")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        port = _free_port()
        command = [sys.executable, "-m", "blemish", "serve", "--data", str(folder / "data"), "--port", str(port)]
        command += ["--root", str(folder), "--rate", "0", "--changes", "0"]
        server = subprocess.Popen(command, env={**os.environ, "BLEMISH_CACHE": str(folder / "cache")})
        try:
            _measure(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600), folder, port, seconds)
        finally:
            server.terminate()
            server.wait(30)


def _measure(http: httpx.Client, folder: Path, port: int, seconds: int) -> None:
    _until_it_answers(http)
    http.headers["X-Blemish"] = "1"
    shown = _scan(http, _photos(folder / "shown", PHOTOS, 48), SMALL)
    _wait(http, shown)
    base = f"/api/runs/{shown}"
    paths = dict(zip(PAGES, (f"{base}/photos?limit=200&offset=", f"{base}/verdict", f"{base}/photos/"), strict=True))
    print(f"| asked for, {CONNECTIONS} connections | scan | p50 ms | p95 ms | p99 ms | max ms | answers/s | errors |")
    print("|---|---|---|---|---|---|---|---|")
    for busy in (False, True):
        scan = ""
        if busy:
            scan = _scan(http, _photos(folder / "scanned", SCANNED, 512), {"size": 512, "cache": False})
            while not http.get(f"/api/runs/{scan}").json()["done"]:
                time.sleep(0.1)
        for name, path in paths.items():
            script = folder / "ask.lua"
            script.write_text(f'wrk.path = "{path}"\n' + LUA.replace("{path}", PAGES[name]))
            asked = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script)]
            told = subprocess.run([*asked, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True)
            found = re.search(r"RESULT (.*)", told.stdout)
            assert found, told.stdout
            p50, p95, p99, most, answers, errors = map(float, found[1].split())
            state = "running" if busy else "none"
            if busy and http.get(f"/api/runs/{scan}").json()["state"] != "running":
                state = "ended meanwhile"
            print(
                f"| {name} | {state} | {p50:.0f} | {p95:.0f} | {p99:.0f} | {most:.0f} | {answers / seconds:.0f} | "
                f"{errors:.0f} |",
                flush=True,
            )


def _photos(folder: Path, count: int, side: int) -> Path:
    """Noise on a gradient: nobody looks at it."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    shade = np.linspace(60, 190, side)[None, :, None]
    for at in range(count):
        pixels = np.clip(shade + rng.normal(0, 12, (side, side, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{at:05d}.jpg", quality=85)
    return folder


def _scan(http: httpx.Client, folder: Path, settings: dict[str, object]) -> str:
    dataset = http.post("/api/datasets/folder", json={"path": str(folder)}).json()["id"]
    made = http.post("/api/runs", json={"dataset": dataset, "settings": settings})
    return str(json.loads(made.raise_for_status().text)["id"])


def _wait(http: httpx.Client, run: str) -> None:
    while (found := http.get(f"/api/runs/{run}").json())["state"] in ("queued", "running"):
        time.sleep(0.5)
    assert found["state"] == "done", found


def _until_it_answers(http: httpx.Client) -> None:
    for _ in range(600):
        try:
            http.get("/api/health")
            return
        except httpx.TransportError:
            time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
