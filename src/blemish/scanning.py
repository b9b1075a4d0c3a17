"""The story of a scan on one page: list -> plan -> for every part: decode, extract, match, search -> join -> result.

Everything here is order of work and words for the user; the arithmetic lives in the rooms it calls.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish import batch_health, extending, manifest, run_cache, verdict_file
from blemish.comparing import Compared, searched, together
from blemish.config import ScanConfig, with_options
from blemish.errors import ConfigError
from blemish.estimate import Cost, compared_pairs, estimate
from blemish.extending import Earlier
from blemish.family_facts import excluded, family_of
from blemish.inputs.layouts import has_photos, list_photos
from blemish.inputs.volume_layouts import holds_volumes
from blemish.judging import estimate_of, judged, seed_level
from blemish.matching.screening import references
from blemish.part_cache import prune
from blemish.part_file import DonePart
from blemish.parts import do_part
from blemish.paths import RUN_CACHE, RUN_VERDICT
from blemish.photo_rows import pixels_of, rows_of
from blemish.planning import Plan, make_plan, require_enough
from blemish.progress import Progress, Silent
from blemish.result import ColourScale, Decision, Photo, Result
from blemish.stages import Clock, Stages, one_bar, threads
from blemish.verdict.duplicates import small_grey
from blemish.verdict.products import groups_of
from blemish.workplace import Workplace, workplace

__all__ = ["scan"]

RGB = npt.NDArray[np.uint8]


def scan(
    source: str | Path,
    config: ScanConfig | None = None,
    *,
    progress: Progress | None = None,
    scratch: Path | None = None,
    decisions: Sequence[Decision] = (),
    extends: str | Path | None = None,
    **options: Any,
) -> Result:
    """Score every photo of a folder against all the others; or by words, see ``ScanConfig.method``. Or every volume.

    ``source``: a folder (searched recursively), a CSV with a column ``image_path``, or one class of a published data
    set; at least 3 readable photos of one product, or 1 by words. Or a folder of volumes (NIfTI, DICOM, BIDS), at least
    3 of one kind. ``options`` are fields of ``ScanConfig`` and override
    ``config``.
    ``decisions``: what was said about families before, see ``blemish.decisions``; families are recognised by their
    photos' bytes or their look.
    ``scratch``: where arrays go that do not fit the memory budget; by default the system's temporary folder.
    ``extends``: a finished run whose photos belong to the batch as well, and whose settings hold unless others are
    given; pairs that it has compared are taken over while the user's cache holds them.
    Nothing is written but the cache, from which a scan that was killed goes on; ``Result.save`` writes a run folder.
    Raises ``InputError``, ``ConfigError``, ``BackboneError`` (all ``UsageError``) or ``RunError``.
    """
    earlier = Earlier.read(Path(extends).expanduser(), Path(source).expanduser()) if extends is not None else None
    config = with_options(config or (earlier.config if earlier else ScanConfig()), options)
    progress = progress or Silent()
    scratch = scratch or Path(tempfile.gettempdir())
    if config.method != "mutual":
        if earlier or decisions:
            what = "a run is extended" if earlier else "families are decided about"
            raise ConfigError(
                f"Only where photos are compared with each other {what}; --method {config.method} judges each on its "
                "own. Scan the new photos by themselves."
            )
        if _of_volumes(Path(source).expanduser(), config):
            raise ConfigError(
                f"{str(source)!r} holds volumes, which are compared with each other; --method {config.method} judges "
                "photos. Leave it out."
            )
        _require_no_volume_options(Path(source).expanduser(), config)
        from blemish.text_scanning import scan_by_words  # CLIP and its learned models, which other scans need not load

        return scan_by_words(Path(source).expanduser(), config, progress, scratch)
    source = Path(source).expanduser()
    if _of_volumes(source, config):
        if earlier and not earlier.of_volumes:
            raise ConfigError("A run of photos is not extended by volumes. Scan the volumes by themselves.")
        from blemish.volume_scanning import scan_volumes  # nibabel, which other scans need not load

        return scan_volumes(source, config, progress, scratch, decisions, earlier)
    if earlier and earlier.of_volumes:
        raise ConfigError(
            f"A run of volumes is extended by volumes; {str(source)!r} holds none, or photos besides. Scan photos by "
            "themselves."
        )
    _require_no_volume_options(source, config)
    clock = Clock(progress)
    with threads(config.threads):
        with clock.quiet("listing and loading"):
            listing = list_photos(source)
            if earlier:
                source, listing = earlier.source, earlier.with_new(listing)
            plan = make_plan(source, listing, config, scratch, earlier.parts if earlier else ())
        for line in plan.opening():
            progress.note(line)
        with workplace(config, plan.device, plan.budget) as place:
            progress.note(f"{place.reason[0].upper()}{place.reason[1:]}")
            done = _parts(plan, place, earlier, clock, progress)
        batch = _Batch.of(done)
        with clock.stage("joining", 1) if plan.divided else clock.quiet("joining"):
            compared = together(
                [part.compared for part in done],
                plan.branches,
                batch.paths,
                batch.sha256,
                np.concatenate([part.embeddings for part in done]),
                config,
                decisions,
            )
    return replace(_result(plan, place, done, batch, compared, clock, progress), decisions=tuple(decisions))


def _of_volumes(source: Path, config: ScanConfig) -> bool:
    """Whether the folder is one of volumes: a BIDS data set, or volumes and no photo; or as the user says, by an option
    that only volumes have."""
    if not source.is_dir():
        return False
    said = config.volumes.masks is not None or config.volumes.modality is not None
    if not said and not (source / "dataset_description.json").is_file() and has_photos(source):
        return False
    return holds_volumes(source)


def _require_no_volume_options(source: Path, config: ScanConfig) -> None:
    """Raises ``ConfigError`` for what only volumes have a use for; what is not there is told of elsewhere."""
    said = config.volumes.said()
    if said and source.exists():
        raise ConfigError(
            f"{', '.join(said)} is for volumes, and {str(source)!r} is no folder of volumes: one that holds NIfTI "
            "files or DICOM series, and no photos unless it is a BIDS data set. Leave it out."
        )


@dataclass(frozen=True)
class _Batch:
    """The photos of all parts in a row."""

    paths: list[str]
    sha256: list[str]

    @classmethod
    def of(cls, done: Sequence[DonePart]) -> _Batch:
        return cls(
            list(chain.from_iterable(part.paths for part in done)),
            list(chain.from_iterable(part.sha256 for part in done)),
        )


def _parts(plan: Plan, place: Workplace, earlier: Earlier | None, clock: Clock, progress: Progress) -> list[DonePart]:
    """Every part in turn; of a large batch under one bar."""
    sizes = [len(part) for part in plan.parts]
    cost = estimate(plan.branches, sizes, plan.screen, plan.budget, place)
    progress.note(cost.text)
    done: list[DonePart] = []
    for branch in plan.branches:
        if branch.cache:
            branch.cache.prune()
    if plan.config.cache:
        prune()  # before and not after: what this scan keeps it may need to its end
    with _stages(plan, clock, progress, cost) as stages:
        for number in range(len(plan.parts)):
            # An extended run's last part was dealt anew into what stands from there on; its tiles serve them all.
            tiles = earlier.tiles if earlier and number >= len(earlier.parts) - 1 else ()
            part = do_part(plan, place, number, sum(len(part.paths) for part in done), tiles, stages)
            if part:
                done.append(part)
                if len(done) == 1:
                    progress.note(plan.sees(part.compared.grids[0][0]))
    require_enough(sum(len(part.paths) for part in done), plan.unreadable, plan.listing)
    known = sum(part.known_pairs for part in done)
    parts = sum(part.pairs == 0 and part.known_pairs == 0 for part in done) if plan.divided else 0
    if known or parts:
        subsets = f"{parts} subsets and " if parts else ""
        progress.note(f"Taken over from an earlier scan: {subsets}{known:,} compared pairs")
    return done


def _result(
    plan: Plan,
    place: Workplace,
    done: Sequence[DonePart],
    batch: _Batch,
    compared: Compared,
    clock: Clock,
    progress: Progress,
) -> Result:
    rows, order = rows_of(plan, batch.paths, batch.sha256, compared.scores, family_of(compared.families))
    first = done[0]
    embeddings = np.concatenate([part.embeddings for part in done])
    warnings = _warnings(plan, done, batch, rows, embeddings)
    for warning in warnings:
        progress.note(f"Note: {warning}")
    grids = compared.grids[order]
    scale = ColourScale.of(grids)
    with clock.quiet("deciding"):
        scored = rows[: len(order)]
        evidence = compared.rescoring.evidence(excluded(compared.families)).ordered(order)
        estimated = estimate_of(scored, grids, evidence, compared.families)
        level = seed_level(estimated, grids)
        groups = groups_of(first.compared.between)
        products = [round(size * len(order) / len(first.paths)) for size in groups.sizes] if groups else []
        verdict = judged(scored, grids, estimated, level, compared.families, products, plan.config.verdict, {})
    pixels = pixels_of(plan, batch.paths, first.pixels)
    keep = {
        RUN_VERDICT: partial(verdict_file.write, estimated, grids, evidence.maxima, level, products, verdict.regions)
    }
    if compared.families:
        keep[RUN_CACHE] = partial(run_cache.write, batch.paths, compared.rescoring, compared.looks, pixels)
    shape = plan.branches[0].shape
    files = {photo.path: photo.file for photo in plan.listing.photos}
    return Result(
        photos=(*verdict.photos, *rows[len(order) :]),
        judgement=verdict.judgement,
        regions=verdict.regions,
        grids=grids,
        shape=shape,
        pixels=lambda row: pixels(int(order[row])),
        families=compared.families,
        diagnosis=first.compared.diagnosis,
        division=extending.describe(
            [part.paths for part in done], files, dict(zip(batch.paths, batch.sha256, strict=True)), done[-1].tiles
        ),
        keep=keep,
        scale=scale,
        warnings=warnings,
        manifest=manifest.build(
            source=str(plan.source.resolve()),
            note=plan.listing.note,
            config=plan.config,
            resolved={
                "k": first.compared.k,
                "subsets": len(done),
                "compared_with": references(len(first.paths), plan.screen),
                "matching": place.reason,
                "pairs": {
                    "compared": sum(part.pairs for part in done),
                    "taken_over": sum(part.known_pairs for part in done),
                },
                "working_size": {"height": shape[0], "width": shape[1]},
                "smallest_flaw_px": batch_health.smallest_flaw(plan.headers, first.compared.grids[0][0]),
                "families_searched": searched(plan.config, len(batch.paths)),
                "device": f"{plan.device}: {plan.device_reason}",
                "deep_ceiling": plan.deep_ceiling,
            },
            branches=plan.branches,
            grids=first.compared.grids,
            scale=scale,
            photos=rows,
            from_cache=sum(part.from_cache for part in done),
            timings=clock.timings,
            warnings=warnings,
        ),
    )


def _warnings(
    plan: Plan, done: Sequence[DonePart], batch: _Batch, rows: Sequence[Photo], embeddings: npt.NDArray[np.float32]
) -> tuple[str, ...]:
    """Is the batch what mutual scoring assumes? Of many parts the first is a fair sample."""
    first = done[0]
    place = {photo.path: at for at, photo in enumerate(plan.listing.photos)}
    in_folder = sorted(range(len(batch.paths)), key=lambda at: place[batch.paths[at]])  # parts are dealt at random
    pixels = first.pixels
    small = None
    if pixels is not None:
        small = np.stack([small_grey(pixels.read(at, at + 1)[0]) for at in range(len(first.paths))])
    found = batch_health.warnings(
        [plan.headers[path] for path in batch.paths],
        rows,
        first.paths,
        first.compared.between,
        [branch.cache.broken for branch in plan.branches if branch.cache],
        ordered=[batch.paths[at] for at in in_folder],
        embeddings=embeddings[in_folder],
        small=small,
        backbone=plan.branches[0].backbone.facts.name,
    )
    clipped = list(chain.from_iterable(part.clipped for part in done))
    return found + batch_health.white_level(plan.headers.values(), plan.deep_ceiling, clipped) + _not_kept(done)


def _not_kept(done: Sequence[DonePart]) -> tuple[str, ...]:
    reason = next((part.not_kept for part in done if part.not_kept), "")
    return (f"comparisons could not be kept for a scan that goes on or a run that grows ({reason})",) if reason else ()


@contextmanager
def _stages(plan: Plan, clock: Clock, progress: Progress, cost: Cost) -> Iterator[Stages]:
    if not plan.divided:
        yield clock
        return
    pairs = sum(compared_pairs(len(part), plan.screen) for part in plan.parts)
    expected = {
        "reading photos": (plan.photos, cost.seconds_a_photo),
        "comparing photos": (pairs * cost.passes, cost.seconds_a_pair / cost.passes),  # a pair is told of once a pass
    }
    with one_bar(clock, progress, f"scanning {len(plan.parts)} subsets", expected) as stages:
        yield stages
