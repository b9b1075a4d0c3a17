"""Real photos, default settings. The sets lie in BLEMISH_DATA; figures are committed in benchmarks/real_sets.md."""

from __future__ import annotations

from pathlib import Path

from blemish.metrics.ranking import auroc
from blemish.scanning import scan


def test_toy_aliens(data: Path) -> None:
    result = scan(data / "toy_aliens", cache=False)
    assert len(result.scored) == 118
    labels = [path.startswith("test/anomaly") for path in result.scores]
    assert auroc(list(result.scores.values()), labels) >= 0.97


def test_tiles_of_many_sizes_are_scanned_without_touching_their_masks(data: Path) -> None:
    result = scan(data / "magnetic_tile", size=128, cache=False)
    assert all(photo.path.startswith("test/") for photo in result.photos)
    assert len(result.scored) == 692
    assert any("sizes differ widely" in warning for warning in result.warnings)
    labels = ["/good/" not in path for path in result.scores]
    assert auroc(list(result.scores.values()), labels) > 0.6  # far below the default size, but not blind
