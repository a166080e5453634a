"""Which orders share a task, and which tasks a submission."""

from dataclasses import replace

import pytest

from emsearch.coordinator.actions import Submit
from emsearch.coordinator.packing import pack
from emsearch.coordinator.view import Job, Plan, View, Waiting, Window
from emsearch.execution.executor import JobReport, JobState, Limits
from emsearch.records.job import TaskName
from emsearch.records.profile import wall_s_of
from emsearch.records.trial import Stage
from tests.support.studies import spec_of

PLAN = replace(Plan.of(spec_of()), max_jobs=4, min_job_s=0.0)
VIEW = View(now_s=0.0, stage=Stage.SEARCHING, is_paused=False, plan=PLAN)
JOB = Job(number=1, name=TaskName(token="a"), handle="h", report=JobReport(state=JobState.ALIVE))


def waiting(*seconds: float) -> tuple[Waiting, ...]:
    return tuple(Waiting(number=n, expected_s=s) for n, s in enumerate(seconds))


def tasks(view: View) -> list[tuple[int, ...]]:
    return [task for submission in pack(view) for task in submission.tasks]


def test_tasks_that_ask_for_the_same_are_one_array() -> None:
    (submission,) = pack(replace(VIEW, waiting=waiting(60, 60, 60)))
    assert submission == Submit(tasks=((0,), (1,), (2,)))


def test_arrays_are_no_longer_than_the_cluster_allows() -> None:
    window = Window(limits=Limits(max_array=2))
    view = replace(VIEW, waiting=waiting(60, 60, 60), window=window)
    assert [len(one.tasks) for one in pack(view)] == [2, 1]


def test_no_more_is_submitted_than_the_user_and_the_cluster_allow() -> None:
    view = replace(VIEW, waiting=waiting(*[60] * 9))
    assert len(tasks(view)) == 4
    assert len(tasks(replace(view, jobs=(JOB,) * 3))) == 1
    assert tasks(replace(view, jobs=(JOB,) * 9)) == []
    window = Window(limits=Limits(max_submitted=2))
    assert len(tasks(replace(view, window=window))) == 2
    assert tasks(replace(view, window=window, jobs=(JOB,) * 2)) == []


def test_a_cluster_that_has_just_refused_a_job_is_left_alone() -> None:
    assert pack(replace(VIEW, waiting=waiting(60), window=Window(is_open=False))) == []


def test_short_orders_fill_a_task_until_it_is_worth_its_start() -> None:
    plan = replace(PLAN, max_jobs=2, min_job_s=100.0)
    view = replace(VIEW, plan=plan, waiting=waiting(*[40] * 12))
    assert tasks(view) == [(0, 1, 2), (3, 4, 5)]


def test_a_task_is_not_given_more_than_its_time() -> None:
    plan = replace(PLAN, max_jobs=1, min_job_s=1e9, wall_s=100.0)
    assert tasks(replace(VIEW, plan=plan, waiting=waiting(40, 40, 40))) == [(0, 1)]


def test_a_trial_longer_than_a_job_has_one_to_itself_and_goes_on_in_the_next() -> None:
    plan = replace(PLAN, max_jobs=1, min_job_s=0.0, wall_s=100.0)
    assert tasks(replace(VIEW, plan=plan, waiting=waiting(500, 40))) == [(0,)]


def test_orders_that_share_a_device_come_together() -> None:
    plan = replace(PLAN, max_jobs=2, orders_at_once=3)
    view = replace(VIEW, plan=plan, waiting=waiting(*[60] * 12))
    assert tasks(view) == [(0, 1, 2), (3, 4, 5)]
    few = replace(VIEW, plan=replace(plan, max_jobs=4), waiting=waiting(*[60] * 4))
    assert tasks(few) == [(0,), (1,), (2,), (3,)]  # no slot stays empty for that


def test_orders_with_special_wishes_go_first_and_alone() -> None:
    orders = (
        *waiting(60, 60),
        Waiting(number=7, expected_s=10.0, memory_factor=2.0),
        Waiting(number=8, expected_s=10.0, avoid=("cn2",)),
        Waiting(number=9, expected_s=10.0, needs_gpu=False),
    )
    view = replace(VIEW, waiting=orders, excluded=("cn9",))
    first, second, third, *_ = pack(replace(view, plan=replace(PLAN, max_jobs=9)))
    assert first == Submit(tasks=((7,),), memory_factor=2.0, exclude=("cn9",))
    assert second == Submit(tasks=((8,),), exclude=("cn2", "cn9"))
    assert third == Submit(tasks=((0,), (1,)), exclude=("cn9",))
    assert len(tasks(view)) == 4


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("8:00:00", 28_800.0),
        ("30", 1_800.0),
        (30, 1_800.0),
        ("10:30", 630.0),
        ("1-12", 129_600.0),
        ("2-00:30:00", 174_600.0),
        (None, None),
    ],
)
def test_a_jobs_time_is_read_as_sbatch_reads_it(text: str | None, seconds: float | None) -> None:
    assert wall_s_of(text) == seconds
