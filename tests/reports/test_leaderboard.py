import subprocess
import sys
from itertools import pairwise

import pytest

from emsearch.errors import NotFoundError
from emsearch.ledger.leaders import Wanted
from emsearch.ledger.store import Ledger
from emsearch.reports.leaderboard import leaderboard, means_by_class

STUDY = 1


def test_the_best_candidate_stands_first_and_ranks_count_from_one(ledger: Ledger) -> None:
    with ledger.reading() as connection:
        entries = leaderboard(connection, STUDY)
    assert [entry.rank for entry in entries] == list(range(1, 30))
    full = [entry.score for entry in entries if entry.step == 400 and not entry.failed]
    # The order is that of the expected score with failures counted, so near neighbours may swap.
    assert all((one or 0) > (next_one or 0) - 0.02 for one, next_one in pairwise(full))


def test_a_candidate_of_a_higher_rung_stands_before_all_of_a_lower_one(ledger: Ledger) -> None:
    with ledger.reading() as connection:
        steps = [entry.step for entry in leaderboard(connection, STUDY)]
    assert steps == sorted(steps, reverse=True)
    assert set(steps) == {100, 400}


def test_most_cuts_the_end_of_the_list(ledger: Ledger) -> None:
    with ledger.reading() as connection:
        assert leaderboard(connection, STUDY, 3) == leaderboard(connection, STUDY)[:3]


def test_one_baseline_and_it_says_so(ledger: Ledger) -> None:
    with ledger.reading() as connection:
        baselines = [entry for entry in leaderboard(connection, STUDY) if entry.baseline]
    assert [(entry.candidate, entry.trials) for entry in baselines] == [(0, 4)]


def test_every_score_lies_in_its_interval(ledger: Ledger) -> None:
    with ledger.reading() as connection:
        entries = leaderboard(connection, STUDY)
    for entry in entries:
        assert entry.score is not None
        assert entry.score_low is not None
        assert entry.score_high is not None
        assert entry.score_low < entry.score < entry.score_high


def test_failed_trials_are_counted_beside_all_trials(ledger: Ledger) -> None:
    with ledger.reading() as connection:
        by_number = {entry.candidate: entry for entry in leaderboard(connection, STUDY)}
    assert {n for n, entry in by_number.items() if entry.failed} == {4, 9, 13}
    assert (by_number[4].trials, by_number[4].failed) == (2, 1)


def test_the_mean_of_the_classes_is_the_mean_of_the_seeds(ledger: Ledger) -> None:
    with ledger.reading() as connection:
        classes = means_by_class(connection, STUDY, [0])[0]
        seeds = connection.exec_driver_sql(
            "SELECT avg(mean_iou) FROM evaluations WHERE step = 400 AND trial_id <= 4"
        ).scalar_one()
    known = [iou for iou in classes.values() if iou is not None]
    assert sum(known) / len(known) == pytest.approx(seeds)


def test_reports_do_not_import_torch() -> None:
    code = (
        "import sys, emsearch.reports.pages, emsearch.reports.listing as l, emsearch.reports.cards"
    )
    verdict = "; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code + verdict], check=True)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(origins=["baseline"]), {0}),
        (Wanted(failed=True), {4, 9, 13}),
        (Wanted(step=100), {2, 4, 6, 8, 10, 12, 14, 16}),
        (Wanted(families=["pyramid_2d"]), set()),
        (Wanted(families=["encoder_decoder_2d"], origins=["random"], step=100, failed=True), {4}),
        (Wanted(most_memory_gb=0.7), set()),
    ],
)
def test_only_what_is_wanted_is_listed(ledger: Ledger, wanted: Wanted, expected: set[int]) -> None:
    with ledger.reading() as connection:
        entries = leaderboard(connection, STUDY, wanted=wanted)
    assert {entry.candidate for entry in entries} == expected


def test_parameters_bound_from_both_sides(ledger: Ledger) -> None:
    with ledger.reading() as connection:
        every = leaderboard(connection, STUDY)
        bounds = Wanted(least_parameters=200_000, most_parameters=600_000)
        within = leaderboard(connection, STUDY, wanted=bounds)
    assert within == [e for e in every if 200_000 <= e.parameters <= 600_000]
    assert 0 < len(within) < len(every)


def test_a_filter_leaves_ranks_and_scores_as_they_are(ledger: Ledger) -> None:
    with ledger.reading() as connection:
        every = {entry.candidate: entry for entry in leaderboard(connection, STUDY)}
        random = leaderboard(connection, STUDY, 5, Wanted(origins=["random"]))
        by_class = {e.candidate: e for e in leaderboard(connection, STUDY, by="synapse")}
        random_by_class = leaderboard(
            connection, STUDY, 5, Wanted(origins=["random"]), by="synapse"
        )
    assert all(every[entry.candidate] == entry for entry in random)
    assert all(by_class[entry.candidate] == entry for entry in random_by_class)
    assert len(random) == len(random_by_class) == 5


def test_by_a_class_the_scores_are_that_classs(ledger: Ledger) -> None:
    with ledger.reading() as connection:
        entries = leaderboard(connection, STUDY, by="synapse")
        means = means_by_class(connection, STUDY, range(29))
    assert [entry.rank for entry in entries] == list(range(1, 30))
    assert {entry.score_name for entry in entries} == {"iou_synapse"}
    steps = [entry.step for entry in entries]
    assert steps == sorted(steps, reverse=True)
    # Failures count: those without any stand by their scores, but for what seeds more say of it.
    full = [entry.score or 0 for entry in entries if entry.step == 400 and not entry.failed]
    assert all(one > next_one - 0.02 for one, next_one in pairwise(full))
    for entry in entries:
        assert entry.score == pytest.approx(means[entry.candidate][3], abs=0.05)  # pooled


def test_a_class_that_is_not_there_is_named_with_those_that_are(ledger: Ledger) -> None:
    with (
        ledger.reading() as connection,
        pytest.raises(NotFoundError, match=r"no class or measure 'axon'.*synapse, glia"),
    ):
        leaderboard(connection, STUDY, by="axon")
