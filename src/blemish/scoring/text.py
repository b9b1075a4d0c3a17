"""Scores from words (WinCLIP), from a few good photos beside them (WinCLIP+), and from one marked flaw as well.

WinCLIP and WinCLIP+ after Jeong et al. (CVPR 2023), as anomalib and Accurate-WinCLIP-pytorch compute them; the sum of
words, normal and anomalous memory after Abdali et al. (arXiv 2507.23712). Pure functions on CLIP's embeddings, which
need not be of unit length; nothing here knows photos, words or networks. Higher is more anomalous.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.errors import ConfigError
from blemish.scoring.defects import Taught, cover, taught
from blemish.scoring.memory import cosine_nearest, spread

__all__ = [
    "FEW_SHOT",
    "TEMPERATURE",
    "ZERO_SHOT",
    "Views",
    "aligned",
    "association",
    "banks",
    "channel_names",
    "combined",
    "enlarged",
    "few_shot",
    "harmonic",
    "image_channels",
    "map_channels",
    "text_pair",
    "text_scores",
    "window_patches",
    "zero_shot",
]

Float32 = npt.NDArray[np.float32]

TEMPERATURE = 0.07
ZERO_SHOT = (2, 3)  # patches a side of WinCLIP's windows: 32 and 48 pixels
FEW_SHOT = (1, 2, 3)  # those of WinCLIP+


@dataclass(frozen=True)
class Views:
    """What CLIP's image tower says of B photos, each cut into ``grid``: (h, w) patches.

    ``image: (B, E)`` of the whole photo. ``windows[m]: (B, (h - m + 1) * (w - m + 1), E)`` of all m x m patches, each
    window seen alone, row-major by the top-left patch. ``windows[1]`` are single patches or, as WinCLIP+ has it, the
    last block's tokens of the whole photo, of any width: after the final LayerNorm in anomalib, before it in
    Accurate-WinCLIP-pytorch."""

    image: Float32
    windows: Mapping[int, Float32]
    grid: tuple[int, int]


def window_patches(grid: tuple[int, int], size: int) -> npt.NDArray[np.intp]:
    """(size * size, W): the patches (row-major numbers) of every ``size`` x ``size`` window on ``grid: (h, w)``.

    Windows are row-major by their top-left patch. Raises ``ConfigError`` for a window larger than the grid."""
    rows, columns = _places(grid, size)
    first = np.arange(rows)[:, None] * grid[1] + np.arange(columns)
    inside = np.arange(size)[:, None] * grid[1] + np.arange(size)
    return np.asarray(inside.reshape(-1, 1) + first.reshape(1, -1), dtype=np.intp)


def text_pair(normal: Float32, anomalous: Float32, *, unit_mean: bool = False) -> Float32:
    """(2, E) normal and anomalous, from the embeddings of the prompts of each side, (n, E) and (m, E).

    A plain mean as in WinCLIP; ``unit_mean``: of unit embeddings, and of unit length itself, as in APRIL-GAN."""
    if not unit_mean:
        return np.stack([normal.mean(axis=0), anomalous.mean(axis=0)])
    return _unit(np.stack([_unit(normal).mean(axis=0), _unit(anomalous).mean(axis=0)]))


def text_scores(embeddings: Float32, text: Float32, temperature: float = TEMPERATURE) -> Float32:
    """Probability in [0, 1] of the anomalous side: (..., E) and ``text: (2, E)``, normal first -> (...).

    The softmax of both cosines over ``temperature`` (WinCLIP, section 4.1)."""
    normal, anomalous = np.moveaxis(_unit(embeddings) @ _unit(text).T, -1, 0).astype(np.float64)
    return np.asarray(np.exp(-np.logaddexp(0, (normal - anomalous) / temperature)), dtype=np.float32)


def harmonic(scores: Float32, grid: tuple[int, int], size: int) -> Float32:
    """Scores of windows on patches: (..., W) -> (..., h, w), the harmonic mean over the windows that cover a patch.

    A window with score 0 makes all of its patches 0, as published (WinCLIP, section 4.2)."""
    rows, columns = _places(grid, size)
    inverse = _inverse(scores).reshape(*scores.shape[:-1], rows, columns)
    along = np.zeros((*inverse.shape[:-2], grid[0], columns))
    for down in range(size):
        along[..., down : down + rows, :] += inverse
    total = np.zeros((*inverse.shape[:-2], *grid))
    for right in range(size):
        total[..., right : right + columns] += along
    covering = np.outer(_covering(grid[0], size), _covering(grid[1], size))
    return np.asarray(covering / total, dtype=np.float32)


def zero_shot(
    views: Views, text: Float32, *, sizes: Sequence[int] = ZERO_SHOT, temperature: float = TEMPERATURE
) -> tuple[Float32, Float32]:
    """WinCLIP: scores (B,) of the photos and their maps (B, h, w), from ``text: (2, E)``.

    The map is the harmonic mean of the photo's score and of the map of each window size (section 4.2)."""
    image = text_scores(views.image, text, temperature)
    inverse = _inverse(image)[:, None, None]
    for size in sizes:
        inverse = inverse + _inverse(harmonic(text_scores(views.windows[size], text, temperature), views.grid, size))
    return image, np.asarray((1 + len(sizes)) / inverse, dtype=np.float32)


def association(embeddings: Float32, references: Float32) -> Float32:
    """How little each embedding resembles any of ``references: (R, E)``, in [0, 1]: (..., E) -> (...).

    Half of the smallest cosine distance (WinCLIP, section 4.3). One minus it is half of 1 + the largest cosine, the
    likeness to a bank of flaws. Raises ``ConfigError`` without references."""
    if not len(references):
        raise ConfigError("there are no references to compare with; give at least one good photo.")
    bank = _unit(references)
    photos = embeddings.reshape(-1, *embeddings.shape[-2:])  # one at a time, or the cosines fill the memory
    found = np.stack([cosine_nearest(_unit(photo), bank) for photo in photos]).reshape(embeddings.shape[:-1])
    return np.asarray(np.clip(found / 2, 0, 1), dtype=np.float32)


def few_shot(views: Views, good: Views, *, sizes: Sequence[int] = FEW_SHOT) -> Float32:
    """WinCLIP+: maps (B, h, w) against the views of k ``good`` photos, whose windows of one size are one bank.

    The mean over the sizes of the ``association`` maps, windows joined by their harmonic mean (section 4.3)."""
    maps = [harmonic(association(views.windows[size], _pooled(good.windows[size])), views.grid, size) for size in sizes]
    return np.asarray(np.mean(maps, axis=0), dtype=np.float32)


def combined(zero: tuple[Float32, Float32], few: Float32, *, summed: bool = False) -> tuple[Float32, Float32]:
    """Scores (B,) and maps (B, h, w) of WinCLIP+ from those of ``zero_shot`` and the maps of ``few_shot``.

    The mean of the two maps as in anomalib, or ``summed`` as in Accurate-WinCLIP-pytorch: twice that. The score is in
    both the mean of the photo's text score and the largest value of ``few``."""
    image, maps = zero
    both = maps + few
    score = (image + few.max(axis=(1, 2))) / 2
    return np.asarray(score, dtype=np.float32), np.asarray(both if summed else both / 2, dtype=np.float32)


def banks(views: Views, masks: Sequence[npt.NDArray[np.bool_]]) -> dict[int, Taught]:
    """Unit embeddings of flaws and of sound surface, for every window size of ``views`` of marked photos.

    ``masks``: (H, W) each; nothing is drawn on a good photo, all of which is sound. Which windows belong where:
    ``defects.members``. Published are one marked photo and sizes 1, 2, 3 and 7: 16, 32, 48 and 112 pixels. Raises
    ``ConfigError`` if nothing is drawn on any."""
    found = {}
    for size in sorted(views.windows):
        places = _places(views.grid, size)
        windows = [_unit(photo).reshape(*places, -1) for photo in views.windows[size]]
        found[size] = taught(windows, [cover(mask, views.grid, size) for mask in masks])
    return found


def channel_names(known: Mapping[int, Taught]) -> tuple[str, ...]:
    """What each channel of ``image_channels`` and ``map_channels`` is."""
    return ("text", *(f"{kind} {size}x{size}" for size, kind, _ in _compared(known)))


def image_channels(views: Views, text: Float32, known: Mapping[int, Taught]) -> Float32:
    """(B, S) in [0, 1]: the text score, and for each size of ``banks`` the largest distance of a window to sound
    surface and its largest likeness to a flaw (arXiv 2507.23712).

    ``weights.choose(image_channels(...)[..., None], ...)`` weighs them on augmented copies; a photo's score is
    ``image_channels(...) @ weights``. A flaw so large that every window of a size touches it leaves no sound bank
    there, and no channel."""
    peaks = [scores.max(axis=1) for _, scores in _bank_scores(views, known)]
    return np.stack([text_scores(views.image, text), *peaks], axis=1)


def map_channels(views: Views, text: Float32, known: Mapping[int, Taught]) -> Float32:
    """(B, S, h * w): the same as maps for ``weights.weighted``; the first is WinCLIP's. No map is published.

    Windows are joined by their mean, since a harmonic mean would hide a likeness that few windows show."""
    _, words = zero_shot(views, text)
    maps = [words.reshape(len(words), -1)]
    for size, scores in _bank_scores(views, known):
        shaped = scores.reshape(-1, *_places(views.grid, size))
        maps.append(np.stack([spread(one, size).reshape(-1) for one in shaped]))
    return np.stack(maps, axis=1)


def enlarged(maps: Float32, shape: tuple[int, int]) -> Float32:
    """Bilinear between the centres of patches, (..., h, w) -> (..., H, W), as published for WinCLIP
    (``align_corners=False``; ``result.upsample`` aligns corners instead)."""
    rows, columns = (_between(n, m) for n, m in zip(maps.shape[-2:], shape, strict=True))
    return np.asarray(rows @ maps @ columns.T, dtype=np.float32)


def aligned(maps: Float32, shape: tuple[int, int], grid: tuple[int, int]) -> Float32:
    """What ``enlarged(maps, shape)`` is at ``grid`` places that reach from the first pixel's centre to the last one's:
    (..., h, w) -> (..., *grid). ``result.upsample`` then gives the published map again, but for what lies between."""
    ends = (np.linspace(0, pixels - 1, places) for pixels, places in zip(shape, grid, strict=True))
    rows, columns = (_weights(at, n, m) for at, n, m in zip(ends, maps.shape[-2:], shape, strict=True))
    return np.asarray(rows @ maps @ columns.T, dtype=np.float32)


def _between(n_in: int, n_out: int) -> Float32:
    return _weights(np.arange(n_out), n_in, n_out)


def _weights(at: npt.NDArray[np.floating | np.integer], n_in: int, n_out: int) -> Float32:
    """(places, n_in) for places ``at`` on a line of ``n_out`` pixels that ``n_in`` patches fill; rows sum to 1."""
    patch = np.clip((at + 0.5) * n_in / n_out - 0.5, 0, n_in - 1)
    return np.asarray(np.maximum(0, 1 - np.abs(patch[:, None] - np.arange(n_in))), dtype=np.float32)


def _compared(known: Mapping[int, Taught]) -> Iterator[tuple[int, str, Float32]]:
    for size, bank in known.items():
        if len(bank.normal):
            yield size, "normal", bank.normal
        yield size, "flaw", bank.defects


def _bank_scores(views: Views, known: Mapping[int, Taught]) -> Iterator[tuple[int, Float32]]:
    """The (B, W) scores of each channel but the first, with its window size."""
    for size, kind, bank in _compared(known):
        far = association(views.windows[size], bank)
        yield size, far if kind == "normal" else 1 - far


def _places(grid: tuple[int, int], size: int) -> tuple[int, int]:
    """Rows and columns of windows. Raises ``ConfigError`` if there are none."""
    if not 1 <= size <= min(grid):
        raise ConfigError(
            f"a window must have 1 to {min(grid)} patches a side on a grid of {grid[0]} x {grid[1]}; received {size}. "
            "Choose a smaller window, or a larger working size."
        )
    return grid[0] - size + 1, grid[1] - size + 1


def _covering(length: int, size: int) -> Float32:
    """(length,) windows of one row that cover each of its patches."""
    return np.convolve(np.ones(length - size + 1, np.float32), np.ones(size, np.float32))


def _inverse(scores: Float32) -> npt.NDArray[np.float64]:
    """1 / score, infinite for 0 and for what rounding has put below it; NaN stays, so that it cannot pass for sound."""
    clamped = np.maximum(scores, 0, dtype=np.float64)
    found: npt.NDArray[np.float64] = np.divide(1, clamped, out=np.full(scores.shape, np.inf), where=clamped != 0)
    return found


def _pooled(windows: Float32) -> Float32:
    return windows.reshape(-1, windows.shape[-1])


def _unit(x: Float32) -> Float32:
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.asarray(x / np.maximum(norm, 1e-12), dtype=np.float32)
