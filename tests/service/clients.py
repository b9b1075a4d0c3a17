"""What tests do with a service again and again."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

LOOPBACK = "http://127.0.0.1:8765"
MOCK = {"backbone": "mock", "families": "off", "cache": False}
PATIENCE_S = 120.0


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


class Client:
    """A program that talks to a service, as a person called ``who``."""

    def __init__(self, http: httpx.Client, who: str = "Ann") -> None:
        self.http = http
        self.headers = {"X-Blemish": "1", "X-Blemish-Who": who}

    def get(self, path: str, expect: int = 200, **options: Any) -> httpx.Response:
        answer = self.http.get(path, **options)
        assert answer.status_code == expect, (path, answer.status_code, answer.text[:300])
        return answer

    def send(self, method: str, path: str, expect: int = 200, **options: Any) -> Any:
        answer = self.http.request(method, path, headers=self.headers | options.pop("headers", {}), **options)
        assert answer.status_code == expect, (path, answer.status_code, answer.text[:300])
        return answer.json() if answer.content else None

    def dataset(self, name: str = "parts") -> str:
        return str(self.send("POST", "/api/datasets", 201, json={"name": name})["id"])

    def upload(self, dataset: str, files: Mapping[str, bytes], expect: int = 200) -> Any:
        forms = [("files", (name, data, "application/octet-stream")) for name, data in files.items()]
        return self.send("POST", f"/api/datasets/{dataset}/files", expect, files=forms)

    def upload_folder(self, folder: Path, name: str = "parts") -> str:
        dataset = self.dataset(name)
        files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        assert self.upload(dataset, files)["refused"] == []
        return dataset

    def start(self, dataset: str, settings: Mapping[str, Any] = MOCK) -> str:
        return str(self.send("POST", "/api/runs", 201, json={"dataset": dataset, "settings": dict(settings)})["id"])

    def wait(self, run: str, state: str = "done") -> Any:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            found = self.get(f"/api/runs/{run}").json()
            if found["state"] == state:
                return found
            assert found["state"] in ("queued", "running"), found
            time.sleep(0.05)
        raise AssertionError(f"{run} did not become {state}")

    def scanned(self, folder: Path, settings: Mapping[str, Any] = MOCK, name: str = "parts") -> str:
        run = self.start(self.upload_folder(folder, name), settings)
        self.wait(run)
        return run

    def rows(self, run: str, **query: Any) -> list[dict[str, Any]]:
        return list(self.get(f"/api/runs/{run}/photos", params=query).json()["rows"])
