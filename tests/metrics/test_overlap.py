"""Overlap agrees with counting by hand and with scikit-learn's definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsearch.errors import SpecError
from emsearch.metrics.overlap import accuracy, confusion, dice_K, iou_K, volume_fractions_K


def test_rows_are_true_classes_and_columns_predicted_ones() -> None:
    true = np.array([[0, 0, 1, 1]], np.uint8)
    predicted = np.array([[0, 1, 1, 1]], np.uint8)
    assert confusion(predicted, true, classes=2).tolist() == [[1, 1], [0, 2]]


def test_ignored_voxels_do_not_count() -> None:
    true = np.array([0, -1, 1], np.int64)
    predicted = np.array([0, 1, 0], np.int64)
    assert confusion(predicted, true, classes=2).tolist() == [[1, 0], [1, 0]]
    true_with_255 = np.array([0, 255, 1], np.uint8)
    assert confusion(predicted, true_with_255, 2, ignore=255).sum() == 2


def test_confusions_of_halves_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(3)
    predicted, true = rng.integers(0, 4, (2, 6, 50, 40))
    halves = confusion(predicted[:3], true[:3], 4) + confusion(predicted[3:], true[3:], 4)
    assert (halves == confusion(predicted, true, 4)).all()


def test_more_voxels_than_a_slab_are_all_counted() -> None:
    labels = np.ones((1 << 22) + 17, np.uint8)
    assert confusion(labels, labels, 2)[1, 1] == labels.size


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 7))
def test_overlap_is_that_of_sets_of_voxels(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    predicted, true = rng.integers(0, classes, (2, 5, 9))
    counts_KK = confusion(predicted, true, classes)
    for number in range(classes):
        shared = ((predicted == number) & (true == number)).sum()
        either = ((predicted == number) | (true == number)).sum()
        both = (predicted == number).sum() + (true == number).sum()
        if either == 0:
            assert iou_K(counts_KK)[number] is None
            assert dice_K(counts_KK)[number] is None
        else:
            assert iou_K(counts_KK)[number] == pytest.approx(shared / either, abs=1e-12)
            assert dice_K(counts_KK)[number] == pytest.approx(2 * shared / both, abs=1e-12)


def test_accuracy_is_the_fraction_of_right_voxels() -> None:
    assert accuracy(np.array([[3, 1], [0, 4]])) == pytest.approx(7 / 8)


def test_accuracy_of_nothing_is_refused() -> None:
    with pytest.raises(SpecError, match="no voxel was counted"):
        accuracy(np.zeros((2, 2), np.int64))


def test_shapes_that_differ_are_refused_with_both_named() -> None:
    with pytest.raises(SpecError, match=r"\(2, 3\) and truth \(3, 2\)"):
        confusion(np.zeros((2, 3), int), np.zeros((3, 2), int), 2)


@pytest.mark.parametrize(("value", "what"), [(5, "truth"), (-3, "truth"), (7, "prediction")])
def test_a_value_that_is_no_class_is_named(value: int, what: str) -> None:
    wrong, right = np.array([value]), np.array([0])
    predicted, true = (right, wrong) if what == "truth" else (wrong, right)
    with pytest.raises(SpecError, match=f"the {what} holds {value}; classes are 0 to 4"):
        confusion(predicted, true, classes=5)


def test_volume_fractions_leave_ignored_voxels_out() -> None:
    labels = np.array([0, 0, 0, 1, 255, 255], np.uint8)
    assert volume_fractions_K(labels, 3, ignore=255) == (0.75, 0.25, 0.0)
    assert volume_fractions_K(np.full(4, -1), 2) == (0.0, 0.0)
