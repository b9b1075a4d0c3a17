"""Parity with the published AnomalyDINO code: distances, image score and background mask on its own features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blemish.scoring.foreground import foreground
from blemish.scoring.memory import cosine_nearest, mean_of_top_share


@pytest.fixture
def stored(golden: Path) -> dict[str, np.ndarray]:
    return dict(np.load(golden / "anomalydino.npz"))


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.linalg.norm(features, axis=-1, keepdims=True)


# name of the published run -> k, whether background tokens of test photos, of references are left out
@pytest.mark.parametrize(
    ("name", "k", "tests", "references"),
    [
        ("knn1", 1, False, False),
        ("knn3", 3, False, False),
        ("masked_test_knn1", 1, True, False),
        ("masked_test_and_ref_knn1", 1, True, True),
    ],
)
def test_distances_and_scores(stored: dict[str, np.ndarray], name: str, k: int, tests: bool, references: bool) -> None:
    everywhere = np.ones_like(stored["mask"])
    bank = _unit(stored["ref_features"])[:, stored["mask"] if references else everywhere].reshape(-1, 32)
    for at, tokens in enumerate(_unit(stored["test_features"])):
        distances = cosine_nearest(tokens, bank, k) * (stored["mask"] if tests else everywhere)
        np.testing.assert_allclose(distances, stored[f"{name}_patch_dists"][at].ravel(), atol=1e-5)
        np.testing.assert_allclose(mean_of_top_share(distances, 0.01), stored[f"{name}_scores"][at], atol=1e-5)


def test_below_100_tokens_the_score_is_the_largest_distance(stored: dict[str, np.ndarray]) -> None:
    assert mean_of_top_share(stored["small_dists_49"], 0.01) == pytest.approx(stored["small_mean_top1p"], abs=1e-6)


@pytest.mark.parametrize(("sign", "name"), [(1, "bgmask_out"), (-1, "bgmask_out_inverted_sign")])
def test_foreground(stored: dict[str, np.ndarray], sign: int, name: str) -> None:
    grid = sign * stored["bgmask_features"].reshape(*stored["grid"], 32)
    np.testing.assert_array_equal(foreground(grid).ravel(), stored[name])
