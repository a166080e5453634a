"""Which orders a task runs: after a restart, near the end of its time, side by side."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from emsearch.records.files import read_json
from emsearch.records.job import Entry, JobFile
from emsearch.records.trial import Cause
from emsearch.worker import run_task
from emsearch.worker.journal import Journal
from emsearch.worker.lanes import fits

Write = Callable[..., Path]


def said(study: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """Return attempt, kind and facts of the events in the inbox, by their time."""
    events = [(path.name, read_json(path)) for path in (study / "inbox").glob("*.json")]
    events.sort(key=lambda event: event[1]["at_s"])
    return [(name.rsplit(".", 2)[0], told["kind"], told["facts"]) for name, told in events]


def orders_ended(study: Path) -> list[int]:
    return [int(name.split(".")[2]) for name, kind, _ in said(study) if kind == "ended"]


def test_a_restarted_task_makes_new_attempts_at_what_had_not_ended(
    study: Path, write_job: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_file = write_job("a", 1, 2, 3)
    journal = Journal(job_file.with_name("ended-0.txt"))
    journal.note(1, Cause.COMPLETED)
    journal.note(2, Cause.PREEMPTED)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    run_task(job_file, 0)
    assert {name for name, _, _ in said(study)} == {"a.0.2.1", "a.0.3.1"}
    claims = sorted((study / "tasks/probe-000002/claims").iterdir())
    assert [path.name for path in claims] == ["000000000002.0001.json"]


def test_a_journal_forgets_what_a_kill_cut_short(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "ended-0.txt")
    assert journal.over() == frozenset()
    journal.note(7, Cause.ERROR)
    with (tmp_path / "ended-0.txt").open("a") as file:
        file.write("8 comp")
    assert journal.over() == {7}


def test_an_order_that_would_not_end_in_time_is_not_begun_but_the_first_is(
    study: Path, write_job: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMSEARCH_TIME_S", "10.2")
    monkeypatch.setenv("EMSEARCH_WARN_S", "10")
    run_task(write_job("a", 1, 2, seconds=0.4), 0)
    assert orders_ended(study) == [1]


def test_the_node_is_named_as_the_cluster_calls_it(
    study: Path, write_job: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURMD_NODENAME", "cn3")
    run_task(write_job("a", 1), 0)
    assert said(study)[0][2]["node"] == "cn3"


def test_orders_at_once_fit_the_device_together() -> None:
    small, large = (Entry(order=1, generation=1, memory_gb=gb) for gb in (4.0, 14.0))
    assert fits(small, [small, small], 12.0)
    assert not fits(small, [small, small], 11.0)
    assert fits(large, [], 11.0)
    assert fits(large, [large], None)
    nothing = Entry(order=2, generation=1)
    assert fits(small, [nothing], 4.1)
    assert not fits(small, [nothing], 4.0)  # it was told to take all
    assert not fits(nothing, [large], 14.0)


def test_orders_that_fit_run_at_once_and_all_end(study: Path, write_job: Write) -> None:
    run_task(write_job("a", 1, 2, 3, 4, seconds=1.0, memory_gb=4.0, at_once=3, limit_gb=8.0), 0)
    assert sorted(orders_ended(study)) == [1, 2, 3, 4]
    at_once, most = 0, 0
    for _, kind, _ in said(study):
        at_once += 1 if kind == "started" else -1
        most = max(most, at_once)
    assert most == 2  # a third one would not have fitted


def started(study: Path, count: int) -> None:
    deadline = time.monotonic() + 20
    while sum(kind == "started" for _, kind, _ in said(study)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_lane_that_is_killed_takes_no_other_with_it(study: Path, write_job: Write) -> None:
    job_file = write_job("a", 1, 2, 3, seconds=2.0, at_once=2)
    worker = subprocess.Popen([sys.executable, "-m", "emsearch.worker", str(job_file), "0"])
    started(study, 2)
    first = next(facts for name, _, facts in said(study) if name == "a.0.1.0")
    psutil.Process(first["pid"]).kill()
    assert worker.wait(timeout=30) == 0
    causes = {name: facts["cause"] for name, kind, facts in said(study) if kind == "ended"}
    assert causes == {"a.0.1.0": Cause.LOST, "a.0.2.0": Cause.COMPLETED, "a.0.3.0": Cause.COMPLETED}
    detail = next(
        facts["detail"] for _, _, facts in said(study) if facts.get("cause") == Cause.LOST
    )
    assert "killed by SIGKILL" in detail


def test_a_lane_that_the_kernel_killed_for_want_of_memory_says_so(
    study: Path, write_job: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_file = write_job("a", 1, 2, seconds=2.0, at_once=2)
    kills = iter((0, 0, 1))  # two lanes begin, and one dies
    monkeypatch.setattr("emsearch.worker.lanes.oom_kills", lambda: next(kills))

    def kill_first() -> None:
        started(study, 2)
        first = next(facts for name, _, facts in said(study) if name == "a.0.1.0")
        psutil.Process(first["pid"]).kill()

    threading.Thread(target=kill_first).start()
    run_task(job_file, 0)
    causes = {name: facts["cause"] for name, kind, facts in said(study) if kind == "ended"}
    assert causes == {"a.0.1.0": Cause.HOST_OUT_OF_MEMORY, "a.0.2.0": Cause.COMPLETED}


def test_an_order_that_needs_all_of_a_device_finds_no_idle_lane_beside_it(
    study: Path, write_job: Write
) -> None:
    job_file = write_job("a", 1, 2, 3, 4, 5, seconds=0.5, at_once=2, limit_gb=8.0)
    job = JobFile.read(job_file)
    entries = [replace(one, memory_gb=8.0 if one.order == 3 else 0.0) for one in job.tasks[0]]
    replace(job, tasks=(tuple(entries),)).write(job_file)
    run_task(job_file, 0)
    pids = [facts["pid"] for _, kind, facts in said(study) if kind == "started"]
    assert len({*pids[:2]}) == 2
    assert pids[2] in pids[:2]
    assert {*pids[3:]} & {*pids[:2]} == {pids[2]}  # the other lane had ended
    assert len({*pids[3:]}) == 2


def test_lanes_leave_when_their_task_is_asked_to(study: Path, write_job: Write) -> None:
    job_file = write_job("a", 1, 2, 3, seconds=60.0, at_once=2)
    worker = subprocess.Popen([sys.executable, "-m", "emsearch.worker", str(job_file), "0"])
    started(study, 2)
    worker.terminate()
    assert worker.wait(timeout=20) == 0
    causes = {name: facts["cause"] for name, kind, facts in said(study) if kind == "ended"}
    assert causes == {"a.0.1.0": Cause.PREEMPTED, "a.0.2.0": Cause.PREEMPTED}


def test_lanes_are_sent_the_very_signal_that_their_task_was(study: Path, write_job: Write) -> None:
    job_file = write_job("a", 1, 2, 3, seconds=60.0, at_once=2)
    worker = subprocess.Popen([sys.executable, "-m", "emsearch.worker", str(job_file), "0"])
    started(study, 2)
    worker.send_signal(signal.SIGUSR2)
    assert worker.wait(timeout=20) == 0
    ended = {name: facts for name, kind, facts in said(study) if kind == "ended"}
    assert {facts["signal"] for facts in ended.values()} == {signal.SIGUSR2}
    assert {facts["cause"] for facts in ended.values()} == {Cause.TIMEOUT}
    assert ended.keys() == {"a.0.1.0", "a.0.2.0"}
