"""One look for all pictures: paper, ink, a few colours, and where matplotlib is needed.

It knows nothing of what is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blemish.errors import BackboneError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ACCENT", "FAMILIES", "FLAG", "INK", "LIGHT", "MUTED", "PLAIN", "canvas"]

INK, MUTED, LIGHT, PLAIN = "#1b1d20", "#575c64", "#dcdcd8", "#a7afb9"
ACCENT, FLAG = "#1a5f8e", "#c8500a"  # measured; what stands out. A red-green blind person sees blue and ochre
FAMILIES = ("#c8500a", "#1a5f8e", "#2f8f6b", "#a14f86", "#c79a1b", "#4fa3d1")  # then again from the first

WIDTH = 900  # pixels a picture is meant to be seen at; it is drawn at twice that, for sharp screens
_STYLE = {
    "figure.facecolor": "white",
    "font.size": 11,
    "axes.titlesize": 14,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlepad": 12,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": "#b9bcc0",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#ececea",
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "lines.linewidth": 2,
}


@contextmanager
def canvas(path: Path, *, height: int = 500) -> Iterator[Axes]:
    """Axes of a picture 900 pixels wide, written to ``path`` as PNG in double resolution when the block ends.

    Raises ``BackboneError`` without matplotlib; ``OSError`` if ``path`` cannot be written.
    """
    matplotlib, figure_class = _matplotlib()
    with matplotlib.rc_context(_STYLE):
        # a bare Figure, not pyplot: no window, no backend to choose, nothing left open
        figure = figure_class(figsize=(WIDTH / 100, height / 100), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.15, h_pad=0.15)
        yield figure.subplots()
        figure.savefig(path, dpi=200, format="png")


def _matplotlib() -> tuple[Any, Any]:
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BackboneError("Drawing needs the package matplotlib. Type: pip install 'blemish[plots]'") from error
    return matplotlib, Figure
