"""The families of report.html as the plain values that ``report_families.html`` shows.

It knows the result's families, the words for them and the crops of their members; the page around them is the
report's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from blemish.result import Family, Member, Photo, Result
from blemish.sinks.embedded import QUALITY, ahead, between_tokens, data_uri, heat_layer, margin, photograph
from blemish.sinks.names import quoted

__all__ = ["NAMES", "effect", "families_of", "families_page"]

OPEN = 6  # families shown at once; the weaker ones are folded away
CROPS, FOLDED_CROPS = 24, 8  # members shown as a crop, of a family that is open and of one that is folded
CROP, PLACE = 176, 480  # longest side of the embedded pictures, pixels
GROWN = 2.0  # side of a crop in sides of its box: one sees what is around it
LEAST = 0.16  # the same in shorter sides of the photo, for boxes of a token or two
WIDE = 0.25  # mean of a place map from which it hides the photo

NAMES = {"defect": "recurring flaw", "variant": "legitimate variant", "unsure": "flaw or variant?"}


@dataclass(frozen=True)
class Crop:
    """One member: its box, in percent of the picture, and what is around it."""

    path: str
    rank: int | None  # None where the photo has no card to open
    picture: str
    aspect: float
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Place:
    """One member's photo with the family's place map. Margins in percent: how far the map reaches over the edges."""

    path: str
    picture: str
    heat: str
    aspect: float
    margin_x: float
    margin_y: float
    most: float  # share of the members, in percent, at the place most of them have in common
    wide: bool  # whether the map covers so much that it has to be thinner for the photo to be seen


@dataclass(frozen=True)
class Command:
    words: str  # when to type it
    start: str
    option: str


@dataclass(frozen=True)
class Shown:
    """One family as the page shows it."""

    family: Family
    title: str
    evidence: str
    question: str
    numbers: tuple[tuple[str, str], ...]
    commands: tuple[Command, ...]
    place: Place | None
    spot: str  # of volumes: where it is, in words
    crops: tuple[Crop, ...]


def families_of(result: Result) -> dict[str, tuple[int, ...]]:
    """Path -> numbers of the families it is a member of, for the photos that have one."""
    numbers: dict[str, tuple[int, ...]] = {}
    for family in result.families:
        for path in family.paths:
            numbers[path] = (*numbers.get(path, ()), family.number)
    return numbers


def families_page(result: Result, run: str, cards: int, digits: int) -> dict[str, Any]:
    """What the template names. ``run``: the run folder's name; ``cards``: photos that can be opened on the page;
    ``digits``: decimals of scores. ``open`` and ``folded`` make the pictures and can be gone through once."""
    rows = {photo.path: (row, photo) for row, photo in enumerate(result.scored)}
    settings = result.manifest["config"].get("families")
    count = {kind: sum(family.kind == kind for family in result.families) for kind in NAMES}

    def shown(families: tuple[Family, ...], crops: int) -> Iterator[Shown]:
        return ahead(lambda family: _shown(result, family, rows, run, crops, cards, digits), families)

    return {
        "searched": bool(settings) and settings["rule"] != "off" and not result.manifest["resolved"].get("told"),
        "too_few": not result.manifest.get("resolved", {}).get("families_searched", True),
        "count": count,
        "asked": [family.number for family in result.families if family.asks],
        "open": shown(result.families[:OPEN], CROPS),
        "folded": shown(result.families[OPEN:], FOLDED_CROPS),
        "folded_count": len(result.families[OPEN:]),
    }


def _shown(
    result: Result,
    family: Family,
    rows: Mapping[str, tuple[int, Photo]],
    run: str,
    crops: int,
    cards: int,
    digits: int,
) -> Shown:
    photos, count = len(result.scored), len(family.members)
    noun = family.noun
    known = sorted((member for member in family.members if member.path in rows), key=lambda m: rows[m.path][0])
    return Shown(
        family=family,
        title=f"Family {family.number} · {NAMES[family.kind]} · {count} {noun}{'' if count == 1 else 's'}",
        evidence=family.evidence(photos),
        question=family.asks.rstrip("."),
        numbers=(
            (f"{noun.capitalize()}s", f"{count} of {photos} ({count / photos:.0%})"),
            ("Strength", f"{family.strength:.2f} (needs more than {family.fence:.2f})"),
            ("Density", f"{family.density:.2f}" if family.density < 10 else f"{family.density:.0f}"),
            ("Median score", effect(family, digits)),
        ),
        commands=_commands(family, run),
        place=_place(result, family, known, rows) if known and not result.volumes else None,
        spot=_spot(known) if result.volumes and known else "",
        crops=()
        if result.volumes
        else tuple(_crop(result, member, *rows[member.path], cards) for member in known[:crops]),
    )


def effect(family: Family, digits: int) -> str:
    with_, without = f"{family.score_with:.{digits}f}", f"{family.score_without:.{digits}f}"
    if family.kind == "defect":
        return f"{with_} → {without} once the look may not vouch for itself"
    return f"{with_}, would be {without} as a flaw"


def _commands(family: Family, run: str) -> tuple[Command, ...]:
    """How to answer, or to answer otherwise."""
    start = f"blemish decide {quoted(run)} {family.number}"
    defect = Command("If it is a flaw", start, "--is defect")
    variant = Command("If it is legitimate", start, "--is variant")
    if family.asks:
        return (defect, variant)
    other = variant if family.kind == "defect" else defect
    if family.decided_by == "user":
        return (other, Command("To undo that", start, "--undo"))
    return (other,)


def _spot(known: list[Member]) -> str:
    """Where the members' boxes are, as a median. The cube's sides run to the right, to the front and up."""
    middle = {
        side: f"{100 * np.median([getattr(member, side) for member in known]):.0f}"
        for side in ("front", "back", "top", "bottom", "left", "right")
    }
    return (
        f"Where it is: {middle['front']} to {middle['back']} % of the way from left to right, {middle['top']} to "
        f"{middle['bottom']} % from back to front, {middle['left']} to {middle['right']} % from bottom to top of the "
        "box around the brain."
    )


def _place(result: Result, family: Family, known: list[Member], rows: Mapping[str, tuple[int, Photo]]) -> Place:
    """The place map on the member whose box is nearest to the map's centre, so that its own flaw lies under it."""
    height, width = family.place.shape
    total = float(family.place.sum()) or 1.0
    x = float((family.place.sum(axis=0) * (np.arange(width) + 0.5)).sum()) / width / total
    y = float((family.place.sum(axis=1) * (np.arange(height) + 0.5)).sum()) / height / total
    typical = min(known, key=lambda m: (m.left + m.right - 2 * x) ** 2 + (m.top + m.bottom - 2 * y) ** 2)
    row, photo = rows[typical.path]
    most = float(family.place.max())
    values = np.clip(between_tokens(family.place) / (most or 1.0), 0, 1)
    return Place(
        path=typical.path,
        picture=photograph(result, row, PLACE),
        heat=heat_layer(values),
        aspect=_aspect(result, photo),
        margin_x=margin(width),
        margin_y=margin(height),
        most=100 * most,
        wide=float(values.mean()) > WIDE,
    )


def _aspect(result: Result, photo: Photo) -> float:
    """Width over height as the photo was taken; the working size may stretch it."""
    return (photo.width or result.shape[1]) / (photo.height or result.shape[0])


def _crop(result: Result, member: Member, row: int, photo: Photo, cards: int) -> Crop:
    left, top, across, down = _around(member, _aspect(result, photo))
    return Crop(
        path=member.path,
        rank=photo.rank if row < cards else None,
        picture=_cut(result.pixels(row), (left, top, across, down), _aspect(result, photo)),
        aspect=across * _aspect(result, photo) / down,
        left=100 * (member.left - left) / across,
        top=100 * (member.top - top) / down,
        width=100 * (member.right - member.left) / across,
        height=100 * (member.bottom - member.top) / down,
    )


def _around(member: Member, aspect: float) -> tuple[float, float, float, float]:
    """The member's box and what is around it: a square of the photo as taken, or less where the photo is smaller.
    Left, top, width and height in shares of the photo."""
    wide, high = (member.right - member.left) * aspect, member.bottom - member.top  # in photo heights
    side = max(GROWN * max(wide, high), LEAST * min(aspect, 1))
    across, down = min(side / aspect, 1.0), min(side, 1.0)
    left = min(max((member.left + member.right - across) / 2, 0.0), 1 - across)
    top = min(max((member.top + member.bottom - down) / 2, 0.0), 1 - down)
    return left, top, across, down


def _cut(pixels: npt.NDArray[np.uint8], window: tuple[float, float, float, float], aspect: float) -> str:
    left, top, across, down = window
    height, width = pixels.shape[:2]
    x, y = min(int(left * width), width - 1), min(int(top * height), height - 1)
    part = pixels[y : y + max(round(down * height), 1), x : x + max(round(across * width), 1)]
    longest = min(CROP, max(part.shape[:2])) / max(across * aspect, down)
    size = max(round(longest * across * aspect), 1), max(round(longest * down), 1)
    picture = Image.fromarray(part).resize(size, Image.Resampling.BICUBIC, reducing_gap=2)
    return data_uri(picture, "jpeg", quality=QUALITY)
