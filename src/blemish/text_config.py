"""What a scan by words is told, with its defaults. Values only, no behaviour.

``blemish.config`` holds them among everything else and is where they are imported from.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from blemish.errors import ConfigError

__all__ = ["METHODS", "TextConfig"]

METHODS = ("mutual", "text", "prompt")
WEIGHTS = ("monte-carlo", "uniform")


@dataclass(frozen=True)
class TextConfig:
    """For the methods ``text`` (WinCLIP, WinCLIP+, and with a marked flaw) and ``prompt`` (a learned model)."""

    class_name: str = ""  # what the photos show, such as "metal nut"
    clip: str | None = None  # hub name or folder; None: WinCLIP's own, or the one that the model was learned on
    prompts: str | None = None  # a TOML file of states and templates; None: WinCLIP's
    model: str | None = None  # the file of a learned prompt model
    good: tuple[str, ...] = ()  # photos without a flaw
    defects: tuple[str, ...] = ()  # photos with a marked flaw
    masks: tuple[str, ...] = ()  # of these, in their order: a file each, or left,top,right,bottom
    weights: str = "monte-carlo"  # of the scores that marked flaws add; needs a good photo, otherwise uniform

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            many = field.name in ("good", "defects", "masks")
            if many and isinstance(value, list):
                object.__setattr__(self, field.name, value := tuple(value))
            texts = value if many and isinstance(value, tuple) else (value,)
            empty = value is None and field.name in ("clip", "prompts", "model")
            if not empty and not all(isinstance(text, str) for text in texts):
                raise ConfigError(f"text.{field.name} cannot be {value!r}.")
        if len(self.defects) != len(self.masks):
            raise ConfigError(
                f"every photo with a defect needs its mask; received {len(self.defects)} and {len(self.masks)}. "
                "Type them in pairs: --defect PHOTO --mask MASK"
            )
        if self.weights not in WEIGHTS:
            raise ConfigError(f"text.weights is {' or '.join(WEIGHTS)}; received {self.weights!r}.")

    def check(self, method: str) -> None:
        """Raises ``ConfigError`` if something is missing or means nothing for ``method``."""
        if method not in METHODS:
            raise ConfigError(f"method is {', '.join(METHODS[:-1])} or {METHODS[-1]}; received {method!r}.")
        given = {field.name for field in fields(self) if getattr(self, field.name) != field.default}
        if method == "mutual" and given:
            named = ", ".join(_OPTIONS.get(name, f"--{name}") for name in sorted(given))
            model = "--method prompt" if "model" in given else "--method text"
            belong = "belong" if len(given) > 1 else "belongs"
            raise ConfigError(
                f"{named} {belong} to a scan by words; add {model}. (A finished scan that compares photos with each "
                "other takes good photos and defects by `blemish teach`.)"
            )
        if method == "text" and not self.class_name:
            raise ConfigError('Scanning by words needs to know what the photos show: --class "metal nut"')
        if method == "text" and self.model is not None:
            raise ConfigError("--model is a learned prompt model; it belongs to --method prompt.")
        if method == "prompt":
            if self.model is None:
                raise ConfigError("--method prompt needs the file of a learned model: --model model.safetensors")
            for name in sorted(given & {"prompts", "defects", "masks", "weights"}):
                raise ConfigError(f"{_OPTIONS.get(name, f'--{name}')} belongs to --method text; leave it out.")


_OPTIONS = {"class_name": "--class", "defects": "--defect", "masks": "--mask", "weights": "text.weights"}
