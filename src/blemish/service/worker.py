"""The process that a scan, a lesson or a detector is made in: memory and crashes stay here, and stopping is killing.

It reads one line of JSON that says what to do, writes a line for everything that happens, and ends when whoever
started it does: its standard input closes then. It knows the package's verbs and lines of JSON, nothing of HTTP.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from blemish.errors import BlemishError, RunError
from blemish.inputs.confinement import confine
from blemish.progress import Advance

__all__ = ["Lines", "main"]

EVERY_S = 0.25  # between two lines about one stage
NICE = 10  # whoever looks at results goes first

Facts = dict[str, Any]


class Lines:
    """Progress as lines of JSON."""

    def __init__(self, write: Callable[[Facts], None]) -> None:
        self._write = write

    def note(self, text: str) -> None:
        self._write({"type": "note", "text": text})

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Advance]:
        start = last = time.monotonic()
        done = 0
        lock = threading.Lock()

        def advance(steps: int) -> None:
            nonlocal done, last
            with lock:
                done += steps
                now = time.monotonic()
                if now - last < EVERY_S:
                    return
                last = now
                eta = (now - start) / done * (total - done) if done else None
            self._write({"type": "stage", "stage": name, "done": done, "total": total, "eta_s": eta})

        self._write({"type": "stage", "stage": name, "done": 0, "total": total, "eta_s": None})
        yield advance
        self._write({"type": "stage", "stage": name, "done": total, "total": total, "eta_s": 0.0})


def _scan(job: Mapping[str, Any], progress: Lines) -> Facts:
    from blemish.config import ScanConfig, with_options
    from blemish.running import scan_into

    settings = with_options(ScanConfig(), dict(job["settings"]))
    done = scan_into(Path(job["source"]), Path(job["run"]), settings, progress, overwrite=True)
    return {"sentence": done.result.judgement.sentence if done.result.judgement else ""}


def _teach(job: Mapping[str, Any], progress: Lines) -> Facts:
    from blemish.stages import threads
    from blemish.teaching import teach

    defects = [(path, ",".join(map(str, box))) for path, box in job["defects"]]
    with threads(job["threads"]):
        done = teach(job["run"], good=job["good"], defects=defects, undo=job["undo"], progress=progress)
    return {"sentence": done.sentence, "moved": done.moved}


def _freeze(job: Mapping[str, Any], progress: Lines) -> Facts:
    from blemish.freezing import freeze
    from blemish.stages import threads

    with threads(job["threads"]):
        done = freeze(job["run"], job["out"], overwrite=True, progress=progress)
    return {"meaning": done.facts.meaning, "threshold": done.facts.threshold}


VERBS: dict[str, Callable[[Mapping[str, Any], Lines], Facts]] = {"scan": _scan, "teach": _teach, "freeze": _freeze}


def main() -> int:
    """One job; the exit code is 0 if it was done."""
    lock = threading.Lock()
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no line of ours

    def write(facts: Facts) -> None:
        with lock, suppress(BrokenPipeError):
            out.write(json.dumps(facts) + "\n")
            out.flush()

    job = json.loads(sys.stdin.buffer.readline())
    confine(Path(folder) for folder in job["within"])
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(NICE)
    try:
        write({"type": "done", **VERBS[job["verb"]](job, Lines(write))})
    except BlemishError as error:
        write({"type": "failed", "error": str(error), "usage": not isinstance(error, RunError)})
        return error.exit_code
    except KeyboardInterrupt:
        return 1
    except MemoryError:
        write({"type": "failed", "error": "Out of memory. Allow less with --memory, or choose a smaller size."})
        return 1
    except Exception as error:  # whatever it was, it is told
        traceback.print_exc()
        write({"type": "failed", "error": f"{type(error).__name__}: {error}"})
        return 1
    return 0


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """A scan that nobody waits for would be in the way of the next one. Read without a buffer, whose lock this thread
    would hold when the interpreter ends, which then aborts."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
