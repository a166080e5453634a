from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest
from sqlalchemy import URL, Connection, func, select

from emsearch.ledger import changes, delegations, endings, jobs, listings, queries
from emsearch.ledger.intake import take_in
from emsearch.ledger.store import Lease, Ledger, open_ledger
from emsearch.ledger.tables import AttemptRow, EvaluationRow, EventRow, TrialRow
from emsearch.records.candidate import Candidate, Origin, Recipe
from emsearch.records.event import AttemptName, Event, EventKind
from emsearch.records.score import Score, Split
from emsearch.records.trial import AttemptState, Cause, TrialState
from emsearch.trees.node import Tree

NAME = AttemptName(token="job-1", index=0, order=1, restart=0)


@pytest.fixture
def held(database: URL, any_tree: Tree) -> Iterator[tuple[Ledger, Lease]]:
    """A ledger with one trial, whose order is in a job."""
    ledger = open_ledger(database, create=True)
    study = {"name": "s", "seed": 1, "spec": {}, "version": "0", "stage": "searching"}
    lease = ledger.acquire(ledger.create_study(study))
    candidate = Candidate(number=1, tree=any_tree, recipe=Recipe(), origin=Origin.RANDOM)
    arithmetic = {"parameters": 10, "flops": 10, "memory_gb": 0.1, "step_s": 0.5}
    with ledger.writing(lease) as connection:
        fresh = changes.NewCandidate(
            candidate=candidate,
            digest=candidate.tree.digest(),
            recipe_digest=candidate.recipe.digest(),
            arithmetic=arithmetic,
        )
        [row] = changes.add_candidates(connection, 1, [fresh])
        trial = changes.NewTrial(candidate_id=row, repeat=0, seed=3, until_step=40, expected_s=1.0)
        changes.add_trials(connection, 1, [trial])
        jobs.begin_job(connection, 1, "job-1", [[1]], 5.0)
    yield ledger, lease
    ledger.close()


def event(number: int, kind: EventKind, **facts: Any) -> Event:
    return Event(attempt=NAME, number=number, kind=kind, at_s=10.0 + number, facts=facts)


def evaluated(number: int, step: int, mean: float) -> Event:
    score = Score(
        split=Split.VALIDATION,
        iou_K=(mean, None),
        mean_iou=mean,
        mean_iou_foreground=mean,
        accuracy=0.9,
        voxels=7,
    )
    return event(number, EventKind.EVALUATED, step=step, score=asdict(score), train_s=2.5)


def attempt(connection: Connection) -> Any:
    return connection.execute(select(AttemptRow.__table__)).one()


def test_a_start_tells_where_and_since_when(held: tuple[Ledger, Lease]) -> None:
    ledger, lease = held
    with ledger.writing(lease) as connection:
        take_in(connection, 1, [event(0, EventKind.STARTED, node="cn7")])
        row = attempt(connection)
    assert (row.state, row.node, row.started_s) == (AttemptState.RUNNING, "cn7", 10.0)


def test_an_event_counts_once_however_often_it_comes(held: tuple[Ledger, Lease]) -> None:
    ledger, lease = held
    said = [event(0, EventKind.STARTED, node="cn7"), evaluated(1, 20, 0.5)]
    with ledger.writing(lease) as connection:
        assert take_in(connection, 1, said) == 2
        assert take_in(connection, 1, said) == 0
        assert connection.scalar(select(func.count()).select_from(EventRow)) == 2
        assert connection.scalar(select(func.count()).select_from(EvaluationRow)) == 1


def test_an_evaluation_said_again_after_a_resume_stays_one(held: tuple[Ledger, Lease]) -> None:
    ledger, lease = held
    with ledger.writing(lease) as connection:
        take_in(connection, 1, [evaluated(1, 20, 0.5), evaluated(2, 20, 0.5)])
        assert connection.scalar(select(func.count()).select_from(EvaluationRow)) == 1
        assert connection.scalar(select(TrialRow.step)) == 20


def test_classes_that_are_absent_have_no_score(held: tuple[Ledger, Lease]) -> None:
    ledger, lease = held
    with ledger.writing(lease) as connection:
        take_in(connection, 1, [evaluated(1, 20, 0.5)])
        (row,) = listings.evaluations_of(connection, 1)
        assert listings.class_scores(connection, row.id) == [0.5, None]


def test_an_end_is_settled_once(held: tuple[Ledger, Lease]) -> None:
    ledger, lease = held
    end = event(3, EventKind.ENDED, cause=Cause.PAUSED, step=40, first_step=0)
    with ledger.writing(lease) as connection:
        take_in(connection, 1, [end])
        (ended,) = endings.ended_attempts(connection, 1)
        assert (ended.cause, ended.result["step"]) == (Cause.PAUSED, 40)
        assert changes.settle_attempts(connection, [ended.id]) == {ended.id}
        assert not changes.settle_attempts(connection, [ended.id])
        assert not endings.ended_attempts(connection, 1)


def test_an_attempt_ends_with_its_first_cause(held: tuple[Ledger, Lease]) -> None:
    ledger, lease = held
    with ledger.writing(lease) as connection:
        assert jobs.end_attempt(connection, 1, {"cause": Cause.LOST, "ended_s": 1.0})
        assert not jobs.end_attempt(connection, 1, {"cause": Cause.ERROR, "ended_s": 2.0})
        assert attempt(connection).cause == Cause.LOST


def test_an_unknown_attempt_changes_nothing_but_is_kept(held: tuple[Ledger, Lease]) -> None:
    ledger, lease = held
    stranger = AttemptName(token="other", index=0, order=9, restart=0)
    said = Event(attempt=stranger, number=0, kind=EventKind.STARTED, at_s=1.0, facts={})
    with ledger.writing(lease) as connection:
        assert take_in(connection, 1, [said]) == 1
        assert attempt(connection).state == AttemptState.SUBMITTING


def test_a_job_takes_only_orders_that_wait(held: tuple[Ledger, Lease]) -> None:
    ledger, lease = held
    with ledger.writing(lease) as connection:
        assert jobs.begin_job(connection, 1, "job-2", [[1]], 6.0) == [{}]


def test_a_trial_moves_only_from_the_state_that_it_is_in(held: tuple[Ledger, Lease]) -> None:
    ledger, lease = held
    with ledger.writing(lease) as connection:
        assert not changes.move_trial(connection, 1, TrialState.PAUSED, TrialState.STOPPED)
        assert changes.move_trial(connection, 1, TrialState.RUNNING, TrialState.PAUSED)


def test_a_move_that_is_none_is_refused(held: tuple[Ledger, Lease]) -> None:
    ledger, lease = held
    with ledger.writing(lease) as connection, pytest.raises(AssertionError, match="no move"):
        changes.move_trial(connection, 1, TrialState.COMPLETED, TrialState.RUNNING)


def test_words_that_are_no_text_are_stored_all_the_same(held: tuple[Ledger, Lease]) -> None:
    ledger, lease = held
    said = "before\0after \ud800 end"
    end = event(3, EventKind.ENDED, cause=Cause.ERROR, step=0, detail=said)
    with ledger.writing(lease) as connection:
        take_in(connection, 1, [event(0, EventKind.STARTED, node="cn\0"), end])
        assert attempt(connection).detail == "before\ufffdafter ? end"
        assert attempt(connection).node == "cn\ufffd"


def test_a_verdict_is_kept_beside_the_trial(held: tuple[Ledger, Lease]) -> None:
    ledger, lease = held
    with ledger.writing(lease) as connection:
        values = {"cause": Cause.ERROR, "detail": "boom"}
        changes.move_trial(connection, 1, TrialState.RUNNING, TrialState.FAILED, values)
        changes.move_trial(connection, 1, TrialState.FAILED, TrialState.WAITING)
        told = [row.facts for row in queries.decisions(connection, 1, "verdict")]
    assert [(one["trial"], one["state"]) for one in told] == [(1, "failed"), (1, "waiting")]
    assert told[0]["detail"] == "boom"


def drawn(number: int, name: AttemptName, dice_weight: float) -> Event:
    recipe = Recipe(dice_weight=dice_weight)
    facts = {"recipe": asdict(recipe), "digest": recipe.digest(), "seed": 77}
    return Event(attempt=name, number=number, kind=EventKind.DRAWN, at_s=9.0, facts=facts)


def test_a_recipe_that_a_job_chose_is_the_latest_attempts(held: tuple[Ledger, Lease]) -> None:
    ledger, lease = held
    with ledger.writing(lease) as connection:
        order = changes.add_order(connection, 1, "tune", {"task": {"survivor": 1}})
        (row,) = queries.candidates(connection, 1, 1)
        delegations.reserve(connection, order, [row.id], {"survivor": 1})
        again = jobs.add_restart(connection, str(NAME), 1)
        assert again is not None
        take_in(connection, 1, [drawn(0, replace(NAME, restart=1), 0.25)])
        take_in(connection, 1, [drawn(0, NAME, 0.75)])  # of one that was cut off
        (row,) = queries.candidates(connection, 1, 1)
        assert row.recipe["dice_weight"] == 0.25
        assert connection.scalar(select(TrialRow.seed)) == 77
        assert len(queries.orders_of_kind(connection, 1, "train")) == 1  # reserved no more
