"""Carrying one order out, and what its end means."""

import importlib
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from emsearch.errors import CollapsedError, DivergedError, StateError
from emsearch.records.event import EventKind, Outcome, Post
from emsearch.records.job import TaskName, log_path
from emsearch.records.logs import log_tail
from emsearch.records.order import Order, ProbeOrder
from emsearch.records.trial import Cause
from emsearch.records.version import code_version
from emsearch.worker.attempt import Attempt

__all__ = ["HANDLERS", "cause_of", "handler_of", "node_name", "run_order", "run_probe"]

Handler = Callable[[Any, Post], Outcome]

HANDLERS = {
    "train": "emsearch.training.run:run_trial",
    "tune": "emsearch.worker.delegate:run_tune",
    "import": "emsearch.volumes.importing:run_import",
    "ensemble": "emsearch.ensembles.run:run_ensemble",
    "segment": "emsearch.inference.stream:run_segment",
    "probe": "emsearch.worker.orders:run_probe",
}
"""Which function carries an order out. They are imported by name, so that a job pays for torch
only where an order needs it."""

_ASKED = frozenset({Cause.PREEMPTED, Cause.TIMEOUT, Cause.CANCELLED})
_DETAIL = 2000  # characters of a traceback's end that go into the ledger


def run_order(order: Order, attempt: Attempt) -> Cause:
    """Carry one order out, say how it ended, and return that."""
    attempt.folder.mkdir(parents=True, exist_ok=True)
    if not attempt.claim():
        attempt.say(EventKind.ENDED, {"cause": Cause.CANCELLED, "detail": "a later attempt runs"})
        return Cause.CANCELLED
    attempt.say(EventKind.STARTED, {"node": node_name(), "pid": os.getpid()})
    attempt.signals.last_words = lambda cause: attempt.say(
        EventKind.ENDED, {"cause": cause, **_how_it_left(attempt, "it did not leave by itself")}
    )
    print(f"== order {order.number}: {order.kind} in {order.folder}", flush=True)  # noqa: T201
    try:
        _refuse_other_version(order)
        os.environ["OMP_NUM_THREADS"] = str(order.threads)  # its result depends on them
        outcome = handler_of(order.kind)(order.task, attempt)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the order's end
        traceback.print_exc()
        outcome = Outcome(cause=cause_of(error), facts={"detail": _tail_of(error)})
    cause = attempt.signals.corrected(outcome.cause)
    facts = _how_it_left(attempt) if cause in _ASKED else {}
    attempt.say(EventKind.ENDED, {"cause": cause, **facts, **outcome.facts})
    return cause


def handler_of(kind: str) -> Handler:
    """Return the function that carries orders of a kind out."""
    module, function = HANDLERS[kind].split(":")
    handler: Handler = getattr(importlib.import_module(module), function)
    return handler


def cause_of(error: Exception) -> Cause:
    """Return what an exception says about an attempt's end."""
    if isinstance(error, DivergedError):
        return Cause.DIVERGED
    if isinstance(error, CollapsedError):
        return Cause.COLLAPSED
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
        return Cause.GPU_OUT_OF_MEMORY
    if isinstance(error, MemoryError):
        return Cause.HOST_OUT_OF_MEMORY
    return Cause.ERROR


def run_probe(task: ProbeOrder, post: Post) -> Outcome:
    """Wait for the seconds asked for, unless asked to leave, and tell where that was."""
    end_s = time.monotonic() + task.seconds
    while (left_s := end_s - time.monotonic()) > 0:
        if (cause := post.stop_cause()) is not None:
            return Outcome(cause=cause)
        time.sleep(min(left_s, 0.1))
    facts = {"host": node_name(), "python": sys.version.split()[0]}
    return Outcome(cause=Cause.COMPLETED, facts=facts)


def node_name() -> str:
    """Return the node's name as the cluster calls it, so that it can be excluded by it."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def _refuse_other_version(order: Order) -> None:
    if order.version != code_version():
        raise StateError(
            f"order {order.number} was written by emsearch {order.version}, and this is "
            f"{code_version()}; install that version again, or launch a new study"
        )


def _how_it_left(attempt: Attempt, *words: str) -> dict[str, Any]:
    """Return the signal that asked an attempt to leave, and the last lines of its log."""
    task = TaskName(token=attempt.name.token, index=attempt.name.index)
    log = log_tail(log_path(attempt.study / "jobs", task))
    lines = [attempt.signals.told, *words, log]
    return {"signal": attempt.signals.number, "detail": "\n".join(filter(None, lines))}


def _tail_of(error: Exception) -> str:
    return "".join(traceback.format_exception(error))[-_DETAIL:]
