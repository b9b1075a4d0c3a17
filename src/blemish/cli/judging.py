"""What a person says about a finished run: ``verdict`` moves the threshold, ``decide`` says what a family or a photo
is, ``teach`` shows good photos and defects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from blemish.cli.options import AsJson, ExpectDefects, MaxFalseAlarms, MaxUnsure, Quiet, Threshold, share
from blemish.cli.words import print_verdict, printable, progress_for
from blemish.errors import ConfigError

__all__ = ["decide", "teach", "verdict"]


def verdict(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    expect_defects: Annotated[str | None, ExpectDefects] = None,
    max_false_alarms: Annotated[str | None, MaxFalseAlarms] = None,
    threshold: Annotated[float | None, Threshold] = None,
    max_unsure: Annotated[str | None, MaxUnsure] = None,
    export: Annotated[
        str | None, typer.Option(help="Write these too: masks, coco, labelstudio; joined by commas.")
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Judge the photos of a run again, without scoring them again.

    With none of the first three options the batch decides for itself. Changes tables, report and masks."""
    from blemish.rejudging import rejudge

    result = rejudge(
        run,
        expect_defects=share("expect-defects", expect_defects),
        max_false_alarms=share("max-false-alarms", max_false_alarms),
        threshold=threshold,
        max_unsure=share("max-unsure", max_unsure),
        exports=[part.strip() for part in (export or "").split(",") if part.strip()],
        progress=progress_for(quiet or as_json),
    )
    if as_json:
        from blemish.run import summary

        print(json.dumps({"run": str(run), **summary(result)["verdict"]}, indent=2))
    elif not quiet:
        print_verdict(result)
        print(f"Report: {run / 'report.html'}")


def decide(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    what: Annotated[
        str, typer.Argument(metavar="FAMILY|PHOTO", help="A family's number in the report, or a photo's path in it.")
    ],
    is_: Annotated[str | None, typer.Option("--is", help="defect or variant; of a photo defect or good.")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take back what was said.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Say whether a family is a defect or a legitimate variant, or whether one photo is good or a defect.

    A family: the run is scored again from what it has kept. A photo: it is called so, and the others stay. A scan that
    replaces the run (--overwrite) or names it (--decisions) knows the answer."""
    words = ("defect", "variant") if what.isdecimal() else ("good", "defect")
    if undo == (is_ is not None):
        raise ConfigError(f"Type --is {words[0]}, --is {words[1]} or --undo.")
    if is_ is not None and is_ not in words:
        about = "" if what.isdecimal() else f" of the photo {printable(what)!r}"
        raise ConfigError(f"--is takes {' or '.join(words)}{about}; received {is_!r}.")
    if what.isdecimal():
        _decide_family(run, int(what), is_, quiet, as_json)
    else:
        _decide_photo(run, what, is_, quiet, as_json)


def _decide_family(run: Path, family: int, is_: str | None, quiet: bool, as_json: bool) -> None:
    from blemish.deciding import decide as decide_run

    decided = decide_run(run, family, is_, undo=is_ is None)  # type: ignore[arg-type]  # one of the two, as just checked
    if as_json:
        print(
            json.dumps(
                {
                    "run": str(run),
                    "family": family,
                    "kind": decided.family.kind,
                    "decided_by": decided.family.decided_by,
                    "median_score_before": decided.before,
                    "median_score_after": decided.after,
                },
                indent=2,
            )
        )
    elif not quiet:
        told, photos = decided.family, f"{len(decided.family.members)} {decided.family.noun}s"
        print(f"Family {family} ({photos}): {told.kind}, decided by {told.decided_by}.")
        print(f"Median score of its {told.noun}s: {decided.before:.4f} -> {decided.after:.4f}")
        print(f"Report: {run / 'report.html'}")


def _decide_photo(run: Path, photo: str, is_: str | None, quiet: bool, as_json: bool) -> None:
    from blemish.reviewing import review
    from blemish.run import summary

    result = review(run, {photo: is_})
    call = next(one.verdict for one in result.scored if one.path == photo)
    if as_json:
        print(json.dumps({"run": str(run), "photo": photo, "verdict": call, **summary(result)["verdict"]}, indent=2))
    elif not quiet:
        print(f"{printable(photo)}: {call}, {'as you said' if is_ else 'as the batch says'}.")
        print_verdict(result)
        print(f"Report: {run / 'report.html'}")


def teach(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    good: Annotated[
        list[str] | None,
        typer.Option(
            help="A photo or volume without any flaw, or a folder of such; again for more. A file or a path of the run."
        ),
    ] = None,
    defect: Annotated[
        list[str] | None,
        typer.Option(help="A photo or volume with a defect, followed by its --mask; again for more."),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            help="Where the defect is: an image of the photo's size, white on it, or left,top,right,bottom; of a "
            "volume a NIfTI mask on its grid."
        ),
    ] = None,
    family: Annotated[list[int] | None, typer.Option(help="The number of a recurring flaw of the run.")] = None,
    turned: Annotated[
        bool, typer.Option("--turned", help="These examples count in eight orientations: parts that lie as they fall.")
    ] = False,
    trust: Annotated[
        str | None,
        typer.Option(help="What good photos count against the batch; default 25%, more if most photos are flawed."),
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take the last lesson back.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score the photos of a run again with a few examples: good photos, or defects that you mark.

    Photos are compared with the examples only, which takes seconds. Examples are kept in the run and add up."""
    from blemish.teaching import teach as teach_run

    defects, masks = defect or [], mask or []
    if len(defects) != len(masks):
        raise ConfigError(
            f"Every --defect needs its --mask; received {len(defects)} and {len(masks)}. "
            "Type them in pairs: --defect PHOTO --mask MASK"
        )
    done = teach_run(
        run,
        good=good or (),
        defects=list(zip(defects, masks, strict=True)),
        families=family or (),
        turned=turned,
        trust=share("trust", trust),
        undo=undo,
        progress=progress_for(quiet or as_json),
    )
    if as_json:
        from blemish.run import summary

        examples = [{"kind": example.kind, "path": example.path} for example in done.examples]
        alike = len(done.resemblance.photos) if done.resemblance else None
        facts = {"run": str(run), "examples": examples, "alike": alike, "moved": done.moved}
        print(json.dumps({**facts, **summary(done.result)["verdict"]}, indent=2))
    elif not quiet:
        print(printable(done.sentence))
        print_verdict(done.result)
        print(f"Report: {run / 'report.html'}")
