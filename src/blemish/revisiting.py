"""The photos of a finished run, seen again as the run saw them: for what a user wants of a run later.

Features come from the user's cache, so this takes a moment; where the cache has lost them, they are made again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from blemish import machine, run_cache, verdict_file
from blemish.comparing import features_of
from blemish.config import ScanConfig
from blemish.errors import BackboneError, ConfigError, InputError, UnreadablePhoto
from blemish.extending import Earlier
from blemish.extraction import Branch, Failed, Finished, each
from blemish.features.cache import FeatureCache, half
from blemish.features.registry import Features, load_backbone
from blemish.inputs.images import PhotoFile, read_photo, resize
from blemish.matching.store import Budget
from blemish.paths import RUN_CACHE, RUN_VERDICT, cache_dir
from blemish.progress import Advance
from blemish.result import RGB, Photo
from blemish.run import read_rows
from blemish.run_folder import read_manifest, require_compared

__all__ = ["TYPICAL", "Revisit"]

Float32 = npt.NDArray[np.float32]

TYPICAL = 9  # photos that stand for the typical one; fifteen say hardly more (benchmarks/one_defect.md)


@dataclass(frozen=True)
class Revisit:
    """A finished run with the backbone that it was made with."""

    run: Path
    manifest: dict[str, Any]
    config: ScanConfig
    rows: tuple[Photo, ...]  # as the run has them, unreadable ones last
    photos: dict[str, PhotoFile]  # path -> file, of those that were scored
    sha256: dict[str, str]  # path -> digest of the bytes that were scanned
    branch: Branch
    deep_ceiling: int

    @classmethod
    def open(cls, run: Path, what: str) -> Revisit:
        """``what`` is about to be done with it, for the words of errors: taught or frozen.

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
            branch = _branch(used[0], ceiling, earlier.config)
            _check(manifest)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(
                f"The manifest of {str(run)!r} was changed or damaged ({error!r}). Scan the photos again."
            ) from error
        photos = {path: PhotoFile(path, file) for path, file in earlier.files.items() if path in scored}
        if scored != photos.keys():
            raise _unfit(run)
        return cls(run, manifest, earlier.config, rows, photos, earlier.sha256, branch, ceiling)

    @property
    def scored(self) -> tuple[Photo, ...]:
        """Most anomalous first."""
        return tuple(row for row in self.rows if row.status == "ok")

    def kept(self) -> verdict_file.Kept:
        """What the verdict of the run has kept. Raises ``InputError`` if it is damaged or of other photos."""
        kept = verdict_file.read(self.run / RUN_VERDICT)
        if [row.score for row in self.scored] != kept.estimated.scores.tolist():
            raise _unfit(self.run)
        return kept

    @property
    def grids(self) -> list[tuple[int, int]]:
        """(h, w) of each matching pass."""
        return [(int(h), int(w)) for h, w in self.manifest["backbones"][0]["grids"]]

    @property
    def features(self) -> str:
        """What makes the tokens: only those with the same can be compared."""
        return features_of(self.branch)

    def see(self, photos: Sequence[PhotoFile], advance: Advance) -> Iterator[Finished]:
        """Photos of the run or others, in their order. Raises ``InputError`` if one is not there any more, cannot be
        read, or is not what was scanned."""
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
                    raise InputError(f"{path!r} was changed since it was scanned. Scan the photos again.")
                yield done
                advance(1)

    def grids_of(self, pixels: RGB) -> list[Float32]:
        """Token grids (h, w, C) by pass of a picture in the working size."""
        picture = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(self.branch.device)
        features = half(self.branch.backbone.extract(picture))
        return self.branch.tokens(Features([grid[0].cpu() for grid in features.grids], features.embedding[0].cpu()))

    @property
    def pictures(self) -> tuple[Callable[[int], RGB], Callable[[int, int], bytes] | None]:
        """Row -> the photo's pixels at the working resolution; and its encoded picture, where the run has some."""
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

    def typical(self, leaving_out: Collection[str], advance: Advance) -> dict[str, list[Float32]]:
        """Path -> tokens (N, C) by pass of a few photos, drawn at random, which stand for the typical photo."""
        others = sorted(photo.path for photo in self.scored if photo.path not in leaving_out)  # whatever their scores
        drawn = sorted(np.random.default_rng(0).permutation(len(others))[:TYPICAL])
        return {
            done.ready.file.path: [grid.reshape(-1, grid.shape[2]) for grid in done.seen[0].grids]
            for done in self.see([self.photos[others[at]] for at in drawn], advance)
        }


def _unfit(run: Path) -> InputError:
    return InputError(f"{str(run / 'results.jsonl')!r} does not fit the run. Scan the photos again.")


def _check(manifest: dict[str, Any]) -> None:
    """Raises ``KeyError``, ``TypeError`` or ``ValueError`` if what is read from it later is not as it was written."""
    scale, said, used = manifest["colour_scale"], manifest["verdict"], manifest["backbones"][0]
    for number in (scale["low"], scale["high"], said["threshold"], *(side for grid in used["grids"] for side in grid)):
        float(number)
    passes = sum(int(radius) > 0 for radius in used["radii"]) * (1 if used["join"] else len(used["layers"]))
    if not passes or len(used["grids"]) != passes or not isinstance(used["join"], bool):
        raise ValueError("its parts do not fit together")
    for name in ("config", "versions", "timings_s", "counts"):
        if not isinstance(manifest[name], dict):
            raise TypeError(name)
    if not {"rule", "sentence"} <= said.keys() or not {"source", "licence"} <= used.keys() or "note" not in manifest:
        raise KeyError("note, rule, sentence, source or licence")
    manifest["config"]["verdict"], list(manifest["warnings"])
    datetime.fromisoformat(manifest["created"])


def _branch(used: dict[str, Any], ceiling: int, config: ScanConfig) -> Branch:
    device, _ = machine.choose_device("auto")
    backbone = load_backbone(str(used["name"]), tuple(used["layers"]), torch.device(device))
    if backbone.weights_sha256 != used["weights_sha256"]:
        raise BackboneError(
            f"The run was made with weights {used['weights_sha256'][:12]} of {used['name']}; installed are "
            f"{backbone.weights_sha256[:12]}. Scan the photos again with these."
        )
    shape = int(used["working_size"]["height"]), int(used["working_size"]["width"])
    branch = Branch(backbone, shape, tuple(used["radii"]), bool(used["join"]), device)
    branch.cache = FeatureCache(cache_dir(), branch.cache_settings(shape, ceiling)) if config.cache else None
    return branch
