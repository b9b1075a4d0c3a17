"""A Ray cluster, joined and left again, and tasks that are done on it, each until it has succeeded.

It knows Ray: how to find a cluster, how to keep it quiet, how much to send it at a time, what to do when a worker dies.
It does not know what the tasks are about. Tasks may be done twice, so they must give the same and change nothing.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from blemish.errors import ConfigError, RunError

__all__ = ["Cluster", "connect"]

AT_ONCE = 2  # tasks a core (or a GPU) that are sent off: the one that runs, and the one whose data are on their way
TRIES = 4  # of a task whose worker or node is lost again and again: then it is the task that kills them
ANSWER_S = 5.0  # for a cluster's address to answer
LOOK_S = 5.0  # between looks at how large the cluster is by now
LEAST_STORE = 80 * 2**20  # bytes: Ray wants 75 MiB
PATIENCE_S = 300.0  # with a cluster that has nobody to do a task: one that grows by itself may take minutes

Item = TypeVar("Item")


class Cluster:
    """A joined cluster. ``local``: it is this machine alone, and ends with the scan."""

    def __init__(self, ray: Any, local: bool = False) -> None:
        self.local = local
        self.lost = 0  # tasks that were begun again because a worker or a node was lost
        self._ray = ray
        self._remote: dict[tuple[Callable[..., Any], int], Any] = {}

    def put(self, value: Any) -> Any:
        """Copy a value into this machine's object store; it is there while the reference or a task with it is."""
        return self._ray.put(value)

    def places(self, gpus: int = 0) -> int:
        """How many tasks can be done at a time, now: one a core, or a task for so many GPUs."""
        resources = self._ray.cluster_resources()
        return int(resources.get("GPU", 0)) // gpus if gpus else int(resources.get("CPU", 0))

    def store_bytes(self) -> int:
        """Size of the smallest object store of a node."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return int(min(node.get("object_store_memory", 0) for node in nodes))

    def each(
        self,
        task: Callable[..., Any],
        items: Iterable[Item],
        arguments: Callable[[Item], tuple[Any, ...]],
        *,
        gpus: int = 0,
        in_order: bool = False,
    ) -> Generator[tuple[Item, Any], None, None]:
        """``task(*arguments(item))`` of every item, on one core each: (item, what was returned), as they are finished
        or in order.

        ``task``: a function of a module that all nodes have. ``arguments`` is called just before a task is sent off,
        and again if its worker is lost. ``gpus``: that a task needs besides. No more is sent off than keeps the
        cluster busy. Whoever stops taking results cancels the rest.
        Raises what a task raises if it is a ``BlemishError``, else ``RunError``."""
        ray, remote = self._ray, self._task(task, gpus)
        waiting = enumerate(items)
        running: dict[Any, tuple[int, Item, int]] = {}  # reference -> place in the order, item, tries so far
        finished: dict[int, tuple[Item, Any]] = {}  # place -> what is to be given out
        turn = 0
        room = _Room(self, gpus)
        try:
            while True:
                # Results that wait for their turn take room as well, or one slow task would fill the memory.
                while len(running) + len(finished) < room.now():
                    place, item = next(waiting, (-1, None))
                    if item is None:
                        break
                    running[remote.remote(*arguments(item))] = (place, item, 1)
                if not running:
                    return
                done, _ = ray.wait(list(running), num_returns=1, timeout=LOOK_S)
                room.watch(bool(done))
                for reference in done:
                    place, item, tries = running.pop(reference)
                    try:
                        finished[place] = (item, ray.get(reference))
                    except ray.exceptions.RayTaskError as error:
                        raise _failure(error) from None
                    except ray.exceptions.RayError as error:  # the worker, its node or the result is gone
                        if tries == TRIES:
                            raise RunError(_given_up(error)) from None
                        self.lost += 1
                        running[remote.remote(*arguments(item))] = (place, item, tries + 1)
                    del reference  # or the result would stay in the object store until the next one comes
                done = []
                while finished and (not in_order or turn in finished):
                    yield finished.pop(turn if in_order else next(iter(finished)))
                    turn += 1
        finally:
            for reference in running:
                with suppress(Exception):  # the cluster may be gone
                    ray.cancel(reference)

    def _task(self, task: Callable[..., Any], gpus: int) -> Any:
        if (task, gpus) not in self._remote:
            # Ray's own retries would do for a lost worker, but not for a result that is lost with its node after the
            # arguments have been let go; one way for both is enough.
            options = {"num_cpus": 1, "num_gpus": gpus, "max_retries": 0, "scheduling_strategy": "SPREAD"}
            self._remote[task, gpus] = self._ray.remote(**options)(task)
        return self._remote[task, gpus]


class _Room:
    """How many tasks a cluster can have at a time, which changes as nodes come and go."""

    def __init__(self, cluster: Cluster, gpus: int) -> None:
        self._cluster, self._gpus = cluster, gpus
        self._looked = -LOOK_S
        self._alive = time.monotonic()
        self._places = 0

    def now(self) -> int:
        if time.monotonic() - self._looked >= LOOK_S:
            self._looked = time.monotonic()
            self._places = self._cluster.places(self._gpus)
        return max(1, AT_ONCE * self._places)

    def watch(self, came: bool) -> None:
        """Raise ``RunError`` if there has been nobody to do a task for long."""
        self.now()
        if came or self._places:
            self._alive = time.monotonic()
        elif time.monotonic() - self._alive > PATIENCE_S:
            what = "GPU" if self._gpus else "core"
            raise RunError(f"The Ray cluster has no {what} to work with. Add a node: ray start --address=HOST:PORT")


@contextmanager
def connect(address: str | None, cores: int, store_bytes: int | None = None) -> Iterator[Cluster]:
    """Join the cluster at ``address`` (``host:port``, or ``auto`` for the one this machine belongs to) and leave it.

    None starts one on this machine with ``cores`` workers and an object store of ``store_bytes``, and ends it
    afterwards. A process that has joined a cluster already stays in that. Raises ``ConfigError`` if Ray is not
    installed or the cluster cannot be joined."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or Ray warns of a change to come
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise ConfigError("Working on several machines needs Ray: pip install 'blemish[ray]'") from error
    if ray.is_initialized():
        yield Cluster(ray)
        return
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    with _signals_kept(), _silenced():
        try:
            if address is None:
                store = store_bytes and max(store_bytes, LEAST_STORE)
                own = {"num_cpus": cores, "include_dashboard": False, "object_store_memory": store}
                ray.init(address="local", **own, **quiet)
            else:
                _require_answer(address, ray.util.get_node_ip_address)
                ray.init(address=address, **quiet)
        except (Exception, SystemExit) as error:  # Ray ends the process when a cluster does not answer
            ray.shutdown()
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(_not_joined(address, error)) from error
        try:
            yield Cluster(ray, local=address is None)
        finally:
            ray.shutdown()


def _require_answer(address: str, own: Callable[[], str]) -> None:
    """Ray itself tries for five minutes before it gives up. ``own``: what Ray takes instead of a loopback address."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise ConfigError(
            f"The address of a Ray cluster is host:port, or auto on a machine of it; received {address!r}. "
            "Ray Client (ray://) is not supported."
        )
    host = own() if host in ("localhost", "127.0.0.1", "[::1]") else host.strip("[]")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(_not_joined(address, error)) from error


def _not_joined(address: str | None, error: BaseException) -> str:
    reason = str(error).strip() or type(error).__name__
    reason = " ".join(line.strip() for line in reason.splitlines())
    if address is None:
        return f"Ray cannot be started on this machine: {reason}"
    return (
        f"Cannot join a Ray cluster at {address!r}: {reason.rstrip('.')}. Is it running (ray start --head), is this "
        " machine one of its nodes (ray start --address=HOST:PORT), and are Ray and Python the same there?"
    )


def _failure(error: Any) -> BaseException:
    """What a task raised, or words about it."""
    from blemish.errors import BlemishError

    cause = error.cause
    if isinstance(cause, BlemishError):
        return type(cause)(str(cause))
    lines = f"{type(cause).__name__}: {cause}".strip().splitlines()
    if "failed to import on the worker" in lines[0]:  # the error proper comes last
        cause, lines = ImportError(), lines[-1:]
    reason = lines[0]
    if isinstance(cause, ImportError):
        return RunError(f"A node of the cluster lacks a module ({reason}). Install the same blemish[ray] everywhere.")
    if isinstance(cause, MemoryError):
        return RunError("A node of the cluster is out of memory. Start it with fewer cores: ray start --num-cpus=N")
    return RunError(f"A task failed on a node of the cluster: {reason}")


def _given_up(error: Exception) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return (
        f"A task was lost {TRIES} times with its worker: {reason} If nodes are short of memory, start them with fewer "
        "cores: ray start --num-cpus=N"
    )


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself and does not give it back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _silenced() -> Iterator[None]:
    """Ray prints a node's end and the like on standard output, where JSON may be going; there is no setting for it."""
    worker: Any = importlib.import_module("ray._private.worker")
    before = getattr(worker, "print_to_stdstream", None)
    if before is None:
        yield
        return
    worker.print_to_stdstream = lambda *args, **kwargs: None
    try:
        yield
    finally:
        worker.print_to_stdstream = before
