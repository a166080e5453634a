"""The executors keep what executors promise, without a cluster."""

import errno
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from emsearch.errors import ExecutionError, RefusedError
from emsearch.execution.executor import Executor, JobState, Request
from emsearch.execution.local import LocalExecutor
from emsearch.execution.slurm import SlurmExecutor
from emsearch.records.profile import Profile
from emsearch.records.trial import Cause
from tests.support.executors import (
    A,
    ExecutorContract,
    Jobs,
    RefusalContract,
    Refuse,
    Restart,
    RestartContract,
    Silence,
    SilenceContract,
    end_of,
    has_restarted,
    jobs,
    lowest_descriptor,
    submit,
    wait_for,
)
from tests.support.fake_cluster import FakeCluster
from tests.support.scripted_slurm import ScriptedSlurm

__all__ = ["jobs"]


class TestFakeCluster(ExecutorContract, SilenceContract, RestartContract, RefusalContract):
    @pytest.fixture
    def executor(self, tmp_path: Path) -> FakeCluster:
        return FakeCluster(tmp_path)

    @pytest.fixture
    def silence(self, executor: FakeCluster) -> Silence:
        return partial(setattr, executor, "is_silent")

    @pytest.fixture
    def restart(self, executor: FakeCluster) -> Restart:
        return lambda _handle: executor.restart(A)

    @pytest.fixture
    def refuse(self, executor: FakeCluster) -> Refuse:
        return lambda kind: setattr(executor, "refusal", kind and kind("no job now"))

    def test_a_job_that_may_run_nowhere_is_refused_for_good(
        self, executor: FakeCluster, jobs: Jobs
    ) -> None:
        request = Request(exclude=("cn1", "cn2", "cn3", "cn4"))
        with pytest.raises(ExecutionError, match="node configuration is not available") as caught:
            executor.submit("a", jobs("a", 1.0), request)
        assert type(caught.value) is ExecutionError


class TestScriptedSlurm(ExecutorContract, SilenceContract, RestartContract, RefusalContract):
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

    @pytest.fixture
    def refuse(self, slurm: ScriptedSlurm) -> Refuse:
        words = {
            RefusedError: "sbatch: error: Batch job submission failed: a word of a site's own",
            ExecutionError: "sbatch: error: invalid partition specified: nowhere",
        }
        return lambda kind: slurm.refuse(words[kind] if kind else "")

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


class TestLocal(ExecutorContract, RefusalContract):
    @pytest.fixture
    def executor(self, tmp_path: Path) -> Iterator[Executor]:
        executor = LocalExecutor(tmp_path / "jobs", threads=1)
        yield executor
        for child in executor._children.values():
            child.kill()
            child.wait()

    @pytest.fixture
    def refuse(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Refuse]:
        """Leave this host without descriptors, or without the program to start."""
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)

        def refuse(kind: type[ExecutionError] | None) -> None:
            is_full = kind is RefusedError
            most = lowest_descriptor() if is_full else limits[0]
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, limits[1]))
            program = "/no/python" if kind is ExecutionError else python
            monkeypatch.setattr(sys, "executable", program)

        python = sys.executable
        yield refuse
        refuse(None)

    def test_of_a_job_that_can_be_started_in_part_nothing_is(
        self, executor: LocalExecutor, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started: list[subprocess.Popen[bytes]] = []
        start = subprocess.Popen

        def run_short(*words: Any, **options: Any) -> subprocess.Popen[bytes]:
            if started:
                raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
            started.append(start(*words, **options))
            return started[0]

        monkeypatch.setattr(subprocess, "Popen", run_short)
        with pytest.raises(RefusedError, match="temporarily unavailable"):
            submit(executor, jobs("a", 30.0), 2)
        assert started[0].returncode == -signal.SIGKILL

    def test_a_worker_that_has_only_just_begun_is_found(
        self, executor: Executor, jobs: Jobs, tmp_path: Path
    ) -> None:
        handles = submit(executor, jobs("a", 3.0), 2)
        other = LocalExecutor(tmp_path / "jobs", threads=1)
        assert other.find("a", 2) == tuple(handles.values())

    def test_another_coordinator_sees_the_job_too(
        self, executor: Executor, jobs: Jobs, tmp_path: Path
    ) -> None:
        handles = submit(executor, jobs("a", 3.0))
        other = LocalExecutor(tmp_path / "jobs", threads=1)
        assert other.reports(handles)[A].state == JobState.ALIVE

    def test_a_worker_that_ends_while_it_is_looked_at_needs_no_stopping(
        self, executor: Executor, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        handles = submit(executor, jobs("a", 0.0))
        end_of(executor, handles)
        monkeypatch.setattr("emsearch.execution.local.is_alive", lambda _handle: True)
        executor.stop(handles)

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
