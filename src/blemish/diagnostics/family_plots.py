"""Pictures of the graph of photos, one PNG each: what its communities were judged by, and who is linked to whom.

They need matplotlib. They are given the graph as numbers and know nothing of how its families were found.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from blemish.diagnostics.canvas import FAMILIES, FLAG, INK, MUTED, PLAIN, canvas
from blemish.diagnostics.layout import Discs, disc_layout

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["community_plot", "graph_plot"]

Array = npt.NDArray[np.float64]

BARS = 24  # communities that are drawn, those with the largest values
EDGES = 3_000  # edges that are drawn, the heaviest ones


def community_plot(
    values: Sequence[float], sizes: Sequence[int], families: Sequence[bool], fence: float, quantity: str, path: Path
) -> None:
    """What each community was judged by, the largest first, with the fence beyond which one counts as a family.

    ``values``: in words of ``quantity``; ``sizes``: its photos; ``families``: whether it was taken for a recurring
    flaw; ``fence``: in units of the values. All (communities,) long, and at least one.
    Raises ``BackboneError`` without matplotlib, ``ValueError`` if the lengths differ, ``OSError`` if ``path`` cannot be
    written.
    """
    bars = sorted(zip(values, sizes, families, strict=True), key=lambda bar: (-bar[0], -bar[1]))[:BARS]
    left_out = len(values) - len(bars)
    heights = np.array([value for value, _, _ in bars])
    flagged = np.array([family for _, _, family in bars], dtype=bool)
    places = np.arange(len(bars))
    with canvas(path) as axes:
        axes.set_title("Communities, and which of them are families")
        axes.set_xlabel("photos in the community" + (f" ({left_out} smaller ones are not shown)" if left_out else ""))
        axes.set_ylabel(quantity)
        for chosen, colour, label in (
            (flagged, FLAG, "family: a flaw that recurs"),
            (~flagged, PLAIN, "not a family, or usual at its place"),
        ):
            if chosen.any():
                axes.bar(places[chosen], heights[chosen], width=0.72, color=colour, label=label)
        axes.axhline(fence, color=INK, ls="--", lw=1.2, label=f"fence: {fence:.3g}")
        top = 1.3 * max(float(heights.max()), fence, 1e-9)
        for place, height in enumerate(heights.tolist()):
            axes.text(place, height + 0.012 * top, f"{height:.3g}", ha="center", va="bottom", fontsize=9, color=MUTED)
        axes.set_ylim(0, top)
        axes.set_xlim(-0.6, max(len(bars), 8) - 0.4)
        axes.set_xticks(places, [str(size) for _, size, _ in bars])
        axes.grid(axis="x", visible=False)
        axes.legend(loc="upper right")


def graph_plot(weights: Array, communities: Sequence[int], families: Collection[int], path: Path) -> None:
    """The photos as dots, grouped by community, families in colour, with the heaviest links between them.

    ``weights: (B, B)`` symmetric link counts, the diagonal is not read; ``communities``: (B,) label of each photo;
    ``families``: the labels that were taken for recurring flaws. Raises as ``community_plot``, ``ValueError`` for other
    shapes.
    """
    labels = np.asarray(communities, dtype=np.int64)
    if weights.shape != (len(labels), len(labels)):
        raise ValueError(f"weights are {weights.shape}, expected ({len(labels)}, {len(labels)})")
    linked = np.triu(weights, 1)
    flagged = sorted(families, key=lambda label: (-int((labels == label).sum()), label))
    colours = {label: FAMILIES[n % len(FAMILIES)] for n, label in enumerate(flagged)}
    positions, discs = disc_layout((linked + linked.T).sum(axis=1), labels, np.array(flagged, dtype=np.int64))
    with canvas(path, height=640) as axes:
        axes.set_title("Photos that share unusual patches")
        axes.set_axis_off()
        axes.set_aspect("equal")
        left_out = _edges(axes, linked, positions, labels, colours)
        dots = [colours.get(int(label), PLAIN) for label in labels]
        size = float(np.clip(6_000 / max(len(labels), 1), 14, 90))
        axes.scatter(positions[:, 0], positions[:, 1], s=size, c=dots, edgecolors="white", linewidths=0.8, zorder=3)
        _names(axes, discs, labels, colours)
        note = "Each dot is a photo, each group a community; a line is the darker the more patches two photos share."
        if left_out:
            note += f"\nThe {EDGES:,} heaviest of {EDGES + left_out:,} lines are drawn."
        axes.text(0, -0.02, note, transform=axes.transAxes, va="top", color=MUTED, fontsize=10)


def _edges(axes: Axes, linked: Array, positions: Array, labels: npt.NDArray[np.int64], colours: dict[int, str]) -> int:
    """Lines between the most linked photos; -> how many were left out."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgba

    rows, columns = np.nonzero(linked > 0)
    if not len(rows):
        return 0
    heaviest = np.argsort(-linked[rows, columns], kind="stable")[:EDGES][::-1]  # the heaviest on top
    left_out = len(rows) - len(heaviest)
    rows, columns = rows[heaviest], columns[heaviest]
    share = (linked[rows, columns] / linked.max()) ** 0.7  # so that light lines are seen, and make no fog
    shown = []
    for row, column, weight in zip(rows, columns, share, strict=True):
        own = colours.get(int(labels[row])) if labels[row] == labels[column] else None
        shown.append(to_rgba(own or MUTED, (0.5 if own else 0.35) * float(weight)))
    ends = np.stack([positions[rows], positions[columns]], axis=1)
    axes.add_collection(LineCollection(list(ends), colors=shown, linewidths=0.4 + 1.2 * share, zorder=2))
    return left_out


def _names(axes: Axes, discs: Discs, labels: npt.NDArray[np.int64], colours: dict[int, str]) -> None:
    for label, (x, y, radius) in discs.items():
        if label in colours:
            size = int((labels == label).sum())
            axes.annotate(
                f"family of {size} photos",
                (x, y + radius),
                (0, 5),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=10,
                fontweight="bold",
                color=colours[label],
                zorder=4,
                bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.85},
            )
