import pytest

from emsearch.errors import NotFoundError
from emsearch.ledger.store import Ledger
from emsearch.records.trial import Cause, TrialState
from emsearch.reports.cards import candidate_card, trial_card


def test_a_candidate_shows_its_recipe_and_all_its_trials(ledger: Ledger) -> None:
    with ledger.reading() as connection:
        card = candidate_card(connection, 1, 4)
    assert card.recipe["learning_rate"] == 1e-3
    assert [(one.repeat, one.state) for one in card.trials] == [
        (0, TrialState.FAILED),
        (1, TrialState.STOPPED),
    ]
    assert [one.cause for one in card.trials] == [Cause.DIVERGED, ""]


def test_a_trial_shows_its_curve_with_each_class_by_name(ledger: Ledger) -> None:
    with ledger.reading() as connection:
        card = trial_card(connection, 1, 1)
    assert [line.step for line in card.evaluations] == [100, 200, 300, 400]
    last = card.evaluations[-1]
    assert list(last.iou) == ["intracellular", "membrane", "mitochondria", "synapse", "glia"]
    assert last.mean_iou == card.score


def test_a_trial_shows_every_attempt_with_its_cause_and_node(ledger: Ledger) -> None:
    with ledger.reading() as connection:
        card = trial_card(connection, 1, 7)
    assert [line.cause for line in card.attempts] == [Cause.PREEMPTED, Cause.PAUSED]
    assert all(line.node.startswith("cn") for line in card.attempts)
    assert [line.seconds for line in card.attempts] == [95.0, 95.0]
    assert card.attempts[0].started.startswith("2026-09-")


def test_a_failed_trial_says_why(ledger: Ledger) -> None:
    with ledger.reading() as connection:
        failed = candidate_card(connection, 1, 13).trials[0].trial
        card = trial_card(connection, 1, failed)
    assert card.cause == Cause.ERROR
    assert "NaN in v0" in card.detail


def test_what_is_not_there_is_named(ledger: Ledger) -> None:
    with ledger.reading() as connection:
        with pytest.raises(NotFoundError, match="no candidate 99"):
            candidate_card(connection, 1, 99)
        with pytest.raises(NotFoundError, match="no trial 999"):
            trial_card(connection, 1, 999)
