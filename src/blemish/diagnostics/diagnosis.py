"""What is known about how a batch matches itself, as plain values that a report or a JSON file can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from blemish.diagnostics.batch_size import BatchRow
from blemish.diagnostics.burnout import BurnOutSummary
from blemish.diagnostics.endurance import EnduranceHistogram
from blemish.diagnostics.hill import HillCurve, Plateau
from blemish.diagnostics.scaling import PowerLaw

__all__ = ["Diagnosis"]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Whatever the batch is too small or too full of copies for is None or empty, never NaN."""

    photos: int
    tokens: int  # of a photo
    sampled: int  # tokens of the whole batch that were looked at
    omega: int  # reference rank that was used, between 2 and photos - 1
    seed: int
    growth: tuple[float, ...]  # pooled growth rate of ranks 1 to photos - 2, no unit
    power_law: PowerLaw | None
    alpha: float | None  # robust tail index of the ranks below omega
    hill: HillCurve
    plateau: Plateau | None  # of the Hill curve
    burn_out: BurnOutSummary | None
    endurance: EnduranceHistogram
    batches: tuple[BatchRow, ...]  # the batch thinned out
    smallest_batch: int | None  # the smallest one of these where the power law holds
    reading: str = ""  # the above in words

    def as_dict(self) -> dict[str, Any]:
        """Nested dicts, lists and numbers: what ``json.dumps`` takes and ``json.loads`` gives back unchanged."""
        return asdict(self, dict_factory=_plain)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Diagnosis:
        """What ``as_dict`` gave; further entries are ignored. Raises ``KeyError`` or ``TypeError`` for others."""
        known = {field.name: values[field.name] for field in fields(cls)}
        for name, kind in PARTS.items():
            if known[name] is not None:
                known[name] = _built(kind, known[name])
        known["batches"] = tuple(_built(BatchRow, row) for row in known["batches"])
        known["growth"] = tuple(known["growth"])
        return cls(**known)


PARTS: dict[str, type] = {
    "power_law": PowerLaw,
    "hill": HillCurve,
    "plateau": Plateau,
    "burn_out": BurnOutSummary,
    "endurance": EnduranceHistogram,
}


def _built(kind: type, values: Mapping[str, Any]) -> Any:
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def _plain(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields}
