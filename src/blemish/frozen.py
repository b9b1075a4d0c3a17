"""A frozen detector: one photo in, a score and a verdict out, with the same number whichever way it is asked.

It joins a backbone and the tokens of a bundle, or runs an exported ONNX graph, which need neither torch nor a backbone.
It knows photos, one at a time; nothing of runs.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from blemish import bundle
from blemish.bundle import DetectorFacts, Eye
from blemish.checked import Checked, CheckedVolume
from blemish.errors import BackboneError, InputError, OutputError
from blemish.inputs.images import PhotoFile, find_photos, pixels_of, read_photo
from blemish.judgement import Call
from blemish.result import ColourScale
from blemish.scoring.fusion import mean_maps
from blemish.scoring.memory import Memory, mean_of_top

if TYPE_CHECKING:
    from blemish.features.registry import Backbone
    from blemish.frozen_volumes import VolumeEye

__all__ = ["Checked", "Detector", "export_onnx", "require_new", "scored"]

Float32 = npt.NDArray[np.float32]
RGB = npt.NDArray[np.uint8]

ODD_SHAPE = 1.25  # times as wide or as high, for its other side, as the photos that the detector was made from


class Detector:
    """A frozen detector. ``Detector.load("part.blemish").check("photo.jpg").verdict``"""

    def __init__(self, facts: DetectorFacts, eye: Eye | VolumeEye) -> None:
        """``eye``: of photos a function of pixels, of volumes a ``VolumeEye``."""
        self.facts = facts
        self._eye: Any = eye

    @classmethod
    def load(cls, file: str | Path, device: str = "cpu") -> Detector:
        """A file that ``blemish freeze`` made, or a graph that ``blemish export`` made (.onnx, always on the CPU).

        Raises ``InputError`` if it is absent, damaged, changed or too new, ``BackboneError`` if its backbone is not
        installed or has other weights."""
        file = Path(file).expanduser()
        if file.suffix.lower() == ".onnx":
            from blemish.onnx_graph import load

            return cls(*load(file))
        found = bundle.read(file)
        if found.facts.volume:
            from blemish.frozen_volumes import VolumeEye  # nibabel, which photos need not load

            return cls(found.facts, VolumeEye(found, _backbone(found, device), device))
        eye = _torch_eye(found, device)
        try:
            eye(np.zeros((found.facts.height, found.facts.width, 3), np.uint8))  # the first photo is always slow, too
        except (ValueError, RuntimeError) as error:
            raise InputError(
                f"{str(file)!r} does not fit its backbone {found.facts.backbone} ({error}). Freeze the run again."
            ) from error
        return cls(found.facts, eye)

    @property
    def scale(self) -> ColourScale:
        """The range of map values that pictures are coloured with: that of the run it was made from."""
        return ColourScale(self.facts.colour_low, self.facts.colour_high)

    def check(self, photo: str | Path | Image.Image | RGB) -> Checked:
        """Judge a file, an opened picture or pixels ``(H, W, 3)`` RGB uint8, upright; or a volume's file, or the
        folder of a DICOM series, with a detector for volumes, which gives a ``CheckedVolume``.

        Raises ``UnreadablePhoto`` if it cannot be read, ``InputError`` if it is no picture, or if the file is one of
        those that the detector was made from: its tokens would match themselves."""
        if self.facts.volume:
            return self.judge(str(photo), self.read(self._volume(photo)))
        path, pixels = self._pixels(photo)
        return self.judge(path, pixels)

    def judge(self, path: str, seen: Any) -> Checked:
        """The same for pixels, or for what ``read`` gave, known by ``path``."""
        facts = self.facts
        score, grid = self._eye.measure(seen) if facts.volume else self._eye(seen)
        call: Call = "blemished" if score > facts.threshold else "ok"
        if facts.unsure_low < score <= facts.unsure_high:
            call = "unsure"
        said = {
            "path": path,
            "score": score,
            "verdict": call,
            "threshold": facts.threshold,
            "grid": grid,
            "pixel_threshold": facts.pixel_threshold,
        }
        if facts.volume:
            return CheckedVolume(shape=seen.native.geometry.shape, native=seen.native, **said)
        height, width = seen.shape[:2]
        return Checked(shape=(height, width), note=self._odd(height, width), **said)

    def files(self, path: Path) -> list[Any]:
        """What ``read`` takes: a file as it is, or all photos, or volumes, of a folder, each named below ``path``.
        Raises ``InputError`` if it is a folder without any."""
        if self.facts.volume:
            from blemish.frozen_volumes import volume_files

            return list(volume_files(path))
        if not path.is_dir():
            return [PhotoFile(str(path), path)]
        return [PhotoFile(str(path / photo.path), photo.file) for photo in find_photos(path)[0]]

    def read(self, photo: Any) -> Any:
        """Decode a file as ``check`` does, at its full size; of a volume its tokens. Raises as ``check``."""
        if self.facts.volume:
            seen = self._eye.see(photo)
            found, sha256 = seen, seen.native.sha256
        else:
            decoded = read_photo(photo, deep_ceiling=self.facts.deep_ceiling)
            found, sha256 = decoded.pixels, decoded.sha256
        if sha256 in self._known:
            raise InputError(
                f"it is one of the {'volumes' if self.facts.volume else 'photos'} that the detector was made from, so "
                "its score would be too low to mean anything; the run has its score"
            )
        return found

    def _volume(self, given: Any) -> Any:
        if not isinstance(given, str | Path):
            raise InputError("This detector is for volumes: give the path of a NIfTI file or of a DICOM series.")
        found = self.files(Path(given).expanduser())
        if len(found) != 1:
            raise InputError(f"{str(given)!r} holds {len(found)} volumes; give one of them.")
        return found[0]

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.facts.photos)

    def _pixels(self, photo: str | Path | Image.Image | RGB) -> tuple[str, RGB]:
        if isinstance(photo, str | Path):
            return str(photo), self.read(PhotoFile(str(photo), Path(photo).expanduser()))
        if isinstance(photo, Image.Image):
            photo = pixels_of(photo, self.facts.deep_ceiling)
        pixels = np.asarray(photo)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
            raise InputError(
                f"A photo is (height, width, 3) RGB of uint8; received {pixels.shape} of {pixels.dtype}. "
                "Scale deeper pixels to 0..255, and repeat grey ones three times."
            )
        return "", pixels

    def _odd(self, height: int, width: int) -> str:
        """The working size has the shape of the photos it was made from; another is squeezed into it."""
        ratio = (height / width) / (self.facts.height / self.facts.width)
        if max(ratio, 1 / ratio) < ODD_SHAPE:
            return ""
        return f"{width} x {height} is another shape than that of the photos the detector was made from; it is squeezed"


def export_onnx(detector: str | Path, out: str | Path, *, overwrite: bool = False) -> Path:
    """Write the file ``detector`` as one ONNX graph, from uint8 pixels of any size to score and map, and return its
    path. ``Detector.load`` takes it, and so does ONNX Runtime anywhere.

    Raises ``InputError`` or ``BackboneError`` as ``Detector.load`` and if the backbone cannot be exported,
    ``OutputError`` if ``out`` cannot be written."""
    from blemish.onnx_graph import write

    file = require_new(Path(out).expanduser(), ".onnx", overwrite)
    if Path(detector).suffix.lower() == ".onnx":
        raise InputError(f"{str(detector)!r} is an ONNX file already. Give the file that `blemish freeze` made.")
    found = bundle.read(Path(detector).expanduser())
    if found.facts.volume:
        raise InputError(f"{str(detector)!r} is a detector for volumes, which only runs here; ONNX is for photos.")
    write(found, _backbone(found, "cpu"), file)
    return file


def require_new(file: Path, suffix: str, overwrite: bool) -> Path:
    """``file`` if it may be written. Raises ``OutputError``."""
    if file.suffix != suffix:
        raise OutputError(
            f"The file's name must end in {suffix}; received {str(file)!r}. Type --out {file.stem}{suffix}"
        )
    if file.is_dir():
        raise OutputError(f"{str(file)!r} is a folder; --out names a file.")
    if file.exists() and not overwrite:
        raise OutputError(f"{str(file)!r} exists. Add --overwrite to replace it, or choose another --out.")
    if not file.parent.is_dir():
        raise OutputError(f"There is no folder {str(file.parent)!r} to write {file.name!r} into. Make it first.")
    return file


def _backbone(found: bundle.Bundle, device: str) -> Backbone:
    """The one that the detector was made with. Raises ``BackboneError`` if it has other weights."""
    from blemish.features.packing import unpack

    facts = found.facts
    backbone = unpack(facts.backbone, found.weights, facts.layers, device)
    if backbone.weights_sha256 != facts.weights_sha256:
        raise BackboneError(
            f"The detector was made with weights {facts.weights_sha256[:12]} of {facts.backbone}; installed are "
            f"{backbone.weights_sha256[:12]}. Install those, or freeze the run again: with these, or with --embed."
        )
    return backbone


def _torch_eye(found: bundle.Bundle, device: str) -> Eye:
    import torch
    from torch.nn import functional as F

    from blemish.features.neighbourhood import token_grids

    facts, backbone = found.facts, _backbone(found, device)

    def see(pixels: RGB) -> tuple[float, Float32]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # for one photo, threads that wait for each other cost more than they bring
        try:
            return look(pixels)
        finally:
            torch.set_num_threads(threads)

    def look(pixels: RGB) -> tuple[float, Float32]:
        x = torch.from_numpy(np.require(pixels, requirements=["C", "W"])).permute(2, 0, 1)[None].to(device)
        # Not rounded to 256 levels as a scan does: an exported graph could round the other way.
        x = F.interpolate(x.float(), size=(facts.height, facts.width), mode=facts.resize, antialias=True)
        features = backbone.extract(x.clamp_(0, 255))
        grids = token_grids([grid.float().cpu() for grid in features.grids], facts.radii, facts.join)
        return scored([grid[0].numpy() for grid in grids], found.memories, facts.top)

    return see


def scored(grids: list[Float32], memories: tuple[Memory, ...], top: int) -> tuple[float, Float32]:
    """Token grids (h, w, C) of one photo, one a pass -> its score and map (h, w)."""
    maps = [
        memory.map(grid.reshape(-1, grid.shape[2])).reshape(1, *grid.shape[:2])
        for memory, grid in zip(memories, grids, strict=True)
    ]
    whole = mean_maps(maps)[0]
    return mean_of_top(whole, top), whole
