"""The executors keep what executors promise, without a cluster."""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from emsearch.execution.executor import Executor, JobState
from emsearch.execution.local import LocalExecutor
from emsearch.execution.slurm import SlurmExecutor
from emsearch.records.profile import Profile
from emsearch.records.trial import Cause
from tests.support.executors import (
    A,
    ExecutorContract,
    Jobs,
    Restart,
    RestartContract,
    Silence,
    SilenceContract,
    end_of,
    has_restarted,
    jobs,
    submit,
    wait_for,
)
from tests.support.fake_cluster import FakeCluster
from tests.support.scripted_slurm import ScriptedSlurm

__all__ = ["jobs"]


class TestFakeCluster(ExecutorContract, SilenceContract, RestartContract):
    @pytest.fixture
    def executor(self, tmp_path: Path) -> FakeCluster:
        return FakeCluster(tmp_path)

    @pytest.fixture
    def silence(self, executor: FakeCluster) -> Silence:
        return partial(setattr, executor, "is_silent")

    @pytest.fixture
    def restart(self, executor: FakeCluster) -> Restart:
        return lambda _handle: executor.restart(A)


class TestScriptedSlurm(ExecutorContract, SilenceContract, RestartContract):
    """The real thing is in tests/cluster."""

    @pytest.fixture
    def slurm(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScriptedSlurm:
        return ScriptedSlurm(tmp_path, monkeypatch)

    @pytest.fixture
    def executor(self, tmp_path: Path, slurm: ScriptedSlurm) -> Executor:
        profile = Profile(poll_s=0.01, submit_every_s=0, grace_s=0.1)
        return SlurmExecutor(tmp_path / "jobs", profile, run=slurm.run)

    @pytest.fixture
    def silence(self, slurm: ScriptedSlurm) -> Silence:
        return partial(setattr, slurm, "is_silent")

    @pytest.fixture
    def restart(self, slurm: ScriptedSlurm) -> Restart:
        return slurm.restart

    def test_a_task_ends_with_as_many_runs_as_it_had_where_accounting_lost_one(
        self, executor: Executor, jobs: Jobs, slurm: ScriptedSlurm
    ) -> None:
        handles = submit(executor, jobs("a", 5.0))
        slurm.restart(handles[A])
        wait_for(lambda: has_restarted(executor, handles, 1))
        executor.stop(handles)
        slurm.tasks[handles[A]].runs.pop()
        report = end_of(executor, handles)
        assert [ending.cause for ending in report.restarted] == [Cause.PREEMPTED]
        assert report.ending is not None
        assert report.ending.cause == Cause.LOST


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
        handles = submit(executor, jobs("a", 3.0))
        other = LocalExecutor(tmp_path / "jobs", threads=1)
        assert other.reports(handles)[A].state == JobState.ALIVE

    def test_a_killed_worker_is_lost_and_says_by_what(self, executor: Executor, jobs: Jobs) -> None:
        handles = submit(executor, jobs("a", 30.0))
        psutil.Process(int(handles[A].split("/")[1])).kill()
        ending = end_of(executor, handles).ending
        assert ending is not None
        assert (ending.cause, ending.signal, ending.exit_code) == (Cause.LOST, 9, None)
        assert "killed by SIGKILL" in ending.detail

    def test_a_worker_that_leaves_in_order_says_so(self, executor: Executor, jobs: Jobs) -> None:
        ending = end_of(executor, submit(executor, jobs("a", 0.0))).ending
        assert ending is not None
        assert (ending.cause, ending.exit_code) == (Cause.COMPLETED, 0)

    def test_a_worker_that_cannot_start_is_at_fault_and_shows_its_log(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        job_file = tmp_path / "jobs" / "a" / "job.json"
        job_file.parent.mkdir(parents=True)
        job_file.write_text("no json")
        ending = end_of(executor, submit(executor, job_file)).ending
        assert ending is not None
        assert (ending.cause, ending.exit_code) == (Cause.ERROR, 1)
        assert "JSONDecodeError" in ending.detail

    def test_it_runs_this_very_python(self, executor: Executor, jobs: Jobs) -> None:
        handles = submit(executor, jobs("a", 3.0))
        process = psutil.Process(int(handles[A].split("/")[1]))
        wait_for(lambda: bool(process.cmdline()))  # between fork and exec there is none
        assert process.cmdline()[0] == sys.executable
