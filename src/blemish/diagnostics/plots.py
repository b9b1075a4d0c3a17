"""Pictures of a diagnosis, one PNG each: scaling, tail index, burn-out, endurance. They need matplotlib.

What a batch is too small for is said in the picture rather than left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blemish.diagnostics.canvas import ACCENT, FLAG, INK, MUTED, PLAIN, canvas
from blemish.diagnostics.diagnosis import Diagnosis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

__all__ = ["burn_out_plot", "endurance_plot", "hill_plot", "scaling_plot"]


def scaling_plot(diagnosis: Diagnosis, path: Path) -> None:
    """Pooled growth rate against rank on log-log axes, with the fitted power law.

    Raises ``BackboneError`` without matplotlib, ``OSError`` if ``path`` cannot be written."""
    ranks = np.arange(1, len(diagnosis.growth) + 1)
    growth = np.array(diagnosis.growth)
    law = diagnosis.power_law
    with canvas(path) as axes:
        axes.set_title("How the matches of a patch thin out")
        axes.set_xlabel("rank i of the match (1 = the most similar photo)")
        axes.set_ylabel("growth rate of the distance, ln(d(i+1) / d(i))")
        if law is None:
            return _say(axes, "too few photos, or too many copies among them, for a curve")
        axes.set_yscale("log")
        _plain_numbers(axes.yaxis)
        _log_ranks(axes)
        fitted = np.array([law.first, law.last])
        line = np.exp(law.intercept) * fitted**law.exponent
        label = f"fit, ranks {law.first} to {law.last}: slope {law.exponent:.2f}, R² {int(1000 * law.r2) / 1000:.3f}"
        axes.plot(fitted, line, color=ACCENT, lw=2.5, label=label)
        theory = line[0] * (fitted / fitted[0]) ** -1.0
        axes.plot(fitted, theory, "--", lw=1.5, color=FLAG, label="theory: slope -1")
        axes.plot(
            ranks[growth > 0], growth[growth > 0], "o", ms=4, color=MUTED, mec="none", label="median patch / ln 2"
        )
        axes.legend()
    return None


def hill_plot(diagnosis: Diagnosis, path: Path) -> None:
    """Tail index against the number of matches it is estimated from, with its plateau. Raises as ``scaling_plot``."""
    curve, level = diagnosis.hill, diagnosis.plateau
    with canvas(path) as axes:
        axes.set_title("Tail index: how rare close matches are")
        axes.set_xlabel("number k of best matches used")
        axes.set_ylabel("tail index α (no unit)")
        if len(curve.k) < 3:
            return _say(axes, "too few photos, or too many copies among them, for a curve")
        axes.fill_between(
            curve.k, curve.low, curve.high, color=PLAIN, alpha=0.3, lw=0, label="middle half of the patches"
        )
        axes.plot(curve.k, curve.alpha, color=ACCENT, marker="o", ms=4, label="all patches, median")
        if level is not None:
            axes.hlines(
                level.alpha,
                level.first,
                level.last,
                color=FLAG,
                linestyle="--",
                label=f"plateau, k = {level.first} to {level.last}: α = {level.alpha:.1f}",
            )
        _log_ranks(axes)
        axes.set_ylim(0, 1.15 * max(curve.high))
        axes.legend(loc="lower right")
    return None


def burn_out_plot(diagnosis: Diagnosis, path: Path) -> None:
    """Histogram of the burn-out points of the sampled patches, beside chance. Raises as ``scaling_plot``."""
    found = diagnosis.burn_out
    with canvas(path) as axes:
        axes.set_title("Patches that run out of good matches")
        axes.set_xlabel("burn-out point H: matches H other photos well, the rest badly")
        axes.set_ylabel("share of the sampled patches, %")
        if found is None:
            return _say(axes, "no estimate: the matches of most patches are all alike")
        ranks = np.arange(1, len(found.counts) + 1)
        share = 100 * np.array(found.counts) / diagnosis.sampled
        label = f"{found.share:.1%} of {diagnosis.sampled:,} patches burn out before rank {diagnosis.omega}"
        axes.bar(ranks, share, width=0.85, color=ACCENT, label=label)
        each = 100 * found.chance / len(ranks)
        axes.axhline(each, color=FLAG, ls="--", lw=1.5, label=f"theory allows {found.chance:.0%} in all, evenly")
        axes.set_xlim(0.3, len(ranks) + 0.7)
        axes.set_ylim(0, 1.25 * max(share.max(), each))
        axes.grid(axis="x", visible=False)
        _whole_numbers(axes)
        axes.legend(loc="upper right")
    return None


def endurance_plot(diagnosis: Diagnosis, path: Path) -> None:
    """Histogram of endurance ratios on a logarithmic scale, the selected links in front. Raises as ``scaling_plot``."""
    found = diagnosis.endurance
    edges, links, selected = np.array(found.edges), np.array(found.links), np.array(found.selected)
    with canvas(path) as axes:
        axes.set_title("Endurance ratios: links between patches and photos")
        axes.set_xlabel(f"endurance ratio d(i) / d({diagnosis.omega}), i < {diagnosis.omega} (no unit)")
        axes.set_ylabel("links in the sample")
        axes.stairs(links, edges, fill=True, color=PLAIN, alpha=0.6, label=f"all links ({links.sum():,})")
        if found.bound is not None:
            label = f"suspicious links ({selected.sum():,}): weighted ratio at most {found.bound:.3g}"
            axes.stairs(selected, edges, fill=True, color=FLAG, label=label)
        axes.set_yscale("log")
        _plain_numbers(axes.yaxis)
        axes.set_ylim(0.7, 3 * links.max())
        axes.set_xlim(0, 1)
        axes.legend(loc="upper left")


def _log_ranks(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    _plain_numbers(axes.xaxis)


def _plain_numbers(axis: Axis) -> None:
    """0.01 and 1,000 on a logarithmic axis, and nothing between the main ticks."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, min_n_ticks=1))


def _say(axes: Axes, what: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, what, ha="center", va="center", transform=axes.transAxes, color=INK)
