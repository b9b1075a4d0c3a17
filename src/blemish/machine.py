"""What this machine offers: cores, memory, devices. Every choice comes with its reason."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["available_memory", "choose_device", "cores", "resident_memory"]


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory() -> int:
    """Bytes that can be taken without pushing anything out; a container's limit counts."""
    if sys.platform == "win32":
        return _windows_available()
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():  # macOS: no count of reclaimable pages without help; half of all is a safe guess
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
    free = int(lines["MemAvailable"].split()[0]) * 1024
    return min(free, _cgroup_free(free))


def _cgroup_free(otherwise: int) -> int:
    folder = Path("/sys/fs/cgroup")
    try:
        limit = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(statistics.get("inactive_file", 0)))  # file cache gives way
    except (OSError, ValueError):  # no limit ("max"), or another layout
        return otherwise


def _windows_available() -> int:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
            (name, ctypes.c_ulonglong) for name in ("total", "free", "tp", "fp", "tv", "fv", "fe")
        ]

    status = Status()
    status.length = ctypes.sizeof(Status)
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined,unused-ignore]
    return int(status.free)


def resident_memory() -> int:
    """Bytes of this process that are in memory now; a rough 300 MB where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 300 * 2**20


def choose_device(wanted: str) -> tuple[str, str]:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:1`` -> (device, reason). Raises ``ConfigError`` if it is not there."""
    import torch

    from blemish.errors import ConfigError

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        if count:
            return "cuda", f"CUDA device found: {torch.cuda.get_device_name(0)}"
        return "cpu", "no CUDA device"
    if wanted == "cpu":
        return "cpu", "asked for"
    name, _, index = wanted.partition(":")
    if name != "cuda" or not (index or "0").isdecimal():
        raise ConfigError(f"device is auto, cpu, cuda or cuda:0, cuda:1, ...; received {wanted!r}.")
    if int(index or 0) >= count:
        raise ConfigError(f"There is no {wanted} here: {count} CUDA devices found. Use --device cpu.")
    return wanted, "asked for"
