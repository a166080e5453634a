"""A survivor's trials in one job that chooses their recipes, on a cluster in memory."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from emsearch.coordinator.rebuild import rebuild
from emsearch.ledger import leaders, queries
from emsearch.ledger.rows import Rows
from emsearch.ledger.store import LEDGER, open_ledger
from emsearch.ledger.tables import UNCHOSEN, CandidateRow
from emsearch.records.candidate import Origin
from emsearch.records.trial import OVER, Stage, TrialState
from tests.simulation.test_coordinator_kills import results
from tests.simulation.test_rebuilt_ledgers import lose
from tests.support.simulated import World
from tests.support.studies import spec_of

SPEC = spec_of(tune={"engine": "ray", "survivors": 1, "trials": 5})


def tuned(world: World) -> Rows:
    return [trial for trial in world.trials() if trial.origin == Origin.TUNED]


def unchosen(world: World) -> list[Any]:
    with world.ledger.reading() as connection:
        wanted = select(CandidateRow.id).where(CandidateRow.recipe_digest == UNCHOSEN)
        return list(connection.scalars(wanted))


def test_all_trials_of_a_survivor_are_carried_out_in_one_job(tmp_path: Path) -> None:
    world = World.of(tmp_path, SPEC)
    assert world.finish() == Stage.FINISHED
    (order,) = world.cluster.tunings
    assert len(order.parts) == 5
    assert order.known[0].recipe == order.training.recipe
    trials = tuned(world)
    assert {trial.state for trial in trials} == {TrialState.COMPLETED, TrialState.STOPPED}
    for trial in trials:
        assert (trial.weights is None) == (trial.state == TrialState.STOPPED)
        assert trial.seed
        assert trial.step == (10 if trial.weights is None else 40)
    assert not unchosen(world)
    with world.ledger.reading() as connection:
        ranked = [row for row in leaders.ranked(connection, 1) if row.origin == Origin.TUNED]
    assert len(ranked) == 5
    assert len({row.recipe["dice_weight"] for row in ranked}) == 5


@pytest.mark.parametrize("deaths", [(0,), (1, 1), (2, 0, 1), (4,)])
def test_the_next_job_is_given_what_is_known_by_then_and_what_is_left(
    deaths: tuple[int, ...], tmp_path: Path
) -> None:
    world = World.of(tmp_path, SPEC)
    world.cluster.dies_after = list(deaths)
    assert world.finish() == Stage.FINISHED
    orders = world.cluster.tunings
    assert len(orders) == len(deaths) + 1
    left, known = 5, 1
    for order, died_after in zip(orders, (*deaths, 0), strict=True):
        assert (len(order.parts), len(order.known)) == (left, known)
        begun = [part.recipe is not None for part in order.parts]
        assert sum(begun) == (order is not orders[0])  # the one in whose midst the last job died
        left, known = left - died_after, known + died_after
    trials = tuned(world)
    assert len(trials) == 5
    assert {trial.state for trial in trials} <= OVER
    ends = [trial for trial, _, end in world.cluster.trained if end == 40]
    assert len(ends) == len(set(ends))


def test_a_recipe_that_was_begun_is_gone_on_with_under_its_own_number(tmp_path: Path) -> None:
    world = World.of(tmp_path, SPEC)
    world.cluster.dies_after = [2]
    world.finish()
    first, second = world.cluster.tunings
    begun = next(part for part in second.parts if part.recipe is not None)
    assert begun.trial == first.parts[2].trial
    assert begun.generation > first.parts[2].generation
    assert begun.seed != 0


def test_trials_whose_recipes_nobody_chose_are_given_up(tmp_path: Path) -> None:
    world = World.of(tmp_path, SPEC)
    world.cluster.asks_for_nothing = True
    assert world.finish() == Stage.FINISHED
    trials = tuned(world)
    assert {trial.state for trial in trials} == {TrialState.STOPPED}
    assert {trial.score for trial in trials} == {None}
    with world.ledger.reading() as connection:
        origins = {row.origin for row in leaders.ranked(connection, 1)}
        assert {row.id for row in queries.waiting_orders(connection, 1, 100)} == set()
    assert Origin.TUNED not in origins  # candidates without a recipe are shown to nobody


def test_a_ledger_is_rebuilt_with_the_recipes_that_jobs_chose(tmp_path: Path) -> None:
    world = World.of(tmp_path, SPEC)
    world.cluster.dies_after = [2]
    world.finish()
    world.coordinator.close()
    before = results(world.ledger)
    lose(world.ledger, world.folder)
    rebuild(world.folder)
    ledger = open_ledger(world.folder / LEDGER)
    assert results(ledger) == before
    ledger.close()
