"""Real brains: what is stripped and what is not, masks that hold the tumours, boxes that agree, maps that come back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nibabel", reason="volumes need the extra: pip install 'blemish[volumes]'")

from blemish.inputs.volume_checks import VolumeFacts, differences, place
from blemish.inputs.volume_grid import brain_box, from_cube, to_cube
from blemish.inputs.volume_layouts import find_volumes
from blemish.inputs.volume_nifti import read_nifti
from blemish.inputs.volumes import clipped, read_brain, read_volume


def test_stripped_brains(data: Path) -> None:
    """Their headers put them at different places, which is noticed; stretched boxes agree much better."""
    files = find_volumes(data / "brain_t1_healthy").volumes[:3]
    volumes = [read_volume(file) for file in files]
    brains = [read_brain(file, volume) for file, volume in zip(files, volumes, strict=True)]
    assert all(brain.how.startswith("stripped") for brain in brains)
    facts = [
        VolumeFacts(file.path, volume.geometry, brain_box(brain.inside))
        for file, volume, brain in zip(files, volumes, brains, strict=True)
    ]
    assert any("different shapes" in said for said in differences(facts, "box"))
    boxes = place(facts, "box").boxes
    cubes = [to_cube(brain.inside, box, 32) > 0.5 for brain, box in zip(brains, boxes, strict=True)]
    for cube in cubes[1:]:
        assert 2 * (cube & cubes[0]).sum() / (cube.sum() + cubes[0].sum()) > 0.9
    grey = clipped(volumes[0].values, brains[0].inside)
    back = from_cube(to_cube(grey, boxes[0], 192), boxes[0], volumes[0].geometry.ras_shape)
    assert np.corrcoef(back[brains[0].inside], grey[brains[0].inside])[0, 1] > 0.95


def test_heads_with_noisy_air_and_wrong_spacing(data: Path) -> None:
    """Backgrounds of 0, 1 or 2, thick slices that claim 1 mm: the mask holds the tumour and leaves the rest out."""
    listing = find_volumes(data / "brain_flair_glioma")
    assert (len(listing.volumes), listing.notes) == (16, ("16 masks passed over, as their names say",))
    facts = []
    for file in listing.volumes[:3]:
        volume = read_volume(file)
        brain = read_brain(file, volume)
        tumour = volume.geometry.to_ras(read_nifti(file.files[0].with_name("mask.nii.gz"))[0]) > 0
        assert brain.how.startswith("not stripped")
        assert (brain.inside & tumour).sum() > 0.9 * tumour.sum()
        assert 0.12 < brain.inside.mean() < 0.32  # the head takes .38 to .56
        facts.append(VolumeFacts(file.path, volume.geometry, brain_box(brain.inside)))
    assert any("the spacing is likely wrong. Use --align box" in said for said in differences(facts, "none"))
