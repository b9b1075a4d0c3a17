"""Server-sent events: what is told about a run to everybody who listens. It knows queues and lines, not runs."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Event", "Events"]

WAITING = 64  # events that a slow listener may lag behind; the oldest go
HEARTBEAT_S = 15.0  # so that a connection that has died is noticed
LISTENERS = 200

Event = tuple[str, dict[str, Any]]


class Events:
    """Used on the event loop only."""

    def __init__(self) -> None:
        self._queues: dict[str, set[asyncio.Queue[Event]]] = defaultdict(set)

    def tell(self, run: str, kind: str, **facts: Any) -> None:
        for queue in self._queues.get(run, ()):
            if queue.full():
                queue.get_nowait()
            queue.put_nowait((kind, facts))

    @property
    def full(self) -> bool:
        return sum(map(len, self._queues.values())) >= LISTENERS

    @contextmanager
    def _listening(self, run: str) -> Iterator[asyncio.Queue[Event]]:
        queue: asyncio.Queue[Event] = asyncio.Queue(WAITING)
        self._queues[run].add(queue)
        try:
            yield queue
        finally:
            self._queues[run].discard(queue)
            if not self._queues[run]:
                del self._queues[run]

    async def stream(self, run: str, first: Callable[[], Awaitable[list[Event]]]) -> AsyncIterator[str]:
        """Lines of events about ``run``, until the listener or the service goes away. ``first`` says how it is; it is
        asked once this listens, so that nothing happens between the two."""
        with self._listening(run) as queue:
            yield "retry: 2000\n\n"
            for event in await first():
                yield _line(event)
            while True:
                try:
                    yield _line(await asyncio.wait_for(queue.get(), HEARTBEAT_S))
                except TimeoutError:
                    yield ": still here\n\n"


def _line(event: Event) -> str:
    kind, facts = event
    return f"event: {kind}\ndata: {json.dumps(facts)}\n\n"
