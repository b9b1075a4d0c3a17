"""The service's data folder: where data sets, runs, detectors and small pictures lie, and what is written beside them.

    DATA/datasets/ID/dataset.json, NAME/     an upload, or where on the server a folder is
    DATA/runs/ID/job.json, run/, audit.jsonl  what was asked, the run folder, who decided what and when
    DATA/audit.jsonl                          the same of all else, and of runs that were removed
    DATA/detectors/ID.blemish, ID.json
    DATA/id                                   that the database knows the folder by
    DATA/pictures/, DATA/scratch/             can be removed at any time
    DATA/index.sqlite                         an index of all this; it is made again from these files

It knows names and files, not what a scan or a decision is.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from blemish.errors import OutputError
from blemish.whole_file import write_whole

__all__ = ["ID", "Workspace", "new_id", "now"]

ID = "^[a-z2-7]{10}$"
AUDIT = "audit.jsonl"
TOLD = ("when", "who", "what", "run", "detail")  # in each of its lines
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def new_id() -> str:
    """Short, random, and a file name everywhere."""
    return "".join(secrets.choice(ALPHABET) for _ in range(10))


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Workspace:
    def __init__(self, data: Path) -> None:
        """Raises ``OutputError`` if the folder cannot be written, or another service uses it."""
        self.data = data
        try:
            for name in ("datasets", "runs", "detectors", "pictures", "scratch"):
                (data / name).mkdir(parents=True, exist_ok=True)
            self._lock = (data / "service.lock").open("a+")
        except OSError as error:
            raise OutputError(f"Cannot write to {str(data)!r}: {error.strerror}. Choose another --data.") from error
        if not _locked(self._lock):
            self._lock.close()
            raise OutputError(f"Another service uses {str(data)!r}. Stop it, or choose another --data.")
        for left in (data / "scratch").iterdir():
            with suppress(OSError):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        for folder in (data / "runs").iterdir():
            if re.fullmatch(ID, folder.name) and not (folder / "job.json").is_file():
                self.clear(folder.name)

    @property
    def id(self) -> str:
        """Of the data folder, wherever it is moved."""
        file = self.data / "id"
        with suppress(OSError, ValueError):
            if re.fullmatch(ID, known := file.read_text(encoding="utf-8").strip()):
                return known
        made = new_id()
        write_whole(file, lambda stream: stream.write(made.encode() + b"\n"))
        return made

    def close(self) -> None:
        self._lock.close()

    def dataset(self, dataset: str) -> Path:
        return self.data / "datasets" / _checked(dataset)

    def files(self, dataset: str, name: str) -> Path:
        """Called as the data set is, since a report names what was scanned."""
        plain = "".join(c if c.isalnum() or c in "-_ " else "_" for c in name)[:60].strip()
        return self.dataset(dataset) / (plain or "photos")

    def job(self, run: str) -> Path:
        return self.data / "runs" / _checked(run)

    def run(self, run: str) -> Path:
        """The run folder."""
        return self.job(run) / "run"

    def detector(self, detector: str) -> Path:
        return self.data / "detectors" / f"{_checked(detector)}.blemish"

    @property
    def scratch(self) -> Path:
        return self.data / "scratch"

    def pictures(self, run: str) -> Path:
        return self.data / "pictures" / _checked(run)

    def write_facts(self, file: Path, facts: dict[str, Any]) -> None:
        """Whole or not at all."""
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, lambda stream: stream.write(json.dumps(facts, indent=1).encode() + b"\n"))

    def append_audit(self, run: str, line: dict[str, Any]) -> None:
        """Beside the run; what is of no run, or of one that is not there any more, beside everything."""
        folder = self.job(run) if run and self.job(run).is_dir() else self.data
        with (folder / AUDIT).open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")

    def give_up(self, run: str) -> None:
        """The run is no more, even if the service ends now: its folder is cleared at the next start. Its audit trail
        stays."""
        trail = self.job(run) / AUDIT
        with suppress(FileNotFoundError):
            lines = trail.read_bytes()
            with (self.data / AUDIT).open("ab") as handle:
                handle.write(lines)
            trail.unlink()
        (self.job(run) / "job.json").unlink(missing_ok=True)

    def clear(self, run: str) -> None:
        for folder in (self.job(run), self.pictures(run)):
            shutil.rmtree(folder, ignore_errors=True)

    def facts(self, what: str) -> Iterator[dict[str, Any]]:
        """Those of every ``dataset``, ``job`` (a run's) or ``detector``; what is damaged is passed over."""
        pattern = {"dataset": "datasets/*/dataset.json", "job": "runs/*/job.json", "detector": "detectors/*.json"}
        for file in sorted(self.data.glob(pattern[what])):
            with suppress(OSError, ValueError):
                found = json.loads(file.read_text(encoding="utf-8"))
                if isinstance(found, dict) and re.fullmatch(ID, str(found.get("id"))):
                    yield found

    def audit(self) -> list[dict[str, str]]:
        """Every line of the audit trail, by time; what is damaged is passed over."""
        found = []
        for file in (self.data / AUDIT, *self.data.glob(f"runs/*/{AUDIT}")):
            with suppress(OSError), file.open(encoding="utf-8", errors="replace") as handle:
                for text in handle:
                    with suppress(ValueError):  # cut short by a crash
                        line = json.loads(text)
                        if isinstance(line, dict) and all(isinstance(line.get(name), str) for name in TOLD):
                            found.append({name: line[name] for name in TOLD})
        return sorted(found, key=lambda line: line["when"])


def _checked(name: str) -> str:
    """A name that leads nowhere else."""
    if not re.fullmatch(ID, name):
        raise ValueError(f"{name!r} is not an id")
    return name


def _locked(handle: IO[str]) -> bool:
    """Whether this process alone has ``handle``'s file, until it ends."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
