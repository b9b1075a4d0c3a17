"""A run of volumes that is to grow: its volumes and the new ones in one listing.

It knows how a run names its volumes and where their files lie, not how they are compared.
"""

from __future__ import annotations

from dataclasses import replace

from blemish import volume_file
from blemish.errors import InputError
from blemish.extending import Earlier, real
from blemish.inputs.images import PhotoFile
from blemish.inputs.volume_layouts import VolumeListing
from blemish.paths import RUN_VOLUMES

__all__ = ["grown"]


def grown(earlier: Earlier, listing: VolumeListing) -> VolumeListing:
    """The run's volumes and after them those of ``listing`` that are not among them, named as new photos are.

    Raises ``InputError`` if volumes of the run are missing (the run would shrink), or none are new."""
    earlier.require_all()
    stored = volume_file.read(earlier.run / RUN_VOLUMES).by_path
    known = {real(file) for file in earlier.files.values()}
    new = [one for one in listing.volumes if real(one.files[0]) not in known]
    if not new:
        raise InputError(
            f"All {len(listing.volumes)} volumes in {str(listing.root)!r} are in {str(earlier.run)!r} already. "
            "Give the folder of the new ones."
        )
    # a series is named by its folder, as if that were a file
    places = [PhotoFile(one.path, listing.root / one.path) for one in new]
    named = earlier.named(places, listing.root.name or "new")
    return VolumeListing(
        earlier.source,
        [stored[path].file for path in earlier.files if path in stored]
        + [replace(one, path=place.path) for one, place in zip(new, named, strict=True)],
        (f"{len(earlier.files)} volumes of {earlier.run.absolute().name} and {len(new)} new", *listing.notes),
    )
