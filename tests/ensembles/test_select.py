"""Axes: M trial of the pool, K class, N voxel."""

import numpy as np
import pytest
from numpy.typing import NDArray

from emsearch.ensembles.pool import FOLDS, Pool, Tallies, mean_iou
from emsearch.ensembles.select import (
    Combine,
    _Bench,
    _diverse,
    _greedy,
    _top_k,
    best_single,
    select,
)
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
    return Pool.sorted(
        probability_MKN=np.round(255 * probability_MKN).astype(np.uint8),
        true_N=true_N,
        fold_N=np.arange(voxels, dtype=np.uint8) % FOLDS,
        stands_for_K=np.ones(CLASSES),
    )


def _softmax(logits_KN: NDArray[np.float64]) -> NDArray[np.float64]:
    exp_KN = np.exp(logits_KN)
    mean_KN: NDArray[np.float64] = exp_KN / exp_KN.sum(0)
    return mean_KN


def _naive_mean_iou(true_N: NDArray[np.uint8], predicted_N: NDArray[np.int64]) -> float:
    overlaps = [
        ((predicted_N == k) & (true_N == k)).sum() / ((predicted_N == k) | (true_N == k)).sum()
        for k in range(CLASSES)
    ]
    return float(np.mean(overlaps))


def _mean_iou(pool: Pool, members: list[int], size: int = 64) -> float:
    return mean_iou(Tallies(pool, size).of(members).sum(0))


@pytest.mark.parametrize("size", [4, 64])
@pytest.mark.parametrize("members", [[0], [1], [0, 1], [0, 1, 1], [1, 0, 2]])
def test_the_mean_iou_is_that_of_the_definition(members: list[int], size: int) -> None:
    """Of few votes sums are counted in 16 bits, of many in 32."""
    pool = _pool([1.0, 1.5, 1.2])
    predicted_N = pool.probability_MKN[members].astype(int).sum(0).argmax(0)
    expected = _naive_mean_iou(pool.true_N, predicted_N)
    assert _mean_iou(pool, members, size) == pytest.approx(expected)


def test_a_majority_is_that_of_most_votes() -> None:
    pool = _pool([1.0, 1.5, 1.2])
    labels_MN = pool.probability_MKN.argmax(1)
    votes_KN = np.stack([(labels_MN == k).sum(0) for k in range(CLASSES)])
    clear_N = (votes_KN == votes_KN.max(0)).sum(0) == 1
    clear = Pool(
        probability_MKN=pool.probability_MKN[:, :, clear_N],
        true_N=pool.true_N[clear_N],
        fold_N=pool.fold_N[clear_N],
        stands_for_K=pool.stands_for_K,
    )
    found = mean_iou(Tallies(clear, 4).of_majority([0, 1, 2]).sum(0))
    expected = _naive_mean_iou(clear.true_N, votes_KN.argmax(0)[clear_N])
    assert found == pytest.approx(expected)
    assert found != pytest.approx(_mean_iou(clear, [0, 1, 2]))


def test_of_as_many_votes_the_surer_ones_count() -> None:
    pool = Pool(
        probability_MKN=np.array([[[140], [115], [0]], [[10], [240], [5]]], np.uint8),
        true_N=np.array([1], np.uint8),
        fold_N=np.zeros(1, np.uint8),
        stands_for_K=np.ones(CLASSES),
    )
    assert mean_iou(Tallies(pool, 2).of_majority([0, 1]).sum(0)) == 1


def test_counts_with_each_member_are_those_of_each() -> None:
    pool = _pool([1.0, 1.5, 1.2])
    tallies = Tallies(pool, 4)
    for other, count in enumerate(tallies.with_each([2, 0], range(3))):
        np.testing.assert_array_equal(count, Tallies(pool, 4).of([0, 2, other]))


def test_a_glance_is_at_an_eighth_of_the_voxels_of_each_class() -> None:
    pool = _pool([1.0, 1.5], voxels=400_000)
    tallies = Tallies(pool, 2)
    for glanced, whole in zip(tallies.glance([0]), tallies.with_each([0], [0, 1]), strict=True):
        parts = glanced.sum((0, 2)) / whole.sum((0, 2))
        assert (parts > 0.12).all()
        assert (parts < 0.13).all()
        assert mean_iou(glanced.sum(0)) == pytest.approx(mean_iou(whole.sum(0)), abs=0.02)


def test_of_many_trials_a_glance_finds_those_that_help() -> None:
    noises = [1.4, 1.3, 1.5, 1.35, *(3.0 + 0.1 * number for number in range(36))]
    choice = select(_pool(noises, voxels=60_000), 4, ["greedy"], ["mean"])
    assert {member for member, _ in choice.weights} == {0, 1, 2, 3}


def test_disagreement_is_the_part_of_voxels_that_differ() -> None:
    pool = _pool([1.0, 1.5])
    labels_MN = pool.probability_MKN.argmax(1)
    expected = (labels_MN[0] != labels_MN[1]).mean()
    differ_FMM = Tallies(pool, 2).disagreements()
    assert differ_FMM[:, 0, 1].mean() == pytest.approx(expected, abs=1e-6)
    assert (np.diagonal(differ_FMM, axis1=1, axis2=2) == 0).all()


def test_voxels_out_of_order_are_refused() -> None:
    pool = _pool([1.0])
    jumbled = Pool(
        probability_MKN=pool.probability_MKN,
        true_N=pool.true_N[::-1],
        fold_N=pool.fold_N,
        stands_for_K=pool.stands_for_K,
    )
    with pytest.raises(SpecError, match="must be sorted by fold and class"):
        best_single(jumbled)


def test_a_sampled_voxel_counts_for_those_that_it_stands_for() -> None:
    pool = _pool([1.0])
    rare = pool.true_N == 2
    thinned = rare | (np.arange(len(rare)) % 2 == 0)
    kept_K = np.bincount(pool.true_N[thinned], minlength=CLASSES)
    sample = Pool.sorted(
        probability_MKN=pool.probability_MKN[:, :, thinned],
        true_N=pool.true_N[thinned],
        fold_N=pool.fold_N[thinned],
        stands_for_K=np.bincount(pool.true_N, minlength=CLASSES) / kept_K,
    )
    assert _mean_iou(sample, [0]) == pytest.approx(_mean_iou(pool, [0]), abs=0.02)


def test_a_class_that_is_nowhere_is_left_out() -> None:
    pool = Pool(
        probability_MKN=np.array([[[200, 10], [50, 240], [5, 5]]], np.uint8),
        true_N=np.array([0, 1], np.uint8),
        fold_N=np.zeros(2, np.uint8),
        stands_for_K=np.ones(CLASSES),
    )
    assert _mean_iou(pool, [0]) == 1


def test_the_best_single_trial_is_the_one_with_least_noise() -> None:
    choice = best_single(_pool([2.0, 0.9, 1.5]))
    assert choice.weights == ((1, 1.0),)


def test_top_k_takes_the_best_first() -> None:
    assert _top_k(_Bench(_pool([1.2, 9.0, 1.5, 0.9]), 3), 3, range(FOLDS)) == [3, 0, 2]


def test_what_does_not_help_is_left_out() -> None:
    choice = select(_pool([1.2, 9.0, 1.3, 1.25]), size=4)
    assert {member for member, _ in choice.weights} == {0, 2, 3}


def test_a_size_that_helps_only_where_it_was_chosen_is_not_chosen() -> None:
    """In one fold a poor trial is right by chance; elsewhere it spoils what the good one says."""
    good = _pool([0.8])
    sure_KN = (255 * np.eye(CLASSES)[good.true_N].T).astype(np.uint8)
    wrong_KN = np.roll(sure_KN, 1, axis=0)
    lucky_KN = np.where(good.fold_N == 0, sure_KN, wrong_KN)
    pool = Pool.sorted(
        probability_MKN=np.stack([good.probability_MKN[0], lucky_KN]),
        true_N=good.true_N,
        fold_N=good.fold_N,
        stands_for_K=good.stands_for_K,
    )
    assert _greedy(_Bench(pool, 2), 2, [0])[0] == 1
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
    picks = _greedy(_Bench(_pool([0.8, 1.6]), 5), 5, range(FOLDS))
    assert len(set(picks)) < len(picks)


def test_the_first_that_greedy_takes_is_the_best_single_trial() -> None:
    pool = _pool([1.6, 0.8, 1.1])
    assert _greedy(_Bench(pool, 1), 1, range(FOLDS)) == [1]


@pytest.mark.parametrize("size", [1, 4])
def test_copies_of_one_trial_are_no_ensemble(size: int) -> None:
    pool = _pool([1.0])
    copies = Pool.sorted(
        probability_MKN=np.repeat(pool.probability_MKN, 3, axis=0),
        true_N=pool.true_N,
        fold_N=pool.fold_N,
        stands_for_K=pool.stands_for_K,
    )
    choice = select(copies, size)
    assert choice.method == "single"
    assert choice.weights == ((0, 1.0),)


@pytest.mark.parametrize("size", [0, 65])
def test_a_size_that_cannot_be_is_refused(size: int) -> None:
    with pytest.raises(SpecError, match=f"must be 1 to 64, got {size}"):
        select(_pool([1.0], voxels=100), size)


def test_votes_do_not_overflow_at_the_largest_size() -> None:
    pool = _pool([0.1], voxels=50)
    assert _mean_iou(pool, [0] * 64, size=64) == _mean_iou(pool, [0], size=64)


def test_diversity_prefers_of_equal_trials_the_one_that_differs() -> None:
    pool = _pool([1.0, 1.0])
    copies = Pool(
        probability_MKN=pool.probability_MKN[[0, 0, 1]],
        true_N=pool.true_N,
        fold_N=pool.fold_N,
        stands_for_K=pool.stands_for_K,
    )
    picks = _diverse(_Bench(copies, 2), 2, range(FOLDS))
    assert 2 in picks
    assert len(set(picks)) == 2


@pytest.mark.parametrize("method", ["top_k", "greedy", "diverse"])
@pytest.mark.parametrize("combine", ["mean", "majority"])
def test_methods_and_ways_to_combine_can_be_asked_for(method: str, combine: Combine) -> None:
    choice = select(_pool([1.4] * 5), 5, [method], [combine])
    assert (choice.method, choice.combine) == (method, combine)
    assert 0 < choice.disagreement < 1
    assert choice.left_out_iou > 0.5


def test_a_pool_without_voxels_is_refused() -> None:
    with pytest.raises(SpecError, match="0 predicted and 0 labelled voxels"):
        _pool([1.0], voxels=0)
