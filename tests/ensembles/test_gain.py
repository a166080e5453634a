"""Axes: C cell of a split, K class."""

import numpy as np
import pytest
from numpy.typing import NDArray

from emsearch.ensembles.gain import gain, gains_over
from emsearch.errors import SpecError


def _cells(right: float, spread: float, seed: int, cells: int = 40) -> NDArray[np.int64]:
    """Return confusions of two classes; the part that is right differs from cell to cell."""
    rng = np.random.default_rng(seed)
    parts = np.clip(right + spread * rng.standard_normal((cells, 2)), 0, 1)
    rows = np.round(1000 * parts).astype(np.int64)
    return np.stack(
        [
            np.stack([rows[:, 0], 1000 - rows[:, 0]], axis=1),
            np.stack([1000 - rows[:, 1], rows[:, 1]], axis=1),
        ],
        axis=1,
    )


def test_equal_segmentations_gain_nothing_for_sure() -> None:
    cells = _cells(0.8, 0.1, seed=0)
    found = gain(cells, cells)
    assert (found.difference, found.low, found.high) == (0, 0, 0)


def test_a_large_gain_is_sure_and_a_small_one_is_not() -> None:
    large = gain(_cells(0.9, 0.1, seed=0), _cells(0.6, 0.1, seed=1))
    small = gain(_cells(0.801, 0.1, seed=0), _cells(0.8, 0.1, seed=1))
    assert 0 < large.low < large.difference < large.high
    assert small.low < 0 < small.high


def test_fewer_cells_are_less_sure() -> None:
    many, few = (gain(_cells(0.9, 0.1, 0, cells), _cells(0.8, 0.1, 1, cells)) for cells in (400, 8))
    assert few.high - few.low > 3 * (many.high - many.low)


def test_the_interval_holds_the_truth_about_nine_times_in_ten() -> None:
    held = 0
    for seed in range(60):
        found = gain(_cells(0.8, 0.1, 2 * seed), _cells(0.8, 0.1, 2 * seed + 1))
        held += found.low <= 0 <= found.high
    assert 47 <= held <= 60


def test_a_class_has_a_gain_of_its_own_and_one_that_is_nowhere_has_none() -> None:
    ours, theirs = (np.zeros((30, 3, 3), np.int64) for _ in range(2))
    ours[:, :2, :2] = _cells(0.9, 0.05, seed=0, cells=30)
    theirs[:, :2, :2] = _cells(0.6, 0.05, seed=1, cells=30)
    found = gain(ours, theirs)
    assert found.iou_K[2] is None
    known = [one for one in found.iou_K if one is not None]
    assert np.mean([one.difference for one in known]) == pytest.approx(found.difference)
    assert all(0 < one.low < one.difference < one.high for one in known)


def test_gains_are_over_each_of_the_others() -> None:
    cells = {name: _cells(0.8, 0.1, seed) for seed, name in enumerate("abc")}
    assert list(gains_over("b", cells)) == ["a", "c"]


def test_other_cells_cannot_be_compared() -> None:
    with pytest.raises(SpecError, match="confusions of other cells"):
        gain(_cells(0.8, 0.1, 0, 10), _cells(0.8, 0.1, 0, 11))
