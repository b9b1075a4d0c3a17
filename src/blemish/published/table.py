"""Finished runs, one a class of a data set: their metrics side by side, the mean, and what others have published.

It knows how published tables are made: metrics for each class by itself, then the plain mean over classes, in percent.
Metrics are the business of ``evaluation``, numbers of others that of ``numbers``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from blemish.errors import InputError
from blemish.evaluation import Evaluation, evaluate
from blemish.progress import Advance, Progress
from blemish.published.numbers import METRICS, Accepted, Published, check_name, class_key, data_set, published
from blemish.published.provenance import class_of, made, suggestion
from blemish.run_folder import of_volumes, read_manifest

__all__ = ["ClassRow", "ClassTable", "Comparison", "Gap", "evaluate_classes"]

Values = tuple[float | None, ...]  # in the order of ``METRICS``, percent; None: undefined or not published
NORMAL_FOLDERS = {"good", "normal", "ok"}


@dataclass(frozen=True)
class ClassRow:
    """One run. ``photos``: those with a truth."""

    name: str
    photos: int
    values: Values
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class Gap:
    """One value beside the published one. ``within`` is None where nothing is judged: either of them is missing, there
    is no tolerance, or the means are over different classes."""

    ours: float | None
    published: float | None
    difference: float | None
    accepted: Accepted | None
    within: bool | None


@dataclass(frozen=True)
class Comparison:
    """``mean``: a gap a metric. ``classes``: the same for each class of which something is published. ``missing``:
    classes of the data set without a run; if there are any, ``mean`` is not judged, and is that of the same classes
    where published ones are known (``same_classes``)."""

    with_: Published
    runs: str  # how the runs were made, in a few words
    mean: tuple[Gap, ...]
    same_classes: bool
    classes: Mapping[str, tuple[Gap, ...]]
    missing: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        known = self.with_
        return {
            "name": known.name,
            "title": known.title,
            "source": known.source,
            "note": known.note,
            "data": known.data.name,
            "runs": self.runs,
            "missing_classes": list(self.missing),
            "mean": _named(self.mean),
            "classes": {name: _named(gaps) for name, gaps in self.classes.items()},
        }


@dataclass(frozen=True)
class ClassTable:
    """``mean``: over all rows; undefined where one row is. ``suggestion``: names of published numbers that these runs
    could be compared with."""

    rows: tuple[ClassRow, ...]
    mean: Values
    comparison: Comparison | None
    suggestion: tuple[str, ...]

    def notes(self) -> Iterator[tuple[str, str]]:
        """Each sentence once, with the classes that it is about: none named if it is about all."""
        about: dict[str, list[str]] = {}
        for row in self.rows:
            for note in row.evaluation.notes:
                about.setdefault(note, []).append(row.name)
            for metric, value in zip(METRICS, row.values, strict=True):
                if value is None:
                    reason = next(found.note for found in row.evaluation.rows if found.metric == metric)
                    about.setdefault(f"{metric} is {reason}; so is its mean.", []).append(row.name)
        for note, classes in about.items():
            yield ("" if len(classes) == len(self.rows) else ", ".join(classes)), note

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; ``classes`` and ``mean`` in percent, ``runs`` as of a single run."""
        return {
            "classes": {row.name: dict(zip(METRICS, row.values, strict=True)) for row in self.rows},
            "mean": dict(zip(METRICS, self.mean, strict=True)),
            "runs": {row.name: row.evaluation.as_dict() for row in self.rows},
            "published": self.comparison.as_dict() if self.comparison else None,
        }


def evaluate_classes(
    runs: Sequence[Path],
    truth: Path,
    *,
    compare_with: str | None = None,
    data: str | None = None,
    resamples: int = 0,
    progress: Progress | None = None,
) -> ClassTable:
    """Evaluate ``runs``, each of another class; and beside them what is published as ``compare_with``.

    ``truth``: a folder that holds one for each class, a CSV file for all of them, or the truth of the only run.
    ``data``: the published data set, else told from the classes' names. ``resamples``: as for ``evaluate``; only the
    single runs have intervals. What can be refused is refused before the first map is read.

    Raises ``InputError`` if a run is none, two are of one class, or a truth is missing, and as ``evaluate``;
    ``ConfigError`` for names that are not known."""
    if compare_with:
        check_name(compare_with)
    manifests = {run: read_manifest(run) for run in runs}
    if any(map(of_volumes, manifests.values())) and (len(runs) > 1 or compare_with or data):
        raise InputError(
            "A run of volumes is evaluated by itself: give one run, without --published and --data. No numbers that "
            "others have reached on volumes are kept here."
        )
    of_class = _runs_by_class(runs, manifests)
    truths = _truths(truth, list(of_class))
    asked = data_set(of_class, data) if compare_with or data else None
    known = published(compare_with, asked) if compare_with and asked else None
    rows = []
    for name, run in of_class.items():
        heard = progress if progress is None or len(runs) == 1 else _Titled(progress, name)
        found = evaluate(run, truths[name], resamples=resamples, progress=heard)
        rows.append(ClassRow(name, found.normal + found.defective, _values(found), found))
    mean = _mean([row.values for row in rows])
    return ClassTable(
        rows=tuple(rows),
        mean=mean,
        comparison=_compared(known, rows, mean, made(list(manifests.values()))) if known else None,
        suggestion=suggestion(list(of_class), list(manifests.values()), data),
    )


def _runs_by_class(runs: Sequence[Path], manifests: Mapping[Path, Mapping[str, Any]]) -> dict[str, Path]:
    found: dict[str, tuple[str, Path]] = {}
    for run in runs:
        name = class_of(manifests[run])
        if class_key(name) in found:
            raise InputError(
                f"{str(found[class_key(name)][1])!r} and {str(run)!r} are both of {name}. A mean over classes takes "
                "one run of each: leave one out, or evaluate them one by one."
            )
        found[class_key(name)] = (name, run)
    return dict(sorted(found.values()))


def _truths(truth: Path, classes: Sequence[str]) -> dict[str, Path]:
    """The truth of each class. A tree of one class lends no other its labels, though photos are called alike."""
    if not truth.is_dir():
        return dict.fromkeys(classes, truth)
    below = {child.name: child for child in sorted(truth.iterdir()) if child.is_dir()}
    by_key = {class_key(name): folder for name, folder in below.items()} | below
    found = {name: folder for name in classes if (folder := by_key.get(name, by_key.get(class_key(name))))}
    lacking = [name for name in classes if name not in found]
    if len(classes) == 1 and lacking:
        return dict.fromkeys(classes, truth)
    if lacking and ("test" in below or NORMAL_FOLDERS & {name.lower() for name in below}):
        raise InputError(
            f"{str(truth)!r} is the truth of one class, and the runs are of {len(classes)} ({', '.join(classes[:4])}"
            f"{', ...' if len(classes) > 4 else ''}). Give the folder that holds such a folder for each class, or a "
            "CSV file for all."
        )
    if lacking:
        raise InputError(
            f"{str(truth)!r} has no folder for {', '.join(lacking)}; it has {', '.join(list(below)[:8]) or 'none'}. It "
            "needs one for each run, called as the folder that was scanned."
        )
    return found


def _values(found: Evaluation) -> Values:
    by_name = {row.metric: row.value for row in found.rows}
    return tuple(None if (value := by_name.get(name)) is None else 100 * value for name in METRICS)


def _mean(rows: Sequence[Values]) -> Values:
    """Over rows; None where any is: a mean over fewer classes would be another number."""
    columns = zip(*rows, strict=True)
    return tuple(None if None in column else sum(filter(None, column)) / len(rows) for column in columns)


def _compared(known: Published, rows: Sequence[ClassRow], mean: Values, made: str) -> Comparison:
    ours = {class_key(row.name): row for row in rows}
    missing = tuple(name for name in known.data.classes if name not in ours)
    same = bool(missing) and set(ours) <= set(known.classes)
    theirs = _mean([known.classes[name] for name in ours]) if same else known.mean
    gaps = _gaps(mean, theirs, known.accepted)
    if missing:
        gaps = tuple(replace(gap, accepted=None, within=None) for gap in gaps)
    tolerance = (known.class_accepted,) * len(METRICS)
    return Comparison(
        with_=known,
        runs=made,
        mean=gaps,
        same_classes=same,
        classes={
            row.name: _gaps(row.values, known.classes[name], tolerance)
            for name, row in ours.items()
            if name in known.classes
        },
        missing=missing,
    )


def _gaps(ours: Values, theirs: Values, accepted: Sequence[Accepted | None]) -> tuple[Gap, ...]:
    gaps = []
    for value, other, tolerance in zip(ours, theirs, accepted, strict=True):
        if value is None or other is None:
            gaps.append(Gap(value, other, None, None, None))
            continue
        within = None if tolerance is None else round(abs(value - other), 2) <= tolerance.points  # as it is printed
        gaps.append(Gap(value, other, value - other, tolerance, within))
    return tuple(gaps)


def _named(gaps: Sequence[Gap]) -> dict[str, Any]:
    return {name: asdict(gap) for name, gap in zip(METRICS, gaps, strict=True)}


class _Titled:
    """Progress whose stages say which class they are of."""

    def __init__(self, heard: Progress, title: str) -> None:
        self.heard, self.title = heard, title

    def note(self, text: str) -> None:
        self.heard.note(f"{self.title}: {text}")

    def stage(self, name: str, total: int) -> AbstractContextManager[Advance]:
        return self.heard.stage(f"{self.title}: {name}", total)
