from typing import Any

import numpy as np
import pytest

from emsearch.ensembles.worst import Worst, worst_place
from emsearch.inference.box import Box


def test_the_worst_place_holds_the_errors() -> None:
    true = np.zeros((100, 120), np.int64)
    labels = true.copy()
    labels[60:70, 90:100] = 1
    found = worst_place(true, labels, side=10)
    assert found is not None
    part, place = found
    assert part == pytest.approx(1.0)
    assert place == (slice(60, 70), slice(90, 100))


@pytest.mark.parametrize("side", [7, 10, 500])
def test_the_place_lies_in_the_section_whatever_its_size(side: int) -> None:
    rng = np.random.default_rng(1)
    true, labels = rng.integers(0, 3, (2, 40, 31))
    found = worst_place(true, labels, side=side)
    assert found is not None
    part, (rows, columns) = found
    inside = true[rows, columns], labels[rows, columns]
    assert inside[0].shape == (min(side, 40), min(side, 31))
    assert part == pytest.approx((inside[0] != inside[1]).mean())
    assert part >= (true != labels).mean() - 1e-9


def test_what_is_not_labelled_is_no_error() -> None:
    true = np.full((40, 40), -1)
    true[:, :20] = 0
    labels = np.ones((40, 40), np.int64)
    labels[:, :20] = 0
    labels[5, 5] = 1
    found = worst_place(true, labels, side=10)
    assert found is not None
    assert found[0] == pytest.approx(0.01)
    assert found[1][1].start <= 5


def test_without_labels_there_is_no_worst_place() -> None:
    assert worst_place(np.full((20, 20), -1), np.zeros((20, 20), np.int64)) is None


def test_the_worst_of_all_blocks_and_sections_is_kept() -> None:
    volume: Any = object()
    worst = Worst()
    true_ZYX = np.zeros((3, 40, 200), np.int16)
    for first, wrong in ((0, 4), (8, 30), (16, 9)):
        labels_ZYX = np.zeros(true_ZYX.shape, np.uint8)
        labels_ZYX[1, :wrong, 30:] = 1
        block = Box(start_zyx=(first, 100, 0), stop_zyx=(first + 3, 140, 200))
        worst.look(volume, block, true_ZYX, labels_ZYX)
    assert worst.part == pytest.approx(30 / 40)
    assert worst.where is not None
    assert worst.where[0] is volume
    assert worst.where[1] == Box(start_zyx=(9, 100, 30), stop_zyx=(10, 140, 190))


def test_nothing_labelled_is_nowhere_worst() -> None:
    worst = Worst()
    volume: Any = object()
    shape = (2, 30, 30)
    worst.look(volume, Box.whole(shape), np.full(shape, -1, np.int16), np.zeros(shape, np.uint8))
    assert worst.where is None
