from itertools import pairwise

import numpy as np
import pytest

from emsearch.ranking.posterior import Early, Result, rank, spread


def simulated(
    rng: np.random.Generator,
    count: int,
    repeats: int,
    *,
    families: float = 0.0,
    failing: float = 0.0,
    seed_sd: float = 0.08,
) -> tuple[list[Result], list[float]]:
    """Return results and true means; scores of 0.02 are trainings that failed."""
    centres = rng.normal(0.5, families, size=3) if families else np.full(3, 0.5)
    truths = [float(rng.normal(centres[i % 3], 0.06)) for i in range(count)]
    results = []
    for i, truth in enumerate(truths):
        seeds = 1 + int(rng.integers(repeats))
        scores = np.where(rng.random(seeds) < failing, 0.02, rng.normal(truth, seed_sd, seeds))
        results.append(Result(candidate=i, scores=tuple(scores), family="abc"[i % 3]))
    return results, truths


@pytest.mark.parametrize("count", [10, 20, 100])
@pytest.mark.parametrize(
    "world",
    [{}, {"families": 0.1}, {"failing": 0.1}, {"seed_sd": 0.03}, {"seed_sd": 0.15}],
    ids=str,
)
def test_intervals_cover_the_truth_as_often_as_they_say(
    count: int, world: dict[str, float]
) -> None:
    rng = np.random.default_rng(5)
    inside = total = 0
    for _ in range(3000 // count):
        results, truths = simulated(rng, count, repeats=4, **world)
        for one in rank(results):
            inside += one.low <= truths[one.candidate] <= one.high
            total += 1
    assert 0.85 <= inside / total <= 0.95


def test_probabilities_of_being_best_come_true() -> None:
    rng = np.random.default_rng(3)
    said, was = [], []
    for _ in range(150):
        results, truths = simulated(rng, 20, repeats=4)
        best = int(np.argmax(truths))
        for one in rank(results):
            said.append(one.best)
            was.append(one.candidate == best)
    likely = np.array(said) > 0.15
    assert np.mean(np.array(was)[likely]) == pytest.approx(np.array(said)[likely].mean(), abs=0.06)


def test_probabilities_of_being_best_sum_to_one() -> None:
    results, _ = simulated(np.random.default_rng(1), 50, repeats=3)
    assert sum(one.best for one in rank(results)) == pytest.approx(1)


def test_one_lucky_seed_ranks_below_a_steady_candidate() -> None:
    steady = [Result(candidate=c, scores=(0.50 + c / 100,) * 3) for c in range(6)]
    many = Result(candidate=10, scores=(0.64, 0.66, 0.65, 0.67, 0.63))
    lucky = Result(candidate=11, scores=(0.67,))
    noise = [Result(candidate=20 + i, scores=(0.4, 0.6)) for i in range(3)]
    places = [one.candidate for one in rank([*steady, many, lucky, *noise])]
    assert places[0] == 10


def test_spread_finds_the_variances() -> None:
    results, _ = simulated(np.random.default_rng(1), 400, repeats=4)
    found = spread(results)
    assert found.seed_sd == pytest.approx(0.08, rel=0.1)
    assert found.between_sd == pytest.approx(0.06, rel=0.15)
    assert found.family_sd < 0.03


def test_a_candidate_is_drawn_towards_its_own_family() -> None:
    good = [Result(candidate=c, scores=(0.7 + c / 500,), family="good") for c in range(10)]
    poor = [Result(candidate=20 + c, scores=(0.3 + c / 500,), family="poor") for c in range(10)]
    fresh = [Result(candidate=40, scores=(0.5,), family="good")]
    fresh += [Result(candidate=41, scores=(0.5,), family="poor")]
    by_number = {one.candidate: one for one in rank([*good, *poor, *fresh])}
    assert by_number[40].mean > 0.5 > by_number[41].mean


def test_failures_lower_the_value_and_not_the_mean() -> None:
    even = [Result(candidate=c, scores=(0.5, 0.52, 0.48)) for c in range(8)]
    fragile = Result(candidate=9, scores=(0.5, 0.52, 0.48), failures=3)
    by_number = {one.candidate: one for one in rank([*even, fragile])}
    assert by_number[9].mean == pytest.approx(by_number[0].mean)
    assert by_number[9].failure_rate > 2 * by_number[0].failure_rate
    assert by_number[9].value < by_number[0].value


def test_a_collapsed_score_counts_as_a_failure() -> None:
    even = [Result(candidate=c, scores=(0.5, 0.52, 0.48)) for c in range(8)]
    fragile = Result(candidate=9, scores=(0.51, 0.066, 0.5))
    by_number = {one.candidate: one for one in rank([*even, fragile])}
    assert by_number[9].mean > 0.48
    assert by_number[9].failure_rate > by_number[0].failure_rate


def test_the_goals_part_where_one_is_wild_and_one_is_steady() -> None:
    others = [Result(candidate=c, scores=(0.4, 0.5)) for c in range(8)]
    wild = Result(candidate=20, scores=(0.7, 0.71, 0.72), failures=3)
    steady = Result(candidate=21, scores=(0.62, 0.63, 0.64))
    results = [*others, wild, steady]
    assert rank(results, "best_networks")[0].candidate == 20
    assert rank(results, "reliable_architecture")[0].candidate == 21


def test_the_best_of_four_is_above_the_mean() -> None:
    for one in rank(simulated(np.random.default_rng(2), 30, repeats=3)[0]):
        assert one.best_of_k > one.mean


def test_an_early_score_moves_the_mean_less_than_a_final_one() -> None:
    others = [Result(candidate=c, scores=(0.4 + 0.02 * c, 0.42 + 0.02 * c)) for c in range(8)]
    early = Result(candidate=8, scores=(), early=(Early(score=0.8, sd=0.1),))
    final = Result(candidate=9, scores=(0.8,))
    by_number = {one.candidate: one for one in rank([*others, early, final])}
    assert 0.48 < by_number[8].mean < by_number[9].mean < 0.8


def test_a_single_result_can_be_ranked() -> None:
    (only,) = rank([Result(candidate=3, scores=(0.4,))])
    assert only.candidate == 3
    assert only.mean == pytest.approx(0.4)
    assert only.low < only.mean < only.high
    assert only.best == pytest.approx(1)


def test_equals_are_ranked_by_number_and_nobody_is_nothing() -> None:
    alike = [Result(candidate=c, scores=(0.5, 0.5)) for c in (4, 2, 3)]
    assert [one.candidate for one in rank(alike)] == [2, 3, 4]
    assert rank([]) == []
    assert rank([Result(candidate=1, scores=())]) == []


def test_more_seeds_make_a_narrower_interval() -> None:
    results = [Result(candidate=n, scores=(0.5, 0.6) * n) for n in (1, 2, 4, 8)]
    widths = [one.high - one.low for one in sorted(rank(results), key=lambda one: one.candidate)]
    assert all(wide > narrow for wide, narrow in pairwise(widths))


def test_the_order_of_results_is_no_matter() -> None:
    results, _ = simulated(np.random.default_rng(8), 40, repeats=3, families=0.1)
    forward, backward = rank(results), rank(results[::-1])
    assert [one.candidate for one in forward] == [one.candidate for one in backward]


def test_thousands_of_candidates_are_ranked() -> None:
    results, _ = simulated(np.random.default_rng(0), 5000, repeats=3)
    ranked = rank(results)
    assert len(ranked) == 5000
    assert all(one.low < one.mean < one.high for one in ranked)
