"""How the work of a scan is timed and shown, and how many threads do it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from blemish.progress import Advance, Progress

__all__ = ["Clock", "threads"]


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Use ``count`` threads for a while; the caller's setting comes back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Clock:
    """Times the stages while they are shown; a stage that comes again adds up."""

    def __init__(self, progress: Progress) -> None:
        self.timings: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Advance]:
        with self.quiet(name), self._progress.stage(name, total) as advance:
            yield advance

    @contextmanager
    def quiet(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.timings[name] = round(self.timings.get(name, 0.0) + time.perf_counter() - start, 3)
