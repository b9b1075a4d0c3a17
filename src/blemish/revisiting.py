"""The photos of a finished run, seen again as the run saw them: for what a user wants of a run later.

Features come from the user's cache, so this takes a moment; where the cache has lost them, they are made again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from blemish import machine, run_cache
from blemish.bundle import VolumeView
from blemish.errors import ConfigError, InputError, UnreadablePhoto
from blemish.extending import Earlier
from blemish.extraction import Failed, each
from blemish.features.cache import FeatureCache, half
from blemish.features.registry import Features
from blemish.inputs.augment import turned as turned_copies
from blemish.inputs.images import PhotoFile, find_photos, probe, read_photo, resize
from blemish.inputs.marks import read_mark
from blemish.inputs.truth import fit_mask
from blemish.matching.store import Budget
from blemish.paths import RUN_CACHE, cache_dir, is_file
from blemish.progress import Advance
from blemish.rescoring import Evidence
from blemish.result import RGB
from blemish.run import read_rows
from blemish.run_folder import read_manifest, require_compared
from blemish.scoring.coreset import farthest_first, folds, thinned
from blemish.scoring.defects import cover
from blemish.scoring.mutual import image_scores, rscin
from blemish.scoring.place_bank import Placed
from blemish.scoring.places import Usual
from blemish.visit import Mark, Pictures, Sight, Visit, branch_of, check_manifest, unfit
from blemish.volume_space import Volumes

__all__ = ["Revisit"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Revisit(Visit[PhotoFile]):
    """A finished run of photos."""

    unit = "photo"
    most = 400

    @classmethod
    def open(cls, run: Path, what: str) -> Revisit:
        """``what`` is about to be done with it, for the words of errors: taught or frozen. ``reopening`` asks for it.

        Raises ``InputError`` if the run or its photos are not there, ``ConfigError`` if it was made by a combination of
        backbones, ``BackboneError`` if its backbone is not there any more."""
        run = run.expanduser().resolve()
        manifest = read_manifest(run)
        require_compared(manifest, run, what)
        earlier = Earlier.read(run, to=what)
        rows = tuple(read_rows(run))
        scored = {row.path for row in rows if row.status == "ok"}
        try:
            used, ceiling = manifest["backbones"], int(manifest["resolved"]["deep_ceiling"])
            if len(used) > 1:
                raise ConfigError(
                    f"{run.name!r} was made with {len(used)} backbones, whose maps have no common unit, so it cannot "
                    f"be {what}. Scan the photos with one of them: --backbone {used[0]['name']}"
                )
            branch = branch_of(used[0])
            if earlier.config.cache:
                branch.cache = FeatureCache(cache_dir(), branch.cache_settings(branch.shape, ceiling))
            check_manifest(manifest)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"The manifest of {str(run)!r} was changed or damaged ({error!r}). Scan again.") from error
        photos = {path: PhotoFile(path, file) for path, file in earlier.files.items() if path in scored}
        if scored != photos.keys():
            raise unfit(run)
        return cls(run, manifest, earlier.config, rows, photos, earlier.sha256, branch, ceiling)

    def see(self, photos: Sequence[PhotoFile], advance: Advance) -> Iterator[Sight]:
        missing = [photo for photo in photos if not photo.file.exists()]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(photos)} photos are not there any more, first {str(missing[0].file)!r}. "
                "Mount or restore them, or scan what is there anew."
            )
        budget = Budget(machine.available_memory() // 2, Path(tempfile.gettempdir()))
        batch = 1 if self.branch.device == "cpu" else 16
        with closing(each(photos, [self.branch], budget, deep_ceiling=self.deep_ceiling, batch=batch)) as steps:
            for done in steps:
                if isinstance(done, Failed):
                    raise InputError(f"Cannot read {done.path!r}: {done.reason}.")
                path, digest = done.ready.file.path, done.ready.sha256
                if done.ready.file is self.photos.get(path) and self.sha256.get(path, digest) != digest:
                    raise InputError(f"{path!r} was changed since it was scanned. Scan again.")
                (seen,) = done.seen
                yield Sight(path, digest, seen.grids, seen.embedding, pixels=done.ready.pixels[0])
                advance(1)

    def find(self, given: str | Path) -> PhotoFile:
        of_run, file = self.photos.get(str(given)), Path(given).expanduser()
        there = is_file(file)
        if of_run and (not there or file.resolve() == of_run.file.resolve()):
            return of_run
        if of_run:
            raise InputError(
                f"{str(given)!r} is a photo of the run, and another file is called so. Type {str(of_run.file)!r} or "
                f"{str(file.resolve())!r}."
            )
        if not there:
            raise InputError(
                f"There is no photo {str(given)!r}, neither as a file nor in the run {self.run.name!r}. "
                "Type the path of a file, or a path as results.csv has it."
            )
        real = file.resolve()
        for photo in self.photos.values():
            if photo.file.name == file.name and photo.file.resolve() == real:
                return photo
        return PhotoFile(str(given), file)

    def listed(self, folder: Path) -> list[str | Path]:
        return [photo.file for photo in find_photos(folder)[0]]

    def mask(self, photo: PhotoFile, mark: Mark) -> Bools:
        try:
            header = probe(photo)
        except UnreadablePhoto as error:
            raise InputError(f"Cannot read {photo.path!r}: {error}.") from error
        return read_mark(mark, photo.path, (header.height, header.width))

    def cover(self, sight: Sight, mask: Bools, number: int) -> Float32:
        h, w, _ = sight.grids[number].shape
        return cover(mask, (h, w))

    def turned(self, sight: Sight, mask: Bools | None) -> Iterator[tuple[Sight, Bools | None]]:
        pixels = sight.pixels
        assert pixels is not None
        marked = np.zeros(pixels.shape[:2], np.bool_) if mask is None else fit_mask(mask, pixels.shape[:2])
        for copy in turned_copies(pixels, marked):
            if mask is None or copy.mask.any():  # a flaw at the rim can be turned out of the picture
                yield replace(sight, grids=self._grids_of(copy.pixels)), None if mask is None else copy.mask

    def _grids_of(self, pixels: RGB) -> list[Float32]:
        """Token grids (h, w, C) by pass of a picture in the working size."""
        picture = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(self.branch.device)
        features = half(self.branch.backbone.extract(picture))
        return self.branch.tokens(Features([grid[0].cpu() for grid in features.grids], features.embedding[0].cpu()))

    def weighed(self, maps: Float32, paths: Sequence[str]) -> Float32:
        return maps

    def lifted(self, usual: Float32, raised: Float32, paths: Sequence[str]) -> Float32:
        return raised

    def scores(self, maps: Float32, paths: Sequence[str], embeddings: Float32) -> Float32:
        scores = image_scores(maps, self.shape, self.config.image_score)
        return rscin(scores, embeddings, self.config.rscin) if self.config.rscin else scores

    def evidence(self, embeddings: Float32, maxima: Sequence[Float32]) -> Evidence:
        distances = self.config.image_score == "max" and not self.config.rscin
        return Evidence(embeddings, tuple(maxima), scores_are_distances=distances)

    def candidates(self, allowed: Bools, paths: Sequence[str]) -> Ints:
        return thinned(allowed)

    def chosen(self, candidates: Placed, size: int, progress: Advance) -> Ints:
        return farthest_first(candidates.tokens, size, progress=progress)

    def folds(self, count: int) -> Ints:
        return folds(count)

    def usual(self, maps: Float32, paths: Sequence[str]) -> Usual | None:
        return None

    def view(self, gain: float) -> VolumeView | None:
        return None

    def inside(self, paths: Sequence[str]) -> Bools | None:
        return None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.branch.shape

    @property
    def volumes(self) -> Volumes | None:
        return None

    @property
    def pictures(self) -> Pictures:
        paths = [photo.path for photo in self.scored]
        if (self.run / RUN_CACHE).is_dir():
            cache = run_cache.read(self.run / RUN_CACHE)
            number = {path: at for at, path in enumerate(cache.paths)}
            return (
                lambda row: cache.pixels(number[paths[row]]),
                lambda row, longest: cache.jpeg(number[paths[row]], longest),
            )
        return lambda row: self._read(self.photos[paths[row]]), None

    def _read(self, photo: PhotoFile) -> RGB:
        shape = self.branch.shape
        try:
            decoded = read_photo(photo, at_least=shape, deep_ceiling=self.deep_ceiling)
        except UnreadablePhoto:  # removed a moment ago: its scores stand, its picture is grey
            return np.full((*shape, 3), 128, np.uint8)
        return resize(decoded.pixels, shape, self.branch.backbone.facts.resize)
