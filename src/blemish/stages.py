"""How the work of a scan is timed and shown, and how many threads do it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch

from blemish.progress import Advance, Progress

__all__ = ["Clock", "Stages", "one_bar", "threads"]


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Use ``count`` threads for a while; the caller's setting comes back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Stages(Protocol):
    """How work tells of itself."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Advance]: ...


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


@contextmanager
def one_bar(
    clock: Clock, progress: Progress, name: str, expected: Mapping[str, tuple[float, float]]
) -> Iterator[Stages]:
    """The stages of many parts under one bar, so that the time left is that of the batch. ``expected``: of each stage
    how many steps it has in all, and the seconds of one."""
    milliseconds = round(1000 * sum(steps * seconds for steps, seconds in expected.values()))
    with progress.stage(name, milliseconds) as advance:
        yield _OneBar(clock, advance, {stage: 1000 * seconds for stage, (_, seconds) in expected.items()})


class _OneBar:
    """Stages as a share of a bar of estimated milliseconds."""

    def __init__(self, clock: Clock, advance: Advance, milliseconds: dict[str, float]) -> None:
        self._clock, self._advance, self._milliseconds = clock, advance, milliseconds

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Advance]:
        each = self._milliseconds.get(name, 0.0)
        done = 0

        def advance(steps: int) -> None:
            nonlocal done
            before, done = done, done + steps
            self._advance(round(done * each) - round(before * each))

        with self._clock.quiet(name):
            yield advance
