"""The tables of ``blemish eval``: one run with its intervals, several as papers print them, and what is published.

Lines fit 100 columns. Percentages are of the published order: image AUROC, F1-max, AP; pixel AUROC, F1-max, AP, PRO.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

from blemish.cli.words import printable

if TYPE_CHECKING:
    from blemish.evaluation import Evaluation
    from blemish.published.table import ClassTable, Comparison, Gap

__all__ = ["print_classes", "print_comparison", "print_evaluation"]

WIDTH = 100
SHORT = ("AUROC", "F1-max", "AP", "AUROC", "F1-max", "AP", "PRO")
IMAGE = 3  # of these are of images
CELL, LAST = 8, 8  # characters of a column


def print_evaluation(found: Evaluation) -> None:
    """A line a metric of one run, as shares of 1, with the interval and what else one should know."""
    width = max(24, *(len(row.metric) for row in found.rows))
    for row in found.rows:
        interval = f"{row.low:.3f} to {row.high:.3f}" if row.low is not None and row.high is not None else ""
        value = "-" if row.value is None else f"{row.value:.4f}"
        print(f"{row.metric:<{width}} {value:>8}  {interval:<16}  {row.note}".rstrip())
    for note in found.notes:
        print(f"Note: {note}")


def print_classes(table: ClassTable) -> None:
    """A line a class, the mean, and what is to be said of all or some of them."""
    photos = [row.photos for row in table.rows]
    name_width = _name_width([row.name for row in table.rows])
    _head("in %", name_width, "photos")
    for row, count in zip(table.rows, photos, strict=True):
        _line(row.name, map(_number, row.values), name_width, str(count))
    _rule(name_width, "photos")
    _line(f"mean of {len(table.rows)}", map(_number, table.mean), name_width, str(sum(photos)))
    print()
    _say("PRO is the variant of MuSc's code, as in the published tables; --json has the MVTec one, too.")
    for classes, note in table.notes():
        _say(f"Note{f' ({classes})' if classes else ''}: {note}")
    if table.suggestion and not table.comparison:
        _say(f"Published values to compare with: {_options(table)}")


def print_comparison(table: ClassTable, comparison: Comparison) -> None:
    """Ours, theirs, the difference, what is accepted; then classes; then how it was made and where it is from."""
    known = comparison.with_
    name_width = _name_width(comparison.classes)
    print()
    print(f"{known.title}: {known.data.title}")
    gaps = comparison.mean
    if any(gap.published is not None for gap in gaps):
        _head("mean, in %", name_width)
        _line("these runs", (_number(gap.ours) for gap in gaps), name_width)
        same = f", same {len(comparison.classes)}" if comparison.same_classes else ""
        _line(f"published{same}", (_number(gap.published) for gap in gaps), name_width)
        _line("difference", map(_difference, gaps), name_width)
        if any(gap.accepted for gap in gaps):
            _line("accepted", map(_accepted, gaps), name_width)
            _line("within", ({True: "yes", False: "NO", None: "-"}[gap.within] for gap in gaps), name_width)
        print()
    if comparison.classes:
        _head("difference, in %", name_width)
        for name, differences in comparison.classes.items():
            marks = "".join("*" if gap.within is False else " " for gap in differences)
            _line(name, map(_difference, differences), name_width, marks=marks)
        print()
    for sentence in _verdicts(comparison):
        _say(sentence)
    _say(f"These runs: {comparison.runs}.")
    if table.suggestion and known.name not in table.suggestion:
        _say(f"{known.name} is another method; what fits these runs is {_options(table)}.")
    _say(f"Published: {known.source}. {known.note}")


def _verdicts(comparison: Comparison) -> list[str]:
    """Plain words on what the numbers say, and on what they do not."""
    known, missing = comparison.with_, comparison.missing
    total = len(known.data.classes)
    said = []
    if not any(gap.published is not None for gap in comparison.mean):
        said.append(f"No mean over all {total} classes is published, only {', '.join(known.classes)}.")
    elif missing:
        over = (
            "both means are over these; they are shown and not judged."
            if comparison.same_classes
            else f"the published mean is over all {total}, so the difference says little, and nothing is judged by it."
        )
        said.append(f"Only {total - len(missing)} of {total} classes: {over} Missing: {', '.join(missing)}.")
    elif judged := [gap for gap in comparison.mean if gap.within is not None]:
        said.append(f"{sum(gap.within is True for gap in judged)} of {len(judged)} means are within what is accepted.")
    of_classes = [gap for gaps in comparison.classes.values() for gap in gaps if gap.within is not None]
    if of_classes and of_classes[0].accepted:
        accepted = _accepted(of_classes[0])
        outside = sum(gap.within is False for gap in of_classes)
        said.append(f"Of {len(of_classes)} values of single classes {outside} differ by more than {accepted} (*).")
    shown = [*comparison.mean, *of_classes]
    if any(gap.accepted and gap.accepted.inferred for gap in shown):
        said.append("~: no re-run is known that tells how far apart two are; this much is a guess.")
    return said


def _options(table: ClassTable) -> str:
    return " or ".join(f"--published {name}" for name in table.suggestion)


def _head(title: str, name_width: int, last: str = "") -> None:
    image, pixel = CELL * IMAGE - 3, CELL * (len(SHORT) - IMAGE) - 3
    print(f"{title:<{name_width}}  {' image ':-^{image}}     {' pixel ':-^{pixel}}")
    _line("", SHORT, name_width, last)
    _rule(name_width, last)


def _rule(name_width: int, last: str = "") -> None:
    print("-" * (name_width + CELL * len(SHORT) + 2 + (LAST if last else 0)))


def _line(name: str, cells: Iterable[str], name_width: int, last: str = "", marks: str = " " * len(SHORT)) -> None:
    """``marks``: a character behind each cell."""
    columns = [f"{cell:>{CELL - 1}}{mark}" for cell, mark in zip(cells, marks, strict=True)]
    values = "".join(columns[:IMAGE]) + "  " + "".join(columns[IMAGE:])
    print(f"{printable(name):<{name_width}}{values}{f'{last:>{LAST}}' if last else ''}".rstrip())


def _name_width(names: Iterable[str]) -> int:
    return max(20, *(len(name) + 1 for name in names), 0)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _difference(gap: Gap) -> str:
    return "-" if gap.difference is None else f"{round(gap.difference, 2) + 0.0:+.2f}"  # not -0.00


def _accepted(gap: Gap) -> str:
    if gap.accepted is None:
        return "-"
    return f"{'~' if gap.accepted.inferred else '±'}{gap.accepted.points:.1f}"


def _say(sentence: str) -> None:
    print(
        textwrap.fill(
            printable(sentence), WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
        )
    )
