"""The worker: claims, events, signals, versions."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emsearch.errors import CollapsedError, DivergedError, StateError
from emsearch.records.event import AttemptName
from emsearch.records.files import read_json, write_json
from emsearch.records.job import Entry, JobFile
from emsearch.records.order import Order, ProbeOrder
from emsearch.records.trial import Cause
from emsearch.records.version import code_version
from emsearch.worker import run_task
from emsearch.worker.attempt import Attempt
from emsearch.worker.orders import cause_of, run_order
from emsearch.worker.signals import Signals


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for name in ("inbox", "orders", "jobs"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def signals() -> Iterator[Signals]:
    """Signals noted in this process; its handlers are put back."""
    with Signals() as noted:
        yield noted


def probe(number: int, seconds: float = 0.0, version: str = "") -> Order:
    return Order(
        number=number,
        folder=f"tasks/probe-{number:06d}",
        kind="probe",
        task=ProbeOrder(seconds=seconds),
        version=version or code_version(),
    )


def attempt_at(study: Path, order: Order, generation: int, signals: Signals) -> Attempt:
    name = AttemptName(token=f"job{generation}", index=0, order=order.number, restart=0)
    folder = study / order.folder / "attempts" / str(name)
    return Attempt(study=study, name=name, folder=folder, generation=generation, signals=signals)


def write_job(study: Path, token: str, *orders: Order) -> Path:
    for order in orders:
        write_json(study / "orders" / f"{order.number:08d}.json", order.to_dict())
    path = study / "jobs" / token / "job.json"
    entries = tuple(Entry(order=order.number, generation=order.number) for order in orders)
    JobFile(token=token, tasks=(entries,)).write(path)
    return path


def said(study: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return kind and facts of the events in the inbox, in order."""
    events = [read_json(path) for path in sorted((study / "inbox").glob("*.json"))]
    return [(event["kind"], event["facts"]) for event in events]


def test_a_job_runs_its_orders_one_after_another(study: Path) -> None:
    run_task(write_job(study, "a", probe(1), probe(2)), 0)
    assert [kind for kind, _ in said(study)] == ["started", "ended"] * 2
    assert said(study)[1][1]["cause"] == Cause.COMPLETED


def test_an_order_of_another_version_is_refused_with_both_named(study: Path) -> None:
    run_task(write_job(study, "a", probe(1, version="9.9.9+abc")), 0)
    facts = said(study)[-1][1]
    assert facts["cause"] == Cause.ERROR
    assert "written by emsearch 9.9.9+abc" in facts["detail"]
    assert code_version() in facts["detail"]


def test_the_later_attempt_counts_and_the_earlier_one_sees_it(
    study: Path, signals: Signals
) -> None:
    order = probe(1)
    early, late = (attempt_at(study, order, generation, signals) for generation in (1, 2))
    for attempt in (early, late):
        attempt.folder.mkdir(parents=True)
        assert attempt.claim()
    assert late.holds_claim()
    assert not early.holds_claim()


def test_of_two_that_claim_at_once_the_later_counts_whoever_writes_last(
    study: Path, signals: Signals
) -> None:
    order = probe(1)
    early, late = (attempt_at(study, order, generation, signals) for generation in (1, 2))
    for attempt in (late, early):  # the early one was about to write when the late one did
        attempt.folder.mkdir(parents=True)
        attempt.claim()
    assert late.holds_claim()
    assert not early.holds_claim()


def test_threads_are_those_of_the_order(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    run_task(write_job(study, "a", replace(probe(1), threads=3)), 0)
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_an_attempt_that_comes_too_late_leaves_at_once(study: Path, signals: Signals) -> None:
    order = probe(1)
    late = attempt_at(study, order, 2, signals)
    late.folder.mkdir(parents=True)
    late.claim()
    run_order(order, attempt_at(study, order, 1, signals))
    assert said(study) == [("ended", {"cause": "cancelled", "detail": "a later attempt runs"})]
    assert late.holds_claim()


def test_orders_that_were_not_begun_are_left_when_asked_to_leave(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Signals()
    asked.cause = Cause.PREEMPTED
    monkeypatch.setattr("emsearch.worker.run.Signals", lambda _clock: asked)
    run_task(write_job(study, "a", probe(1)), 0)
    assert said(study) == []


@pytest.mark.parametrize(
    ("number", "cause"),
    [(signal.SIGTERM, Cause.PREEMPTED), (signal.SIGUSR2, Cause.TIMEOUT), (signal.SIGINT, None)],
)
def test_signals_say_why_to_leave(number: int, cause: Cause | None, signals: Signals) -> None:
    os.kill(os.getpid(), number)
    deadline = time.monotonic() + (0.05 if cause is None else 5)
    while signals.cause is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert signals.cause == cause


def test_an_order_that_left_ends_with_the_cause_that_became_known_since(
    study: Path, signals: Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = probe(1, seconds=30.0)
    signals.cause = Cause.PREEMPTED  # a guess
    monkeypatch.setattr(signals, "corrected", lambda _cause: Cause.TIMEOUT)
    assert run_order(order, attempt_at(study, order, 1, signals)) == Cause.TIMEOUT
    assert said(study)[-1][1]["cause"] == Cause.TIMEOUT


class OutOfMemoryError(RuntimeError):
    """Stands for torch's, which has this name."""


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (DivergedError("nan"), Cause.DIVERGED),
        (CollapsedError("one class"), Cause.COLLAPSED),
        (OutOfMemoryError("CUDA"), Cause.GPU_OUT_OF_MEMORY),
        (MemoryError(), Cause.HOST_OUT_OF_MEMORY),
        (StateError("anything"), Cause.ERROR),
    ],
)
def test_exceptions_have_causes(error: Exception, cause: Cause) -> None:
    assert cause_of(error) == cause


def test_a_fault_of_one_order_does_not_take_the_next_with_it(study: Path) -> None:
    run_task(write_job(study, "a", probe(1, version="9"), probe(2)), 0)
    assert [facts.get("cause") for kind, facts in said(study) if kind == "ended"] == [
        Cause.ERROR,
        Cause.COMPLETED,
    ]


def test_a_worker_writes_its_name_before_anything_else(study: Path) -> None:
    job_file = write_job(study, "a", probe(1, seconds=0.2))
    process = subprocess.Popen([sys.executable, "-m", "emsearch.worker", str(job_file), "0"])
    assert process.wait(timeout=30) == 0
    assert (job_file.parent / "process-0").read_text().split("/")[1] == str(process.pid)


def test_progress_is_written_for_those_who_watch(study: Path, signals: Signals) -> None:
    attempt = attempt_at(study, probe(1), 1, signals)
    attempt.folder.mkdir(parents=True)
    attempt.progress(3, 10)
    attempt.progress(4, 10)  # too soon to be worth a write
    assert (attempt.folder / "progress").read_text() == "3 10"


def test_events_are_numbered_and_hold_json(study: Path, signals: Signals) -> None:
    attempt = attempt_at(study, probe(1), 1, signals)
    attempt.evaluated({"step": 1})
    attempt.evaluated({"step": 2})
    names = sorted(path.name for path in (study / "inbox").iterdir())
    assert names == ["job1.0.1.0.000000.json", "job1.0.1.0.000001.json"]
    assert json.loads((study / "inbox" / names[1]).read_text())["facts"] == {"step": 2}
