import numpy as np
import pytest

from emsearch.errors import SpecError
from emsearch.ranking.policy import NEW, Record, policy_named


def record(
    trained: list[tuple[int, float]],
    room: list[int],
    *,
    unseen: float = np.inf,
    remaining: int = 50,
    under_way: list[int] | None = None,
) -> Record:
    return Record(
        candidate_ST=np.array([[c for c, _ in trained]], dtype=np.int64).reshape(1, -1),
        score_ST=np.array([[s for _, s in trained]], dtype=np.float64).reshape(1, -1),
        known_S=np.array([len(room)]),
        room_SA=np.array([room]),
        unseen_S=np.array([unseen]),
        remaining=remaining,
        under_way_SA=None if under_way is None else np.array([under_way]),
    )


def chosen(name: str, of: Record, seed: int = 0) -> int:
    return int(policy_named(name)(of, np.random.default_rng(seed))[0])


SPREAD = [(c, 0.3 + 0.01 * c) for c in range(20)]


@pytest.mark.parametrize("name", ["default", "random", "repeats3", "halving"])
def test_the_first_training_is_a_new_candidate(name: str) -> None:
    assert chosen(name, record([], [0], remaining=10)) == NEW


@pytest.mark.parametrize("name", ["default", "random", "repeats3", "halving"])
def test_the_same_record_and_seed_give_the_same_choice(name: str) -> None:
    of = record(SPREAD, [4] * 20)
    assert chosen(name, of, seed=3) == chosen(name, of, seed=3)


def test_the_default_repeats_who_may_be_best_where_nobody_is_new() -> None:
    of = record([*SPREAD, (20, 0.9)], [4] * 21, unseen=0.0)
    assert chosen("default", of) in {19, 20}  # a seed of either tells which of them is better


def test_the_default_mixes_new_candidates_and_repeats() -> None:
    trained = [(c, 0.3 + 0.01 * (7 * c % 20)) for c in range(20)]
    choices = []
    for step in range(40):
        choice = chosen("default", record(trained, [4] * (max(c for c, _ in trained) + 1)))
        fresh = max(c for c, _ in trained) + 1
        choices.append(choice)
        trained.append((fresh if choice == NEW else choice, 0.3 + 0.01 * (3 * step % 20)))
    assert NEW in choices
    assert set(choices) != {NEW}


def test_the_default_looks_for_new_ones_where_the_leader_is_settled() -> None:
    settled = [(20, 0.6)] * 8
    assert chosen("default", record([*SPREAD, *settled], [0] * 21)) == NEW


def test_the_default_does_not_send_a_second_seed_after_one_that_is_under_way() -> None:
    crowd = [*SPREAD, (20, 0.9)]
    busy = record(crowd, [4] * 21, under_way=[0] * 20 + [6])
    assert chosen("default", busy) != 20


def test_the_default_never_trains_where_there_is_no_room() -> None:
    no_room = [4] * 20 + [0]
    assert chosen("default", record([*SPREAD, (20, 0.9)], no_room)) != 20


def test_the_default_is_not_led_by_a_collapse() -> None:
    # One collapse must not make all others look alike.
    collapsed = record([*SPREAD, (20, 0.9), (21, -5.0)], [4] * 22, unseen=0.0)
    assert chosen("default", collapsed) in {19, 20}


def test_repeats_stay_with_a_candidate_until_it_has_its_seeds() -> None:
    assert chosen("repeats3", record([(0, 0.5)], [2])) == 0
    assert chosen("repeats3", record([(0, 0.5)] * 3, [0])) == NEW
    assert chosen("repeats3", record([(0, 0.5)], [2], under_way=[2])) == NEW


def test_halving_trains_the_better_half_again() -> None:
    scores = [(c, 0.1 * c) for c in range(4)]
    choices = []
    for left in range(6, 2, -1):
        choices.append(chosen("halving", record(scores, [8] * 4, remaining=left)))
        scores.append((choices[-1], 0.1 * choices[-1]))
    assert sorted(choices[:2]) == [2, 3]
    assert choices[2:] == [3, 3]


def test_random_draws_anew_in_a_study_and_any_cell_of_a_table() -> None:
    assert chosen("random", record(SPREAD, [4] * 20)) == NEW
    of_a_table = record(SPREAD, [1] * 20, unseen=20.0)
    choices = [chosen("random", of_a_table, seed) for seed in range(400)]
    assert choices.count(NEW) == pytest.approx(200, abs=40)
    assert set(choices) == {NEW, *range(20)}


def test_an_unknown_policy_is_named_with_those_there_are() -> None:
    with pytest.raises(SpecError, match="no policy 'best'; known: default, random"):
        policy_named("best")
    with pytest.raises(SpecError, match="repeats0"):
        policy_named("repeats0")


def test_many_studies_are_decided_as_each_would_be_alone() -> None:
    rng = np.random.default_rng(2)
    policy = policy_named("default")
    candidate_ST = np.sort(rng.integers(0, 10, (6, 30)), axis=1)
    score_ST = rng.normal(0.5, 0.1, (6, 30))
    together = Record(
        candidate_ST=candidate_ST,
        score_ST=score_ST,
        known_S=np.full(6, 10),
        room_SA=np.full((6, 10), 5),
        unseen_S=np.full(6, np.inf),
        remaining=9,
    )
    alone = [
        chosen("default", record(list(zip(c, s, strict=True)), [5] * 10, remaining=9))
        for c, s in zip(candidate_ST.tolist(), score_ST.tolist(), strict=True)
    ]
    assert policy(together, rng).tolist() == alone
