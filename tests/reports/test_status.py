import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emsearch.ledger import changes, listings, queries
from emsearch.ledger.rows import Rows
from emsearch.ledger.store import Ledger
from emsearch.records.trial import Stage, TrialState
from emsearch.reports.status import Status, status

Make = Callable[..., tuple[Ledger, Path]]


def read(ledger: Ledger) -> Status:
    with ledger.reading() as connection:
        return status(connection, 1)


def test_a_finished_study_has_nothing_left(ledger: Ledger) -> None:
    told = read(ledger)
    assert told.stage == Stage.FINISHED
    assert told.done_steps == told.total_steps > 0
    assert told.remaining_s == 0


def test_states_and_causes_are_counted(ledger: Ledger) -> None:
    told = read(ledger)
    assert told.trials == {"completed": 30, "failed": 3, "stopped": 15}
    assert sum(told.trials.values()) == 4 + 16 * 2 + 3 * 4
    assert told.causes["preempted"] == 6
    assert told.causes["diverged"] == 1
    assert sum(told.causes.values()) == told.attempts["ended"]
    assert told.candidates == 29


def test_it_says_how_many_trees_were_drawn_again_and_why(ledger: Ledger) -> None:
    assert read(ledger).redrawn == {"max_parameters=300,000": 38, "drawn before": 2}


def test_what_tuning_will_still_ask_for_is_left(make_study: Make) -> None:
    ledger, _ = make_study(Stage.TUNING)  # one survivor of three has been tuned
    told = read(ledger)
    assert told.total_steps - told.done_steps == 2 * 4 * 400


def test_the_time_left_is_that_of_steps_like_those_done(make_study: Make) -> None:
    ledger, _ = make_study(Stage.TUNING)
    told = read(ledger)
    a_step_s = told.trained_s / told.done_steps
    two_jobs = 2
    expected = (told.total_steps - told.done_steps) * a_step_s / two_jobs
    assert told.remaining_s == pytest.approx(expected, rel=0.05)  # failed trials are not measured


def test_trials_on_their_way_and_their_promotions_are_left(make_study: Make) -> None:
    ledger, _ = make_study(Stage.SEARCHING)
    before = read(ledger)
    _revive(ledger, trials=3)
    after = read(ledger)
    promoted = 2 * 300  # the better half of two candidates, with two seeds
    again = 3 * 100
    assert after.total_steps - after.done_steps == (
        before.total_steps - before.done_steps + again + promoted
    )


def test_before_anything_is_drawn_the_whole_search_is_left(make_study: Make) -> None:
    ledger, _ = make_study(Stage.SEARCHING)
    _empty(ledger)
    told = read(ledger)
    search = 16 * 2 * 100 + 8 * 2 * 300
    baselines, tuning = 4 * 400, 3 * 4 * 400
    assert told.done_steps == 0
    assert told.total_steps == search + baselines + tuning
    assert told.remaining_s is None


def test_an_asynchronous_search_has_left_what_its_trainings_or_hours_allow(
    make_study: Make,
) -> None:
    ledger, _ = make_study(Stage.SEARCHING)
    change = {"policy": "default", "trials": 64, "finalists": 2}
    done = sum(one.steps for one in _work(ledger) if one.origin == "random")
    climb = 64 * 100 + 32 * 300 + 2 * 2 * 400
    tuning = 3 * 4 * 400
    _plan(ledger, change)
    told = read(ledger)
    assert told.total_steps - told.done_steps == climb - done + tuning
    trained_s = sum(one.train_s for one in _work(ledger) if one.origin != "tuned")
    _plan(ledger, change | {"gpu_hours": (trained_s + 60) / 3600})
    with_hours = read(ledger)
    assert with_hours.total_steps < told.total_steps
    assert with_hours.remaining_s is not None
    assert told.remaining_s is not None
    a_step_s = 2 * told.remaining_s / (told.total_steps - told.done_steps)
    assert with_hours.remaining_s == pytest.approx((60 + tuning * a_step_s) / 2, rel=0.01)


def test_while_the_ensemble_is_selected_no_training_is_left(make_study: Make) -> None:
    ledger, _ = make_study(Stage.COMBINING)
    told = read(ledger)
    assert told.total_steps == told.done_steps
    assert told.remaining_s is None


def test_a_coordinator_is_silent_that_has_given_no_sign_of_life(make_study: Make) -> None:
    ledger, _ = make_study(Stage.TUNING)
    with ledger._engine.begin() as connection:
        held = "UPDATE studies SET holder = 'cn2/7/1.0', renewed_s = 1, held_since_s = 1"
        connection.exec_driver_sql(held)
    assert "silent for" in read(ledger).coordinator
    with ledger.reading() as connection:  # its snapshot was signed just now
        coordinator = status(connection, 1, alive_s=time.time()).coordinator
    assert coordinator.startswith("cn2, process 7, since ")
    assert "silent" not in coordinator


def _revive(ledger: Ledger, trials: int) -> None:
    """Put stopped trials back to their start."""
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE trials SET state = ?, step = 0, train_s = 0 WHERE id IN "
            "(SELECT id FROM trials WHERE state = 'stopped' LIMIT ?)",
            (TrialState.RUNNING, trials),
        )


def _work(ledger: Ledger) -> Rows:
    with ledger.reading() as connection:
        return listings.work(connection, 1)


def _plan(ledger: Ledger, search: dict[str, Any]) -> None:
    """Give the study another budget."""
    with ledger._engine.begin() as connection:
        spec = queries.study(connection).spec
        changes.advance(connection, 1, {"spec": spec | {"search": spec["search"] | search}})


def _empty(ledger: Ledger) -> None:
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        tables = "members class_scores evaluations attempts orders trials rankings candidates"
        for table in tables.split():
            connection.exec_driver_sql(f"DELETE FROM {table}")  # noqa: S608
