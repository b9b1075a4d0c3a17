"""Where things sit on the circuit board, in shares of the photo's side from its centre."""

from __future__ import annotations

from typing import NamedTuple

HALF_WIDTH, HALF_HEIGHT, CORNER = 0.42, 0.335, 0.022
MOUNTING_HOLES = [(sx * 0.383, sy * 0.298) for sx in (-1, 1) for sy in (-1, 1)]


class Chip(NamedTuple):
    reference: str
    x: float
    y: float
    width: float
    height: float
    marking: tuple[str, ...]
    sides: int  # with legs on two or on all four


class Passive(NamedTuple):
    """A resistor, or with no value printed on it a ceramic capacitor."""

    reference: str
    x: float
    y: float
    upright: bool
    value: str = ""


class Can(NamedTuple):
    """An electrolytic capacitor."""

    x: float
    y: float
    radius: float


CHIPS = [
    Chip("U1", -0.075, -0.02, 0.185, 0.185, ("ATLAS", "M32F407", "2417 TW"), sides=4),
    Chip("U2", 0.175, -0.175, 0.105, 0.085, ("24LC64", "K09"), sides=2),
    Chip("U3", -0.245, 0.165, 0.105, 0.085, ("LM358", "F41"), sides=2),
]
_ROW, _COLUMN = ("103", "472", "103", "221", "000"), ("104", "102", "331")
PASSIVES = [
    *(Passive(f"R{i + 1}", 0.098 + 0.058 * i, 0.025, False, value) for i, value in enumerate(_ROW)),
    *(Passive(f"R{i + 6}", -0.35, -0.10 + 0.06 * i, True, value) for i, value in enumerate(_COLUMN)),
    *(Passive(f"C{i + 1}", -0.205 + 0.06 * i, -0.205, True) for i in range(5)),
    *(Passive(f"C{i + 6}", -0.140 + 0.062 * i, 0.165, False) for i in range(3)),
    Passive("C9", 0.262, -0.085, False),
    Passive("C10", 0.175, -0.085, False),
]
CANS = [Can(0.315, 0.145, 0.058), Can(0.345, -0.19, 0.044)]
CRYSTAL_AT, CRYSTAL_SIZE = (0.125, 0.125), (0.115, 0.048)
HEADER_AT, HEADER_PITCH, HEADER_PINS = (-0.02, 0.27), 0.036, 10
PIN_PLACES = [(i - (HEADER_PINS - 1) / 2) * HEADER_PITCH for i in range(HEADER_PINS)]
