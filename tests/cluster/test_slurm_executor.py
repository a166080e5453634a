"""The Slurm executor keeps what executors promise, on a real Slurm."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from emsearch.errors import ExecutionError, RefusedError
from emsearch.execution.executor import Executor, JobState, Request
from emsearch.execution.slurm import SlurmExecutor
from emsearch.records.profile import read_profile
from emsearch.records.trial import Cause
from tests.support.devcluster import devcluster, slurm, user
from tests.support.executors import (
    A,
    ExecutorContract,
    Jobs,
    Silence,
    SilenceContract,
    end_of,
    jobs,
    submit,
    wait_for,
)

__all__ = ["jobs"]


@pytest.mark.usefixtures("cluster")
class TestSlurm(ExecutorContract, SilenceContract):
    @pytest.fixture
    def executor(self, tmp_path: Path) -> Iterator[Executor]:
        yield SlurmExecutor(tmp_path / "jobs", read_profile("devcluster"))
        slurm("scancel", "--quiet", f"--user={user()}")

    @pytest.fixture
    def silence(self) -> Iterator[Silence]:
        def make(is_silent: bool) -> None:
            devcluster("stop-controller" if is_silent else "start-controller")

        yield make
        devcluster("start-controller")

    def test_a_job_that_no_node_is_left_for_is_refused_for_good(
        self, executor: Executor, jobs: Jobs
    ) -> None:
        nowhere = Request(exclude=("cn1", "cn2", "cn3", "cn4"))
        with pytest.raises(ExecutionError, match="node configuration is not available") as caught:
            executor.submit("a", jobs("a", 0.0), nowhere)
        assert type(caught.value) is ExecutionError

    def test_limits_are_those_that_the_cluster_was_given(self, executor: Executor) -> None:
        limits = executor.limits()
        assert (limits.max_array, limits.max_submitted) == (50, 60)

    def test_a_job_over_the_submit_limit_is_refused_with_the_reason_and_taken_later(
        self, executor: Executor, jobs: Jobs
    ) -> None:
        slurm("sbatch", "--array=0-49", "--begin=now+1hour", "--wrap=true", "--output=/dev/null")
        slurm("sbatch", "--array=0-7", "--begin=now+1hour", "--wrap=true", "--output=/dev/null")
        job = jobs("a", 0.0)
        token = f"a-{uuid4().hex[:10]}"  # accounting remembers the jobs of earlier tests
        with pytest.raises(RefusedError, match=r"^QOSMaxSubmitJobPerUserLimit$"):
            executor.submit(token, job, Request(tasks=3))
        assert executor.find(token, 3) is None
        slurm("scancel", f"--user={user()}")
        handles = submit(executor, job)
        assert end_of(executor, handles).state == JobState.GONE

    def test_a_wrong_option_is_refused_for_good(self, tmp_path: Path, jobs: Jobs) -> None:
        profile = read_profile("devcluster", {"partition": "nowhere"})
        executor = SlurmExecutor(tmp_path / "jobs", profile)
        with pytest.raises(ExecutionError, match="invalid partition specified: nowhere") as caught:
            executor.submit("a", jobs("a", 0.0), Request())
        assert not isinstance(caught.value, RefusedError)

    def test_a_job_cancelled_from_outside_says_so(self, executor: Executor, jobs: Jobs) -> None:
        handles = submit(executor, jobs("a", 60.0))
        wait_for(lambda: executor.reports(handles)[A].word == "RUNNING")
        slurm("scancel", handles[A])
        ending = end_of(executor, handles).ending
        assert ending is not None
        assert ending.cause == Cause.CANCELLED

    def test_a_waiting_job_tells_why(self, executor: Executor, jobs: Jobs) -> None:
        slurm("sbatch", "--nodes=4", "--exclusive", "--wrap=sleep 60", "--output=/dev/null")
        wait_for(lambda: slurm("squeue", "--noheader", "--states=RUNNING") != "")
        handles = submit(executor, jobs("a", 0.0))
        wait_for(lambda: executor.reports(handles)[A].reason in {"Resources", "Priority"})
        assert executor.reports(handles)[A].word == "PENDING"

    def test_a_suspended_job_is_alive(self, executor: Executor, jobs: Jobs) -> None:
        handles = submit(executor, jobs("a", 60.0))
        wait_for(lambda: executor.reports(handles)[A].word == "RUNNING")
        slurm("scontrol", "suspend", handles[A])
        wait_for(lambda: executor.reports(handles)[A].word == "SUSPENDED")
        assert executor.reports(handles)[A].state == JobState.ALIVE
        slurm("scontrol", "resume", handles[A])
