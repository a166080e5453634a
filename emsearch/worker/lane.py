"""A lane's process: `python -m emsearch.worker.lane JOBFILE INDEX ORDERS ANSWERS` (descriptors)."""

import gc
import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from emsearch.worker.signals import Clock, Signals
from emsearch.worker.task import Task

__all__ = ["run_lane"]


def run_lane(job_file: Path, index: int, orders: Connection, answers: Connection) -> None:
    """Carry out the orders that come in, until no more will or it is time to leave."""
    task = Task.of(job_file, index)
    entries = {entry.order: entry for entry in task.entries()}
    with Signals(Clock(os.environ)) as signals:
        while signals.cause is None:
            try:
                entry = entries[orders.recv()]
            except EOFError:
                return
            cause = task.run(entry, signals)
            _release_device()
            answers.send(str(cause))


def _release_device() -> None:
    """Give back what torch keeps of a GPU's memory: the next order there is another lane's."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    run_lane(
        Path(sys.argv[1]),
        int(sys.argv[2]),
        Connection(int(sys.argv[3])),
        Connection(int(sys.argv[4])),
    )
