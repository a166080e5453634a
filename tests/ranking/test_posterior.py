from random import Random

import pytest

from emsearch.ranking.posterior import SEED_SD, Result, rank, spread


def simulated(rng: Random, count: int, repeats: int) -> tuple[list[Result], list[float]]:
    truths = [rng.gauss(0.5, 0.06) for _ in range(count)]
    results = [
        Result(candidate=i, scores=tuple(rng.gauss(truth, 0.08) for _ in range(repeats)))
        for i, truth in enumerate(truths)
    ]
    return results, truths


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = Random(5)
    inside = total = 0
    for _ in range(60):
        results, truths = simulated(rng, count=20, repeats=3)
        for one in rank(results):
            inside += one.low <= truths[one.candidate] <= one.high
            total += 1
    assert 0.85 <= inside / total <= 0.95


def test_one_lucky_seed_ranks_below_a_steady_candidate() -> None:
    steady = [Result(candidate=c, scores=(0.50 + c / 100,) * 3) for c in range(6)]
    many = Result(candidate=10, scores=(0.64, 0.66, 0.65, 0.67, 0.63))
    lucky = Result(candidate=11, scores=(0.67,))
    noise = [Result(candidate=20 + i, scores=(0.4, 0.6)) for i in range(3)]
    places = [one.candidate for one in rank([*steady, many, lucky, *noise])]
    assert places[0] == 10


def test_spread_finds_both_variances() -> None:
    results, _ = simulated(Random(1), count=400, repeats=4)
    found = spread(results)
    assert found.seed_sd == pytest.approx(0.08, rel=0.1)
    assert found.between_sd == pytest.approx(0.06, rel=0.15)


def test_without_repeats_the_seed_noise_is_the_default() -> None:
    results = [Result(candidate=c, scores=(0.1 * c,)) for c in range(5)]
    assert spread(results).seed_sd == pytest.approx(SEED_SD)


def test_a_single_result_can_be_ranked() -> None:
    (only,) = rank([Result(candidate=3, scores=(0.4,))])
    assert only.candidate == 3
    assert only.mean == pytest.approx(0.4)
    assert only.low < only.mean < only.high


def test_equals_are_ranked_by_number_and_nobody_is_nothing() -> None:
    alike = [Result(candidate=c, scores=(0.5, 0.5)) for c in (4, 2, 3)]
    assert [one.candidate for one in rank(alike)] == [2, 3, 4]
    assert rank([]) == []
    assert rank([Result(candidate=1, scores=())]) == []


def test_more_seeds_make_a_narrower_interval() -> None:
    few = Result(candidate=1, scores=(0.5, 0.6))
    many = Result(candidate=2, scores=(0.5, 0.6) * 5)
    by_number = {one.candidate: one for one in rank([few, many])}
    assert by_number[2].high - by_number[2].low < by_number[1].high - by_number[1].low
