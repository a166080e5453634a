"""Runs the orders of a job's task, one after another: `python -m emsearch.worker JOBFILE INDEX`.

An attempt writes into its own folder and the inbox, nowhere else, except for its claim: the file
that says that it is there. Of an order's attempts the latest that made one counts, whoever comes
back from the dead.
"""

import importlib
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from emsearch.errors import CollapsedError, DivergedError, StateError
from emsearch.records.event import AttemptName, Event, EventKind, Outcome, Post
from emsearch.records.files import read_json, replacing, write_json
from emsearch.records.job import JobFile, TaskName, process_path
from emsearch.records.order import Order, ProbeOrder
from emsearch.records.process import process_name
from emsearch.records.trial import Cause
from emsearch.records.version import code_version

__all__ = ["Attempt", "main", "run_task"]

Handler = Callable[[Any, Post], Outcome]

HANDLERS = {
    "train": "emsearch.training.run:run_trial",
    "import": "emsearch.volumes.importing:run_import",
    "ensemble": "emsearch.ensembles.run:run_ensemble",
    "segment": "emsearch.inference.stream:run_segment",
    "probe": "emsearch.worker:run_probe",
}
"""Which function carries an order out. They are imported by name, so that a job pays for torch
only where an order needs it."""

_DETAIL = 2000  # characters of a traceback's end that go into the ledger
_PROGRESS_EVERY_S = 2.0


@dataclass(kw_only=True, slots=True)
class Attempt:
    """One try to carry an order out; the `Post` that its handler is handed."""

    study: Path
    name: AttemptName
    folder: Path
    generation: int
    """Rises with every attempt at the order: the coordinator counts."""
    signals: "Signals"
    _said: int = 0
    _progress_s: float = field(default=0.0)

    def say(self, kind: EventKind, facts: Mapping[str, Any]) -> None:
        """Leave an event in the inbox."""
        event = Event(
            attempt=self.name, number=self._said, kind=kind, at_s=time.time(), facts=facts
        )
        content = {"kind": kind, "at_s": event.at_s, "facts": dict(facts)}
        write_json(self.study / "inbox" / event.file_name, content)
        self._said += 1

    def evaluated(self, facts: Mapping[str, Any]) -> None:
        """Leave an event of kind EVALUATED."""
        self.say(EventKind.EVALUATED, facts)

    def progress(self, done: int, of: int) -> None:
        """Write how far it is, at most every two seconds; lost progress is no loss."""
        now = time.monotonic()
        if now - self._progress_s < _PROGRESS_EVERY_S:
            return
        self._progress_s = now
        scratch = self.folder / ".progress"
        scratch.write_text(f"{done} {of}")
        scratch.replace(self.folder / "progress")

    def stop_cause(self) -> Cause | None:
        """Return why to leave now, None to go on."""
        return self.signals.cause

    def claim(self) -> bool:
        """Take the order's claim; False where a later attempt has it."""
        write_json(self._claims() / self._claim_name(), {"attempt": str(self.name)})
        return self.holds_claim()

    def holds_claim(self) -> bool:
        """Return whether this attempt is the one that counts: the latest that made a claim."""
        latest = max(path.name for path in self._claims().glob("[0-9]*.json"))
        return latest == self._claim_name()

    def _claim_name(self) -> str:
        # The cluster's own restarts keep their job's generation, and follow one another in it.
        return f"{self.generation:012d}.{self.name.restart:04d}.json"

    def _claims(self) -> Path:
        # A file for each attempt: of two that claim at once neither can overwrite the other.
        return self.folder.parent.parent / "claims"


class Signals:
    """Notes the signals that ask a worker to leave; it goes at its next step."""

    def __init__(self) -> None:
        self.cause: Cause | None = None
        signal.signal(signal.SIGTERM, self._note)
        signal.signal(signal.SIGUSR2, self._note)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the coordinator

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.cause = Cause.TIMEOUT if number == signal.SIGUSR2 else Cause.PREEMPTED


def run_task(job_file: Path, index: int) -> None:
    """Carry out the orders of a job's task. Raises nothing for a fault of an order."""
    job = JobFile.read(job_file)
    study = job_file.resolve().parents[2]
    restart = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    with replacing(process_path(study / "jobs", TaskName(token=job.token, index=index))) as scratch:
        scratch.write_text(process_name())
    signals = Signals()
    for entry in job.tasks[index]:
        if signals.cause is not None:
            return  # orders that were not begun go back to wait
        order = Order.from_dict(read_json(study / "orders" / f"{entry.order:08d}.json"))
        name = AttemptName(token=job.token, index=index, order=order.number, restart=restart)
        attempt = Attempt(
            study=study,
            name=name,
            folder=study / order.folder / "attempts" / str(name),
            generation=entry.generation,
            signals=signals,
        )
        run_order(order, attempt)


def run_order(order: Order, attempt: Attempt) -> None:
    """Carry one order out and say how it ended."""
    attempt.folder.mkdir(parents=True, exist_ok=True)
    if not attempt.claim():
        attempt.say(EventKind.ENDED, {"cause": Cause.CANCELLED, "detail": "a later attempt runs"})
        return
    attempt.say(EventKind.STARTED, {"node": socket.gethostname(), "pid": os.getpid()})
    print(f"== order {order.number}: {order.kind} in {order.folder}", flush=True)  # noqa: T201
    try:
        _refuse_other_version(order)
        os.environ["OMP_NUM_THREADS"] = str(order.threads)  # its result depends on them
        outcome = handler_of(order.kind)(order.task, attempt)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the order's end
        traceback.print_exc()
        outcome = Outcome(cause=cause_of(error), facts={"detail": _tail_of(error)})
    attempt.say(EventKind.ENDED, {"cause": outcome.cause, **outcome.facts})


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


def run_probe(task: ProbeOrder, _post: Post) -> Outcome:
    """Wait for the seconds asked for and tell where that was."""
    time.sleep(task.seconds)
    facts = {"host": socket.gethostname(), "python": sys.version.split()[0]}
    return Outcome(cause=Cause.COMPLETED, facts=facts)


def _refuse_other_version(order: Order) -> None:
    if order.version != code_version():
        raise StateError(
            f"order {order.number} was written by emsearch {order.version}, and this is "
            f"{code_version()}; install that version again, or launch a new study"
        )


def _tail_of(error: Exception) -> str:
    return "".join(traceback.format_exception(error))[-_DETAIL:]


def main() -> None:
    """Run the task whose job file and index are the arguments."""
    run_task(Path(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
