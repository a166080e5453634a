"""What a free slot is given, without a world."""

from dataclasses import replace

from emsearch.coordinator.actions import Promote, Try
from emsearch.coordinator.search import search
from emsearch.coordinator.view import Plan, TrialView, View
from emsearch.records.trial import Cause, Stage, TrialState

PLAN = Plan(
    candidates=4,
    rungs=(100, 400),
    keep=0.5,
    survivors=2,
    tune_trials=3,
    tune_batch=2,
    max_jobs=2,
    min_job_s=0.0,
    policy="default",
    trials=30,
)
EMPTY = View(now_s=0.0, stage=Stage.SEARCHING, is_paused=False, plan=PLAN)


def trial(
    number: int,
    candidate: int,
    state: TrialState = TrialState.PAUSED,
    cause: Cause | None = None,
    **scores: float,
) -> TrialView:
    """Return a trial; scores are named after their rungs, such as at_100."""
    known = tuple((int(name.removeprefix("at_")), score) for name, score in scores.items())
    return TrialView(
        number=number,
        candidate=candidate,
        is_baseline=candidate == 0,
        state=state,
        until_step=400 if state == TrialState.COMPLETED else 100,
        score=known[-1][1] if known else None,
        cause=cause,
        scores=known,
    )


def view_of(*trials: TrialView, plan: Plan = PLAN) -> View:
    over = {TrialState.COMPLETED, TrialState.STOPPED, TrialState.FAILED}
    live = tuple(one for one in trials if one.state not in over)
    return replace(EMPTY, plan=plan, history=trials, live=live)


def actions_of(view: View) -> list[Promote | Try]:
    actions = search(view)
    assert actions is not None
    return [action for action in actions if isinstance(action, Promote | Try)]


def test_every_free_slot_gets_a_training() -> None:
    tries = actions_of(EMPTY)
    assert [isinstance(one, Try) and one.candidate is None for one in tries] == [True, True]


def test_no_more_than_the_budget_is_begun() -> None:
    plan = replace(PLAN, trials=3, max_jobs=8)
    begun = (trial(1, 1, TrialState.RUNNING), trial(2, 2, TrialState.RUNNING))
    assert len(actions_of(view_of(*begun, plan=plan))) == 1


def test_a_paused_trial_of_the_better_half_goes_on_before_anything_new() -> None:
    view = view_of(*(trial(n, n, at_100=0.1 * n) for n in range(1, 5)))
    first, second = actions_of(view)
    assert isinstance(first, Promote)
    assert isinstance(second, Promote)
    assert {*first.go_on, *second.go_on} == {3, 4}
    assert first.stop == ()
    assert first.until_step == 400


def test_the_only_one_at_a_rung_waits_for_somebody_to_compare_with() -> None:
    assert all(isinstance(one, Try) for one in actions_of(view_of(trial(1, 1, at_100=0.9))))


def test_who_was_not_promoted_may_be_later_when_more_have_come() -> None:
    early = [trial(n, n, at_100=0.1 * n) for n in range(1, 4)]
    on_its_way = replace(early[2], state=TrialState.RUNNING, until_step=400)
    few = view_of(early[0], early[1], on_its_way)
    assert all(isinstance(one, Try) for one in actions_of(few))
    more = view_of(early[0], early[1], on_its_way, trial(4, 4, at_100=0.05))
    assert any(isinstance(one, Promote) and one.go_on == (2,) for one in actions_of(more))


def test_an_hour_budget_ends_the_search_and_stops_what_waits() -> None:
    plan = replace(PLAN, gpu_hours=1.0)
    done = [trial(n, n, TrialState.COMPLETED, at_100=0.5, at_400=0.5 + n / 10) for n in (1, 2)]
    waiting = [trial(n, n, at_100=0.1) for n in range(3, 9)]
    view = view_of(*done, *waiting, plan=plan)
    assert any(one.go_on for one in actions_of(view) if isinstance(one, Promote))
    (stopped,) = actions_of(replace(view, spent_s=3601.0))
    assert isinstance(stopped, Promote)
    assert (stopped.go_on, set(stopped.stop)) == ((), {3, 4, 5, 6, 7, 8})


def test_when_the_hours_are_over_before_anything_is_complete_one_goes_on() -> None:
    plan = replace(PLAN, gpu_hours=1.0)
    waiting = [trial(n, n, at_100=0.1 * n) for n in range(1, 5)]
    (only,) = actions_of(replace(view_of(*waiting, plan=plan), spent_s=3601.0))
    assert isinstance(only, Promote)
    assert only.go_on == (4,)


def test_a_wall_clock_budget_counts_from_the_launch() -> None:
    plan = replace(PLAN, wall_hours=2.0)
    view = replace(view_of(plan=plan), begun_s=1000.0)
    assert actions_of(replace(view, now_s=1000.0 + 7100))
    assert search(replace(view, now_s=1000.0 + 7300)) is None


def test_finalists_get_three_full_trainings_and_then_the_search_is_over() -> None:
    plan = replace(PLAN, trials=4, finalists=2, max_jobs=8, rungs=(400,))
    done = [trial(n, n, TrialState.COMPLETED, at_400=0.5 + n / 100) for n in range(1, 5)]
    tries = actions_of(view_of(*done, plan=plan))
    assert sorted(one.candidate or 0 for one in tries if isinstance(one, Try)) == [3, 3, 4, 4]
    assert all(one.until_step == 400 for one in tries)
    last = [trial(10 + n, 3 + n // 2, TrialState.COMPLETED, at_400=0.4) for n in range(4)]
    assert search(view_of(*done, *last, plan=plan)) is None


def test_a_candidate_that_was_too_large_gets_no_further_seed() -> None:
    plan = replace(PLAN, policy="repeats3")
    failed = trial(1, 1, TrialState.FAILED, Cause.GPU_OUT_OF_MEMORY)
    tries = actions_of(view_of(failed, plan=plan))
    assert all(isinstance(one, Try) and one.candidate is None for one in tries)


def test_fixed_repeats_count_what_is_under_way() -> None:
    plan = replace(PLAN, policy="repeats3", max_jobs=4)
    first = trial(1, 1, TrialState.RUNNING)
    tries = actions_of(view_of(first, plan=plan))
    assert [one.candidate for one in tries if isinstance(one, Try)] == [1, 1, None]


def test_evolution_breeds_from_the_living_only() -> None:
    plan = replace(PLAN, policy="evolution", trials=100, rungs=(400,))
    done = [trial(n, n, TrialState.COMPLETED, at_400=1 - n / 100) for n in range(1, 31)]
    (first, _) = actions_of(view_of(*done, plan=plan))
    assert isinstance(first, Try)
    assert len(first.parents) == 1
    assert first.parents[0] > 10  # the ten oldest were best, and are dead


def test_the_same_view_gives_the_same_choice() -> None:
    view = view_of(*(trial(n, n, at_100=0.1 * n) for n in range(1, 12)))
    assert search(view) == search(view)
