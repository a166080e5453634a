"""Why a job has to leave, by the text of a real Slurm 22.05 (shortened)."""

import pytest

from emsearch.records.trial import Cause
from emsearch.worker.verdict import ask_slurm, read_verdict

PREEMPTED = (
    "JobId=48 JobName=ask-quick UserId=root(0) JobState=RUNNING Reason=None Requeue=1 Restarts=0 "
    "TimeLimit=00:01:00 EndTime=2026-11-24T15:21:45 PreemptEligibleTime=2026-11-24T15:21:34 "
    "PreemptTime=2026-11-24T15:21:37 SuspendTime=None ReqB:S:C:T=0:0:*:* Power= \n"
)
WARNED = PREEMPTED.replace("PreemptTime=2026-11-24T15:21:37", "PreemptTime=None")
OVERDUE = WARNED.replace("RUNNING Reason=None", "COMPLETING Reason=TimeLimit")
CANCELLED = WARNED.replace("JobState=RUNNING", "JobState=CANCELLED")


@pytest.mark.parametrize(
    ("text", "warned", "cause"),
    [
        (PREEMPTED, True, Cause.PREEMPTED),
        (PREEMPTED, False, Cause.PREEMPTED),
        (WARNED, True, Cause.TIMEOUT),
        (WARNED, False, None),  # requeued by hand, or its node is to be drained
        (CANCELLED, False, Cause.CANCELLED),
        (WARNED.replace("RUNNING", "TIMEOUT"), False, Cause.TIMEOUT),
        (OVERDUE, False, Cause.TIMEOUT),
        ("", True, None),
    ],
)
def test_slurm_tells_what_its_signals_do_not(text: str, warned: bool, cause: Cause | None) -> None:
    assert read_verdict(text, "48", warned=warned) == cause


def test_a_task_is_told_from_the_others_of_its_array() -> None:
    other = PREEMPTED.replace("JobId=48", "JobId=49 ArrayJobId=48 ArrayTaskId=1")
    own = WARNED.replace("JobId=48", "JobId=48 ArrayJobId=48 ArrayTaskId=2")
    for text in (own + other, other + own):
        assert read_verdict(text, "48", warned=True) == Cause.TIMEOUT
        assert read_verdict(text, "49", warned=True) == Cause.PREEMPTED


def test_nobody_is_asked_outside_of_a_job() -> None:
    assert ask_slurm({}, warned=True, wait_s=3.0) is None


def test_a_slurm_that_is_not_there_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert ask_slurm({"SLURM_JOB_ID": "7"}, warned=True, wait_s=3.0) is None
