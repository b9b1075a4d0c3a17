"""What a user can choose, with its defaults: TOML file < flags < nothing else. Values only, no behaviour."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from blemish.errors import ConfigError
from blemish.rule_config import FamilyConfig, VerdictConfig, parse_share
from blemish.text_config import TextConfig
from blemish.volume_config import VolumeConfig

__all__ = [
    "COMPARING",
    "EXPORTS",
    "PHOTOS_ONLY",
    "FamilyConfig",
    "ScanConfig",
    "TextConfig",
    "VerdictConfig",
    "VolumeConfig",
    "parse_bytes",
    "parse_radius",
    "parse_share",
    "read_config",
    "with_options",
]

_UNITS = {"": 1, "b": 1, "k": 2**10, "kib": 2**10, "kb": 10**3, "m": 2**20, "mib": 2**20, "mb": 10**6}
_UNITS |= {"g": 2**30, "gib": 2**30, "gb": 10**9, "t": 2**40, "tib": 2**40, "tb": 10**12}


EXPORTS = ("masks", "coco", "labelstudio")

SMALLEST_SUBSET = 20  # photos or volumes: with fewer, the votes are too few to be more than chance


@dataclass(frozen=True)
class ScanConfig:
    """Everything that decides what a scan computes. None means: what the backbone is best at (`blemish backbones`)."""

    backbone: str = "effnet-lite2"  # a name, a hub name, a local folder, or two of them joined by "+"
    layers: tuple[int, ...] | None = None  # blocks counted from 1; strides for effnet-lite2
    size: int | None = None  # side of a square with the working area, pixels
    fit: str | None = None  # keep: the batch's median shape; stretch: a square; None: keep, or as a model has learned
    radii: tuple[int, ...] | None = None  # LNAMD neighbourhoods, odd
    join: bool | None = None  # one grid of all layers (True) or one matching pass a layer (False)
    k: float = 0.3  # share of the other photos that vote on a token
    image_score: str = "max"  # the map's largest value, as published; excess: above the usual at its place
    rscin: tuple[int, ...] = ()  # neighbours of MuSc's image re-scoring, e.g. (1, 2, 3); empty: off
    families: FamilyConfig = field(default_factory=FamilyConfig)  # recurring flaws: auto, published or off
    subset: int | None = None  # photos compared with each other, about; 0: all of them; None: 250
    screen: float = 1.0  # share of those, the most similar as a whole, that each photo is compared with
    verdict: VerdictConfig = field(default_factory=VerdictConfig)  # what is known or wanted of the threshold
    exports: tuple[str, ...] = ("masks",)  # of what is not ok: masks, coco, labelstudio
    maps: str = "working"  # resolution of the written maps: working, original or none
    device: str = "auto"  # auto, cpu, cuda, cuda:1
    executor: str = "local"  # local: this machine; ray: a cluster
    ray_address: str | None = None  # of the cluster, host:port or auto; None: one that is started on this machine
    memory: int | None = None  # bytes this process may take; None: half of what is free
    threads: int | None = None  # None: all cores
    cache: bool = True  # keep features in the user's cache, so that the next scan of a photo is quick
    method: str = "mutual"  # mutual: photos are compared with each other; text: with words; prompt: a learned model
    text: TextConfig = field(default_factory=TextConfig)  # of the methods text and prompt
    volumes: VolumeConfig = field(default_factory=VolumeConfig)  # where the folder holds volumes instead of photos

    def __post_init__(self) -> None:
        self._check_types()
        problems = (
            (self.fit not in (None, "keep", "stretch"), f"fit is keep or stretch; received {self.fit!r}."),
            (
                self.maps not in ("working", "original", "none"),
                f"maps is working, original or none; received {self.maps!r}.",
            ),
            (not 0 < self.k <= 1, f"k is a share above 0 and at most 1, for example 0.3 or 30%; received {self.k}."),
            (
                self.size is not None and not 32 <= self.size <= 4096,
                f"size is 32 to 4096 pixels; received {self.size}.",
            ),
            (
                self.memory is not None and self.memory < 2**28,
                f"memory is at least 256MiB; received {self.memory} bytes.",
            ),
            (
                self.executor not in ("local", "ray"),
                f"executor is local or ray; received {self.executor!r}.",
            ),
            (
                self.ray_address is not None and self.executor != "ray",
                "ray_address is the address of a Ray cluster; add --executor ray.",
            ),
            (
                self.subset is not None and self.subset != 0 and self.subset < SMALLEST_SUBSET,
                f"subset is at least {SMALLEST_SUBSET} photos or volumes, or all; received {self.subset}.",
            ),
            (
                not 0.3 <= self.screen <= 1,
                f"screen is a share from 0.3 (with less, too few photos vote) to 1; received {self.screen}.",
            ),
            (
                self.threads is not None and not 1 <= self.threads <= 256,
                f"threads is 1 to 256; received {self.threads}.",
            ),
            (
                any(r < 1 or r % 2 == 0 for r in self.radii or ()),
                f"radii are odd numbers such as 1,3,5; received {self.radii}.",
            ),
            (self.radii == (), "radii needs at least one odd number, for example 3."),
            (
                self.image_score not in ("excess", "max"),
                f"image_score is max or excess; received {self.image_score!r}.",
            ),
            (any(n < 0 for n in self.rscin), f"rscin are counts of photos such as 1,2,3; received {self.rscin}."),
            (
                not set(self.exports) <= set(EXPORTS),
                f"exports are {', '.join(EXPORTS)}; received {', '.join(map(str, self.exports))}.",
            ),
            (not self.backbone.strip(), "backbone is empty; `blemish backbones` lists them."),
        )
        for wrong, message in problems:
            if wrong:
                raise ConfigError(message)
        self.text.check(self.method)
        if self.method != "mutual":
            self._check_alone()

    def _check_alone(self) -> None:
        """Each photo is judged on its own. Raises ``ConfigError`` for settings of how photos are compared."""
        usual = ScanConfig()
        unused = [name for name in COMPARING if getattr(self, name) != getattr(usual, name)]
        if "backbone" in unused:
            raise ConfigError(
                f"A scan by words sees with CLIP; received the backbone {self.backbone!r}. Name a CLIP by --clip, or "
                "leave it out."
            )
        if unused:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
            raise ConfigError(
                f"{options} says how photos are compared with each other, which --method {self.method} does not do. "
                "Leave it out."
            )

    def _check_types(self) -> None:
        """Lists become tuples, and 30% and 2GiB numbers, as on the command line and in TOML; the rest must fit."""
        for name, given in self._values().items():
            value = _parsed(name, given)
            if value is not None and not _fits(value, _TYPES[name]):
                raise ConfigError(f"{name} cannot be {given!r}.")
            object.__setattr__(self, name, value)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def _values(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def updated(self, **chosen: Any) -> ScanConfig:
        """A copy with those of ``chosen`` that are not None. Raises ``ConfigError`` for a bad value."""
        return replace(self, **{name: value for name, value in chosen.items() if value is not None})


def read_config(file: Path) -> ScanConfig:
    """Read a TOML file whose keys are the fields of ``ScanConfig``.

    Raises ``ConfigError`` naming the key that is unknown or has the wrong type."""
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"Cannot read the configuration {str(file)!r}: {error}.") from error
    try:
        return with_options(ScanConfig(), values)
    except ConfigError as error:
        raise ConfigError(f"{str(file)!r}: {error}") from error


def with_options(config: ScanConfig, options: dict[str, Any]) -> ScanConfig:
    """``config`` with ``options`` in place of its own values. Raises ``ConfigError`` naming what is unknown or bad."""
    known = config.as_dict()
    if unknown := sorted(set(options) - set(known)):
        raise ConfigError(f"There is no option {', '.join(unknown)}; known are {', '.join(known)}.")
    return config.updated(**options)


_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("backbone", "fit", "image_score", "maps", "device", "executor", "ray_address", "method"), (str,)),
    **dict.fromkeys(("layers", "radii", "rscin"), (tuple,)),
    "exports": (tuple, str),
    **dict.fromkeys(("size", "memory", "threads", "subset"), (int,)),
    **dict.fromkeys(("join", "cache"), (bool,)),
    **dict.fromkeys(("k", "screen"), (float, int)),
    "families": (FamilyConfig,),
    "verdict": (VerdictConfig,),
    "text": (TextConfig,),
    "volumes": (VolumeConfig,),
}


def _parsed(name: str, value: Any) -> Any:
    if name == "families" and isinstance(value, str):
        return FamilyConfig.parse(value)
    if name in _TABLES and isinstance(value, dict):
        return _table(name, value)
    if isinstance(value, list):
        return tuple(value)
    if name == "exports" and isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip() not in ("", "none"))
    if isinstance(value, str) and name in _READ:
        return _READ[name](value)
    return value


_Table = FamilyConfig | VerdictConfig | TextConfig | VolumeConfig
_TABLES: dict[str, type[_Table]] = {
    "families": FamilyConfig,
    "verdict": VerdictConfig,
    "text": TextConfig,
    "volumes": VolumeConfig,
}
PHOTOS_ONLY = ("size", "fit", "radii", "screen", "executor", "ray_address")  # volumes have no use for them
COMPARING = (  # settings of how photos are compared with each other
    "backbone",
    "layers",
    "radii",
    "join",
    "k",
    "image_score",
    "rscin",
    "families",
    "subset",
    "screen",
    "executor",
    "ray_address",
)


def _table(name: str, values: dict[str, Any]) -> _Table:
    """From a TOML table or a run's manifest."""
    known = [field.name for field in fields(_TABLES[name])]
    if unknown := sorted(set(values) - set(known)):
        raise ConfigError(f"{name} has no setting {', '.join(unknown)}; known are {', '.join(known)}.")
    try:
        return _TABLES[name](**values)
    except TypeError as error:
        raise ConfigError(f"{name} cannot be {values}: {error}.") from error


def _fits(value: Any, wanted: tuple[type, ...]) -> bool:
    if isinstance(value, bool):  # which Python also takes for a number
        return bool in wanted
    if isinstance(value, tuple):
        items = str if str in wanted else int
        return tuple in wanted and all(isinstance(item, items) and not isinstance(item, bool) for item in value)
    return isinstance(value, wanted)


def parse_subset(text: str) -> int:
    """``all`` or a number of photos or volumes. Raises ``ConfigError``."""
    if text.strip().lower() == "all":
        return 0
    try:
        return int(text)
    except ValueError as error:
        raise ConfigError(f"subset takes a number of photos such as 200, or all; received {text!r}.") from error


def parse_radius(text: str) -> int:
    """``all`` or a number of cells. Raises ``ConfigError``."""
    if text.strip().lower() == "all":
        return -1
    try:
        return int(text)
    except ValueError as error:
        raise ConfigError(f"--radius takes a number of cells such as 2, or all; received {text!r}.") from error


def parse_bytes(text: str) -> int:
    """``2GiB``, ``512 MiB``, ``1.5g`` or a plain number of bytes. Raises ``ConfigError``."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    if match is None or match[2].lower() not in _UNITS:
        raise ConfigError(f"Cannot read {text!r} as an amount of memory. Type it like 2GiB or 800MiB.")
    return int(float(match[1]) * _UNITS[match[2].lower()])


_READ: dict[str, Callable[[str], Any]] = {
    "memory": parse_bytes,
    "subset": parse_subset,
    "k": parse_share,
    "screen": lambda text: parse_share(text, "screen"),
}
