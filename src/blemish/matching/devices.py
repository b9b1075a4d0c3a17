"""Tiles on CUDA devices: one works in this process, several in one process each.

It knows tiles, devices, their memory and processes; how a pair is multiplied there is ``cuda``'s, and where results are
kept nobody's here. The device "cpu" works too, for tests of what surrounds the product.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import wait
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from blemish.errors import ConfigError, RunError
from blemish.matching.cuda import PRODUCT_BYTES, Method, Side, choose_method, cuda_devices, match_pairs, prepare
from blemish.matching.executor import Job, Progress
from blemish.matching.pairs import index_type
from blemish.matching.store import ArrayStore
from blemish.matching.tiles import TileMatches

__all__ = ["CudaExecutor"]

Read = Callable[[int, int], npt.NDArray[np.float32]]  # tokens of images from, to

KEPT = 0.5  # of a device's free memory: blocks of images that stay on it, so that most are uploaded once a run


@dataclass(frozen=True)
class CudaExecutor:
    """CUDA devices: one works in this process, several in one process each, which take tiles as they get free.

    A program that uses several must guard its start with ``if __name__ == "__main__"``, since processes are spawned.
    Raises ``RunError`` if a device is out of memory or its process ends."""

    devices: tuple[str, ...] = field(default_factory=cuda_devices)
    method: Method | None = None  # each device's choice by default

    def reason(self) -> str:
        """Where and how, for the user."""
        how = "; ".join(dict.fromkeys(self.method or choose_method(device)[1] for device in self.devices))
        return f"{', '.join(self.devices)}: {how}"

    def least_bytes(self, tokens: int, channels: int) -> int:
        return self.tile_bytes(1, tokens, channels)

    def tile_bytes(self, block: int, tokens: int, channels: int) -> int:
        """Of the host. Two tiles are under way on a device and a third is being taken over; tokens are read, copied to
        where a device fetches them, and between processes twice more."""
        side = 4 * block * tokens * channels
        matches = block * block * 2 * tokens * (4 + index_type(tokens).itemsize)
        each = 5 * side + 3 * matches
        if any(torch.device(device).type == "cpu" for device in self.devices):
            each += 4 * side + PRODUCT_BYTES
        between = 2 * side + 2 * matches if len(self.devices) > 1 else 0
        return len(self.devices) * (each + between) + between

    def run(self, tokens: ArrayStore, jobs: Sequence[Job], progress: Progress) -> Generator[TileMatches, None, None]:
        if not self.devices:
            raise ConfigError("There is no CUDA device here: torch sees none. Match on the CPU instead.")
        devices = self.devices[: len(jobs)]
        if len(devices) == 1:
            results = _matches(devices[0], self.method, tokens.read, jobs)
        else:
            results = _in_processes(devices, self.method, tokens, jobs)
        with contextlib.closing(results):
            for found in results:
                progress(len(found.pairs))
                yield found


def _matches(name: str, method: Method | None, read: Read, jobs: Iterable[Job]) -> Generator[TileMatches, None, None]:
    """Tiles on one device, the next of which is started before the last is waited for."""
    device = _Device(name, method or choose_method(name)[0], read)
    last = None
    try:
        for job in jobs:
            started = device.start(job)
            if last:
                yield last()
            last = started
        if last:
            yield last()
    except torch.cuda.OutOfMemoryError as error:
        raise RunError(
            f"{name} has too little memory. End other programs on it, use a smaller --size, or match on the CPU."
        ) from error


class _Device:
    """A device with the blocks of images it has seen lately. Tiles alternate between two streams, so that copies of
    one overlap with the work of the other."""

    def __init__(self, name: str, method: Method, read: Read) -> None:
        self._device, self._method, self._read = torch.device(name), method, read
        self._kept: OrderedDict[tuple[int, int], tuple[Side, Any]] = OrderedDict()
        self._streams: Iterator[Any] = itertools.repeat(None)
        self._room = 0.0  # bytes for blocks, besides the two last used
        if self._device.type == "cuda":
            streams = [torch.cuda.Stream(self._device) for _ in range(2)]  # type: ignore[no-untyped-call]
            self._streams = itertools.cycle(streams)
            self._room = KEPT * torch.cuda.mem_get_info(self._device)[0]

    def start(self, job: Job) -> Callable[[], TileMatches]:
        """Have a tile done; what is returned waits for it."""
        tile, stream = job.tile, next(self._streams)
        with torch.cuda.stream(stream):  # does nothing for None
            pairs = self._to_device(job.local().astype(np.int32))
            left = self._side(tile.first, tile.left, stream)
            right = left if job.one_sided else self._side(tile.second, tile.right, stream)
            forward, of_left, backward, of_right = match_pairs(left, right, pairs)
            dtype = torch.int16 if index_type(left.tokens.shape[1]).itemsize == 2 else torch.int32
            host = [_to_host(part) for part in (forward, of_left.to(dtype), backward, of_right.to(dtype))]
            done = stream.record_event() if stream else None

        def finish() -> TileMatches:
            if done:
                done.synchronize()
            return TileMatches(job.pairs, *(part.numpy() for part in host))

        return finish

    def _side(self, first: int, count: int, stream: Any) -> Side:
        """Images ``first`` to ``first + count``, ready for work in ``stream``."""
        key = first, count
        if key in self._kept:
            self._kept.move_to_end(key)
            side, ready = self._kept[key]
            if stream:
                stream.wait_event(ready)
                for tensor in side.tensors():
                    tensor.record_stream(stream)  # its memory is not used again before this stream is done with it
            return side
        side = prepare(self._to_device(self._read(first, first + count)), self._method)
        self._kept[key] = side, stream.record_event() if stream else None
        while len(self._kept) > 2 and self._bytes() > self._room:
            self._kept.popitem(last=False)
        return side

    def _to_device(self, array: npt.NDArray[Any]) -> Tensor:
        """Without waiting: from memory that the device fetches from by itself."""
        part = torch.from_numpy(array)
        return part.pin_memory().to(self._device, non_blocking=True) if self._device.type == "cuda" else part

    def _bytes(self) -> int:
        return sum(tensor.nbytes for side, _ in self._kept.values() for tensor in side.tensors())


def _to_host(part: Tensor) -> Tensor:
    if part.device.type == "cpu":
        return part
    return torch.empty(part.shape, dtype=part.dtype, pin_memory=True).copy_(part, non_blocking=True)


def _in_processes(
    devices: Sequence[str], method: Method | None, tokens: ArrayStore, jobs: Sequence[Job]
) -> Generator[TileMatches, None, None]:
    """A process a device, which asks for tiles, and for tokens that its device does not have; this one answers. Nobody
    sends unasked, so that neither side can block the other."""
    context, waiting = get_context("spawn"), iter(jobs)
    answers: dict[str, Callable[..., Any]] = {"job": lambda: next(waiting, None), "read": tokens.read}
    workers: dict[Any, tuple[str, Any]] = {}
    connection: Any
    try:
        for device in devices:
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, device, method), daemon=True)
            process.start()
            theirs.close()  # else its end would not be seen
            workers[ours] = device, process
        running = set(workers)
        while running:
            for connection in wait(list(running)):
                device, process = workers[connection]
                with _still_there(device, process):
                    kind, *values = connection.recv()
                if kind in answers:
                    answer = answers[kind](*values)
                    with _still_there(device, process):
                        connection.send(answer)
                elif kind == "found":
                    yield values[0]
                elif kind == "failed":
                    raise RunError(f"Matching on {device} failed. {values[0]}")
                else:
                    running.remove(connection)
    finally:
        for connection, (_, process) in workers.items():
            connection.close()
            process.terminate()
        for _, process in workers.values():
            process.join(5)
            if process.is_alive():
                process.kill()


@contextlib.contextmanager
def _still_there(device: str, process: Any) -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        process.join(5)
        raise RunError(
            f"The process that matched on {device} ended with code {process.exitcode}. If memory was short, allow less "
            'with --memory. A program of your own that uses several devices needs `if __name__ == "__main__":`.'
        ) from error


def _work(connection: Any, device: str, method: Method | None) -> None:
    """A device's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the asking process hears it too, and ends this one
    torch.set_num_threads(1)

    def ask(*question: Any) -> Any:
        connection.send(question)
        return connection.recv()

    try:
        for found in _matches(device, method, lambda *images: ask("read", *images), iter(lambda: ask("job"), None)):
            connection.send(("found", found))
        connection.send(("end",))
    except (EOFError, ConnectionError):
        return  # nobody is asking any more
    except Exception as error:
        text = str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
        with contextlib.suppress(OSError):
            connection.send(("failed", text))
