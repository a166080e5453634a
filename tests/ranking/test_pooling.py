import numpy as np
import pytest

from emsearch.ranking.pooling import moments, normal_scores, pool


def test_moments_count_each_study_for_itself() -> None:
    candidate_ST = np.array([[0, 1, 1], [2, 0, -1]])
    score_ST = np.array([[1.0, 2.0, 4.0], [3.0, 5.0, np.nan]])
    found = moments(candidate_ST, score_ST, 3)
    assert found.count_SA.tolist() == [[1, 2, 0], [1, 0, 1]]
    assert found.total_SA.tolist() == [[1, 6, 0], [5, 0, 3]]
    assert found.squares_SA.tolist() == [[1, 20, 0], [25, 0, 9]]


def test_normal_scores_keep_the_order_and_nothing_else() -> None:
    scores = normal_scores(np.array([[0.1, 0.9, 0.5], [-1e9, 7.0, 6.9]]))
    assert scores[0].argsort().tolist() == [0, 2, 1]
    assert scores[0][1] == pytest.approx(-scores[0][0])
    assert scores[1][[0, 2, 1]] == pytest.approx(scores[0][[0, 2, 1]])


def test_equal_scores_have_equal_normal_scores() -> None:
    (scores,) = normal_scores(np.array([[0.3, 0.1, 0.3, 0.5]]))
    assert scores[0] == scores[2]
    assert scores[1] < scores[0] < scores[3]


@pytest.mark.parametrize("between", [0.02, 0.1])
def test_variances_are_found_although_only_the_lucky_are_repeated(between: float) -> None:
    rng = np.random.default_rng(4)
    truth_SA = rng.normal(0.5, between, (20, 200))
    first_SA = truth_SA + rng.normal(0, 0.08, truth_SA.shape)
    lucky_SL = (-first_SA).argsort(axis=1)[:, :60]
    again = np.take_along_axis(truth_SA, lucky_SL, axis=1) + rng.normal(0, 0.08, lucky_SL.shape)
    everyone = np.broadcast_to(np.arange(200), truth_SA.shape)
    candidate_ST = np.concatenate([everyone, lucky_SL], axis=1)
    found = pool(moments(candidate_ST, np.concatenate([first_SA, again], axis=1), 200), steps=60)
    assert np.sqrt(found.seed_S).mean() == pytest.approx(0.08, rel=0.12)
    assert np.sqrt(found.between_S).mean() == pytest.approx(between, abs=0.025)


def test_a_candidate_without_trainings_is_believed_to_be_like_the_others() -> None:
    found = pool(moments(np.array([[0, 0, 1]]), np.array([[0.4, 0.5, 0.6]]), 3))
    assert found.mean_SA[0, 2] == pytest.approx(found.common_S[0])
    assert found.variance_SA[0, 2] == pytest.approx(found.between_S[0])
