"""Signals reach the worker whatever its order does, and say the true cause."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from emsearch.records.files import read_json
from emsearch.records.trial import Cause
from emsearch.worker.signals import Clock, Signals


def wait_for(signals: Signals) -> Cause | None:
    deadline = time.monotonic() + 5
    while signals.cause is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return signals.cause


def clock(elapsed_s: float, limit_s: float = 3600, warn_s: float = 120) -> Clock:
    environment = {
        "EMSEARCH_TIME_S": str(limit_s),
        "EMSEARCH_WARN_S": str(warn_s),
        "SLURM_JOB_START_TIME": "1000",
    }
    return Clock(environment, now=lambda: 1000 + elapsed_s)


def test_a_clock_tells_what_is_left_until_the_warning() -> None:
    assert clock(elapsed_s=480).left_s() == 3000
    assert Clock({}).left_s() is None


def test_slurms_own_word_of_the_end_goes_before_the_profiles() -> None:
    environment = {"EMSEARCH_TIME_S": "3600", "SLURM_JOB_END_TIME": "1500", "EMSEARCH_WARN_S": "20"}
    assert Clock(environment, now=lambda: 1000).left_s() == 480


@pytest.mark.parametrize(
    ("elapsed_s", "cause"), [(3480, Cause.TIMEOUT), (3420, Cause.TIMEOUT), (600, Cause.PREEMPTED)]
)
def test_a_warning_means_time_out_near_the_end_and_preemption_before(
    elapsed_s: float, cause: Cause
) -> None:
    with Signals(clock(elapsed_s)) as signals:
        os.kill(os.getpid(), signal.SIGUSR2)
        assert wait_for(signals) == cause


def test_the_first_signal_says_why() -> None:
    with Signals(clock(3500)) as signals:
        os.kill(os.getpid(), signal.SIGUSR2)
        assert wait_for(signals) == Cause.TIMEOUT
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
        assert signals.cause == Cause.TIMEOUT


def slow_scontrol(folder: Path, monkeypatch: pytest.MonkeyPatch, facts: str) -> None:
    """Put a Slurm on the path that takes its time to say why job 48 has to leave."""
    program = folder / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nsleep 1\necho JobId=48 {facts}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "48")


@pytest.mark.parametrize(
    ("facts", "cause"),
    [
        ("JobState=RUNNING Reason=None PreemptTime=None", Cause.TIMEOUT),
        ("JobState=CANCELLED PreemptTime=None", Cause.CANCELLED),
        ("JobState=RUNNING PreemptTime=2026-11-24T15:21:37", Cause.PREEMPTED),
    ],
)
def test_an_order_leaves_at_once_and_its_end_tells_what_slurm_says_later(
    facts: str, cause: Cause, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_scontrol(tmp_path, monkeypatch, facts)
    with Signals(clock(600)) as signals:
        before_s = time.monotonic()
        os.kill(os.getpid(), signal.SIGUSR2)
        assert wait_for(signals) == Cause.PREEMPTED  # a guess, long before the time is up
        assert time.monotonic() - before_s < 0.8
        assert signals.told.endswith("preempted, which is a guess")
        assert signals.corrected(Cause.DIVERGED) == Cause.DIVERGED
        assert signals.corrected(Cause.PREEMPTED) == cause
        assert signals.told.endswith(f"{cause}, by Slurm's word")


def test_a_slurm_that_does_not_tell_leaves_the_guess(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_scontrol(tmp_path, monkeypatch, "JobState=COMPLETING")
    with Signals(clock(600)) as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert wait_for(signals) == Cause.PREEMPTED
        assert signals.corrected(Cause.PREEMPTED) == Cause.PREEMPTED
        assert signals.told.endswith("which is a guess")


def test_ctrl_c_is_for_the_coordinator() -> None:
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        assert signals.cause is None


def test_handlers_are_put_back() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    with Signals():
        pass
    assert before == {number: signal.getsignal(number) for number in before}


STUBBORN = """
import sys, time
from pathlib import Path
import emsearch.worker.signals as signals
from emsearch.records.event import Outcome
from emsearch.worker import orders, run_task

signals._ASKED_S = 0.5

def swallow(task, post):
    print("it runs", flush=True)
    while True:
        try:
            time.sleep(0.05)
        except BaseException:
            continue

orders.run_probe = swallow
run_task(Path(sys.argv[1]), 0)
"""


def stubborn_worker(job_file: Path) -> subprocess.Popen[str]:
    """Start a worker whose order swallows everything, and return when that runs."""
    worker = subprocess.Popen(
        [sys.executable, "-c", STUBBORN, str(job_file)], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    while "it runs" not in worker.stdout.readline():
        assert worker.poll() is None
    worker.stdout.close()
    return worker


def test_an_order_that_swallows_everything_is_made_to_leave_and_says_so(
    study: Path, write_job: Callable[..., Path]
) -> None:
    worker = stubborn_worker(write_job("a", 1))
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=10) == 0
    last = read_json(max((study / "inbox").iterdir()))
    assert last["kind"] == "ended"
    assert last["facts"]["cause"] == Cause.PREEMPTED
    assert last["facts"]["signal"] == signal.SIGTERM
    assert "asked to leave by SIGTERM" in last["facts"]["detail"]
    assert "did not leave" in last["facts"]["detail"]


def test_an_order_that_was_warned_has_little_time_left_once_it_is_to_end(
    study: Path, write_job: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMSEARCH_WARN_S", "3600")
    worker = stubborn_worker(write_job("a", 1))
    worker.send_signal(signal.SIGUSR2)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(timeout=1.5)  # it was warned an hour before
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=10) == 0
    last = read_json(max((study / "inbox").iterdir()))
    assert last["facts"]["signal"] == signal.SIGUSR2
