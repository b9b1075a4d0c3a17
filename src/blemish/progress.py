"""How a long run tells of itself: silent, plain lines, or live bars. It knows text and counts, nothing of scans."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["LiveBars", "PlainLines", "Progress", "Silent", "duration"]

Advance = Callable[[int], None]
LINE_EVERY_S = 10.0


class Progress(Protocol):
    def note(self, text: str) -> None:
        """A sentence that stays on the screen."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Advance]:
        """A stage of ``total`` steps; the yielded function is called with the number of steps just done.

        It may be called from several threads."""
        ...


class Silent:
    def note(self, text: str) -> None:
        pass

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Advance]:
        yield lambda steps: None


class PlainLines:
    """For logs and pipes: a line when a stage starts to last, every ten seconds, and when it ends."""

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Advance]:
        start = last = time.monotonic()
        done = 0

        def advance(steps: int) -> None:
            nonlocal done, last
            done += steps
            now = time.monotonic()
            if now - last >= LINE_EVERY_S and done:
                last = now
                eta = (now - start) / done * (total - done)
                self.note(f"{name}: {done / max(total, 1):.0%}, {duration(eta)} left")

        yield advance
        self.note(f"{name}: done in {duration(time.monotonic() - start)}")


class LiveBars:
    """For terminals: one bar a stage with the time left (rich)."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)

    def note(self, text: str) -> None:
        self.console.print(text, markup=False)

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Advance]:
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (TextColumn("{task.description:<18}"), BarColumn(), TaskProgressColumn())
        times = (TextColumn("elapsed"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        with Progress(*columns, *times, console=self.console) as bars:
            task = bars.add_task(name, total=total)
            yield lambda steps: bars.advance(task, steps)


def duration(seconds: float) -> str:
    """7 s, 3 min 20 s, 2 h 5 min: as people say it."""
    s = round(seconds)
    if seconds < 1:
        return "under a second"
    if s < 60:
        return f"{s} s"
    if s < 3600:
        return f"{s // 60} min {s % 60} s" if s % 60 else f"{s // 60} min"
    return f"{s // 3600} h {s % 3600 // 60} min"
