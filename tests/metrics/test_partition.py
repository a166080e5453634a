"""Partitions are measured as scikit-learn and scikit-image measure them, to 1e-9."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsearch.errors import SpecError
from emsearch.metrics.overlap import accuracy, confusion, dice_K, iou_K
from emsearch.metrics.partition import (
    Contingency,
    adapted_rand_error,
    adjusted_rand_index,
    instances,
    variation_of_information,
)

METRICS = pytest.importorskip("skimage.metrics")

Pair = tuple[np.ndarray, np.ndarray]
pairs = st.builds(
    lambda seed, true, predicted: (
        np.random.default_rng(seed).integers(0, predicted, (4, 9, 11)),
        np.random.default_rng(seed + 1).integers(0, true, (4, 9, 11)),
    ),
    st.integers(0, 1000),
    st.integers(1, 30),
    st.integers(1, 30),
)


@settings(deadline=None)
@given(pairs)
def test_the_adjusted_rand_index_is_scikit_learn_s(pair: Pair) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    predicted, true = pair
    expected = sklearn.adjusted_rand_score(true.ravel(), predicted.ravel())
    assert adjusted_rand_index(Contingency.of(predicted, true)) == pytest.approx(expected, abs=1e-9)


def test_overlap_is_scikit_learn_s() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    predicted, true = np.random.default_rng(5).integers(0, 6, (2, 4, 30, 30))
    counts_KK = confusion(predicted, true, 6)
    assert (counts_KK == sklearn.confusion_matrix(true.ravel(), predicted.ravel())).all()
    expected = sklearn.jaccard_score(true.ravel(), predicted.ravel(), average=None)
    assert iou_K(counts_KK) == pytest.approx(expected.tolist(), abs=1e-9)
    expected = sklearn.f1_score(true.ravel(), predicted.ravel(), average=None)
    assert dice_K(counts_KK) == pytest.approx(expected.tolist(), abs=1e-9)
    right = sklearn.accuracy_score(true.ravel(), predicted.ravel())
    assert accuracy(counts_KK) == pytest.approx(right, abs=1e-9)


@settings(deadline=None)
@given(pairs)
def test_the_adapted_rand_error_is_scikit_image_s(pair: Pair) -> None:
    predicted, true = pair
    if true.max() == 0:
        return  # nothing but background
    error, precision, recall = METRICS.adapted_rand_error(true, predicted, ignore_labels=(0,))
    ours = adapted_rand_error(Contingency.of(predicted, true, ignore=0))
    assert ours.error == pytest.approx(error, abs=1e-9)
    assert {round(ours.precision, 9), round(ours.recall, 9)} == {
        round(float(precision), 9),
        round(float(recall), 9),
    }


@settings(deadline=None)
@given(pairs)
def test_the_variation_of_information_is_scikit_image_s(pair: Pair) -> None:
    predicted, true = pair
    split, merge = METRICS.variation_of_information(true, predicted)
    ours = variation_of_information(Contingency.of(predicted, true))
    assert (ours.split, ours.merge) == pytest.approx((float(split), float(merge)), abs=1e-9)
    assert ours.total == pytest.approx(ours.split + ours.merge)


@settings(deadline=None)
@given(pairs)
def test_parts_of_a_volume_add_up(pair: Pair) -> None:
    predicted, true = pair
    parts = Contingency.of(predicted[:2], true[:2]) + Contingency.of(predicted[2:], true[2:])
    whole = Contingency.of(predicted, true)
    assert adjusted_rand_index(parts) == adjusted_rand_index(whole)
    assert variation_of_information(parts) == variation_of_information(whole)


def test_the_index_of_classes_follows_from_their_confusion() -> None:
    predicted, true = np.random.default_rng(0).integers(0, 5, (2, 6, 20, 20))
    of_classes = Contingency.of_classes(confusion(predicted, true, 5))
    expected = adjusted_rand_index(Contingency.of(predicted, true))
    assert adjusted_rand_index(of_classes) == pytest.approx(expected, abs=1e-12)


def test_a_split_is_told_from_a_merge() -> None:
    whole, halves = np.ones((1, 4, 4), int), np.arange(16).reshape(1, 4, 4) % 2 + 1
    cut = variation_of_information(Contingency.of(halves, whole))
    run_together = variation_of_information(Contingency.of(whole, halves))
    assert (cut.split, cut.merge) == pytest.approx((1, 0))
    assert (run_together.split, run_together.merge) == pytest.approx((0, 1))
    assert adapted_rand_error(Contingency.of(halves, whole)).recall < 1
    assert adapted_rand_error(Contingency.of(whole, halves)).precision < 1


def test_the_same_partition_under_other_numbers_is_perfect() -> None:
    true = np.random.default_rng(0).integers(0, 9, (3, 8, 8))
    contingency = Contingency.of(100 - true, true)
    assert adjusted_rand_index(contingency) == 1
    assert adapted_rand_error(contingency).error == pytest.approx(0)
    assert variation_of_information(contingency).total == pytest.approx(0)


def test_counts_of_a_thousand_million_voxels_do_not_overflow() -> None:
    counts_KK = np.array([[4_000_000_000, 10], [20, 3_000_000_000]])
    assert 0.999 < adjusted_rand_index(Contingency.of_classes(counts_KK)) < 1


def test_instances_are_bodies_that_share_a_face() -> None:
    labels = np.zeros((2, 3, 3), np.uint8)
    labels[0, 0, 0] = labels[1, 0, 0] = labels[1, 1, 1] = 4
    bodies = instances(labels, 4)
    assert bodies.max() == 2
    assert bodies[0, 0, 0] == bodies[1, 0, 0] != bodies[1, 1, 1]
    assert not bodies[labels != 4].any()


def test_nothing_counted_and_shapes_that_differ_are_refused() -> None:
    nothing = Contingency.of(np.ones(3, int), np.zeros(3, int), ignore=0)
    with pytest.raises(SpecError, match="no voxel was counted"):
        adjusted_rand_index(nothing)
    with pytest.raises(SpecError, match="differ in shape"):
        Contingency.of(np.ones(3, int), np.ones(4, int))
