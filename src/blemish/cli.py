"""The verbs of the command line: arguments in, one call, words out. No logic lives here.

Exit codes: 0 done, 1 failed, 2 wrong usage. Heavy imports happen inside the verbs, so that `--help` is instant.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from blemish.errors import BlemishError, ConfigError, OutputError, RunError

if TYPE_CHECKING:
    from blemish.config import ScanConfig, VerdictConfig
    from blemish.progress import Progress
    from blemish.result import Family, Result

app = typer.Typer(
    name="blemish",
    help="Find the blemished parts in a folder of photos: no labels, no training, no GPU.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help needs no rich, which would take longer to load than the help to read
    pretty_exceptions_enable=False,
)

T = TypeVar("T")

LISTED = 8  # photos on the screen; the others are in the report

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON on standard output.")]
ExpectDefects = typer.Option(help="Share of the photos that are defective, e.g. 2%: so many score above the threshold.")
MaxFalseAlarms = typer.Option(help="Share of good photos that may be called blemished, e.g. 1%.")
Threshold = typer.Option(help="Score above which a photo is blemished.")
MaxUnsure = typer.Option(help="Share of the photos that may be sent to a person; default 10%.")
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run that --out already holds.")]


def main() -> None:
    """Entry point: one sentence instead of a traceback for everything that can be foreseen to go wrong."""
    try:
        app()
    except BlemishError as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away (`| head`); Python would complain while closing
        sys.exit(1)
    except MemoryError:
        _fail("Out of memory. Allow less with --memory, or choose a smaller --size.", 1)
    except (OSError, RuntimeError) as error:  # a path that loops or is too long, a disk that fails in an odd place
        _fail(f"{type(error).__name__}: {error}", 1)


def _fail(words: str, code: int) -> None:
    print(f"blemish: {_printable(words)}", file=sys.stderr)
    sys.exit(code)


def _printable(words: str) -> str:
    """File names can hold control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in words)


@app.command()
def scan(
    folder: Annotated[
        Path, typer.Argument(help="A folder of photos of one product, or a CSV with a column image_path.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The run folder to write; default: FOLDER-blemish, or the run that is extended.")
    ] = None,
    extend: Annotated[
        Path | None,
        typer.Option(help="A run that FOLDER's photos are added to, with its settings; only new pairs are compared."),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="A name, a hub name, a local folder, or two joined by +.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Working size in pixels; larger sees smaller flaws, slower.")] = None,
    k: Annotated[str | None, typer.Option("--k", help="Share of the other photos that vote, e.g. 0.3 or 30%.")] = None,
    layers: Annotated[
        str | None, typer.Option(help="Layers counted from 1 (strides for effnet-lite2), e.g. 8,16.")
    ] = None,
    radii: Annotated[str | None, typer.Option(help="Neighbourhoods averaged into a token, odd, e.g. 1,3,5.")] = None,
    join: Annotated[
        bool | None, typer.Option("--join/--separate", help="Match all layers at once, or one by one.")
    ] = None,
    fit: Annotated[str | None, typer.Option(help="keep: the batch's median shape; stretch: a square.")] = None,
    image_score: Annotated[
        str | None, typer.Option(help="max, as published, or excess over the usual at its place.")
    ] = None,
    rscin: Annotated[
        str | None, typer.Option(help="Image re-scoring by similar photos, e.g. 1,2,3; off by default.")
    ] = None,
    families: Annotated[
        str | None, typer.Option(help="Recurring flaws: auto, published or off; published,omega=0.2 sets a field.")
    ] = None,
    decisions: Annotated[Path | None, typer.Option(help="A run whose decisions about families hold here too.")] = None,
    subset: Annotated[
        str | None,
        typer.Option(
            help="Photos compared with each other, about; larger batches are dealt into such subsets. Or all."
        ),
    ] = None,
    screen: Annotated[
        str | None, typer.Option(help="Share of those, the most similar, that each is compared with, e.g. 0.5.")
    ] = None,
    expect_defects: Annotated[str | None, ExpectDefects] = None,
    max_false_alarms: Annotated[str | None, MaxFalseAlarms] = None,
    threshold: Annotated[float | None, Threshold] = None,
    max_unsure: Annotated[str | None, MaxUnsure] = None,
    export: Annotated[
        str | None,
        typer.Option(
            help="Besides the masks of photos that are not ok: coco, labelstudio or both; or none, no masks either."
        ),
    ] = None,
    maps: Annotated[str | None, typer.Option(help="Resolution of the written maps: working, original or none.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:1.")] = None,
    executor: Annotated[
        str | None, typer.Option(help="local, or ray: a cluster of machines (docs/scale-out.md).")
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="The cluster, host:port or auto; default: one is started on this machine.")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="Most memory to use, e.g. 2GiB; default: half of what is free.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Default: all cores.")] = None,
    cache: Annotated[
        bool | None, typer.Option("--cache/--no-cache", help="Keep features and comparisons for the next scan.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with any of these settings; flags win.")] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the settings as TOML and stop.")] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compare every photo of FOLDER with the others and say which are blemished, and where.

    Writes tables, anomaly maps, overlays and report.html into the run folder."""
    from blemish.config import ScanConfig, read_config
    from blemish.extending import Earlier

    earlier = Earlier.read(extend, folder) if extend else None
    settings_before = read_config(config) if config else earlier.config if earlier else ScanConfig()
    settings = settings_before.updated(
        backbone=backbone,
        size=size,
        k=k,
        layers=_numbers("layers", layers),
        radii=_numbers("radii", radii),
        join=join,
        fit=fit,
        image_score=image_score,
        rscin=_numbers("rscin", rscin),
        families=families,
        subset=subset,
        screen=screen,
        exports=_exports(export),
        verdict=_verdict(settings_before.verdict, expect_defects, max_false_alarms, threshold, max_unsure),
        maps=maps,
        device=device,
        executor=executor,
        ray_address=ray_address,
        memory=memory,
        threads=threads,
        cache=cache,
    )
    if print_config:
        print(_toml(settings), end="")
        return
    if extend:
        out, decisions, overwrite = out or extend, decisions or extend, overwrite or out is None
    _scan(folder, out, settings, decisions, extend, overwrite=overwrite, quiet=quiet, as_json=as_json)


def _scan(
    folder: Path,
    out: Path | None,
    settings: ScanConfig,
    decisions: Path | None = None,
    extends: Path | None = None,
    *,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> Path:
    from blemish.decisions import read_decisions
    from blemish.run import check_out, default_out, staging, write_sinks
    from blemish.run import summary as verdict_of
    from blemish.scanning import scan

    progress = _progress(quiet)
    target = check_out(out or default_out(folder), folder, overwrite)
    made = read_decisions(decisions) if decisions else read_decisions(target) if target.is_dir() else ()
    if made:
        progress.note(
            f"Honouring {len(made)} decision{'s' * (len(made) > 1)} about families from {decisions or target}"
        )
    try:
        with staging(target, overwrite) as staged:
            result = scan(folder, settings, progress=progress, scratch=staged, decisions=made, extends=extends)
            write_sinks(result, staged, target, settings.maps, progress)
    except KeyboardInterrupt:
        again = "Type the same command to go on." if settings.cache else ""
        raise RunError(f"Stopped; {str(target)!r} was not written. {again}".rstrip()) from None
    if as_json:
        keys = ("counts", "resolved", "timings_s", "warnings")
        top = [{"path": photo.path, "score": photo.score, "verdict": photo.verdict} for photo in result.scored[:10]]
        families_found = [
            {"family": family.number, "kind": family.kind, "photos": len(family.members)} for family in result.families
        ]
        summary = {
            "run": str(target),
            **{key: result.manifest[key] for key in keys},
            **verdict_of(result),
            "families": families_found,
        }
        print(json.dumps({**summary, "top": top}, indent=2))
    elif not quiet:
        _print_verdict(result)
        for family in result.families:
            print(f"Family {family.number}: {_family_line(family, target)}")
        if result.unreadable:
            print(f"{len(result.unreadable)} files could not be read; they are listed in the report.")
        print(f"Report: {target / 'report.html'}")
    return target


def _family_line(family: Family, run: Path) -> str:
    """One line about a family, and what can be typed about it."""
    photos = f"{len(family.members)} photos share a look"
    if family.kind == "variant":
        return f"{photos}; you said that it is a legitimate variant"
    if family.asks:
        return f"{photos}: flaw or variant? {family.asks}. blemish decide {run} {family.number} --is defect|variant"
    return f"{photos} that the others do not have, so it counts as a recurring flaw"


def _verdict(
    before: VerdictConfig,
    expect_defects: str | None,
    max_false_alarms: str | None,
    threshold: float | None,
    max_unsure: str | None,
) -> VerdictConfig:
    """What is asked of the verdict; a flag takes the place of what a file or an earlier run has asked."""
    from dataclasses import replace

    from blemish.config import VerdictConfig

    said = (_share("expect-defects", expect_defects), _share("max-false-alarms", max_false_alarms), threshold)
    most = _share("max-unsure", max_unsure) if max_unsure is not None else before.max_unsure
    if any(one is not None for one in said):
        return VerdictConfig(*said, max_unsure=most)
    return replace(before, max_unsure=most)


def _exports(text: str | None) -> tuple[str, ...] | None:
    """``coco`` -> ("masks", "coco"); ``none`` -> ()."""
    if text is None or text.strip() == "none":
        return None if text is None else ()
    return tuple(dict.fromkeys(("masks", *(part.strip() for part in text.split(",") if part.strip()))))


def _share(name: str, text: str | None) -> Any:
    from blemish.config import parse_share

    return None if text is None else parse_share(text, f"--{name}")


@app.command()
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
        expect_defects=_share("expect-defects", expect_defects),
        max_false_alarms=_share("max-false-alarms", max_false_alarms),
        threshold=threshold,
        max_unsure=_share("max-unsure", max_unsure),
        exports=[part.strip() for part in (export or "").split(",") if part.strip()],
        progress=_progress(quiet or as_json),
    )
    if as_json:
        from blemish.run import summary

        print(json.dumps({"run": str(run), **summary(result)["verdict"]}, indent=2))
    elif not quiet:
        _print_verdict(result)
        print(f"Report: {run / 'report.html'}")


def _print_verdict(result: Result) -> None:
    """The sentence, and the photos that need somebody: most severe first."""
    if result.judgement is None:
        return
    print(_printable(result.judgement.sentence))
    calls = [photo for photo in result.scored if photo.verdict in ("blemished", "unsure")]
    calls.sort(key=lambda photo: (photo.verdict != "blemished", -(photo.severity or 0.0)))
    for photo in calls[:LISTED]:
        why = f"  ({photo.reason})" if photo.reason else ""
        print(f"  {photo.verdict:<9}  score {photo.score:.4f}  {photo.area_share:6.2%}  {_printable(photo.path)}{why}")
    if len(calls) > 1:
        more = f"; {len(calls) - LISTED} more in the report" if len(calls) > LISTED else ""
        print(f"  (most severe first: area of the picture times height{more})")


@app.command()
def decide(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    family: Annotated[int, typer.Argument(help="Its number in the report.")],
    is_: Annotated[str | None, typer.Option("--is", help="defect or variant.")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take back what was said.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Say whether a family is a defect or a legitimate variant.

    The run is scored again from what it has kept. A scan that replaces the run (--overwrite) or names it (--decisions)
    knows the answer."""
    from blemish.deciding import decide as decide_run

    if undo == (is_ is not None):
        raise ConfigError("Type --is defect, --is variant or --undo.")
    if is_ is not None and is_ not in ("defect", "variant"):
        raise ConfigError(f"--is takes defect or variant; received {is_!r}.")
    decided = decide_run(run, family, is_, undo=undo)  # type: ignore[arg-type]  # one of the two, as just checked
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
        photos = len(decided.family.members)
        print(f"Family {family} ({photos} photos): {decided.family.kind}, decided by {decided.family.decided_by}.")
        print(f"Median score of its photos: {decided.before:.4f} -> {decided.after:.4f}")
        print(f"Report: {run / 'report.html'}")


@app.command()
def diagnose(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    plots: Annotated[
        bool, typer.Option("--plots", help="Also draw pictures into RUN/diagnosis; needs blemish[plots].")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """How the photos of a run match each other, and whether recurring flaws can be told from chance in it."""
    from blemish.diagnosing import diagnose as diagnose_run

    found = diagnose_run(run, plots=plots)
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
        return
    print(found.diagnosis.reading)
    for name, value in found.lines():
        print(f"  {name:<18} {value}")
    for picture in found.pictures:
        print(picture)


@app.command("eval")
def evaluate_run(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    truth: Annotated[
        Path, typer.Option(help="An MVTec-like tree of the same files, or a CSV: image_path,label,mask_path.")
    ],
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of the 95 % intervals.")] = 1000,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """How good a run was, given the truth.

    AUROC, average precision, F1-max and both PRO variants, with 95 % intervals."""
    from blemish.evaluation import evaluate

    evaluation = evaluate(run, truth, resamples=resamples, progress=_progress(quiet))
    if as_json:
        print(json.dumps(evaluation.as_dict(), indent=2))
        return
    for row in evaluation.rows:
        interval = f"{row.low:.3f} to {row.high:.3f}" if row.low is not None and row.high is not None else ""
        value = "-" if row.value is None else f"{row.value:.4f}"
        print(f"{row.metric:<24} {value:>8}  {interval:<16}  {row.note}".rstrip())
    for note in evaluation.notes:
        print(f"Note: {note}")


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(help="A new folder: photos/, masks/ and truth.csv are made in it.")],
    product: Annotated[str, typer.Option(help="Which product; an unknown name lists them.")] = "washer",
    photos: Annotated[int, typer.Option(help="How many.")] = 60,
    size: Annotated[int, typer.Option(help="Side in pixels.")] = 512,
    sporadic: Annotated[int | None, typer.Option(help="Photos with a flaw of their own; default: a tenth.")] = None,
    recurring: Annotated[str, typer.Option(help="Photos in each group that shares one flaw, e.g. 8 or 8,5.")] = "",
    variants: Annotated[int, typer.Option(help="Legitimate variants mixed in the batch.")] = 1,
    seed: Annotated[int, typer.Option(help="Another seed, another batch.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Make photos of parts with known flaws, to try things on."""
    from blemish.inputs.synthetic import render_batch, write_batch

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{str(out)!r} is not an empty folder. Name a new one.")
    batch = render_batch(
        product,
        photos,
        size=size,
        seed=seed,
        sporadic=photos // 10 if sporadic is None else sporadic,
        recurring=_numbers("recurring", recurring or None) or (),
        variants=variants,
    )
    progress = _progress(quiet)
    with progress.stage("rendering", photos) as advance:
        write_batch(out, _counted(batch, advance))
    if not quiet:
        print(f"Photos: {out / 'photos'}\nTruth:  {out / 'truth.csv'}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the demo photos; the run lies beside it.")] = Path("demo"),
    quiet: Quiet = False,
) -> None:
    """Make photos of a part and scan them.

    60 photos: four have a flaw of their own, eight share one; afterwards the result is compared with the truth."""
    from blemish.config import ScanConfig

    if not (out / "truth.csv").is_file():  # absent, or left unfinished by an interrupted demo
        for part in ("photos", "masks"):
            shutil.rmtree(out / part, ignore_errors=True)
        synth(out, product="washer", photos=60, size=512, sporadic=4, recurring="8", variants=1, seed=0, quiet=quiet)
    run = _scan(
        out / "photos", out.with_name(out.name + "-blemish"), ScanConfig(), overwrite=True, quiet=quiet, as_json=False
    )
    if not quiet:
        evaluate_run(run, truth=out / "truth.csv", resamples=200, quiet=True, as_json=False)


@app.command()
def backbones(as_json: AsJson = False) -> None:
    """What can be typed after --backbone, under which licence."""
    from dataclasses import asdict

    from blemish.features.registry import list_backbones

    known = list_backbones()
    if as_json:
        print(json.dumps([asdict(facts) for facts in known], indent=2))
        return
    for facts in known:
        print(f"{facts.name}: {facts.summary}")
        print(f"    weights {facts.source}; licence {facts.licence}")
        print(f"    layers {', '.join(map(str, facts.layers))} of {', '.join(map(str, facts.all_layers))}; ", end="")
        print(f"{facts.size} px; sizes in multiples of {facts.patch}; install: {facts.install or 'nothing to do'}")
    print("any DINOv2, DINOv3, CLIP or SigLIP vision tower: hub name (facebook/dinov2-small) or local folder")
    print("    needs pip install 'blemish[hub]'; its licence is on its model card")
    print("two at once: effnet-lite2+vit averages their maps")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="vit, the one named backbone that is not installed with blemish.")],
) -> None:
    """Download a backbone's weights once."""
    if name != "vit":
        raise ConfigError(f"Nothing to fetch for {name!r}: only vit. Hub models: hf download {name}")
    from blemish.features import vit

    print(f"Stored {vit.fetch(progress=lambda line: print(line, file=sys.stderr))}")


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Is everything there that a scan needs?

    Versions, devices, memory, weights, folders."""
    from blemish.doctor import examine

    findings = examine()
    if as_json:
        print(json.dumps([finding.as_dict() for finding in findings], indent=2))
    else:
        for finding in findings:
            print(f"{'ok ' if finding.ok else 'NO ' if finding.needed else '-  '} {finding.subject:<20} {finding.text}")
    if any(finding.needed and not finding.ok for finding in findings):
        sys.exit(1)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        print(installed("blemish"))
        raise typer.Exit


def _progress(quiet: bool) -> Progress:
    from blemish.progress import LiveBars, PlainLines, Silent

    if quiet:
        return Silent()
    return LiveBars() if sys.stderr.isatty() else PlainLines()


def _counted(items: Any, advance: Callable[[int], None]) -> Any:
    for item in items:
        yield item
        advance(1)


def _numbers(name: str, text: str | None) -> tuple[int, ...] | None:
    """``8,16`` -> (8, 16)."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.replace(" ", "").split(",") if part)
    except ValueError as error:
        raise ConfigError(f"--{name} takes numbers joined by commas, such as 1,3; received {text!r}.") from error


def _toml(settings: ScanConfig) -> str:
    """The settings as a file that --config reads; what is left to the backbone is commented out."""
    lines: list[str] = []
    tables: list[str] = []
    for name, value in settings.as_dict().items():
        if isinstance(value, dict):
            tables += ["", f"[{name}]", *(_toml_line(key, entry) for key, entry in value.items())]
        else:
            lines.append(_toml_line(name, value))
    return "\n".join(lines + tables) + "\n"


def _toml_line(name: str, value: Any) -> str:
    return f"# {name} =  # chosen for you" if value is None else f"{name} = {_toml_value(value)}"


def _toml_value(value: Any) -> str:
    return json.dumps(list(value)) if isinstance(value, tuple) else json.dumps(value)


if __name__ == "__main__":
    main()
