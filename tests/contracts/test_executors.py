"""What every executor promises."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from emsearch.execution.executor import Executor, JobState
from emsearch.execution.local import LocalExecutor
from emsearch.records.files import write_json
from emsearch.records.order import Order, ProbeOrder
from emsearch.records.trial import Cause
from emsearch.records.version import code_version
from tests.support.fake_cluster import FakeCluster

Jobs = Callable[[str, float], Path]


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
        write_json(path, {"token": token, "orders": [{"order": 1, "generation": 1}]})
        return path

    return write


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.05)


class ExecutorContract:
    """What every executor promises. A subclass gives the `executor` fixture."""

    def test_a_new_job_is_alive(self, executor: Executor, jobs: Jobs) -> None:
        handles = {"a": executor.submit("a", jobs("a", 5.0))}
        assert executor.reports(handles)["a"].state == JobState.ALIVE
        executor.stop(handles)

    def test_a_stopped_job_goes(self, executor: Executor, jobs: Jobs) -> None:
        handles = {"a": executor.submit("a", jobs("a", 1.0))}
        executor.stop(handles)
        wait_for(lambda: executor.reports(handles)["a"].state == JobState.GONE)

    def test_stopping_twice_is_no_error(self, executor: Executor, jobs: Jobs) -> None:
        handles = {"a": executor.submit("a", jobs("a", 1.0))}
        executor.stop(handles)
        executor.stop(handles)
        wait_for(lambda: executor.reports(handles)["a"].state == JobState.GONE)
        executor.stop(handles)

    def test_a_submitted_job_is_found_by_its_token(self, executor: Executor, jobs: Jobs) -> None:
        handle = executor.submit("a", jobs("a", 3.0))
        wait_for(lambda: executor.find("a") is not None)
        found = executor.find("a")
        assert found == handle
        executor.stop({"a": handle})

    def test_a_job_that_never_was_is_not_found(self, executor: Executor) -> None:
        assert executor.find("never") is None

    def test_no_jobs_have_no_reports(self, executor: Executor) -> None:
        assert executor.reports({}) == {}


class TestFakeCluster(ExecutorContract):
    @pytest.fixture
    def executor(self, tmp_path: Path) -> Executor:
        return FakeCluster(tmp_path)


class TestLocal(ExecutorContract):
    @pytest.fixture
    def executor(self, tmp_path: Path) -> Iterator[Executor]:
        executor = LocalExecutor(tmp_path / "jobs", threads=1)
        yield executor
        for child in executor._children.values():
            child.kill()
            child.wait()

    def test_another_coordinator_sees_the_job_too(
        self, executor: Executor, jobs: Jobs, tmp_path: Path
    ) -> None:
        handles = {"a": executor.submit("a", jobs("a", 3.0))}
        other = LocalExecutor(tmp_path / "jobs", threads=1)
        assert other.reports(handles)["a"].state == JobState.ALIVE

    def test_a_killed_worker_is_lost_and_says_by_what(self, executor: Executor, jobs: Jobs) -> None:
        handle = executor.submit("a", jobs("a", 30.0))
        psutil.Process(int(handle.split("/")[1])).kill()
        wait_for(lambda: executor.reports({"a": handle})["a"].state == JobState.GONE)
        report = executor.reports({"a": handle})["a"]
        assert report.cause == Cause.LOST

    def test_a_worker_that_cannot_start_is_at_fault_and_shows_its_log(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        job_file = tmp_path / "jobs" / "a" / "job.json"
        job_file.parent.mkdir(parents=True)
        job_file.write_text("no json")
        handle = executor.submit("a", job_file)
        wait_for(lambda: not psutil.pid_exists(int(handle.split("/")[1])) or self._over(executor))
        report = executor.reports({"a": handle})["a"]
        assert report.state == JobState.GONE
        assert report.cause == Cause.ERROR
        assert "JSONDecodeError" in report.detail

    def _over(self, executor: Executor) -> bool:
        assert isinstance(executor, LocalExecutor)
        return all(child.poll() is not None for child in executor._children.values())

    def test_it_runs_this_very_python(self, executor: Executor, jobs: Jobs) -> None:
        handle = executor.submit("a", jobs("a", 3.0))
        assert psutil.Process(int(handle.split("/")[1])).cmdline()[0] == sys.executable
