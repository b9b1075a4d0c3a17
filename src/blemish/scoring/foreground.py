"""Which tokens of a photo show the part and which its surroundings, from the tokens alone (AnomalyDINO).

Pure functions on arrays. They know nothing of photos or backbones, but the published threshold fits DINOv2's last layer
only: it is a length in feature space.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["foreground"]

BORDER, KEPT = 0.2, 0.35  # the centre is what lies within 20 % of the border; of it more than 35 % must be foreground


def foreground(grid: npt.NDArray[np.float32], threshold: float = 10.0) -> npt.NDArray[np.bool_]:
    """``grid: (h, w, C)`` features as the backbone gives them, not of unit length -> (h, w), True on the part.

    The part is where the first principal component exceeds ``threshold``; of its two ends the one that fills the middle
    of the photo. Dilated by one token, then holes of one token closed (Damm et al. 2025, AnomalyDINO, and
    ``compute_background_mask`` of their code). Suited to single parts in the middle of the photo on a plain
    ground; of a surface that fills the photo it removes something arbitrary.
    """
    from scipy import ndimage

    h, w, channels = grid.shape
    centred = grid.reshape(-1, channels).astype(np.float64)
    centred -= centred.mean(axis=0)
    direction = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    direction *= np.sign(direction[np.abs(direction).argmax()])  # scikit-learn's sign
    component = (centred @ direction).reshape(h, w)
    part = component > threshold
    centre = part[int(h * BORDER) : int(h * (1 - BORDER)), int(w * BORDER) : int(w * (1 - BORDER))]
    if centre.sum() <= KEPT * centre.size:
        part = -component > threshold
    line = np.ones(3, dtype=bool)  # the authors' code dilates and closes one long row of tokens, so never up and down
    grown = ndimage.binary_dilation(part.ravel(), line)
    closed = ndimage.binary_erosion(ndimage.binary_dilation(grown, line), line, border_value=1)
    return np.asarray(closed.reshape(h, w), dtype=np.bool_)
