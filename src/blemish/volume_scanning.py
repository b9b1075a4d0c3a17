"""The story of a scan of volumes on one page: list -> look at each: brain, box -> one frame for all (or each registered
to one) -> for every part: tokens, cells against cells near their own place, families -> join -> scores, verdict ->
result.

The rooms that score and judge are those of photos; only how tokens are made and compared is another. The arithmetic
lives in the rooms it calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blemish import machine
from blemish.comparing import together
from blemish.config import PHOTOS_ONLY, ScanConfig
from blemish.errors import ConfigError, InputError
from blemish.extending import Earlier
from blemish.extraction import Branch
from blemish.features.registry import load_backbone
from blemish.inputs.volume_checks import differences, other_scanners, place
from blemish.inputs.volume_grid import Box
from blemish.inputs.volume_layouts import VolumeListing, find_brain_masks, find_volumes
from blemish.inputs.volume_register import require_library
from blemish.part_cache import prune
from blemish.part_file import DonePart
from blemish.progress import Progress
from blemish.result import Decision, Result
from blemish.stages import Clock, Stages, one_bar, threads
from blemish.volume_aligning import aligned
from blemish.volume_estimate import VolumeCost, estimated, lookers, room
from blemish.volume_extending import grown
from blemish.volume_extraction import look, open_cache, view_of
from blemish.volume_parts import FEWEST, VolumePlan, deal_volumes, do_volume_part
from blemish.volume_result import Batch, Done, facts_of, result_of
from blemish.workplace import Workplace, workplace

__all__ = ["scan_volumes"]

Float32 = npt.NDArray[np.float32]


INSTEAD = {
    "size": "what sets how finely volumes are seen is --grid",
    "screen": "--subset sets how many volumes are compared with each other",
    "executor": "volumes are read and compared by this machine's cores, a large batch in subsets",
}


def scan_volumes(
    source: Path,
    config: ScanConfig,
    progress: Progress,
    scratch: Path,
    decisions: Sequence[Decision] = (),
    earlier: Earlier | None = None,
) -> Result:
    """Compare every volume of a folder with all the others. Arguments and errors as for ``scanning.scan``."""
    _check(config)
    config = _with_place_of_masks(config)
    clock = Clock(progress)
    with threads(config.threads):
        with clock.quiet("listing and loading"):
            listing = find_volumes(source, config.volumes.modality)
            if earlier:
                listing = grown(earlier, listing)
            if config.volumes.masks is not None:
                listing = find_brain_masks(Path(config.volumes.masks), listing)
            device, device_reason = machine.choose_device(config.device)
            branch = _branch(config, device)
        progress.note(f"{len(listing.volumes)} volumes in {listing.root}{_noted(listing)}")
        side, layers = config.volumes.cube, ", ".join(map(str, branch.backbone.layers))
        progress.note(
            f"{branch.backbone.facts.name} on slices of {side} x {side}, layers {layers}; {device}: {device_reason}"
        )
        batch = _looked(listing, config, clock, progress)
        parts = deal_volumes(len(batch.looked), config.subset, _staying(batch, earlier))
        workers, budget = room(config, branch, batch.looked, max(map(len, parts)), scratch)
        cost = estimated(branch, config, [len(part) for part in parts], budget, workers)
        progress.note(cost.text)
        if config.volumes.align == "affine":
            batch = _registered(batch, workers, clock, progress)
        plan = VolumePlan(config, branch, batch.looked, batch.placing.boxes, workers, budget, parts, batch.unreadable)
        if plan.divided:
            progress.note(
                f"dealt at random into {len(parts)} subsets of about {len(parts[0])} volumes, so that a volume costs "
                f"what it costs in a batch of {len(parts[0])}; in a subset each is compared with all others"
            )
        with workplace(config, device, budget) as place:
            done = _parts(plan, place, batch, earlier, cost, clock, progress)
        with clock.stage("joining", 1) if plan.divided else clock.quiet("joining"):
            compared = together(
                [part.compared for part in done.parts],
                [branch],
                [one.file.path for one in done.natives],
                done.sha256,
                np.concatenate([part.embeddings for part in done.parts]),
                config,
                decisions,
                inside=np.stack([one.inside for one in done.natives]),
                grey=None if config.volumes.grey == "off" else _greys(done.parts),
            )
    facts = {"device": f"{device}: {device_reason}", **facts_of(batch, config, done)}
    return replace(result_of(plan, batch, done, compared, facts, clock, progress), decisions=tuple(decisions))


def _greys(parts: Sequence[DonePart]) -> Float32:
    return np.concatenate([part.grey for part in parts if part.grey is not None])


def _check(config: ScanConfig) -> None:
    """Raises ``ConfigError`` for what only photos have a use for, ``InputError`` for a library that is missing."""
    usual = ScanConfig()
    unused = [name for name in PHOTOS_ONLY if getattr(config, name) != getattr(usual, name)]
    if unused:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        hint = next((f"; {INSTEAD[name]}" for name in unused if name in INSTEAD), "")
        raise ConfigError(f"{options} is for photos, and this folder holds volumes. Leave it out{hint}.")
    if set(config.exports) - {"masks"}:
        raise ConfigError("--export coco and labelstudio are for photos; masks of volumes are written as NIfTI anyway.")
    if "+" in config.backbone:
        raise ConfigError(f"Volumes are seen with one backbone; received {config.backbone!r}.")
    if config.volumes.align == "affine":
        require_library()


def _with_place_of_masks(config: ScanConfig) -> ScanConfig:
    """The folder of masks by its whole path: the run keeps it, and may be extended from another folder."""
    if config.volumes.masks is None:
        return config
    masks = str(Path(config.volumes.masks).expanduser().absolute())
    return replace(config, volumes=replace(config.volumes, masks=masks))


def _branch(config: ScanConfig, device: str) -> Branch:
    backbone = load_backbone(config.backbone.strip(), config.layers, device)
    side = config.volumes.cube
    if side % backbone.facts.patch:
        raise ConfigError(
            f"Slices of {side} pixels do not fit {backbone.facts.name}: set cube in [volumes] to a multiple of "
            f"{backbone.facts.patch} and of --grid."
        )
    branch = Branch(backbone, (side, side), (), config.join is not False, device, view=view_of(config.volumes))
    if config.cache:
        branch.cache = open_cache(branch, config.volumes)
        branch.cache.prune()
    return branch


def _noted(listing: VolumeListing) -> str:
    return f" ({'; '.join(listing.notes)})" if listing.notes else ""


def _looked(listing: VolumeListing, config: ScanConfig, clock: Clock, progress: Progress) -> Batch:
    """The first look: what can be read, what does not belong here, and one frame for the rest."""
    unreadable: dict[str, str] = {}
    with clock.stage("looking at volumes", len(listing.volumes)) as advance:
        looked = look(listing.volumes, unreadable, lookers(config, listing.volumes), advance)
    odd = other_scanners([one.facts for one in looked])
    looked = [one for one in looked if one.file.path not in odd]
    unreadable |= odd
    _require_enough(len(looked), unreadable, listing)
    facts = [one.facts for one in looked]
    placing = place(facts, config.volumes.align)
    if config.volumes.align != "affine":  # what that was aligned by is known later
        progress.note(f"Aligned by {placing.reason}")
    return Batch(listing, looked, placing, unreadable, differences(facts, config.volumes.align))


def _registered(batch: Batch, workers: int, clock: Clock, progress: Progress) -> Batch:
    """The same batch, each brain brought to one of them; what could not be is among the differences."""
    boxes = [box for box in batch.placing.boxes if isinstance(box, Box)]
    with clock.stage("registering volumes", 2 * len(batch.looked)) as advance:
        found = aligned(batch.looked, boxes, workers, advance)
    progress.note(f"Aligned by {found.placing.reason}")
    return replace(batch, placing=found.placing, differences=[*batch.differences, *filter(None, [found.warning])])


def _require_enough(count: int, unreadable: dict[str, str], listing: VolumeListing) -> None:
    if count >= FEWEST:
        return
    first = next(iter(unreadable.items()), None)
    detail = f" ({len(unreadable)} cannot be used, first {first[0]}: {first[1]})" if first else ""
    raise InputError(
        f"{count} readable volume{'s' * (count != 1)} in {str(listing.root)!r}{detail}; at least {FEWEST} are needed: "
        "volumes are judged by comparing them with each other."
    )


def _staying(batch: Batch, earlier: Earlier | None) -> list[list[int]]:
    """Parts of a run that is extended, but the last, in numbers of the batch."""
    number = {one.file.path: at for at, one in enumerate(batch.looked)}
    parts = earlier.parts[:-1] if earlier else []
    return [[number[path] for path in part if path in number] for part in parts]


def _parts(
    plan: VolumePlan,
    place: Workplace,
    batch: Batch,
    earlier: Earlier | None,
    cost: VolumeCost,
    clock: Clock,
    progress: Progress,
) -> Done:
    """Every part in turn; of a large batch under one bar."""
    if plan.config.cache:
        prune()  # before and not after: what this scan keeps it may need to its end
    done = Done([], [], [])
    with _stages(plan, cost, clock, progress) as stages:
        for number in range(len(plan.parts)):
            # An extended run's last part was dealt anew into what stands from there on; its tiles serve them all.
            tiles = earlier.tiles if earlier and number >= len(earlier.parts) - 1 else ()
            found = do_volume_part(plan, place, number, len(done.natives), tiles, stages)
            if found:
                part, natives = found
                done.parts.append(part)
                done.natives.extend(natives)
                done.sha256.extend(part.sha256)
    _require_enough(len(done.natives), plan.unreadable, batch.listing)
    known = sum(part.known_pairs for part in done.parts)
    parts = sum(part.pairs == 0 and part.known_pairs == 0 for part in done.parts) if plan.divided else 0
    if known or parts:
        subsets = f"{parts} subsets and " if parts else ""
        progress.note(f"Taken over from an earlier scan: {subsets}{known:,} compared pairs")
    return done


@contextmanager
def _stages(plan: VolumePlan, cost: VolumeCost, clock: Clock, progress: Progress) -> Iterator[Stages]:
    if not plan.divided:
        yield clock
        return
    pairs = sum(len(part) * (len(part) - 1) // 2 for part in plan.parts)
    expected = {
        "reading volumes": (len(plan.looked), cost.seconds_a_volume),
        "comparing volumes": (pairs, cost.seconds_a_pair),
    }
    with one_bar(clock, progress, f"scanning {len(plan.parts)} subsets", expected) as stages:
        yield stages
