"""Everything that is settled before the first photo is decoded: the photos, the backbones, the parts, the memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from blemish import batch_health, machine
from blemish.config import ScanConfig
from blemish.errors import ConfigError, InputError, UnreadablePhoto
from blemish.extraction import Branch, activations, largest_shape
from blemish.features.cache import FeatureCache
from blemish.features.registry import Backbone, load_backbone
from blemish.inputs.images import Header, PhotoFile, median_aspect, probe, sixteen_bit_ceiling
from blemish.inputs.layouts import Listing
from blemish.matching.screening import LARGEST, deal, references
from blemish.matching.store import Budget
from blemish.paths import cache_dir, temporary_folder

__all__ = ["FEWEST", "Plan", "make_plan", "require_enough"]

DEAL = 0  # seed of the deal: the same photos are dealt alike, so that a killed scan goes on where it stopped
FEWEST = 3  # photos: with two, each is the other's only judge, and who is odd cannot be told
PER_DECODED_PIXEL = 10  # bytes: the decoder's own buffer, the array and a copy while converting or turning
LEAST_FOR_ARRAYS = 2**26
PER_PHOTO = 32 * 2**10  # bytes that a photo of a large batch keeps from its part to the end: scores, embedding, names


@dataclass
class Plan:
    """What is known and chosen."""

    source: Path
    config: ScanConfig
    listing: Listing
    headers: dict[str, Header]  # of the photos whose header can be read
    unreadable: dict[str, str]  # path -> reason
    deep_ceiling: int  # white level of 16-bit photos
    device: str
    device_reason: str
    branches: list[Branch]
    decoders: int  # photos that are decoded at the same time
    budget: Budget
    parts: list[list[PhotoFile]]  # photos that are compared with each other
    screen: float  # share of the others of its part that a photo is compared with
    _folder: Path | None = None

    def folder(self) -> Path:
        """A temporary folder that lasts as long as the plan: not among the scratch files, which become the run."""
        if self._folder is None:
            self._folder = temporary_folder(self)
        return self._folder

    @property
    def photos(self) -> int:
        return len(self.headers)

    @property
    def divided(self) -> bool:
        return len(self.parts) > 1

    def opening(self) -> Iterator[str]:
        """What is about to be done, for the user."""
        note = f" ({self.listing.note})" if self.listing.note else ""
        yield f"{self.photos} photos in {self.listing.root}{note}"
        for branch in self.branches:
            name, (height, width) = branch.backbone.facts.name, branch.shape
            layers = ", ".join(map(str, branch.backbone.layers))
            yield f"{name} at {width} x {height} pixels, layers {layers}; {self.device}: {self.device_reason}"
        if self.divided or self.screen < 1:
            yield self.division()

    def division(self) -> str:
        """Who is compared with whom, and why, for the user."""
        if not self.divided:
            sizes, whom = "", "each photo is compared with"
        else:
            sizes = f"dealt at random into {len(self.parts)} subsets of about {len(self.parts[0])} photos, so that a "
            sizes += f"photo costs what it costs in a batch of {len(self.parts[0])}; "
            whom = "in a subset each is compared with"
        others = len(self.parts[0]) - 1
        count = references(len(self.parts[0]), self.screen)
        share = f"the {count} most similar of the {others} others" if count < others else "all others"
        return f"{sizes}{whom} {share}"

    def sees(self, grid: tuple[int, ...]) -> str:
        """The smallest flaw, for the user; known once tokens are."""
        extent = batch_health.smallest_flaw(self.headers, grid)
        side = (self.branches[0].shape[0] * self.branches[0].shape[1]) ** 0.5
        twice = 64 * round(side / 32)
        return f"Flaws under about {extent} pixels are likely to be missed; --size {twice} sees half of that, slower"


def make_plan(
    source: Path,
    listing: Listing,
    config: ScanConfig,
    scratch: Path,
    parts: Sequence[Sequence[str]] | None = None,
    *,
    alone: Backbone | None = None,
) -> Plan:
    """Look at the headers of the photos, load the backbones, choose what the user has left open.

    ``parts``: paths that were compared with each other in a run that is extended, its last ones open to new photos.
    ``alone``: sees the photos in place of the configured backbones, each on its own, so that one photo is enough.
    Raises ``InputError``, ``ConfigError`` or ``BackboneError``."""
    device, device_reason = machine.choose_device(config.device)
    headers, unreadable = _probe_all(listing)
    require_enough(len(headers), unreadable, listing, 1 if alone else FEWEST)
    readable = [photo for photo in listing.photos if photo.path in headers]
    ceiling = sixteen_bit_ceiling([photo for photo in readable if headers[photo.path].deep])
    names = config.backbone.split("+")
    backbones = [alone] if alone else [load_backbone(name.strip(), config.layers, device) for name in names]
    branches = [_branch(backbone, config, headers, device) for backbone in backbones]
    if config.cache:
        for branch in branches:
            settings = branch.cache_settings(largest_shape(branches), ceiling)
            branch.cache = FeatureCache(cache_dir(), settings)
    dealt = [readable] if alone else _parts(readable, config.subset, parts or ())
    decoders, budget = _budget(config, branches, headers, scratch, len(dealt))
    return Plan(
        source=source,
        config=config,
        listing=listing,
        headers=headers,
        unreadable=unreadable,
        deep_ceiling=ceiling,
        device=device,
        device_reason=device_reason,
        branches=branches,
        decoders=decoders,
        budget=budget,
        parts=dealt,
        screen=config.screen,
    )


def _parts(photos: Sequence[PhotoFile], subset: int | None, earlier: Sequence[Sequence[str]]) -> list[list[PhotoFile]]:
    """Photos that are compared with each other. Parts of an earlier run stay as they are, but the last: what it holds
    and what is new is dealt, and pairs that were compared in it need not be compared again."""
    known = {photo.path: photo for photo in photos}
    kept = [[path for path in part if path in known] for part in earlier[:-1]]
    kept = [part for part in kept if len(part) >= FEWEST]  # of the others, too few can be read
    stay = [[known.pop(path) for path in part] for part in kept]
    open_to_new = list(known.values())
    largest = LARGEST if subset is None else subset or len(photos)
    dealt = deal(len(open_to_new), largest, DEAL) if open_to_new else ()
    return stay + [[open_to_new[at] for at in part] for part in dealt]


def _probe_all(listing: Listing) -> tuple[dict[str, Header], dict[str, str]]:
    """Headers of the photos, and the reasons of those that have none: path -> header, path -> reason."""
    headers: dict[str, Header] = {}
    unreadable: dict[str, str] = {}
    for photo in listing.photos:
        try:
            headers[photo.path] = probe(photo)
        except UnreadablePhoto as error:
            unreadable[photo.path] = str(error)
        except Exception as error:  # whatever a decoder has not foreseen: one file never ends a scan
            unreadable[photo.path] = f"damaged: {error}"
    return headers, unreadable


def require_enough(readable: int, unreadable: dict[str, str], listing: Listing, fewest: int = FEWEST) -> None:
    if readable >= fewest:
        return
    first = next(iter(unreadable.items()), None)
    detail = f" ({len(unreadable)} cannot be read, first {first[0]}: {first[1]})" if first else ""
    if fewest == 1:
        raise InputError(f"No readable photo in {str(listing.root)!r}{detail}. Give a folder of photos.")
    raise InputError(
        f"{readable} readable photo{'' if readable == 1 else 's'} in {str(listing.root)!r}{detail}; at least {FEWEST} "
        "are needed: photos are judged by comparing them with each other, and of two nobody can say which is odd."
    )


def _branch(backbone: Backbone, config: ScanConfig, headers: dict[str, Header], device: str) -> Branch:
    facts = backbone.facts
    return Branch(
        backbone=backbone,
        shape=_working_shape(config, facts.size, facts.patch, headers),
        radii=config.radii or facts.radii,
        join=facts.join if config.join is None else config.join,
        device=device,
    )


def _working_shape(config: ScanConfig, size: int, patch: int, headers: dict[str, Header]) -> tuple[int, int]:
    """(height, width): the area of a ``size`` square in the batch's median aspect ratio, in whole patches."""
    size = config.size or size
    fit = config.fit or ("stretch" if config.method == "prompt" else "keep")  # as models have learned
    aspect = median_aspect(headers.values()) if fit == "keep" else 1.0
    aspect = min(max(aspect, 1 / 8), 8)  # a batch of ribbons still gets some width
    height, width = size * aspect**0.5, size / aspect**0.5
    return max(4, round(height / patch)) * patch, max(4, round(width / patch)) * patch


def _budget(
    config: ScanConfig, branches: Sequence[Branch], headers: dict[str, Header], scratch: Path, parts: int
) -> tuple[int, Budget]:
    """How many photos to decode at once, and what of ``--memory`` is left for arrays once the interpreter, the
    weights, the network's activations and the decoders have theirs."""
    total = config.memory or machine.available_memory() // 2
    network = max(activations(branch) for branch in branches)
    largest = max(headers.values(), key=lambda header: header.width * header.height)
    decoding = largest.width * largest.height * PER_DECODED_PIXEL
    left = total - machine.resident_memory() - network
    decoders = 2 if 2 * decoding < left // 4 else 1
    left -= decoders * decoding
    if parts > 1:
        left -= len(headers) * PER_PHOTO
    if left < LEAST_FOR_ARRAYS:
        needed = (total - left + LEAST_FOR_ARRAYS) / 2**20
        raise ConfigError(
            f"{total / 2**20:.0f} MiB of memory are too little for {branches[0].backbone.facts.name} at "
            f"{branches[0].shape[1]} x {branches[0].shape[0]} pixels and photos of {largest.width} x {largest.height}: "
            f"allow --memory {needed:.0f}MiB or reduce --size."
        )
    return decoders, Budget(left, scratch)
