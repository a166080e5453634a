"""Axes: M trial of the pool, K class, N voxel."""

import numpy as np
import pytest
from numpy.typing import NDArray

from emsearch.ensembles.select import FOLDS, Pool, _greedy, _top_k, best_single, select
from emsearch.errors import SpecError

CLASSES = 3


def _pool(noises: list[float], voxels: int = 4000, seed: int = 0) -> Pool:
    """Return trials that see the truth, each through its own noise."""
    rng = np.random.default_rng(seed)
    true_N = rng.choice(CLASSES, voxels, p=[0.8, 0.15, 0.05]).astype(np.uint8)
    sure_KN = np.eye(CLASSES)[true_N].T
    probability_MKN = np.stack(
        [_softmax(2 * sure_KN + noise * rng.standard_normal(sure_KN.shape)) for noise in noises]
    )
    return Pool(
        probability_MKN=np.round(255 * probability_MKN).astype(np.uint8),
        true_N=true_N,
        fold_N=np.arange(voxels, dtype=np.uint8) % FOLDS,
        stands_for_K=np.ones(CLASSES),
    )


def _softmax(logits_KN: NDArray[np.float64]) -> NDArray[np.float64]:
    exp_KN = np.exp(logits_KN)
    mean_KN: NDArray[np.float64] = exp_KN / exp_KN.sum(0)
    return mean_KN


def _naive_mean_iou(pool: Pool, members: list[int]) -> float:
    predicted_N = pool.probability_MKN[members].astype(int).sum(0).argmax(0)
    overlaps = [
        ((predicted_N == k) & (pool.true_N == k)).sum()
        / ((predicted_N == k) | (pool.true_N == k)).sum()
        for k in range(CLASSES)
    ]
    return float(np.mean(overlaps))


def test_the_mean_iou_is_that_of_the_definition() -> None:
    pool = _pool([1.0, 1.5])
    for members in ([0], [1], [0, 1], [0, 1, 1]):
        assert pool.mean_iou(pool.sums(members)) == pytest.approx(_naive_mean_iou(pool, members))


def test_a_sampled_voxel_counts_for_those_that_it_stands_for() -> None:
    pool = _pool([1.0])
    rare = pool.true_N == 2
    thinned = rare | (np.arange(len(rare)) % 2 == 0)
    kept_K = np.bincount(pool.true_N[thinned], minlength=CLASSES)
    sample = Pool(
        probability_MKN=pool.probability_MKN[:, :, thinned],
        true_N=pool.true_N[thinned],
        fold_N=pool.fold_N[thinned],
        stands_for_K=np.bincount(pool.true_N, minlength=CLASSES) / kept_K,
    )
    assert sample.mean_iou(sample.sums([0])) == pytest.approx(
        pool.mean_iou(pool.sums([0])), abs=0.02
    )


def test_a_class_that_is_nowhere_is_left_out() -> None:
    pool = Pool(
        probability_MKN=np.array([[[200, 10], [50, 240], [5, 5]]], np.uint8),
        true_N=np.array([0, 1], np.uint8),
        fold_N=np.zeros(2, np.uint8),
        stands_for_K=np.ones(CLASSES),
    )
    assert pool.mean_iou(pool.sums([0])) == 1


def test_the_best_single_trial_is_the_one_with_least_noise() -> None:
    choice = best_single(_pool([2.0, 0.9, 1.5]))
    assert choice.weights == ((1, 1.0),)


def test_top_k_takes_the_best_first() -> None:
    assert _top_k(_pool([1.2, 9.0, 1.5, 0.9]), 3, range(FOLDS)) == [3, 0, 2]


def test_what_does_not_help_is_left_out() -> None:
    choice = select(_pool([1.2, 9.0, 1.3, 1.25]), size=4)
    assert {member for member, _ in choice.weights} == {0, 2, 3}


def test_a_size_that_helps_only_where_it_was_chosen_is_not_chosen() -> None:
    """In one fold a poor trial is right by chance; elsewhere it spoils what the good one says."""
    good = _pool([0.8])
    sure_KN = (255 * np.eye(CLASSES)[good.true_N].T).astype(np.uint8)
    wrong_KN = np.roll(sure_KN, 1, axis=0)
    lucky_KN = np.where(good.fold_N == 0, sure_KN, wrong_KN)
    pool = Pool(
        probability_MKN=np.stack([good.probability_MKN[0], lucky_KN]),
        true_N=good.true_N,
        fold_N=good.fold_N,
        stands_for_K=good.stands_for_K,
    )
    assert _greedy(pool, 2, [0])[0] == 1
    assert select(pool, 2).weights == ((0, 1.0),)


def test_independent_noise_makes_ensembles_better_than_their_members() -> None:
    pool = _pool([1.4] * 6)
    choice = select(pool, size=4)
    assert len(choice.weights) >= 3
    assert choice.mean_iou > best_single(pool).mean_iou + 0.05
    assert sum(weight for _, weight in choice.weights) == pytest.approx(1)


def test_an_ensemble_is_never_worse_than_the_best_single_trial() -> None:
    for seed in range(5):
        pool = _pool([1.0, 4.0, 1.1], voxels=300, seed=seed)
        assert select(pool, size=5).mean_iou >= best_single(pool).mean_iou


def test_greedy_may_take_a_trial_again() -> None:
    picks = _greedy(_pool([0.8, 1.6]), 5, range(FOLDS))
    assert len(set(picks)) < len(picks)


def test_the_first_that_greedy_takes_is_the_best_single_trial() -> None:
    pool = _pool([1.6, 0.8, 1.1])
    assert _greedy(pool, 1, range(FOLDS)) == [1]


@pytest.mark.parametrize("size", [1, 4])
def test_copies_of_one_trial_are_no_ensemble(size: int) -> None:
    pool = _pool([1.0])
    copies = Pool(
        probability_MKN=np.repeat(pool.probability_MKN, 3, axis=0),
        true_N=pool.true_N,
        fold_N=pool.fold_N,
        stands_for_K=pool.stands_for_K,
    )
    choice = select(copies, size)
    assert choice.method == "single"
    assert choice.weights == ((0, 1.0),)


@pytest.mark.parametrize("size", [0, 258])
def test_a_size_that_cannot_be_is_refused(size: int) -> None:
    with pytest.raises(SpecError, match=f"must be 1 to 257, got {size}"):
        select(_pool([1.0], voxels=100), size)


def test_votes_do_not_overflow_at_the_largest_size() -> None:
    pool = _pool([0.1], voxels=50)
    assert pool.sums([0] * 257).max() == 257 * int(pool.probability_MKN.max())


def test_a_pool_without_voxels_is_refused() -> None:
    with pytest.raises(SpecError, match="0 predicted and 0 labelled voxels"):
        _pool([1.0], voxels=0)
