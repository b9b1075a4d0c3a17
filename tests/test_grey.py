"""Grey levels that are unusual at their place, beside tokens: what --grey does to a scan of volumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("nibabel", reason="volumes need the extra: pip install 'blemish[volumes]'")

from blemish.config import VolumeConfig
from blemish.deciding import decide
from blemish.errors import ConfigError
from blemish.features.volume_tokens import cell_means
from blemish.rejudging import rejudge
from blemish.scanning import scan
from blemish.scoring.places import beside, unusual_grey
from blemish.teaching import teach
from volume_scans import CONFIG, write

BRIGHT = replace(CONFIG, volumes=replace(CONFIG.volumes, grey="bright"))


def test_cells_have_the_mean_of_their_brain() -> None:
    """Half of a cell outside of the brain does not make it darker; a cell without brain is 0."""
    volume, brain = torch.zeros(8, 8, 8), torch.zeros(8, 8, 8)
    brain[:2], volume[:2] = 1, 0.6
    brain[4:, :4, :4], volume[4:, :4, :4] = 1, 0.2
    means = cell_means(volume, brain, 2)
    torch.testing.assert_close(means[0], torch.full((2, 2), 0.6))
    assert means[1].tolist() == [[pytest.approx(0.2), 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("side, seen", [("bright", (1, 0)), ("dark", (0, 1)), ("both", (1, 1))])
def test_unusual_is_bright_dark_or_both(side: str, seen: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    cells = 0.5 + 0.02 * rng.normal(size=(9, 6, 6, 6)).astype(np.float32)
    cells[3, 2, 2, 2], cells[4, 4, 4, 4] = 0.9, 0.1
    found = unusual_grey(cells, np.ones(cells.shape, bool), side)
    assert found.min() >= 0
    assert tuple(found[at] > 5 for at in ((3, 2, 2, 2), (4, 4, 4, 4))) == tuple(map(bool, seen))


def test_a_volume_with_a_large_lesion_is_no_darker_elsewhere() -> None:
    """Its grey levels were scaled by what the lesion belongs to."""
    rng = np.random.default_rng(1)
    tissue = 0.5 + 0.05 * rng.normal(size=(9, 6, 6, 6)).astype(np.float32)
    tissue[3] *= 0.6
    found = unusual_grey(tissue, np.ones(tissue.shape, bool), "both")
    assert found[3].mean() < 1.5 * np.delete(found, 3, axis=0).mean()


def test_two_kinds_of_maps_weigh_the_same_whatever_their_units() -> None:
    rng = np.random.default_rng(0)
    one, other = (np.abs(rng.normal(size=(5, 4, 4, 4))).astype(np.float32) for _ in range(2))
    inside = rng.random(one.shape) < 0.7
    both = beside(one, other, inside)
    np.testing.assert_allclose(beside(1000 * one, other, inside), both, rtol=1e-4)
    assert not both[~inside].any()
    assert beside(one, -other, inside).min() == 0
    assert np.isfinite(beside(np.zeros_like(one), other, inside)).all()
    flat = 1 + 1e-6 * one  # next to nothing sets it apart, which is no unit
    assert beside(flat, np.zeros_like(one), inside).max() < 2


def test_a_scan_of_bright_lesions(tmp_path: Path) -> None:
    """The lesion scores higher against the rest than by tokens alone; a decision and another threshold give the same
    scores; examples are refused in a sentence."""
    folder = write(tmp_path / "brains", 14, (2, 5, 9, 12))
    result = scan(folder, BRIGHT)
    lesions = {f"b{number:02}.nii.gz" for number in (2, 5, 9, 12)}
    others = {path: score for path, score in result.scores.items() if path not in lesions}
    first, *rest = sorted(others.values(), reverse=True)  # one brain whose tokens are odd, and the others
    assert min(result.scores[path] for path in lesions) > 5 * max(rest)
    assert first < 1.1 * max(result.scores[path] for path in lesions)
    plain = scan(folder, CONFIG).scores
    assert not lesions & set(list(plain)[:4]), "the premise: by tokens alone they vouch for each other"
    run = result.save(tmp_path / "run")
    assert dict(rejudge(run, threshold=1e9).scores) == pytest.approx(dict(result.scores))
    before = dict(result.scores)
    decide(run, 1, "variant")
    assert dict(decide(run, 1, undo=True).result.scores) == pytest.approx(before)
    with pytest.raises(ConfigError, match="--grey bright"):
        teach(run, good=[folder / "b00.nii.gz"])


def test_a_word_that_is_no_side() -> None:
    with pytest.raises(ConfigError, match="off, bright, dark or both"):
        VolumeConfig(grey="white")
