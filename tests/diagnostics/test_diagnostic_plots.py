"""Pictures: written, of the stated width, not blank, the same every time, and possible for any batch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from power_law import plant, rows, table

from blemish.diagnostics import Diagnosis, diagnose
from blemish.diagnostics.family_plots import community_plot, graph_plot
from blemish.diagnostics.layout import disc_layout
from blemish.diagnostics.plots import burn_out_plot, endurance_plot, hill_plot, scaling_plot
from blemish.errors import BackboneError

PLOTS = [scaling_plot, hill_plot, burn_out_plot, endurance_plot]


@pytest.fixture(scope="module")
def large() -> Diagnosis:
    distances = table(40, 50)
    plant(distances, list(range(6)), 20)
    return diagnose(rows(distances), 40, 50, omega=12, bound=0.12)


def inked(path: Path) -> float:
    """Share of the pixels that are not white; the picture is twice 900 wide."""
    with Image.open(path) as picture:
        assert picture.width == 1800
        return float((np.asarray(picture.convert("L")) < 250).mean())


def coloured(path: Path) -> float:
    """Share of clearly coloured pixels: bars, lines and dots rather than text and axes."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    return float((np.ptp(pixels, axis=2) > 60).mean())


@pytest.mark.parametrize("plot", PLOTS)
def test_a_picture_of_the_diagnosis(plot: Callable[[Diagnosis, Path], None], large: Diagnosis, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot(large, tmp_path / "plot.png")
    assert inked(tmp_path / "plot.png") > 0.02
    assert coloured(tmp_path / "plot.png") > 0.0005
    plot(large, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "plot.png").read_bytes()


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize("images", [3, 4, 6])
@pytest.mark.parametrize("equal", [False, True])
def test_a_picture_of_a_tiny_batch(
    plot: Callable[[Diagnosis, Path], None], images: int, equal: bool, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    distances = np.full((images, images, 5), 0.5, np.float32) if equal else table(images, 5)
    plot(diagnose(rows(distances), images, 5, omega=2), tmp_path / "plot.png")
    assert inked(tmp_path / "plot.png") > 0.005


@pytest.mark.parametrize("count", [1, 5, 60])
def test_a_picture_of_densities(count: int, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    densities = [147.4, *[20.0 / n for n in range(1, count)]]
    flags = [True, *[False] * (count - 1)]
    community_plot(densities, [23, *[3] * (count - 1)], flags, 40.85, "density", tmp_path / "flagged.png")
    community_plot(densities, [23, *[3] * (count - 1)], [False] * count, 40.85, "density", tmp_path / "plain.png")
    assert coloured(tmp_path / "flagged.png") > 0.005  # the family stands out
    assert coloured(tmp_path / "plain.png") < 0.001


def test_densities_that_are_all_nought(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    community_plot([0.0, 0.0], [3, 3], [False, False], 0.0, "density", tmp_path / "plot.png")
    assert inked(tmp_path / "plot.png") > 0.005


def graph(images: int) -> tuple[np.ndarray, list[int]]:
    weights = np.random.default_rng(0).poisson(1.0, (images, images)).astype(float)
    weights[:5, :5] += 30
    weights = np.triu(weights, 1)
    return weights + weights.T, [9] * 5 + [n % 4 for n in range(images - 5)]


def test_a_picture_of_the_graph(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    weights, communities = graph(90)
    graph_plot(weights, communities, {9}, tmp_path / "family.png")
    graph_plot(weights, communities, set(), tmp_path / "plain.png")
    assert inked(tmp_path / "plain.png") > 0.02
    assert coloured(tmp_path / "family.png") > 0.002 > coloured(tmp_path / "plain.png")
    graph_plot(weights, communities, {9}, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "family.png").read_bytes()


def test_a_graph_without_links(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    graph_plot(np.zeros((4, 4)), [0, 1, 2, 3], set(), tmp_path / "plot.png")
    assert inked(tmp_path / "plot.png") > 0.005


def test_a_graph_of_another_shape(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected \(3, 3\)"):
        graph_plot(np.zeros((4, 4)), [0, 1, 2], set(), tmp_path / "plot.png")


def test_the_layout_keeps_dots_and_discs_apart() -> None:
    weights, communities = graph(90)
    labels = np.array([*communities, *range(100, 130)])
    strength = np.append(weights.sum(axis=1), np.zeros(30))
    positions, discs = disc_layout(strength, labels, np.array([9]))
    away = np.hypot(*(positions[:, None] - positions[None]).transpose(2, 0, 1)) + 10 * np.eye(len(labels))
    assert away.min() > 0.6
    assert discs[9][:2] == (0, 0)
    for label, (x, y, radius) in discs.items():
        to_centre = np.hypot(*(positions - (x, y)).T)
        assert (to_centre[labels == label] <= radius).all()
        assert (to_centre[labels != label] > radius).all()


def test_without_matplotlib_the_pip_line_is_said(
    large: Diagnosis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BackboneError, match=r"pip install 'blemish\[plots\]'"):
        scaling_plot(large, tmp_path / "plot.png")
