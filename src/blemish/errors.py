"""Everything that can go wrong, drawn before it is written.

    BlemishError                what the user reads: one sentence on what is wrong, what was seen, what to do
    ├── UsageError              exit code 2: the call cannot work as typed
    │   ├── InputError          no such folder, an empty one, too few readable photos
    │   ├── ConfigError         an option's value is outside its range, or options contradict each other
    │   ├── BackboneError       unknown backbone, missing extra, missing weights
    │   └── OutputError         the run folder exists, lies inside the photos, or cannot be written
    ├── RunError                exit code 1: the call was right but could not be carried out (disk full)
    └── UnreadablePhoto         one file; recorded beside its path, never ends a run

Whoever embeds blemish catches ``BlemishError``; the command line prints its text and exits with ``exit_code``.
"""

from __future__ import annotations

__all__ = [
    "BackboneError",
    "BlemishError",
    "ConfigError",
    "InputError",
    "OutputError",
    "RunError",
    "UnreadablePhoto",
    "UsageError",
]


class BlemishError(Exception):
    """Base of every error that blemish raises on purpose."""

    exit_code = 1


class UsageError(BlemishError):
    exit_code = 2


class InputError(UsageError):
    pass


class ConfigError(UsageError):
    pass


class BackboneError(UsageError):
    pass


class OutputError(UsageError):
    pass


class RunError(BlemishError):
    pass


class UnreadablePhoto(BlemishError):  # noqa: N818 - it names a condition of one file, as the reports do
    pass
