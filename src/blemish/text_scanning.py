"""The story of a scan by words on one page: list -> load CLIP -> look at examples -> every photo: decode, see, score ->
verdict -> result.

Every photo is judged on its own, so one is enough, and nothing of a photo is held but its map. The arithmetic lives in
the rooms it calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from blemish import batch_health, extending, machine, manifest, verdict_file
from blemish.config import ScanConfig
from blemish.errors import InputError, RunError, UnreadablePhoto
from blemish.estimate import seconds_a_photo
from blemish.extraction import Branch, Failed, Seen, each
from blemish.features.cache import half
from blemish.features.registry import Features
from blemish.inputs.images import PhotoFile, find_photos, probe
from blemish.inputs.layouts import list_photos
from blemish.inputs.marks import read_mark
from blemish.judging import estimate_of, judged, seed_level
from blemish.matching.store import ArrayStore
from blemish.paths import RUN_VERDICT
from blemish.photo_rows import pixels_of, rows_of
from blemish.planning import Plan, make_plan, require_enough
from blemish.progress import Progress, duration
from blemish.rescoring import Evidence
from blemish.result import ColourScale, Result
from blemish.stages import Clock, threads
from blemish.text_config import TextConfig
from blemish.text_flaws import with_flaws
from blemish.text_prompted import prompted
from blemish.text_scorers import Example, Method, Scorer, winclip

__all__ = ["scan_by_words"]

Float32 = npt.NDArray[np.float32]
RGB = npt.NDArray[np.uint8]

BATCH = 8  # photos a call on a GPU
KEPT = 2**30  # bytes of working pixels that are kept for the pictures of the report; of more, photos are read again


def scan_by_words(source: Path, config: ScanConfig, progress: Progress, scratch: Path) -> Result:
    """Score every photo of a folder against words (``text``) or by a learned model (``prompt``).

    Arguments and errors as for ``scanning.scan``; one photo is enough."""
    clock = Clock(progress)
    with threads(config.threads):
        with clock.quiet("listing and loading"):
            listing = list_photos(source)
            method = _method(config, machine.choose_device(config.device)[0])
            plan = make_plan(source, listing, config, scratch, alone=method.view)
        for line in plan.opening():
            progress.note(line)
        a_photo = seconds_a_photo(plan.branches[0])
        examples = _examples(config.text, plan, clock)
        told = method.told + _shown(examples)
        progress.note(told)
        seen = plan.photos + method.copies * min(len(examples), 1 + len(config.text.defects))
        progress.note(f"Estimated: {duration(seen * a_photo)}")
        scorer = method.begin(examples, partial(_see, plan.branches[0]), progress)
        done = _scored(plan, scorer, clock, progress)
    return _result(plan, told, method.facts, done, clock, progress)


def _method(config: ScanConfig, device: str) -> Method:
    if config.method == "prompt":
        return prompted(config.text, device)
    return (with_flaws if config.text.defects else winclip)(config.text, device)


def _shown(examples: Sequence[Example]) -> str:
    """What was compared besides words."""
    flaws = sum(one.mask is not None for one in examples)
    counts = ((len(examples) - flaws, "good photo"), (flaws, "marked flaw"))
    some = " and ".join(f"{count} {what}{'s' * (count > 1)}" for count, what in counts if count)
    return f"; and with {some}" if some else ""


@dataclass
class _Done:
    """Row b of everything belongs to ``paths[b]``."""

    pixels: ArrayStore | None
    paths: list[str] = field(default_factory=list)
    sha256: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    grids: list[Float32] = field(default_factory=list)
    embeddings: list[Float32] = field(default_factory=list)
    clipped: list[str] = field(default_factory=list)
    from_cache: int = 0


def _scored(plan: Plan, scorer: Scorer, clock: Clock, progress: Progress) -> _Done:
    (photos,) = plan.parts
    (branch,) = plan.branches
    size = (len(photos), *branch.shape, 3)
    done = _Done(plan.budget.array(size, np.uint8, share=0.15) if np.prod(size) <= KEPT else None)
    if branch.cache:
        branch.cache.prune()
    steps = each(
        photos,
        plan.branches,
        plan.budget,
        deep_ceiling=plan.deep_ceiling,
        batch=1 if plan.device == "cpu" else BATCH,
        decoders=plan.decoders,
    )
    with clock.stage("reading photos", len(photos)) as advance, closing(steps):
        for one in steps:
            if isinstance(one, Failed):
                plan.unreadable[one.path] = one.reason
            else:
                score, grid = scorer.score(one.seen[0], branch.shape)
                if not np.isfinite(score) or not np.isfinite(grid).all():
                    raise RunError(
                        f"The score of {one.ready.file.path!r} is no number, so CLIP or the learned model is damaged. "
                        "Fetch the one again, or train the other anew."
                    )
                if done.pixels is not None:
                    done.pixels.write(len(done.paths), one.ready.pixels[0][None])
                done.paths.append(one.ready.file.path)
                done.sha256.append(one.ready.sha256)
                done.scores.append(score)
                done.grids.append(grid)
                done.embeddings.append(one.seen[0].embedding)
                done.from_cache += one.seen[0].cached
                if one.ready.clipped:
                    done.clipped.append(one.ready.file.path)
            advance(1)
    require_enough(len(done.paths), plan.unreadable, plan.listing, 1)
    if done.pixels is not None:
        done.pixels.shrink(len(done.paths))
    peaks = np.array([grid.max() for grid in done.grids], np.float32)
    done.scores = scorer.settled(np.array(done.scores, np.float32), peaks).tolist()
    return done


def _result(plan: Plan, told: str, facts: dict[str, Any], done: _Done, clock: Clock, progress: Progress) -> Result:
    rows, order = rows_of(plan, done.paths, done.sha256, np.array(done.scores, np.float32), {})
    (branch,) = plan.branches
    warnings = batch_health.alone(list(plan.headers.values()), [branch.cache.broken] if branch.cache else [])
    warnings += batch_health.white_level(plan.headers.values(), plan.deep_ceiling, done.clipped)
    for warning in warnings:
        progress.note(f"Note: {warning}")
    grids = np.stack(done.grids)[order]
    scale = ColourScale.of(grids)
    with clock.quiet("deciding"):
        scored = rows[: len(order)]
        # probabilities, not distances: nothing is known of how those of good photos spread
        evidence = Evidence(np.stack(done.embeddings)[order], (), maps_are_distances=False, scores_are_distances=False)
        estimated = estimate_of(scored, grids, evidence, ())
        level = seed_level(estimated, grids)
        verdict = judged(scored, grids, estimated, level, (), (), plan.config.verdict, {}, alone=True)
    pixels = pixels_of(plan, done.paths, done.pixels)
    files = {photo.path: photo.file for photo in plan.listing.photos}
    patches = (branch.shape[0] // branch.backbone.facts.patch, branch.shape[1] // branch.backbone.facts.patch)
    return Result(
        photos=(*verdict.photos, *rows[len(order) :]),
        judgement=verdict.judgement,
        regions=verdict.regions,
        grids=grids,
        shape=branch.shape,
        pixels=lambda row: pixels(int(order[row])),
        division=extending.describe([done.paths], files, dict(zip(done.paths, done.sha256, strict=True)), ()),
        keep={RUN_VERDICT: partial(verdict_file.write, estimated, grids, (), level, (), verdict.regions)},
        scale=scale,
        warnings=warnings,
        manifest=manifest.build(
            source=str(plan.source.resolve()),
            note=plan.listing.note,
            config=plan.config,
            resolved={
                "told": told,
                **facts,
                "working_size": {"height": branch.shape[0], "width": branch.shape[1]},
                "smallest_flaw_px": batch_health.smallest_flaw(plan.headers, patches),
                "device": f"{plan.device}: {plan.device_reason}",
                "deep_ceiling": plan.deep_ceiling,
            },
            branches=plan.branches,
            grids=[[patches]],
            scale=scale,
            photos=rows,
            from_cache=done.from_cache,
            timings=clock.timings,
            warnings=warnings,
        ),
    )


def _examples(config: TextConfig, plan: Plan, clock: Clock) -> list[Example]:
    """The user's photos, good ones first. Raises ``InputError`` for one that cannot be used."""
    good = [photo for one in config.good for photo in _listed(one)]
    marked = [_photo(one) for one in config.defects]
    masks: list[npt.NDArray[np.bool_] | None] = [None] * len(good)
    for photo, mark in zip(marked, config.masks, strict=True):
        try:
            header = probe(photo)
        except UnreadablePhoto as error:
            raise InputError(f"The example {photo.path!r} cannot be read: {error}.") from error
        masks.append(read_mark(mark, photo.path, (header.height, header.width)))
    found: list[Example] = []
    known: set[str] = set()
    if not masks:
        return found
    steps = each([*good, *marked], plan.branches, plan.budget, deep_ceiling=plan.deep_ceiling, decoders=plan.decoders)
    with clock.stage("reading examples", len(masks)) as advance, closing(steps):
        for one, mask in zip(steps, masks, strict=True):
            if isinstance(one, Failed):
                raise InputError(f"The example {one.path!r} cannot be read: {one.reason}. Give another photo.")
            again = one.ready.sha256 in known
            if again and mask is not None:
                raise InputError(
                    f"The example {one.ready.file.path!r} was given before. A photo is good or it has a defect; draw "
                    "all of its defects on one mask."
                )
            if not again:  # a good photo that is there twice counts once
                found.append(Example(one.ready.file.path, one.seen[0], one.ready.pixels[0], mask))
            known.add(one.ready.sha256)
            advance(1)
    return found


def _listed(given: str) -> list[PhotoFile]:
    """A photo, or those of a folder. Raises ``InputError`` for a labelled data set, which holds flawed ones, too."""
    place = Path(given).expanduser()
    if not place.is_dir():
        return [_photo(given)]
    whole = place.parent if place.name == "test" else place
    if (whole / "ground_truth").is_dir() or (whole / "test" == place) or (place / "test").is_dir():
        raise InputError(
            f"{given!r} is a labelled data set, so not all of its photos are good. Give its folder of good ones, such "
            f"as {str(whole / 'train' / 'good')!r}."
        )
    return [PhotoFile(str(place / photo.path), photo.file) for photo in find_photos(place)[0]]


def _photo(given: str) -> PhotoFile:
    file = Path(given).expanduser()
    if not file.is_file():
        raise InputError(f"There is no photo {given!r}. Give the path of a file.")
    return PhotoFile(given, file)


def _see(branch: Branch, pictures: Sequence[RGB]) -> list[Seen]:
    """Pictures at the working resolution, seen as the photos are."""
    stack = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).to(branch.device)
    fresh = half(branch.backbone.extract(stack))
    rows = (Features([grid[at].cpu() for grid in fresh.grids], fresh.embedding[at].cpu()) for at in range(len(stack)))
    return [branch.see(one, False) for one in rows]
