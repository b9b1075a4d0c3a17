"""The volumes of a finished run, seen again as the run saw them, and others placed as they were.

A place means the same in all of them: tokens are compared near their own, and what is found is weighed by what is usual
there, as the run's own maps are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from threading import Event

import numpy as np
import numpy.typing as npt
import torch

from blemish import volume_file
from blemish.bundle import VolumeView
from blemish.config import ScanConfig, with_options
from blemish.errors import ConfigError, InputError, UnreadablePhoto
from blemish.extending import OF_THE_MACHINE
from blemish.extraction import in_order
from blemish.inputs.volume_checks import Frame, VolumeFacts, other_scanner
from blemish.inputs.volume_grid import Box, Tilted, brain_box, to_cube
from blemish.inputs.volume_layouts import VolumeFile, find_volumes
from blemish.inputs.volumes import digest, read_again, read_brain, read_mask_on, read_volume
from blemish.paths import RUN_VOLUMES, is_file, is_folder
from blemish.progress import Advance
from blemish.rescoring import Evidence
from blemish.result import RGB
from blemish.run import read_rows
from blemish.run_folder import read_manifest, require_compared
from blemish.scoring.coreset import folds
from blemish.scoring.mutual import highest, image_scores, rscin
from blemish.scoring.place_bank import Placed, thinned_by_place
from blemish.scoring.places import Usual, weighed_by_place
from blemish.visit import Mark, Pictures, Sight, Visit, branch_of, check_manifest, unfit
from blemish.volume_extraction import Looked, look, open_cache, see_one, view_of
from blemish.volume_space import Native, Volumes

__all__ = ["VolumeRevisit", "covered"]

Float32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]

AT_A_PLACE = 12  # tokens of a bank in each cell: all that a dozen volumes have
TRIED = 3  # volumes with a given brain mask that are asked whether it would have been found as well
AGREE = 0.95  # Dice of the two, from which it makes no difference
WHOLE = 0.9  # share of the volume from which a mask is taken for the wrong way round


@dataclass(frozen=True)
class VolumeRevisit(Visit[VolumeFile]):
    """A finished run of volumes."""

    unit = "volume"
    most = 32

    of_run: Volumes

    @classmethod
    def open(cls, run: Path, what: str) -> VolumeRevisit:
        """As ``Revisit.open``."""
        run = run.expanduser().resolve()
        manifest = read_manifest(run)
        require_compared(manifest, run, what)
        volumes = volume_file.read(run / RUN_VOLUMES)
        rows = tuple(read_rows(run))
        try:
            settings = {name: value for name, value in manifest["config"].items() if name not in OF_THE_MACHINE}
            config = with_options(ScanConfig(), settings)
            branch = branch_of(manifest["backbones"][0])
            check_manifest(manifest)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(
                f"The manifest of {str(run)!r} was changed or damaged ({error!r}). Scan the volumes again."
            ) from error
        if config.volumes.grey != "off":
            raise ConfigError(
                f"{run.name!r} cannot be {what}: it was scanned with --grey {config.volumes.grey}, and how unusual a "
                "grey level is only its own batch says. Scan again without --grey; tokens are cached."
            )
        if {row.path for row in rows if row.status == "ok"} != volumes.by_path.keys():
            raise unfit(run)
        branch.view = view_of(config.volumes)
        if config.cache:
            branch.cache = open_cache(branch, config.volumes)
        files = {path: one.file for path, one in volumes.by_path.items()}
        sha256 = {path: one.sha256 for path, one in volumes.by_path.items()}
        return cls(run, manifest, config, rows, files, sha256, branch, 65535, volumes)

    @property
    def frame(self) -> Frame:
        """Where others are placed. Raises ``ConfigError`` if the run's way has no answer."""
        placed = [(one.geometry, one.box) for one in self.of_run.by_path.values()]
        straight = [(geometry, box) for geometry, box in placed if isinstance(box, Box)]
        return Frame.of(straight, self.config.volumes.align)

    @property
    def _ct(self) -> bool | None:
        """Whether its volumes are CTs; None in a run from before it was told."""
        said = self.manifest.get("resolved", {}).get("ct")
        return said if isinstance(said, bool) else None

    def _require_found(self) -> None:
        """A volume that comes later has no brain mask. Raises ``ConfigError`` if its brain would be found in another
        way than those of the run were given, ``InputError`` if these cannot be read any more."""
        if self._given_otherwise:
            raise ConfigError(
                f"{self.run.name!r} was scanned with brain masks (--masks), and without one the brain of "
                f"{self._given_otherwise!r} would be found elsewhere; a volume that comes later has none. Scan again "
                "without --masks, or scan volumes that are stripped (0 outside of the brain)."
            )

    @cached_property
    def _given_otherwise(self) -> str:
        """The path of a volume whose given brain is not the one that would be found; "" if there is none."""
        given = [one for one in self.of_run.by_path.values() if one.file.brain]
        for one in given[:TRIED]:
            try:
                volume = read_again(one.file, one.sha256)
                found = read_brain(replace(one.file, brain=None), volume).inside
            except UnreadablePhoto as reason:
                raise InputError(f"Cannot read {one.file.path!r}: {reason}.") from reason
            brain = one.brain
            if 2 * int((found & brain).sum()) < AGREE * (int(found.sum()) + int(brain.sum())):
                return one.file.path
        return ""

    def see(self, photos: Sequence[VolumeFile], advance: Advance) -> Iterator[Sight]:
        work = partial(self._see, known=self._known(photos))
        with closing(in_order(work, photos, 1, Event())) as steps:  # networks have threads of their own
            for file, found in zip(photos, steps, strict=True):
                if isinstance(found, str):
                    raise InputError(f"Cannot read {file.path!r}: {found}.")
                yield found
                advance(1)

    def _known(self, files: Sequence[VolumeFile]) -> set[str]:
        """Paths of those that are the run's. Raises ``InputError`` if one is not there any more, or is another."""
        missing = [one for one in files if not one.files[0].exists()]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(files)} volumes are not there any more, first {str(missing[0].files[0])!r}. "
                "Mount or restore them, or scan what is there anew."
            )
        return {one.path for one in files if one is self.photos.get(one.path)}

    def _see(self, file: VolumeFile, known: set[str]) -> Sight | str:
        try:
            one, box = self._of_run(file) if file.path in known else self._other(file)
            seen = see_one(one, box, self.branch, self.config.volumes)
        except UnreadablePhoto as reason:
            return str(reason)
        radius = self.config.volumes.radius
        return Sight(file.path, one.sha256, seen.grids, seen.embedding, native=seen.native, radius=radius)

    def _of_run(self, file: VolumeFile) -> tuple[Looked, Box | Tilted]:
        native = self.of_run.by_path[file.path]
        if digest(file) != native.sha256:
            raise UnreadablePhoto("it was changed since it was scanned; scan the volumes again")
        facts = VolumeFacts(file.path, native.geometry, brain_box(native.brain), file.modality)
        return Looked(file, facts, native.sha256, native.packed, "as scanned"), native.box

    def _other(self, file: VolumeFile) -> tuple[Looked, Box | Tilted]:
        self._require_found()
        wrong: dict[str, str] = {}
        found = look([file], wrong, 1, lambda volumes: None)
        if wrong:
            raise UnreadablePhoto(wrong[file.path])
        if self._ct is not None and (reason := other_scanner(found[0].facts, ct=self._ct)):
            raise UnreadablePhoto(reason)
        return found[0], self.frame.box(found[0].facts)

    def find(self, given: str | Path) -> VolumeFile:
        of_run, place = self.photos.get(str(given)), Path(given).expanduser()
        if not is_file(place) and not is_folder(place):
            if of_run:
                return of_run
            raise InputError(
                f"There is no volume {str(given)!r}, neither as a file nor in the run {self.run.name!r}. "
                "Type the path of a file, or a path as results.csv has it."
            )
        if place.is_dir():
            series = find_volumes(place).volumes
            if len(series) != 1:
                raise InputError(f"{str(given)!r} holds {len(series)} volumes; give one of them.")
            file = series[0].files
        else:
            file = (place,)
        real = {one.resolve() for one in file}
        for volume in self.photos.values():
            if real & {one.resolve() for one in volume.files}:
                return volume
        if of_run:
            raise InputError(f"{str(given)!r} is a volume of the run, and another one is called so. Type its path.")
        return VolumeFile(str(given), file)

    def listed(self, folder: Path) -> list[str | Path]:
        """Volumes of a folder; a DICOM series by the folder that it lies in."""
        return [one.files[0].parent if one.is_series else one.files[0] for one in find_volumes(folder).volumes]

    def mask(self, photo: VolumeFile, mark: Mark) -> Bools:
        of_run = self.of_run.by_path.get(photo.path)
        try:
            known = of_run is not None and photo is self.photos[photo.path]
            geometry = of_run.geometry if of_run and known else read_volume(photo).geometry
            if isinstance(mark, np.ndarray):
                if mark.shape != geometry.shape:
                    raise UnreadablePhoto(f"it is {mark.shape}, and the volume {geometry.shape}")
                mask = np.ascontiguousarray(geometry.to_ras(np.asarray(mark) > 0))
            else:
                file = Path(mark).expanduser()
                if not is_file(file):
                    raise UnreadablePhoto("there is no such file; a volume's mask is a NIfTI file on its grid")
                mask = read_mask_on(file, geometry)
        except UnreadablePhoto as reason:
            name = "given" if isinstance(mark, np.ndarray) else repr(str(mark))
            raise InputError(f"The mask {name} of {photo.path!r} cannot be used: {reason}.") from reason
        if not mask.any() or mask.mean() > WHOLE:
            what = "is empty" if not mask.any() else "covers nearly all of it"
            raise InputError(f"The mask of {photo.path!r} {what}. Draw the defect as 1, and the rest as 0.")
        return mask

    def cover(self, sight: Sight, mask: Bools, number: int) -> Float32:
        assert sight.native is not None
        return covered(sight.native, mask, self.config.volumes.cube)

    def turned(self, sight: Sight, mask: Bools | None) -> Iterator[tuple[Sight, Bools | None]]:
        raise ConfigError("--turned is for photos of parts that lie as they fall; brains lie one way. Leave it out.")

    def weighed(self, maps: Float32, paths: Sequence[str]) -> Float32:
        return weighed_by_place(maps, self.inside(paths)) if self.config.volumes.places else maps

    def lifted(self, usual: Float32, raised: Float32, paths: Sequence[str]) -> Float32:
        if not self.config.volumes.places:
            return raised
        inside = self.inside(paths)
        places = Usual.of(usual, inside)
        return np.asarray(places.weighed(usual + raised, inside) - places.weighed(usual, inside), np.float32)

    def inside(self, paths: Sequence[str]) -> Bools:
        """(B, x, y, z): the cells that count of volumes of the run."""
        return np.stack([self.of_run.by_path[path].inside for path in paths])

    def candidates(self, allowed: Bools, paths: Sequence[str]) -> Ints:
        return np.flatnonzero(allowed & self.inside(paths).reshape(allowed.shape))

    def chosen(self, candidates: Placed, size: int, progress: Advance) -> Ints:
        kept = thinned_by_place(candidates, AT_A_PLACE)
        progress(size)
        return kept

    def folds(self, count: int) -> Ints:
        """Where all tokens make the bank, a volume is left out by itself: nothing was chosen for its sake."""
        return np.arange(count) if count <= AT_A_PLACE else folds(count)

    def view(self, gain: float) -> VolumeView | None:
        self._require_found()
        of, frame = self.config.volumes, self.frame
        where = (frame.side, frame.middle, frame.turn)
        return VolumeView(of.grid, of.slices, of.axes, of.radius, gain, *where, self._ct)

    def usual(self, maps: Float32, paths: Sequence[str]) -> Usual | None:
        return Usual.of(maps, self.inside(paths)) if self.config.volumes.places else None

    def scores(self, maps: Float32, paths: Sequence[str], embeddings: Float32) -> Float32:
        if self.config.image_score == "max":
            scores = highest(maps, self.inside(paths))
        else:
            scores = image_scores(maps, self.shape, self.config.image_score)
        return rscin(scores, embeddings, self.config.rscin) if self.config.rscin else scores

    def evidence(self, embeddings: Float32, maxima: Sequence[Float32]) -> Evidence:
        distances = not self.config.volumes.places
        return Evidence(embeddings, tuple(maxima), maps_are_distances=distances, scores_are_distances=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.config.volumes.grid,) * 3

    @property
    def pictures(self) -> Pictures:
        def none(row: int) -> RGB:
            raise NotImplementedError(f"row {row}: a volume has no picture of its own; its voxels are read again")

        return none, None

    @property
    def volumes(self) -> Volumes | None:
        return self.of_run


def covered(native: Native, mask: Bools, cube: int) -> Float32:
    """The share of every cell (g, g, g) of a volume that lies under ``mask: (X, Y, Z)``, 0 outside of the brain. Raises
    ``InputError`` if all of the mask is."""
    side = cube // native.inside.shape[0]
    share = torch.nn.functional.avg_pool3d(torch.from_numpy(to_cube(mask, native.box, cube))[None, None], side)
    found = np.where(native.inside, share[0, 0].numpy(), np.float32(0))
    if not found.any():
        raise InputError(f"The mask of {native.file.path!r} lies outside of its brain.")
    return found
