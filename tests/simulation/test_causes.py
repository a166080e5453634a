"""What follows from each cause, in a study whose cluster torments it."""

import time
from collections import Counter
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random

import pytest

from emsearch.coordinator.actions import Exclude
from emsearch.coordinator.reopen import reopen
from emsearch.errors import ExecutionError
from emsearch.execution.executor import Ending, Limits, Request
from emsearch.ledger import changes, listings, queries
from emsearch.ledger.rows import AnyRow
from emsearch.records.event import AttemptName
from emsearch.records.job import JobFile
from emsearch.records.trial import OVER, Cause, Stage, TrialState
from tests.support.simulated import World
from tests.support.studies import spec_of

TRIAL = 5


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.of(tmp_path)


def state_of(world: World, trial: int = TRIAL) -> str:
    return str(next(one.state for one in world.trials() if one.id == trial))


def causes_of(world: World, trial: int = TRIAL) -> list[str]:
    """Return how a trial's first order was tried: the causes of its attempts."""
    attempts = world.attempts(trial)
    return [str(one.cause) for one in attempts if one.order_id == attempts[0].order_id]


def attempts_of(world: World, job: int) -> list[AnyRow]:
    """Return the attempts of a job's trainings."""
    attempts = (one for trial in world.trials() for one in world.attempts(trial.id))
    return [one for one in attempts if one.job_id == job]


def test_a_micro_batch_is_halved_and_stays_so(tmp_path: Path) -> None:
    world = World.of(tmp_path, spec_of(training={"batch_size": 6}))
    world.cluster.faults[TRIAL] = [Cause.GPU_OUT_OF_MEMORY] * 2
    assert world.finish() == Stage.FINISHED
    assert world.cluster.micro_batches[TRIAL][:3] == [None, 3, 2]
    assert set(world.cluster.micro_batches[TRIAL][3:]) <= {2}  # on the next rungs, too
    assert state_of(world) in {TrialState.COMPLETED, TrialState.STOPPED}


def test_what_ran_out_of_memory_beside_others_is_first_tried_alone(tmp_path: Path) -> None:
    world = World.of(tmp_path, spec_of(training={"batch_size": 6}))
    world.coordinator._plan = replace(world.coordinator._plan, orders_at_once=2, gpu_memory_gb=14.0)
    world.cluster.faults[TRIAL] = [Cause.GPU_OUT_OF_MEMORY] * 2
    assert world.finish() == Stage.FINISHED
    assert world.cluster.micro_batches[TRIAL][:3] == [None, None, 3]
    with world.ledger.reading() as connection:
        assert queries.last_of_trial(connection, TRIAL).memory_gb == 14.0  # on later rungs, too


def test_a_network_that_fits_at_no_micro_batch_is_too_large(world: World) -> None:
    world.cluster.faults[TRIAL] = [Cause.GPU_OUT_OF_MEMORY] * 9
    world.finish()
    trial = next(one for one in world.trials() if one.id == TRIAL)
    assert trial.state == TrialState.FAILED
    assert trial.cause == Cause.GPU_OUT_OF_MEMORY
    assert trial.detail.startswith("too large for the device, even a patch at a time")
    assert world.cluster.micro_batches[TRIAL] == [None, 1]


def test_the_host_gives_more_memory_once(world: World) -> None:
    world.cluster.faults[TRIAL] = [Cause.HOST_OUT_OF_MEMORY]
    world.cluster.faults[TRIAL + 1] = [Cause.HOST_OUT_OF_MEMORY] * 2
    world.finish()
    assert causes_of(world)[0] == Cause.HOST_OUT_OF_MEMORY
    assert state_of(world) in {TrialState.COMPLETED, TrialState.STOPPED}
    assert {one.memory_factor for one in world.cluster.submissions} == {1.0, 2.0}
    assert state_of(world, TRIAL + 1) == TrialState.FAILED


def test_an_error_is_tried_once_more_on_another_node(world: World) -> None:
    world.cluster.faults[TRIAL] = [Cause.ERROR]
    world.finish()
    first, second = world.attempts(TRIAL)[:2]
    assert first.cause == Cause.ERROR
    assert first.node != second.node
    assert any(one.exclude == (first.node,) for one in world.cluster.submissions)


def test_a_node_on_which_three_candidates_failed_and_nowhere_else_gets_no_more(
    tmp_path: Path,
) -> None:
    world = World.of(tmp_path, spec_of(search={"candidates": 12}, cluster={"max_jobs": 4}))
    world.cluster.bad_nodes = {"cn2"}
    assert world.finish() == Stage.FINISHED
    assert world.study().excluded == "cn2"
    with world.ledger.reading() as connection:
        (decision,) = queries.decisions(connection, 1, "exclude")
    assert decision.facts["node"] == "cn2"
    assert len(decision.facts["candidates"]) == 3
    assert {one.state for one in world.trials()} <= {TrialState.COMPLETED, TrialState.STOPPED}


def test_candidates_that_fail_everywhere_exclude_no_node(world: World) -> None:
    for trial in (4, 6, 8, 10):
        world.cluster.faults[trial] = [Cause.ERROR] * 2
    world.finish()
    assert world.study().excluded == ""


def test_a_task_that_the_cluster_puts_back_is_a_new_attempt_of_the_same_job(world: World) -> None:
    world.until(Stage.SEARCHING)
    world.cluster.tick(Random(0), preempt=1.0)
    world.settle()
    (job, *_) = world.jobs()
    assert job.restarts == 1
    assert world.finish() == Stage.FINISHED
    restarted = attempts_of(world, job.id)
    assert [(one.restart, one.cause) for one in restarted] == [
        (0, Cause.PREEMPTED),
        (1, restarted[1].cause),
    ]
    assert restarted[1].cause in {Cause.COMPLETED, Cause.PAUSED}
    assert restarted[1].generation == restarted[0].id


def test_what_a_restarted_task_says_counts_before_the_cluster_tells(world: World) -> None:
    world.until(Stage.SEARCHING)
    world.cluster.tick(Random(0), preempt=1.0)
    world.cluster.tick(Random(0))  # restarted, trained, and over: all between two questions
    world.settle()
    assert world.finish() == Stage.FINISHED
    assert {one.state for one in world.trials()} <= set(OVER)
    counted = Counter((trial, end) for trial, _, end in world.cluster.trained)
    assert set(counted.values()) == {1}


def test_an_attempt_cancelled_from_outside_is_told_as_that(world: World) -> None:
    world.until(Stage.SEARCHING)
    job = world.jobs()[0]
    name = next(name for name in world.cluster.tasks if name.token == job.token)
    world.cluster.tasks[name].gone = Ending(cause=Cause.CANCELLED, node="cn1", detail="by 1000")
    world.settle()
    assert [one.cause for one in attempts_of(world, job.id)] == [Cause.CANCELLED]
    assert world.finish() == Stage.FINISHED


def test_a_cluster_that_does_not_answer_fails_and_resubmits_nothing(world: World) -> None:
    world.until(Stage.SEARCHING)
    before = {job.token for job in world.jobs()}
    world.cluster.is_silent = True
    world.settle()
    assert {job.token for job in world.jobs()} == before
    world.cluster.is_silent = False
    assert world.finish() == Stage.FINISHED
    counted = Counter((trial, end) for trial, _, end in world.cluster.trained)
    assert set(counted.values()) == {1}


def test_a_refused_submission_waits_and_says_why(tmp_path: Path) -> None:
    world = World.of(tmp_path, limits=Limits(max_array=2, max_submitted=4), others=4)
    for _ in range(5):
        world.coordinator.cycle()
    assert "QOS policy" in world.study().waits_why
    assert world.jobs() == []
    assert world.cluster.submissions == []
    world.cluster.others = 0
    world.coordinator._actor.jobs.window._clock = lambda: 1e12  # the back-off is over
    assert world.finish() == Stage.FINISHED
    assert world.study().waits_why == ""
    with world.ledger.reading() as connection:
        causes = listings.counts(connection, 1)["causes"]
    assert set(causes) == {Cause.COMPLETED, Cause.PAUSED}  # a refusal is no attempt


def test_jobs_beside_the_studys_own_leave_it_the_rest_of_what_the_cluster_allows(
    tmp_path: Path,
) -> None:
    spec = spec_of(search={"candidates": 30}, cluster={"max_jobs": 1000})
    world = World.of(tmp_path, spec, limits=Limits(max_array=10, max_submitted=10), others=1)
    # Every look at the clock is long after the one before: no back-off lasts.
    world.coordinator._actor.jobs.window._clock = count(0.0, 1000.0).__next__
    busiest = 0
    while not world.coordinator.is_over:
        world.settle()
        busiest = max(busiest, len(world.jobs()))
        world.cluster.tick(Random(0))
    assert world.study().stage == Stage.FINISHED
    assert busiest == 9


def test_a_window_rolls_within_what_the_cluster_allows(tmp_path: Path) -> None:
    spec = spec_of(search={"candidates": 30}, cluster={"max_jobs": 1000})
    world = World.of(tmp_path, spec, limits=Limits(max_array=5, max_submitted=10))
    assert world.finish() == Stage.FINISHED
    assert world.cluster.most_at_once == 10
    assert max(one.tasks for one in world.cluster.submissions) == 5


def test_jobs_of_a_halted_study_are_told_to_end_once_the_cluster_answers_again(
    world: World,
) -> None:
    world.until(Stage.SEARCHING)
    window = world.coordinator._actor.jobs.window
    window._clock = count(0.0, 3.0).__next__  # a few looks after a silence it may be asked again
    world.cluster.is_silent = True
    with world.ledger.writing(world.coordinator._lease) as connection:
        changes.advance(connection, 1, {"paused_why": "asked", "halted": True})
    world.coordinator._quiet = None
    world.settle()
    assert {one.stopped_s for one in world.jobs()} == {None}
    assert "not told to end yet: slurmctld does not answer" in world.study().waits_why
    world.cluster.is_silent = False
    world.settle()
    assert world.jobs() == []
    assert world.study().waits_why == ""
    assert world.coordinator.is_paused


def test_a_task_restarted_by_its_own_word_and_gone_without_a_record_of_it_ends(
    world: World,
) -> None:
    world.until(Stage.SEARCHING)
    name, task = next((n, t) for n, t in world.cluster.tasks.items() if t.gone is None)
    job = next(one for one in world.jobs() if (one.token, one.task) == (name.token, name.index))
    task.restarted.append(Ending(cause=Cause.PREEMPTED, node=task.node))
    world.settle()
    (entry, *_) = JobFile.read(task.job_file).tasks[name.index]
    again = AttemptName(token=name.token, index=name.index, order=entry.order, restart=2)
    world.cluster._leave(again, task, [])
    world.settle()
    task.restarted.clear()  # accounting has lost the earlier runs
    task.gone = Ending(cause=Cause.NODE_FAILURE, node="cn1")
    world.settle()
    attempts = attempts_of(world, job.id)
    assert [(one.restart, one.cause) for one in attempts if one.order_id == entry.order] == [
        (0, Cause.PREEMPTED),
        (1, Cause.LOST),
        (2, Cause.NODE_FAILURE),
    ]
    assert world.finish() == Stage.FINISHED


def test_where_no_node_is_left_all_may_be_used_again(tmp_path: Path) -> None:
    world = World.of(tmp_path, nodes=1)
    world.cluster.faults[TRIAL] = [Cause.ERROR]
    world.until(Stage.SEARCHING)
    with world.ledger.writing(world.coordinator._lease) as connection:
        changes.advance(connection, 1, {"excluded": "cn1"})
    assert world.finish() == Stage.FINISHED
    assert world.study().excluded == ""
    assert causes_of(world)[0] == Cause.ERROR
    assert {one.state for one in world.trials()} <= {TrialState.COMPLETED, TrialState.STOPPED}
    with world.ledger.reading() as connection:
        allowed = queries.decisions(connection, 1, "allow")
    assert [one.facts for one in allowed] == [{"nodes": ["cn1"]}] * len(allowed) != []


def test_exclusions_stand_where_a_job_is_refused_for_another_reason(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as more memory than any node has: without exclusions it is refused as well."""
    world.until(Stage.SEARCHING)
    with world.ledger.writing(world.coordinator._lease) as connection:
        changes.advance(connection, 1, {"excluded": "cn1"})
    take, refused = world.cluster.submit, []

    def submit(token: str, job_file: Path, request: Request) -> tuple[str, ...]:
        if request.memory_factor > 1:
            refused.append(request.exclude)
            raise ExecutionError("Memory specification can not be satisfied")
        return take(token, job_file, request)

    monkeypatch.setattr(world.cluster, "submit", submit)
    world.cluster.faults[TRIAL] = [Cause.HOST_OUT_OF_MEMORY]
    assert world.finish() == Stage.FINISHED
    assert refused == [("cn1",), ()] * 2  # an error is tried once more
    assert world.study().excluded == "cn1"
    assert state_of(world) == TrialState.FAILED
    with world.ledger.reading() as connection:
        assert queries.decisions(connection, 1, "allow") == []


def test_a_node_that_was_allowed_again_is_not_excluded_until_the_study_is_resumed(
    world: World,
) -> None:
    actor = world.coordinator._actor
    with world.ledger.writing(world.coordinator._lease) as connection:
        changes.record_decision(connection, 1, "allow", {"nodes": ["cn1"]}, time.time())
    exclude = Exclude(node="cn1", candidates=(1, 2, 3))
    actor.act([exclude, Exclude(node="cn2", candidates=(4, 5, 6))])
    assert world.study().excluded == "cn2"
    with world.ledger.writing(world.coordinator._lease) as connection:
        reopen(connection, 1, time.time())  # a coordinator that is merely started again
    assert world.study().excluded == "cn2"
    with world.ledger.writing(world.coordinator._lease) as connection:
        changes.advance(connection, 1, {"paused_why": "asked"})
        reopen(connection, 1, time.time())
    assert world.study().excluded == ""
    actor.act([exclude])
    assert world.study().excluded == "cn1"


def test_what_failed_for_what_may_be_mended_keeps_its_checkpoint(world: World) -> None:
    world.until(Stage.SEARCHING)
    for trial, cause in ((TRIAL, Cause.ERROR), (TRIAL + 1, Cause.DIVERGED)):
        world.cluster.faults[trial] = [cause] * 2
        path = world.folder / f"trials/{trial:06d}/attempts/a/checkpoint-000000010.pt"
        path.parent.mkdir(parents=True)
        path.touch()
    while {TRIAL, TRIAL + 1} & {one.id for one in world.trials() if one.state not in OVER}:
        world.settle()
        world.cluster.tick(Random(0))
    world.coordinator._actor.tidy()
    kept = [path.parts[-4] for path in world.folder.glob("trials/*/attempts/*/checkpoint-*.pt")]
    assert kept == [f"{TRIAL:06d}"]
    assert world.finish() == Stage.FINISHED
    assert not list(world.folder.glob("trials/*/attempts/*/checkpoint-*.pt"))


@pytest.mark.slow
def test_ten_thousand_trials_end_within_what_the_cluster_allows(tmp_path: Path) -> None:
    spec = spec_of(
        search={"candidates": 5000, "repeats": 2, "rungs": [10]},
        training={"evaluations": 1},
        tune={"trials": 0},
        ensemble={"size": 1},
        space={"max_parameters": 2_000_000},
        cluster={"max_jobs": 100_000},
    )
    world = World.of(tmp_path, spec, limits=Limits(max_array=50, max_submitted=100))
    while not world.coordinator.is_over:
        _, happened = world.coordinator.cycle()
        if not happened:
            world.cluster.tick(Random(0))
            world.cluster.forget({row.token for row in world.jobs()})
    assert world.study().stage == Stage.FINISHED
    assert world.cluster.most_at_once == 100
    assert max(one.tasks for one in world.cluster.submissions) == 50
    trained = Counter(trial for trial, _, _ in world.cluster.trained)
    assert len(trained) == len(world.trials()) >= 10_000
    assert set(trained.values()) == {1}
