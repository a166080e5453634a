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


def test_an_order_that_swallows_everything_is_made_to_leave_and_says_so(
    study: Path, write_job: Callable[..., Path]
) -> None:
    job_file = write_job("a", 1)
    worker = subprocess.Popen(
        [sys.executable, "-c", STUBBORN, str(job_file)], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    while "it runs" not in worker.stdout.readline():
        assert worker.poll() is None
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=10) == 0
    worker.stdout.close()
    last = read_json(max((study / "inbox").iterdir()))
    assert last["kind"] == "ended"
    assert last["facts"]["cause"] == Cause.PREEMPTED
    assert last["facts"]["signal"] == signal.SIGTERM
    assert "asked to leave by SIGTERM" in last["facts"]["detail"]
    assert "did not leave" in last["facts"]["detail"]
