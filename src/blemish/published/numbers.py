"""What others have published about anomaly detection without training on the product: means and single classes.

The numbers, their sources and how far from them a re-implementation is accepted are data, ``numbers.toml``. It knows
numbers and names; nothing of runs.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from blemish.errors import ConfigError

__all__ = ["METRICS", "Accepted", "DataSet", "Published", "check_name", "class_key", "data_set", "names", "published"]

# in the order of the published tables, named as ``evaluation`` names them; all papers here use the same PRO variant
METRICS = ("image AUROC", "image F1-max", "image AP", "pixel AUROC", "pixel F1-max", "pixel AP", "PRO (MuSc)")

Values = tuple[float | None, ...]  # one a metric, percent; None: not published


@dataclass(frozen=True, slots=True)
class Accepted:
    """By how many points a value may differ. ``inferred``: no re-run is known that tells; nobody has confirmed it."""

    points: float
    inferred: bool


@dataclass(frozen=True)
class DataSet:
    name: str
    title: str
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Published:
    """A method on a data set. ``mean`` is over all classes; ``classes`` may be empty, or hold some of them only."""

    name: str
    title: str
    source: str
    note: str
    data: DataSet
    mean: Values
    accepted: tuple[Accepted, ...]  # of the mean
    classes: Mapping[str, Values]
    class_accepted: Accepted | None


def class_key(name: str) -> str:
    """``Metal Nut`` and ``metal-nut`` are ``metal_nut``."""
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


def names() -> tuple[str, ...]:
    return tuple(_tables()["methods"])


def check_name(name: str) -> None:
    """Raises ``ConfigError`` with the list if nothing is known as ``name``."""
    if name not in names():
        raise ConfigError(f"--published: nothing is known as {name!r}. Known are {', '.join(names())}.")


def data_set(classes: Iterable[str], name: str | None = None) -> DataSet:
    """The data set called ``name``, or the only one that has all ``classes``.

    Raises ``ConfigError`` for an unknown name, for a class that the data set does not have, and if no data set has
    them all."""
    wanted, known = [class_key(of) for of in classes], [_data(key) for key in _tables()["data"]]
    if name is None:
        fitting = [data for data in known if set(wanted) <= set(data.classes)]
        if len(fitting) != 1:
            raise ConfigError(
                f"Which published data set has the classes {_listed(wanted)}? Numbers are known of "
                f"{', '.join(f'{data.title} ({data.name})' for data in known)}. A run's class is the name of the "
                "folder that was scanned."
            )
        return fitting[0]
    if name not in _tables()["data"]:
        raise ConfigError(f"--data is {', '.join(data.name for data in known)}; received {name!r}.")
    data = _data(name)
    if strangers := [of for of in wanted if of not in data.classes]:
        raise ConfigError(
            f"{data.title} has no class {_listed(strangers)}; it has {', '.join(data.classes)}. A run's class is the "
            "name of the folder that was scanned."
        )
    return data


def published(name: str, data: DataSet) -> Published:
    """What ``name`` is known to reach on ``data``. Raises ``ConfigError`` if there is no such method, or no number."""
    check_name(name)
    methods = _tables()["methods"]
    method = methods[name]
    if data.name not in method:
        known = [key for key, of in methods.items() if data.name in of]
        raise ConfigError(f"No number of {name} on {data.title} is known; there are those of {', '.join(known)}.")
    table = method[data.name]
    return Published(
        name=name,
        title=method["title"],
        source=method["source"],
        note=method["note"],
        data=data,
        mean=_values(table.get("mean", [math.nan] * len(METRICS))),
        accepted=_accepted(table),
        classes={of: _values(values) for of, values in table.get("classes", {}).items()},
        class_accepted=_class_accepted(method),
    )


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(files("blemish.published").joinpath("numbers.toml").read_text(encoding="utf-8"))


def _data(name: str) -> DataSet:
    table = _tables()["data"][name]
    return DataSet(name, table["title"], tuple(table["classes"]))


def _values(numbers: Sequence[float]) -> Values:
    return tuple(None if math.isnan(number) else number for number in numbers)


def _accepted(table: Mapping[str, Any]) -> tuple[Accepted, ...]:
    known = table.get("accepted", [math.nan] * len(METRICS))
    inferred = table.get("inferred", _tables()["inferred"])
    return tuple(
        Accepted(otherwise, True) if math.isnan(points) else Accepted(points, False)
        for points, otherwise in zip(known, inferred, strict=True)
    )


def _class_accepted(method: Mapping[str, Any]) -> Accepted | None:
    if "class_accepted" in method:
        return Accepted(method["class_accepted"], False)
    return Accepted(method["class_inferred"], True) if "class_inferred" in method else None


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:4]) + (", ..." if len(words) > 4 else "")
