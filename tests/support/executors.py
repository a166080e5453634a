"""What every executor promises, as a test class that each executor passes."""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from emsearch.errors import ExecutionError, NoAnswerError, RefusedError
from emsearch.execution.executor import Executor, JobReport, JobState, Request
from emsearch.records.files import write_json
from emsearch.records.job import Entry, JobFile, TaskName
from emsearch.records.order import Order, ProbeOrder
from emsearch.records.trial import Cause
from emsearch.records.version import code_version

Jobs = Callable[[str, float], Path]
Silence = Callable[[bool], None]
"""Makes a cluster silent, or lets it speak again."""
Restart = Callable[[str], None]
"""Puts the task of a handle back into the cluster's queue, and from there to run again."""
Refuse = Callable[[type[ExecutionError] | None], None]
"""Lets a cluster refuse jobs, for now or for good by the error's kind, or take them again."""
A = TaskName(token="a")
MOST_TASKS = 3


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    """Return a function that writes a job of one probe that waits for some seconds."""
    (tmp_path / "inbox").mkdir()

    def write(token: str, seconds: float) -> Path:
        order = Order(
            number=1,
            folder="tasks/probe-000001",
            kind="probe",
            task=ProbeOrder(seconds=seconds),
            version=code_version(),
        )
        write_json(tmp_path / "orders" / "00000001.json", order.to_dict())
        path = tmp_path / "jobs" / token / "job.json"
        tasks = tuple((Entry(order=1, generation=task + 1),) for task in range(MOST_TASKS))
        JobFile(token=token, tasks=tasks).write(path)
        return path

    return write


def submit(executor: Executor, job_file: Path, tasks: int = 1) -> dict[TaskName, str]:
    handles = executor.submit("a", job_file, Request(tasks=tasks))
    return {TaskName(token="a", index=index): handle for index, handle in enumerate(handles)}


def end_of(executor: Executor, handles: dict[TaskName, str]) -> JobReport:
    seen: list[JobReport] = []

    def is_gone() -> bool:
        seen.append(executor.reports(handles)[A])
        return seen[-1].state == JobState.GONE

    wait_for(is_gone)
    return seen[-1]


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.05)


def lowest_descriptor() -> int:
    """Return the number that the next file to be opened gets; as a limit, it is not opened."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor


def has_restarted(executor: Executor, handles: dict[TaskName, str], times: int) -> bool:
    return len(executor.reports(handles)[A].restarted) == times


class ExecutorContract:
    """What every executor promises. A subclass gives the `executor` fixture."""

    def test_a_new_job_is_alive(self, executor: Executor, jobs: Jobs) -> None:
        handles = submit(executor, jobs("a", 5.0))
        report = executor.reports(handles)[A]
        assert report.state == JobState.ALIVE
        assert report.ending is None
        executor.stop(handles)

    def test_each_task_of_an_array_has_a_handle_and_a_report(
        self, executor: Executor, jobs: Jobs
    ) -> None:
        handles = submit(executor, jobs("a", 5.0), MOST_TASKS)
        assert len(set(handles.values())) == MOST_TASKS
        assert executor.reports(handles).keys() == handles.keys()
        executor.stop(handles)

    def test_a_stopped_job_goes_and_tells_how(self, executor: Executor, jobs: Jobs) -> None:
        handles = submit(executor, jobs("a", 1.0))
        executor.stop(handles)
        report = end_of(executor, handles)
        assert report.ending is not None
        assert report.restarted == ()

    def test_one_task_can_be_stopped_without_the_others(
        self, executor: Executor, jobs: Jobs
    ) -> None:
        handles = submit(executor, jobs("a", 30.0), 2)
        other = TaskName(token="a", index=1)
        wait_for(lambda: executor.find("a", 2) is not None)
        executor.stop({A: handles[A]})
        assert executor.reports(handles)[other].state == JobState.ALIVE
        executor.stop(handles)

    def test_stopping_twice_is_no_error(self, executor: Executor, jobs: Jobs) -> None:
        handles = submit(executor, jobs("a", 1.0))
        executor.stop(handles)
        executor.stop(handles)
        end_of(executor, handles)
        executor.stop(handles)

    def test_a_submitted_job_is_found_by_its_token(self, executor: Executor, jobs: Jobs) -> None:
        handles = submit(executor, jobs("a", 3.0), 2)
        wait_for(lambda: executor.find("a", 2) is not None)
        assert executor.find("a", 2) == tuple(handles.values())
        executor.stop(handles)

    def test_a_job_that_never_was_is_not_found(self, executor: Executor) -> None:
        assert executor.find("never", 1) is None

    def test_no_jobs_have_no_reports(self, executor: Executor) -> None:
        assert executor.reports({}) == {}

    def test_limits_allow_at_least_one_task(self, executor: Executor) -> None:
        limits = executor.limits()
        assert limits.max_array is None or limits.max_array >= 1
        assert limits.max_submitted is None or limits.max_submitted >= 1


class SilenceContract:
    """What an executor promises of a cluster that may be away: gives a `silence` fixture, too."""

    def test_stopping_in_silence_says_so_and_stops_nothing_and_works_afterwards(
        self, executor: Executor, jobs: Jobs, silence: Silence
    ) -> None:
        handles = submit(executor, jobs("a", 5.0))
        silence(True)
        with pytest.raises(NoAnswerError):
            executor.stop(handles)
        silence(False)
        assert executor.reports(handles)[A].state == JobState.ALIVE
        executor.stop(handles)
        assert end_of(executor, handles).state == JobState.GONE

    def test_nothing_follows_from_silence(
        self, executor: Executor, jobs: Jobs, silence: Silence
    ) -> None:
        handles = submit(executor, jobs("a", 5.0))
        silence(True)
        assert executor.reports(handles)[A].state == JobState.UNKNOWN
        with pytest.raises(NoAnswerError):
            executor.find("a", 1)
        with pytest.raises(NoAnswerError):
            executor.limits()
        silence(False)
        wait_for(lambda: executor.reports(handles)[A].state == JobState.ALIVE)
        executor.stop(handles)


class RestartContract:
    """What an executor promises of a cluster that restarts tasks: gives a `restart` fixture."""

    def test_a_restarted_task_is_alive_and_tells_how_its_earlier_runs_ended(
        self, executor: Executor, jobs: Jobs, restart: Restart
    ) -> None:
        handles = submit(executor, jobs("a", 5.0))
        for count in (1, 2):
            restart(handles[A])
            wait_for(partial(has_restarted, executor, handles, count))
            report = executor.reports(handles)[A]
            assert report.state == JobState.ALIVE
            assert [ending.cause for ending in report.restarted] == [Cause.PREEMPTED] * count
        executor.stop(handles)
        assert len(end_of(executor, handles).restarted) == 2

    def test_a_restarted_task_keeps_its_handle(
        self, executor: Executor, jobs: Jobs, restart: Restart
    ) -> None:
        handles = submit(executor, jobs("a", 5.0))
        restart(handles[A])
        assert executor.find("a", 1) == tuple(handles.values())
        executor.stop(handles)


class RefusalContract:
    """What an executor promises of a cluster that takes no job: gives a `refuse` fixture."""

    def test_a_job_that_is_refused_for_now_was_not_submitted_and_is_taken_later(
        self, executor: Executor, jobs: Jobs, refuse: Refuse
    ) -> None:
        job = jobs("a", 3.0)
        refuse(RefusedError)
        with pytest.raises(RefusedError):
            submit(executor, job)
        refuse(None)
        assert executor.find("a", 1) is None
        handles = submit(executor, job)
        assert executor.reports(handles)[A].state == JobState.ALIVE
        executor.stop(handles)

    def test_a_job_that_is_refused_for_good_is_not_to_be_tried_again(
        self, executor: Executor, jobs: Jobs, refuse: Refuse
    ) -> None:
        job = jobs("a", 3.0)
        refuse(ExecutionError)
        with pytest.raises(ExecutionError) as caught:
            submit(executor, job)
        assert type(caught.value) is ExecutionError
        refuse(None)
        assert executor.find("a", 1) is None
