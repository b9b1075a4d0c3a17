"""The verdict of report.html as plain values: all that another threshold changes, in one part of the page.

That part lies between two comments and holds the sentence, the counts and a block of JSON; the page's script shows
everything else from that block. So another verdict is another part, and no picture is made again.
It knows the result's judgement and the words for it; where the part stands on the page is the report's business.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from blemish.judgement import Interval, Judgement, Region
from blemish.result import Photo, Result
from blemish.sinks.names import quoted

__all__ = ["Verdict", "chosen_of", "command", "parted", "stops_of", "verdict_of"]

START, END = b"<!-- verdict -->", b"<!-- /verdict -->"  # around the part in report_verdict.html
BOXES = 24  # outlined on one photo: the most severe; more would hide it
FINEST = 12  # decimals of a threshold to type

WORDS = {"blemished": "blemished", "unsure": "need a look", "ok": "ok"}


@dataclass(frozen=True)
class Verdict:
    """What ``report_verdict.html`` shows."""

    sentence: tuple[str, str, str]  # up to its first semicolon, that, and what follows
    counts: tuple[tuple[str, str, int], ...]  # call, words, photos
    share: str  # of the photos that are defective
    share_words: str
    data: Markup  # JSON that no HTML parser ends early


def command(run: str) -> str:
    """What keeps another threshold, up to that threshold."""
    return f"blemish verdict {quoted(run)}"


def verdict_of(result: Result, axis: tuple[float, float], digits: int, pictures: int) -> Verdict | None:
    """None where the result has no judgement. ``axis``: scores at both ends of the histogram; ``digits``: decimals of
    scores; ``pictures``: photos that are shown as such, and have outlines."""
    judgement = result.judgement
    if judgement is None or not judgement.stops:
        return None
    scored = result.scored
    chosen = chosen_of(judgement)
    stop = judgement.stops[chosen]
    ok = len(scored) - stop.blemished - len(stop.unsure)
    share, share_words = _share(judgement.share, judgement.at_least, "volumes" if result.volumes else "photos")
    values = {
        "axis": axis,
        "digits": digits,
        "rule": judgement.rule,
        "chosen": chosen,
        "stops": stops_of(judgement, scored, digits),
        "always": judgement.always,
        "spared": judgement.spared,
        "low": [_rounded(photo.low, digits) for photo in scored],
        "high": [_rounded(photo.high, digits) for photo in scored],
        "reasons": {row: photo.reason for row, photo in enumerate(scored) if photo.reason},
        "regions": {
            row: _regions(found, photo, result.shape)
            for row, photo in enumerate(scored[:pictures])
            if (found := result.regions.get(photo.path))
        },
    }
    return Verdict(
        sentence=stop.sentence.partition(";"),
        counts=tuple(zip(WORDS, WORDS.values(), (stop.blemished, len(stop.unsure), ok), strict=True)),
        share=share,
        share_words=share_words,
        data=_script_safe(values),
    )


def parted(page: bytes) -> tuple[int, int]:
    """Where the part begins and ends in a page. Raises ``ValueError`` if it has none."""
    start = page.find(START)
    end = page.find(END, start)
    if start < 0 or end < 0:
        raise ValueError("this report.html has no verdict to replace")
    return start, end + len(END)


def chosen_of(judgement: Judgement) -> int:
    """Which of the stops is the threshold."""
    return min(range(len(judgement.stops)), key=lambda at: abs(judgement.stops[at].threshold - judgement.threshold))


def stops_of(judgement: Judgement, scored: tuple[Photo, ...], digits: int) -> list[dict[str, Any]]:
    """Every threshold as it is shown: as text to type, with the photos above it told by their number (they come most
    anomalous first), and the rows that need a look told in runs."""
    ascending = [photo.score for photo in reversed(scored) if photo.score is not None]
    return [
        {
            "threshold": _typed(stop.threshold, ascending, digits),
            "above": _above(stop.threshold, ascending),
            "unsure": _runs(stop.unsure),
            "sentence": stop.sentence,
        }
        for stop in judgement.stops
    ]


def _runs(rows: tuple[int, ...]) -> list[tuple[int, int]]:
    """The first and the last of each run of rows: scores near a threshold are neighbours."""
    runs: list[tuple[int, int]] = []
    for row in sorted(rows):
        if runs and row == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], row)
        else:
            runs.append((row, row))
    return runs


def _above(threshold: float, ascending: list[float]) -> int:
    return len(ascending) - bisect_right(ascending, threshold)


def _typed(threshold: float, ascending: list[float], digits: int) -> str:
    """The threshold with as few decimals as separate the same photos, so that typing it gives the same verdict."""
    for decimals in range(digits, FINEST + 1):
        text = f"{threshold:.{decimals}f}"
        if _above(float(text), ascending) == _above(threshold, ascending):
            return text
    return repr(threshold)


def _regions(regions: tuple[Region, ...], photo: Photo, shape: tuple[int, ...]) -> dict[str, Any]:
    """How many there are, their share of the picture in percent, and the boxes as left, top, width and height in
    percent of the picture."""
    width, height = photo.width or shape[1], photo.height or shape[0]
    return {
        "count": len(regions),
        "share": round(100 * sum(region.share for region in regions), 2),
        "boxes": [
            [
                round(100 * region.left / width, 1),
                round(100 * region.top / height, 1),
                round(100 * (region.right - region.left) / width, 1),
                round(100 * (region.bottom - region.top) / height, 1),
            ]
            for region in regions[:BOXES]
        ],
    }


def _share(share: Interval, at_least: bool, what: str) -> tuple[str, str]:
    if at_least:
        return (
            f"≥ {_percent(share.low)}",
            f"estimated share of defects; more may look like good {what}",
        )
    return (
        f"≈ {_percent(share.estimate)}",
        f"estimated share of defects, 90\u00a0% interval {_percent(share.low)} to {_percent(share.high)}",
    )


def _percent(share: float) -> str:
    """Two figures, which is as much as an estimate of this kind knows; a no-break space before the sign."""
    percent = 100 * share
    return f"{percent:.0f}\u00a0%" if percent >= 9.95 or percent == 0 else f"{percent:.2g}\u00a0%"


def _rounded(score: float | None, digits: int) -> float | None:
    return None if score is None else round(score, digits)


def _script_safe(values: dict[str, Any]) -> Markup:
    """JSON in ASCII without the characters that could end a script, begin a comment or be taken for an entity."""
    text = json.dumps(values, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
