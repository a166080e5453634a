"""The decision, without a world."""

from dataclasses import replace

import pytest

from emsearch.coordinator.actions import (
    Advance,
    Ask,
    Bury,
    Combine,
    Delegate,
    Draw,
    Exclude,
    Follow,
    Import,
    Pause,
    Promote,
    Recover,
    Restart,
    Settle,
    Stop,
    Submit,
    Tell,
    Waive,
)
from emsearch.coordinator.decide import FOLLOWS, MOST_LOST, decide, follow
from emsearch.coordinator.view import Ended, Job, Plan, TrialView, Tuning, View, Waiting, Window
from emsearch.execution.executor import Ending, JobReport, JobState
from emsearch.records.job import TaskName
from emsearch.records.trial import Cause, OrderState, Stage, TrialState

PLAN = Plan(
    candidates=4,
    rungs=(100, 400),
    keep=0.5,
    survivors=2,
    tune_trials=3,
    tune_batch=2,
    max_jobs=2,
    min_job_s=0.0,
)
SEARCHING = View(now_s=0.0, stage=Stage.SEARCHING, is_paused=False, plan=PLAN, candidates_drawn=4)
ENDED = Ended(
    attempt=1,
    order=1,
    order_state=OrderState.RUNNING,
    kind="train",
    trial=1,
    cause=Cause.COMPLETED,
    had_started=True,
    is_latest=True,
    causes_before=(),
    detail="",
    result={},
)
ALIVE = JobReport(state=JobState.ALIVE)
ENDING = Ending(cause=Cause.LOST, detail="why")
JOB = Job(number=1, name=TaskName(token="a"), handle="h", report=ALIVE)
LOST_JOB = replace(JOB, handle=None, report=None)


def trial(
    candidate: int, score: float | None, state: TrialState = TrialState.PAUSED, until: int = 100
) -> TrialView:
    return TrialView(
        number=10 * candidate + round(100 * (score or 0)) % 10,
        candidate=candidate,
        is_baseline=candidate == 0,
        state=state,
        until_step=until,
        score=score,
    )


def test_volumes_are_imported_before_anything_is_drawn() -> None:
    view = replace(SEARCHING, stage=Stage.IMPORTING, candidates_drawn=0)
    assert decide(view) == [Import()]
    assert decide(replace(view, imports=(OrderState.RUNNING,))) == []
    assert decide(replace(view, imports=(OrderState.DONE,))) == [Advance(stage=Stage.SEARCHING)]


def test_a_volume_that_cannot_be_imported_ends_the_study() -> None:
    view = replace(SEARCHING, stage=Stage.IMPORTING, imports=(OrderState.FAILED,))
    (action,) = decide(view)
    assert isinstance(action, Advance)
    assert action.stage == Stage.FAILED


def test_missing_candidates_are_drawn() -> None:
    assert decide(replace(SEARCHING, candidates_drawn=1)) == [Draw(count=3)]


def test_nobody_is_compared_while_one_is_on_the_way() -> None:
    live = (trial(1, 0.5), trial(2, None, TrialState.RUNNING))
    assert decide(replace(SEARCHING, live=live)) == []


def test_the_better_half_goes_on_from_a_rung() -> None:
    live = tuple(trial(c, s) for c, s in [(1, 0.3), (2, 0.5), (3, 0.4), (4, 0.2)])
    (action,) = decide(replace(SEARCHING, live=live))
    assert isinstance(action, Promote)
    assert action.until_step == 400
    assert {number // 10 for number in action.go_on} == {2, 3}
    assert {number // 10 for number in action.stop} == {1, 4}
    assert [candidate for candidate, _ in action.means] == [2, 3, 1, 4]


def test_all_seeds_of_a_candidate_go_on_together() -> None:
    live = (trial(1, 0.31), trial(1, 0.52), trial(2, 0.23), trial(2, 0.24))
    (action,) = decide(replace(SEARCHING, live=live))
    assert isinstance(action, Promote)
    assert len(action.go_on) == 2
    assert {number // 10 for number in action.go_on} == {1}


def test_the_baseline_does_not_wait_for_the_rung_of_the_others() -> None:
    live = (trial(0, None, TrialState.RUNNING, until=400), trial(1, 0.3), trial(2, 0.5))
    (action,) = decide(replace(SEARCHING, live=live))
    assert isinstance(action, Promote)


def test_survivors_are_the_best_that_are_not_the_baseline() -> None:
    completed = tuple(
        trial(c, s, TrialState.COMPLETED, 400) for c, s in [(0, 0.9), (1, 0.5), (2, 0.7), (3, 0.6)]
    )
    assert decide(replace(SEARCHING, completed=completed)) == [
        Advance(stage=Stage.TUNING, survivors=(2, 3))
    ]


def test_without_recipes_to_try_tuning_is_left_out() -> None:
    completed = (trial(1, 0.5, TrialState.COMPLETED, 400),)
    plan = replace(PLAN, tune_trials=0)
    assert decide(replace(SEARCHING, plan=plan, completed=completed)) == [
        Advance(stage=Stage.COMBINING)
    ]


def test_a_study_in_which_everything_failed_says_so() -> None:
    (action,) = decide(SEARCHING)
    assert isinstance(action, Advance)
    assert action.stage == Stage.FAILED
    assert "no trial completed" in action.why


def test_recipes_are_asked_for_when_the_last_batch_of_a_survivor_is_in() -> None:
    view = replace(
        SEARCHING,
        stage=Stage.TUNING,
        tunings=(
            Tuning(survivor=2, asked=2, unfinished=0),
            Tuning(survivor=3, asked=2, unfinished=1),
        ),
    )
    assert decide(view) == [Ask(survivor=2, count=1)]


def test_tuning_ends_when_every_recipe_has_its_verdict() -> None:
    done = Tuning(survivor=2, asked=3, unfinished=0)
    view = replace(SEARCHING, stage=Stage.TUNING, tunings=(done,))
    assert decide(view) == [Advance(stage=Stage.COMBINING)]


def test_a_job_of_rays_is_given_all_trials_of_a_survivor_at_once_and_once() -> None:
    fresh = Tuning(survivor=3, asked=0, unfinished=0)
    busy = Tuning(survivor=4, asked=3, unfinished=2, is_delegated=True)
    view = replace(
        SEARCHING,
        stage=Stage.TUNING,
        plan=replace(PLAN, tune_engine="ray"),
        tunings=(fresh, busy),
    )
    assert decide(view) == [Delegate(survivor=3, count=3)]
    assert decide(replace(view, tunings=(busy,))) == []
    left = replace(busy, is_delegated=False, unchosen=2)
    assert decide(replace(view, tunings=(left,))) == [Waive(survivor=4)]
    late = replace(busy, is_delegated=False, unfinished=1)  # a job of its own carries it on
    assert decide(replace(view, tunings=(late,))) == []
    over = replace(busy, is_delegated=False, unfinished=0)
    assert decide(replace(view, tunings=(over,))) == [Advance(stage=Stage.COMBINING)]


def test_the_ensemble_is_ordered_once_and_ends_the_study() -> None:
    view = replace(SEARCHING, stage=Stage.COMBINING)
    assert decide(view) == [Combine()]
    assert decide(replace(view, combining=(OrderState.RUNNING,))) == []
    assert decide(replace(view, combining=(OrderState.DONE,))) == [Advance(stage=Stage.FINISHED)]


def test_free_slots_are_filled_and_no_more() -> None:
    waiting = tuple(Waiting(number=n, expected_s=60.0) for n in (1, 2, 3))
    live = (trial(1, None, TrialState.WAITING),)
    view = replace(SEARCHING, live=live, waiting=waiting)
    assert decide(view) == [Submit(tasks=((1,), (2,)))]
    busy = (JOB,)
    assert decide(replace(view, jobs=busy)) == [Submit(tasks=((1,),))]
    assert decide(replace(view, jobs=busy * 3)) == []


def test_short_orders_share_a_job_but_leave_no_slot_empty() -> None:
    waiting = tuple(Waiting(number=n, expected_s=1.0) for n in range(10))
    live = (trial(1, None, TrialState.WAITING),)
    plan = replace(PLAN, min_job_s=100.0)
    jobs = decide(replace(SEARCHING, plan=plan, live=live, waiting=waiting))
    assert jobs == [Submit(tasks=((0, 1, 2, 3, 4), (5, 6, 7, 8, 9)))]


def test_a_paused_study_settles_but_submits_nothing() -> None:
    waiting = (Waiting(number=1, expected_s=1.0),)
    view = replace(SEARCHING, is_paused=True, waiting=waiting)
    assert decide(view) == []
    assert decide(replace(view, ended=(ENDED,))) == [Settle(ended=ENDED, follow=Follow.DONE)]


def test_what_ended_is_settled_before_anything_else_is_decided() -> None:
    view = replace(SEARCHING, candidates_drawn=0, ended=(ENDED,))
    assert decide(view) == [Settle(ended=ENDED, follow=Follow.DONE)]


def test_failures_alike_in_a_row_pause_the_study_and_say_why() -> None:
    (action,) = decide(replace(SEARCHING, alike="OSError: no space left", ended=(ENDED,)))
    assert isinstance(action, Pause)
    assert "no space left" in action.why
    paused = replace(SEARCHING, alike="OSError: no space left", is_paused=True, ended=(ENDED,))
    assert decide(paused) == [Settle(ended=ENDED, follow=Follow.DONE)]


def test_a_job_without_a_handle_is_looked_for() -> None:
    view = replace(SEARCHING, jobs=(LOST_JOB,))
    assert decide(view) == [Recover(token="a", tasks=1)]


def test_a_dead_job_is_buried_and_one_that_nobody_can_see_is_not() -> None:
    gone = JobReport(state=JobState.GONE, ending=Ending(cause=Cause.LOST, detail="why"))
    unknown = JobReport(state=JobState.UNKNOWN)
    live = (trial(1, None, TrialState.RUNNING),)
    view = replace(SEARCHING, live=live, jobs=(replace(JOB, report=gone),))
    assert decide(view) == [Bury(job=replace(JOB, report=gone), endings=(ENDING,))]
    assert decide(replace(view, jobs=(replace(JOB, report=unknown),))) == []


@pytest.mark.parametrize("cause", list(Cause))
def test_something_follows_from_every_cause(cause: Cause) -> None:
    assert cause in FOLLOWS
    follow(replace(ENDED, cause=cause))


@pytest.mark.parametrize("cause", [Cause.PREEMPTED, Cause.TIMEOUT, Cause.NODE_FAILURE, Cause.LOST])
def test_what_is_not_the_trials_fault_is_carried_on(cause: Cause) -> None:
    ended = replace(ENDED, cause=cause, causes_before=(cause,) * (MOST_LOST - 1))
    assert follow(ended) == Follow.AGAIN
    assert follow(replace(ended, causes_before=(cause,) * MOST_LOST)) == Follow.FAIL


def test_an_error_is_tried_once_more() -> None:
    assert follow(replace(ENDED, cause=Cause.ERROR)) == Follow.ELSEWHERE
    again = replace(ENDED, cause=Cause.ERROR, causes_before=(Cause.ERROR,))
    assert follow(again) == Follow.FAIL
    other = replace(ENDED, cause=Cause.ERROR, causes_before=(Cause.LOST, Cause.PREEMPTED))
    assert follow(other) == Follow.ELSEWHERE


@pytest.mark.parametrize("cause", [Cause.DIVERGED, Cause.COLLAPSED, Cause.GPU_OUT_OF_MEMORY])
def test_facts_about_the_candidate_are_not_tried_again(cause: Cause) -> None:
    assert follow(replace(ENDED, cause=cause)) == Follow.FAIL


def test_an_order_whose_turn_had_not_come_waits_again() -> None:
    ended = replace(ENDED, cause=Cause.LOST, had_started=False, causes_before=(Cause.LOST,) * 99)
    assert follow(ended) == Follow.AGAIN


def test_what_an_overtaken_attempt_came_to_changes_nothing() -> None:
    assert follow(replace(ENDED, is_latest=False)) == Follow.NOTHING


def test_no_order_is_left_without_somebody_in_charge() -> None:
    # The latest attempt at an order that runs: whatever ended it, something follows.
    for cause in Cause:
        assert follow(replace(ENDED, cause=cause)) != Follow.NOTHING


def test_the_dead_are_not_buried_before_all_that_they_said_is_heard() -> None:
    gone = JobReport(state=JobState.GONE)
    job = replace(JOB, report=gone)
    live = (trial(1, None, TrialState.RUNNING),)
    view = replace(SEARCHING, live=live, jobs=(job,), is_inbox_full=True)
    assert decide(view) == []


def test_nothing_is_submitted_when_a_study_fails() -> None:
    waiting = (Waiting(number=1, expected_s=1.0),)
    imports = (OrderState.FAILED, OrderState.WAITING)
    view = replace(SEARCHING, stage=Stage.IMPORTING, imports=imports, waiting=waiting)
    (action,) = decide(replace(view, failure="OSError: cannot read it"))
    assert isinstance(action, Advance)
    assert action.why == "a volume could not be imported: OSError: cannot read it"


def test_the_end_of_an_order_that_is_over_changes_nothing() -> None:
    assert follow(replace(ENDED, order_state=OrderState.DONE)) == Follow.NOTHING


def test_a_preempted_task_may_come_back_by_itself_so_that_nothing_follows_yet() -> None:
    left = replace(ENDED, cause=Cause.PREEMPTED, is_task_open=True)
    live = (trial(1, None, TrialState.RUNNING),)
    view = replace(SEARCHING, live=live, ended=(left,), jobs=(JOB,))
    assert decide(view) == []
    over = replace(left, is_task_open=False)
    assert decide(replace(view, ended=(over,))) == [Settle(ended=over, follow=Follow.AGAIN)]


def test_a_task_that_was_put_back_begins_anew_once() -> None:
    back = JobReport(state=JobState.ALIVE, restarted=(ENDING,))
    job = replace(JOB, report=back)
    live = (trial(1, None, TrialState.RUNNING),)
    view = replace(SEARCHING, live=live, jobs=(job,))
    assert decide(view) == [Restart(job=job, endings=(ENDING,))]
    known = replace(job, restarts=1)
    assert decide(replace(view, jobs=(known,))) == []


def test_a_task_that_was_put_back_and_is_gone_tells_of_all_its_runs() -> None:
    last = Ending(cause=Cause.TIMEOUT)
    job = replace(JOB, report=JobReport(state=JobState.GONE, ending=last, restarted=(ENDING,)))
    assert decide(replace(SEARCHING, jobs=(job,))) == [Bury(job=job, endings=(ENDING, last))]


def test_memory_of_the_device_is_asked_for_in_halves_until_a_patch_is_left() -> None:
    ended = replace(ENDED, cause=Cause.GPU_OUT_OF_MEMORY, micro_batch=4)
    assert follow(ended) == Follow.SMALLER
    again = replace(ended, causes_before=(Cause.GPU_OUT_OF_MEMORY,) * 9, micro_batch=2)
    assert follow(again) == Follow.SMALLER
    assert follow(replace(ended, micro_batch=1)) == Follow.FAIL


def test_memory_of_the_host_is_given_once_more() -> None:
    ended = replace(ENDED, cause=Cause.HOST_OUT_OF_MEMORY)
    assert follow(ended) == Follow.ROOMIER
    again = replace(ended, causes_before=(Cause.HOST_OUT_OF_MEMORY,))
    assert follow(again) == Follow.FAIL


def test_whoever_cancels_an_attempt_may_do_so_again() -> None:
    ended = replace(ENDED, cause=Cause.CANCELLED, causes_before=(Cause.CANCELLED,) * 999)
    assert follow(ended) == Follow.AGAIN


def test_a_node_on_which_three_candidates_failed_is_excluded() -> None:
    failed = replace(ENDED, cause=Cause.ERROR, node="cn2", failed_there_alone=(3, 4, 5))
    view = replace(SEARCHING, ended=(failed,))
    assert decide(view)[1:] == [Exclude(node="cn2", candidates=(3, 4, 5))]
    fewer = replace(failed, failed_there_alone=(3, 4))
    assert len(decide(replace(view, ended=(fewer,)))) == 1


def test_users_are_told_why_orders_wait_when_that_changes() -> None:
    pending = JobReport(state=JobState.ALIVE, word="PENDING", reason="QOSMaxJobsPerUserLimit")
    live = (trial(1, None, TrialState.RUNNING),)
    jobs = tuple(replace(JOB, report=pending) for _ in range(2))
    view = replace(SEARCHING, live=live, jobs=jobs)
    told = "2 in the queue (QOSMaxJobsPerUserLimit)"
    assert decide(view) == [Tell(why=told)]
    assert decide(replace(view, waits_why=told)) == []
    refused = replace(view, window=Window(refused="AssocMaxSubmitJobLimit", is_open=False))
    assert decide(refused) == [Tell(why=f"AssocMaxSubmitJobLimit; {told}")]


def test_a_cluster_that_did_not_answer_is_told_later_to_end_jobs_and_users_know() -> None:
    halted = replace(SEARCHING, is_paused=True, is_halted=True, jobs=(JOB,))
    silent = replace(halted, window=Window(silence="scancel: no answer"))
    (action,) = decide(silent)
    assert action == Tell(why="jobs are not told to end yet: scancel: no answer")
    assert decide(replace(silent, waits_why=action.why)) == []
    assert decide(replace(halted, waits_why=action.why)) == [Stop(jobs=(JOB,))]
    assert decide(replace(silent, waits_why=action.why, jobs=())) == [Tell(why="")]


def test_a_task_whose_end_comes_without_its_restarts_has_an_ending_for_each_run() -> None:
    gone = JobReport(state=JobState.GONE, ending=ENDING)
    (action,) = decide(replace(SEARCHING, jobs=(replace(JOB, report=gone, restarts=2),)))
    assert isinstance(action, Bury)
    assert [one.cause for one in action.endings] == [Cause.LOST] * 3
    assert action.endings[-1] == ENDING


def test_a_halted_study_tells_its_jobs_to_leave_once() -> None:
    view = replace(SEARCHING, is_paused=True, is_halted=True, jobs=(JOB, LOST_JOB))
    assert decide(view)[-1] == Stop(jobs=(JOB,))
    told = replace(JOB, is_stopped=True)
    assert decide(replace(view, jobs=(told,))) == []


def test_a_job_that_may_just_be_on_its_way_is_not_looked_for_yet() -> None:
    young = replace(LOST_JOB, created_s=90.0)
    live = (trial(1, None, TrialState.RUNNING),)
    view = replace(SEARCHING, now_s=100.0, live=live, jobs=(young,))
    patient = replace(view, window=Window(recover_after_s=60.0))
    assert decide(patient) == []
    assert decide(replace(patient, now_s=200.0)) == [Recover(token="a", tasks=1)]
    silent = replace(patient, now_s=200.0, window=Window(is_open=False, refused="no answer"))
    assert Recover(token="a", tasks=1) not in decide(silent)
