"""The account of bytes: what an array was charged comes back, once, whatever became of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blemish.matching.store import ArrayStore, Budget


@pytest.mark.parametrize("rows", [10, 7, 0])
def test_an_array_that_shrank_gives_back_what_it_was_charged(tmp_path: Path, rows: int) -> None:
    budget = Budget(1000, tmp_path)
    array = budget.array((10, 10), np.uint8, share=0.5)
    assert budget.left == 900
    array.shrink(rows)
    budget.release(array)
    assert budget.left == 1000


def test_an_array_gives_back_once(tmp_path: Path) -> None:
    budget = Budget(1000, tmp_path)
    array = budget.array((10, 10), np.uint8, share=0.5)
    budget.release(array)
    budget.release(array)
    assert budget.left == 1000


def test_a_scratch_file_gives_nothing_back(tmp_path: Path) -> None:
    budget = Budget(1000, tmp_path)
    array = budget.array((60, 10), np.uint8, share=0.5)
    assert not array.in_memory
    array.shrink(1)
    budget.release(array)
    assert budget.left == 1000


def test_what_a_budget_did_not_hand_out_gives_it_nothing(tmp_path: Path) -> None:
    budget = Budget(1000, tmp_path)
    own = ArrayStore((10, 10), np.uint8)
    budget.release(own)
    assert budget.left == 1000
    assert not own.in_memory
