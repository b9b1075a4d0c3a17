"""The two rules of a scan that a user can set, with their defaults: which looks recur, and which photos are blemished.

Values only, no behaviour. ``blemish.config`` holds them among everything else and is where they are imported from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from blemish.errors import ConfigError

__all__ = ["FamilyConfig", "VerdictConfig", "parse_share"]

OMEGA = {"auto": (0.1, 0.2, 0.35), "published": (0.3,)}  # reference ranks as shares of the batch


@dataclass(frozen=True)
class FamilyConfig:
    """How families of recurring flaws are looked for. Written as text: ``auto``, ``off``, or a rule and any fields,
    ``published,omega=0.2,k_iqr=4.5``."""

    rule: str = "auto"  # auto: our own; published: CoDeGraph to the letter; off
    omega: tuple[float, ...] = ()  # reference ranks as shares of the batch; published takes one
    smallest: int = 3  # photos that make a family
    seed: int = 0  # of the community search
    # auto
    burn_out: float = 1.0  # robust deviations above the batch's tokens from which a token burns out
    local_burn_out: float = 3.0  # the same above the other photos at its place
    resolution: float = 0.3  # of the community search: the mean edge weight that holds regions together
    beyond_batch: float = 1.0  # how many times as far as 95 % of all tokens the look is from the other photos
    few: float = 0.2  # divided by the photos beyond two and added to beyond_batch: few agree by chance more easily
    several: float = 0.3  # added to beyond_batch where more than two layers and neighbourhoods are looked at
    beyond_place: float = 1.2  # how many times as far as three quarters of the other photos at its place
    # published
    weighted: bool = True  # endurance ratios weighted by the reference distance
    coverage: float = 0.95  # share of the photos that get ``degree`` neighbours
    degree: int = 3
    percentile: float = 25.0  # of the edge weights: the resolution of the community search
    k_iqr: float = 3.0  # the fence: Q3 + k_iqr (Q3 - Q1) of the communities' densities
    dependency_percentile: float = 99.0  # of the tokens outside: from which a member's token is excluded

    def __post_init__(self) -> None:
        if self.rule not in ("auto", "published", "off"):
            raise ConfigError(f"families is auto, published or off; received {self.rule!r}.")
        for known in fields(self):
            given = getattr(self, known.name)
            if known.name not in ("rule", "omega") and not _like(given, known.default):
                raise ConfigError(f"families: {known.name} cannot be {given!r}.")
        if not isinstance(self.omega, float | int | tuple | list) or isinstance(self.omega, bool):
            raise ConfigError(f"families: omega cannot be {self.omega!r}.")
        if isinstance(self.omega, tuple | list) and not all(_like(share, 0.5) for share in self.omega):
            raise ConfigError(f"families: omega cannot be {self.omega!r}.")
        omega = (self.omega,) if isinstance(self.omega, float | int) else tuple(self.omega)
        object.__setattr__(self, "omega", omega or OMEGA["published" if self.rule == "published" else "auto"])
        problems = (
            (
                not all(0 < share < 1 for share in self.omega),
                f"omega are shares between 0 and 1; received {self.omega}.",
            ),
            (
                self.rule == "published" and len(self.omega) != 1,
                f"the published rule has one omega; received {self.omega}.",
            ),
            (self.smallest < 3, f"smallest is at least 3: two photos can agree by chance; received {self.smallest}."),
            (self.resolution <= 0, f"resolution is above 0; received {self.resolution}."),
            (not 0 < self.coverage <= 1, f"coverage is a share above 0; received {self.coverage}."),
            (self.degree < 1, f"degree is at least 1; received {self.degree}."),
            (
                not (0 <= self.percentile <= 100 and 0 <= self.dependency_percentile <= 100),
                f"percentiles are 0 to 100; received {self.percentile} and {self.dependency_percentile}.",
            ),
        )
        for wrong, message in problems:
            if wrong:
                raise ConfigError(f"families: {message}")

    @classmethod
    def parse(cls, text: str) -> FamilyConfig:
        """``published,omega=0.2,k_iqr=4.5``; several omegas are joined by ``/``. Raises ``ConfigError``."""
        rule, *rest = (part.strip() for part in text.split(","))
        values: dict[str, Any] = {"rule": rule}
        known = {field.name: field.default for field in fields(cls)}
        for part in rest:
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals or name not in known or name == "rule":
                raise ConfigError(
                    f"families has no setting {part!r}; write {rule},NAME=VALUE with a NAME of "
                    f"{', '.join(list(known)[1:])}."
                )
            values[name] = _family_value(name, value, known[name])
        return cls(**values)


@dataclass(frozen=True)
class VerdictConfig:
    """What the user knows or wants of the verdict; at most one of the first three. None: estimated from the photos."""

    expect_defects: float | None = None  # share of the photos: so many score above the threshold
    max_false_alarms: float | None = None  # share of good photos that may be called blemished
    threshold: float | None = None  # image score
    max_unsure: float = 0.1  # share of the photos that may be sent to a person

    def __post_init__(self) -> None:
        for name in ("expect_defects", "max_false_alarms", "max_unsure"):
            given = getattr(self, name)
            share = parse_share(given, name) if isinstance(given, str) else given
            if share is not None and (not _like(share, 0.5) or not 0 <= share <= 1):
                raise ConfigError(f"{name} is a share such as 0.02 or 2%; received {given!r}.")
            object.__setattr__(self, name, share)
        if self.max_unsure is None:
            raise ConfigError("max_unsure is a share such as 0.1 or 10%.")
        if self.threshold is not None and not _like(self.threshold, 0.5):
            raise ConfigError(f"threshold is an image score such as 0.31; received {self.threshold!r}.")
        if self.max_false_alarms == 0:
            raise ConfigError("max_false_alarms is above 0: no threshold promises that. 0.1% is very strict.")
        said = [name for name in ("expect_defects", "max_false_alarms", "threshold") if getattr(self, name) is not None]
        if len(said) > 1:
            raise ConfigError(f"{' and '.join(said)} each decide the threshold; give one of them.")


def parse_share(text: str, name: str = "k") -> float:
    """``0.3`` or ``30%``. Raises ``ConfigError``."""
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError as error:
        raise ConfigError(f"{name} takes a share such as 0.3 or 30%; received {text!r}.") from error


def _like(value: Any, default: Any) -> bool:
    """Whether ``value`` can stand where ``default`` does: a truth value, a whole number, or a finite number."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, int):
        return isinstance(value, int) and value >= 0
    return isinstance(value, float | int) and math.isfinite(value)


def _family_value(name: str, text: str, default: Any) -> Any:
    try:
        if name == "omega":
            return tuple(parse_share(part) for part in text.split("/"))
        if isinstance(default, bool):
            return {"true": True, "yes": True, "false": False, "no": False}[text.lower()]
        return type(default)(text)
    except (ValueError, KeyError, ConfigError) as error:
        raise ConfigError(f"families: {name} cannot be {text!r}.") from error
