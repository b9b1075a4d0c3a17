"""``blemish scan``: flags over a file over an earlier run's settings, one call, and what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from blemish.cli.options import (
    AsJson,
    ExpectDefects,
    MaxFalseAlarms,
    MaxUnsure,
    Overwrite,
    Quiet,
    Threshold,
    numbers,
    share,
)
from blemish.cli.words import as_toml, family_line, print_verdict, progress_for
from blemish.errors import ConfigError, InputError, RunError

if TYPE_CHECKING:
    from blemish.config import ScanConfig, TextConfig, VerdictConfig, VolumeConfig
    from blemish.progress import Progress
    from blemish.result import Result

__all__ = ["scan", "scan_into"]

Table = TypeVar("Table", "TextConfig", "VolumeConfig")


def scan(
    folder: Annotated[
        Path,
        typer.Argument(help="A folder of photos of one product, or of volumes; or a CSV with a column image_path."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The run folder to write; default: FOLDER-blemish (-text, -prompt by words), or what is extended."
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="mutual: photos with each other; text: with words about them; prompt: by a learned model."),
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
    fit: Annotated[
        str | None, typer.Option(help="keep: the batch's median shape; stretch: a square, the default of prompt.")
    ] = None,
    image_score: Annotated[
        str | None, typer.Option(help="max, as published, or excess over the usual at its place.")
    ] = None,
    rscin: Annotated[
        str | None, typer.Option(help="Image re-scoring by similar photos, e.g. 1,2,3; off by default.")
    ] = None,
    families: Annotated[
        str | None, typer.Option(help="Recurring flaws: auto, published or off; published,omega=0.2 sets a field.")
    ] = None,
    decisions: Annotated[
        Path | None, typer.Option(help="A run whose decisions about families and examples hold here too.")
    ] = None,
    subset: Annotated[
        str | None,
        typer.Option(
            help="Photos or volumes compared with each other, about; more are dealt into such subsets. Or all."
        ),
    ] = None,
    screen: Annotated[
        str | None, typer.Option(help="Share of those, the most similar, that each is compared with, e.g. 0.5.")
    ] = None,
    class_name: Annotated[
        str | None, typer.Option("--class", help='What the photos show, in words, for text: "metal nut".')
    ] = None,
    model: Annotated[str | None, typer.Option(help="For prompt: a file that `blemish learn` made.")] = None,
    clip: Annotated[
        str | None, typer.Option(help="For text and prompt: a CLIP's hub name or folder, if not the usual one.")
    ] = None,
    prompts: Annotated[
        str | None, typer.Option(help="For text: a TOML file with states and templates of your own.")
    ] = None,
    good: Annotated[
        list[str] | None, typer.Option(help="For text and prompt: a photo without a flaw, or a folder; again for more.")
    ] = None,
    defect: Annotated[
        list[str] | None, typer.Option(help="For text: a photo with a flaw, followed by its --mask; again for more.")
    ] = None,
    mask: Annotated[
        list[str] | None, typer.Option(help="Where the flaw is: an image, white on it, or left,top,right,bottom.")
    ] = None,
    grid: Annotated[
        int | None, typer.Option(help="For volumes: cells a side of their maps; finer sees smaller lesions.")
    ] = None,
    radius: Annotated[
        str | None, typer.Option(help="For volumes: cells around its own place that a cell is compared with, or all.")
    ] = None,
    align: Annotated[
        str | None,
        typer.Option(help="For volumes: box, around each brain; affine, registered; none, where they are so already."),
    ] = None,
    grey: Annotated[
        str | None,
        typer.Option(help="For volumes: grey levels unusual at their place count too: bright (FLAIR), dark or both."),
    ] = None,
    modality: Annotated[
        str | None, typer.Option(help="For volumes: which to take where there are several, e.g. T1w.")
    ] = None,
    masks: Annotated[
        str | None, typer.Option(help="For volumes: a folder of brain masks; default: found in the voxels.")
    ] = None,
    axes: Annotated[
        str | None, typer.Option(help="For volumes: axes across which slices are cut, 2 for thick axial ones.")
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

    Or each on its own, with words: --method. Writes tables, anomaly maps, overlays and report.html into the run
    folder."""
    from blemish.config import ScanConfig, parse_radius, read_config
    from blemish.extending import Earlier

    earlier = Earlier.read(extend, folder) if extend else None
    by_words = {"class_name": class_name, "model": model, "clip": clip, "prompts": prompts}
    examples = {"good": tuple(good or ()), "defects": tuple(defect or ()), "masks": tuple(mask or ())}
    of_volumes = {
        "grid": grid,
        "align": align,
        "grey": grey,
        "modality": modality,
        "masks": masks,
        "axes": numbers("axes", axes),
    }
    of_volumes["radius"] = None if radius is None else parse_radius(radius)
    settings_before = read_config(config) if config else earlier.config if earlier else ScanConfig()
    _require_comparing(method or settings_before.method, extend, decisions)
    settings = settings_before.updated(
        backbone=backbone,
        size=size,
        k=k,
        layers=numbers("layers", layers),
        radii=numbers("radii", radii),
        join=join,
        fit=fit,
        image_score=image_score,
        rscin=numbers("rscin", rscin),
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
        method=method,
        text=_replaced(settings_before.text, {**by_words, **examples}),
        volumes=_replaced(settings_before.volumes, of_volumes),
    )
    if print_config:
        print(as_toml(settings), end="")
        return
    if extend:
        out, decisions, overwrite = out or extend, decisions or extend, overwrite or out is None
    scan_into(folder, out, settings, decisions, extend, overwrite=overwrite, quiet=quiet, as_json=as_json)


def scan_into(
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
    """Scan ``folder``, write the run and say what was found. Returns the run folder, by default beside the photos.

    ``decisions``: a run whose decisions and examples hold here too; by default the run that is replaced. Raises
    ``OutputError`` before anything is read if a run may not be written there, ``RunError`` if the user stops it."""
    from blemish.decisions import read_decisions
    from blemish.run import summary as verdict_of
    from blemish.run import write_sinks
    from blemish.run_folder import check_out, default_out, require_same_method, staging
    from blemish.scanning import scan
    from blemish.taught import put_aside

    progress = progress_for(quiet)
    target = check_out(out or default_out(folder, settings.method), folder, overwrite)
    require_same_method(target, settings.method)
    said = decisions or target
    known = decisions is not None or (settings.method == "mutual" and target.is_dir())
    made = read_decisions(said) if known else ()
    if made:
        progress.note(f"Honouring {len(made)} decision{'s' * (len(made) > 1)} about families from {said}")
    try:
        with staging(target, overwrite) as staged:
            result = scan(folder, settings, progress=progress, scratch=staged, decisions=made, extends=extends)
            write_sinks(result, staged, target, settings.maps, progress)
            if settings.method == "mutual":
                put_aside(said, staged)
        result = _taught(target, progress) or result
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
        print_verdict(result)
        for family in result.families:
            print(f"Family {family.number}: {family_line(family, target)}")
        if result.unreadable:
            print(f"{len(result.unreadable)} files could not be read; they are listed in the report.")
        print(f"Report: {target / 'report.html'}")
    return target


def _taught(run: Path, progress: Progress) -> Result | None:
    """Examples that were given to an earlier run hold for the new one, if it sees with the same features. Whatever goes
    wrong, they are not lost."""
    from blemish.paths import RUN_TAUGHT_BEFORE
    from blemish.taught import read

    if not (run / RUN_TAUGHT_BEFORE).is_dir():
        return None
    from blemish.teaching import teach_again

    try:
        known = read(run, RUN_TAUGHT_BEFORE)
        done = teach_again(run, known, progress) if known else None
    except KeyboardInterrupt:
        raise RunError(
            f"Stopped. {str(run)!r} was written; what was taught before is kept in it, and the next scan applies it."
        ) from None
    except (InputError, ConfigError) as error:
        progress.note(f"Note: what was taught before was not applied, but is kept in {RUN_TAUGHT_BEFORE}. {error}")
        return None
    if known is None or done is None:
        progress.note(
            f"Note: what was taught before was seen with another backbone or size, so it is kept in "
            f"{RUN_TAUGHT_BEFORE} and not applied. Give the examples again: blemish teach"
        )
        return None
    count = len(known.examples)
    progress.note(f"Honouring {count} example{'s' * (count > 1)} that were taught before")
    return done.result


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

    said = (share("expect-defects", expect_defects), share("max-false-alarms", max_false_alarms), threshold)
    asked = share("max-unsure", max_unsure)
    most = before.max_unsure if asked is None else asked
    if any(one is not None for one in said):
        return VerdictConfig(*said, max_unsure=most)
    return replace(before, max_unsure=most)


def _require_comparing(method: str, extend: Path | None, decisions: Path | None) -> None:
    """Raises ``ConfigError`` for what only photos have that are compared with each other."""
    if method == "mutual" or not (extend or decisions):
        return
    option = "--extend" if extend else "--decisions"
    raise ConfigError(
        f"{option} belongs to a scan that compares photos with each other; --method {method} judges each on its own. "
        "Scan the photos by themselves."
    )


def _replaced(before: Table, said: dict[str, Any]) -> Table | None:
    """What a scan by words, or of volumes, is told; None if nothing was said."""
    from dataclasses import replace

    given = {name: value for name, value in said.items() if value not in (None, ())}
    return replace(before, **given) if given else None


def _exports(text: str | None) -> tuple[str, ...] | None:
    """``coco`` -> ("masks", "coco"); ``none`` -> ()."""
    if text is None or text.strip() == "none":
        return None if text is None else ()
    return tuple(dict.fromkeys(("masks", *(part.strip() for part in text.split(",") if part.strip()))))
