import subprocess
import sys

import pytest

from emsearch.ledger.store import Ledger
from emsearch.reports.leaderboard import leaderboard, means_by_class

STUDY = 1


def test_the_best_candidate_stands_first_and_ranks_count_from_one(ledger: Ledger) -> None:
    with ledger.reading() as connection:
        entries = leaderboard(connection, STUDY)
    assert [entry.rank for entry in entries] == list(range(1, 30))
    full = [entry.score for entry in entries if entry.step == 400]
    assert full == sorted(full, key=lambda score: -(score or 0))


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
        classes = means_by_class(connection, STUDY)[0]
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
