"""Is this folder what mutual scoring assumes: photos of one product, alike in size, none of them twice?

Pure functions from facts about the batch to sentences for the user; they warn and never refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from blemish.inputs.images import Header
from blemish.result import Photo
from blemish.verdict.drift import Stretch, drift
from blemish.verdict.duplicates import taken_again
from blemish.verdict.products import groups_of, nearest_photo

__all__ = ["alone", "light", "order", "products", "smallest_flaw", "warnings", "white_level"]

Float32 = npt.NDArray[np.float32]

FLAW_TOKENS = 1.5  # extent, in tokens, from which at least half of all flaws are seen (benchmarks/flaw_size.md)
ENOUGH = 10  # photos from which something can be said about how alike they are
VARIED = {"effnet-lite2": 0.6}  # ``nearest_photo`` above which hardly two are alike; benchmarks/batch_health.md
EXAMPLES = 3
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")


def warnings(
    headers: Sequence[Header],
    rows: Sequence[Photo],
    paths: Sequence[str],
    between: Float32,
    cache_problems: Sequence[str],
    *,
    ordered: Sequence[str] = (),
    embeddings: Float32 | None = None,
    small: Float32 | None = None,
    backbone: str = "",
) -> tuple[str, ...]:
    """Everything worth a sentence. ``between: (b, b)``: mean distance between the photos ``paths``, which are all or a
    fair sample, and ``small: (b, SIDE, SIDE)`` their small pictures (``verdict.duplicates.small_grey``).
    ``embeddings: (B, E)`` of all scored photos, ``ordered``: their paths in the order of the folder or the CSV.
    ``backbone``: the name of the one that ``between`` is from."""
    cache = next((f"features could not be cached ({problem})" for problem in cache_problems if problem), "")
    several = products(paths, between, len(headers))
    changes = ""
    if not several:  # sorted by product, they depend on the order as well, and it has been said why
        changes = order(ordered, embeddings) if embeddings is not None else ""
        changes = changes or (light(ordered, paths, small) if small is not None and ordered else "")
    found = (
        _sizes(headers),
        several,
        _varied(between, backbone) if not several else "",
        changes,
        _duplicates(rows),
        _again(rows, paths, between, small, len(headers)),
        _few(len(headers)),
        cache,
    )
    return tuple(sentence for sentence in found if sentence)


def alone(headers: Sequence[Header], cache_problems: Sequence[str]) -> tuple[str, ...]:
    """What is worth a sentence where each photo is judged on its own."""
    cache = next((f"features could not be cached ({problem})" for problem in cache_problems if problem), "")
    return tuple(sentence for sentence in (_sizes(headers), cache) if sentence)


def white_level(headers: Iterable[Header], ceiling: int, clipped: Sequence[str]) -> tuple[str, ...]:
    """What was taken as white in 16-bit photos, if that needs saying, and which photos are brighter."""
    if ceiling == 65535 or not any(header.deep for header in headers):
        return ()
    sentence = f"the 16-bit photos stay below {ceiling + 1} in a sample, so {ceiling} was taken as white"
    if clipped:
        sentence += f"; {len(clipped)} are brighter and lost their highlights (first {clipped[0]})"
    return (sentence,)


def smallest_flaw(headers: Mapping[str, Header], grid: tuple[int, ...]) -> int:
    """Extent, in pixels of a typical photo, of the smallest flaw that the working resolution still shows."""
    height = float(np.median([header.height for header in headers.values()]))
    width = float(np.median([header.width for header in headers.values()]))
    return max(1, round(FLAW_TOKENS * max(height / grid[0], width / grid[1])))


def products(paths: Sequence[str], between: Float32, photos: int) -> str:
    """A sentence if the photos fall into groups that hardly resemble each other, else empty. ``photos``: how many
    there are in all; ``paths`` may be a sample."""
    groups = groups_of(between)
    if groups is None:
        return ""
    sizes = (f"{round(size / len(paths) * photos)}" for size in groups.sizes)
    like = [f"{size} like {paths[medoid]}" for size, medoid in zip(sizes, groups.medoids, strict=True)]
    like[0] = like[0].replace(" like", " photos like", 1)
    count = NUMBERS[len(like)] if len(like) < len(NUMBERS) else "many"
    return (
        f"these look like {count} products: about {', '.join(like[:-1])} and {like[-1]}. If they are, scan them apart; "
        "each group is normal to itself only"
    )


def _again(rows: Sequence[Photo], paths: Sequence[str], between: Float32, small: Float32 | None, photos: int) -> str:
    """Copies that are not equal byte by byte."""
    known = {row.path for row in rows if row.duplicate_of}
    others = np.array([at for at, path in enumerate(paths) if path not in known], np.intp)
    if len(others) < 3:
        return ""
    groups = taken_again(between[np.ix_(others, others)], None if small is None else small[others])
    count = sum(len(group) - 1 for group in groups)
    if not count:
        return ""
    pairs = [(paths[others[group[1]]], paths[others[group[0]]]) for group in groups[:EXAMPLES]]
    examples = ", ".join(f"{again} like {first}" for again, first in pairs) + (
        ", ..." if len(groups) > EXAMPLES else ""
    )
    where = f"in a sample of {len(paths)} photos, " if len(paths) < photos else ""
    what = f"{count} photos seem to show a part" if count > 1 else "1 photo seems to show a part"
    return (
        f"{where}{what} that another shows too, saved or taken again ({examples}); "
        "a flaw on both vouches for itself and scores lower, so keep one of each"
    )


def _varied(between: Float32, backbone: str) -> str:
    """Whether hardly two photos are alike, for backbones where it is known how far apart those of one product are."""
    limit = VARIED.get(backbone)
    if limit is None or len(between) < ENOUGH or (nearest := nearest_photo(between)) <= limit:
        return ""
    return (
        f"hardly two of these photos are alike: the most similar other photo is {nearest:.2f} away, and not above "
        f"{limit:.2f} among photos of one product. A high score then means unusual and not flawed; scan photos of one "
        "product, taken from one side, and cut to the part if the surroundings change"
    )


def order(ordered: Sequence[str], embeddings: Float32) -> str:
    """A sentence if the photos change along their order, else empty. ``embeddings: (B, E)`` of ``ordered``."""
    found = drift(embeddings)
    if found is None or not found.found:
        return ""
    stretch = found.stretch
    return (
        "photos next to each other in the folder resemble each other more than chance allows "
        f"(p {_at_most(found.p)}): {_between(stretch, ordered)} differ from the others ({stretch.own:.0%} of the "
        f"photos most like a photo are on its own side, {stretch.chance:.0%} by chance). If light, camera or product "
        "changed there, scan these photos apart; if the folder is sorted by what they show, this is only that"
    )


def light(ordered: Sequence[str], paths: Sequence[str], small: Float32) -> str:
    """The same for brightness alone, which a backbone hardly sees. ``small: (b, SIDE, SIDE)`` of ``paths``."""
    place = {path: at for at, path in enumerate(ordered)}
    along = sorted(range(len(paths)), key=lambda at: place[paths[at]])
    grey = small[along].mean(axis=(1, 2))
    found = drift(np.log(np.maximum(grey, 1.0))[:, None])
    if found is None or not found.found:
        return ""
    stretch = found.stretch
    inside = np.zeros(len(grey), np.bool_)
    inside[stretch.first : stretch.last + 1] = True
    names = [paths[at] for at in along]
    return (
        f"the light changes along the folder (p {_at_most(found.p)}): {_between(stretch, names)} have a mean grey of "
        f"{grey[inside].mean():.0f} of 255, the others of {grey[~inside].mean():.0f}. Small changes do no harm; if "
        "these photos score higher than the others, scan them apart"
    )


def _between(stretch: Stretch, names: Sequence[str]) -> str:
    return (
        f"photos {stretch.first + 1} to {stretch.last + 1} of {len(names)}, {names[stretch.first]} to "
        f"{names[stretch.last]},"
    )


def _at_most(p: float) -> str:
    return "below 0.002" if p < 0.002 else f"{p:.3f}"


def _sizes(headers: Sequence[Header]) -> str:
    areas = np.array([header.width * header.height for header in headers], dtype=float)
    aspects = np.array([header.width / header.height for header in headers])
    small, large = headers[int(areas.argmin())], headers[int(areas.argmax())]
    if areas.max() > 4 * areas.min():
        return (
            f"sizes differ widely, from {small.width} x {small.height} to {large.width} x {large.height}; "
            "all were brought to one size, and the small ones are blurrier than the others"
        )
    if aspects.max() > 1.5 * aspects.min():
        return (
            f"shapes differ, from {aspects.min():.2f} to {aspects.max():.2f} times as wide as high; "
            "all were stretched to the median shape"
        )
    return ""


def _duplicates(rows: Sequence[Photo]) -> str:
    copies = [row for row in rows if row.duplicate_of]
    if not copies:
        return ""
    return (
        f"{len(copies)} photo{'s are exact copies' if len(copies) > 1 else ' is an exact copy'} of another "
        f"({copies[0].path} = {copies[0].duplicate_of}); a copied flaw looks like a recurring one and scores lower"
    )


def _few(photos: int) -> str:
    if photos >= ENOUGH:
        return ""
    return f"only {photos} photos: the order is a hint, not evidence; with 30 or more it becomes reliable"
