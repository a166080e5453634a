"""What attempts wrote to their jobs' logs."""

from pathlib import Path

from emsearch.records.event import AttemptName
from emsearch.records.job import TaskName, log_path

__all__ = ["LOG_TAIL", "log_of"]

LOG_TAIL = 16_000
"""Bytes of a job's log that are read, from its end."""


def log_of(folder: Path, attempt: str) -> str:
    """Return the end of what an attempt wrote, empty where the study in `folder` has no log of it.

    A job runs several orders, one after another; only the attempt's own part is returned.
    """
    name = AttemptName.parse(attempt)
    path = log_path(folder / "jobs", TaskName(token=name.token, index=name.index))
    if not path.is_file():
        return ""
    with path.open("rb") as log:
        log.seek(max(path.stat().st_size - LOG_TAIL, 0))
        text = log.read().decode(errors="replace")
    before, own_head, own = text.rpartition(f"== order {name.order}:")
    if not own_head:  # longer than the tail, unless other orders ran since
        own = before + own
    return own.partition("\n== order ")[0].strip()
