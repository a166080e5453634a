"""Who segments a volume: noted in a folder beside the output, so that a second run sees the first.

The note says how blocks are shared, and which process hands them out; the jobs lie beside it. A run
that was killed leaves all of it, and whoever comes next finds out what of it still lives.
"""

import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from emsearch.errors import NoAnswerError, StateError
from emsearch.execution.executor import Executor, JobState
from emsearch.execution.slurm import SlurmExecutor
from emsearch.records.files import read_json, write_json
from emsearch.records.job import JobFile, TaskName
from emsearch.records.process import is_alive, process_name
from emsearch.records.profile import read_profile

__all__ = ["HERE", "SLURM", "Crew", "Say", "at_work", "named", "work_folder"]

Say = Callable[[str], None]

HERE = "here"
"""What blocks that are not shared are written by: the process itself."""
SLURM = "slurm"
"""Its jobs can be asked about from any host; processes on their own alone."""

_NOTE = "run.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Crew:
    """Those who share a volume's blocks."""

    executor: Executor
    """Its jobs lie in `jobs` of the work folder."""
    name: str
    """The executor's, as users say it: local or slurm."""
    devices: Sequence[str]
    """Such as "cpu"; a task each."""
    threads: int = 1
    profile: str = ""
    """Name or path of a Slurm cluster's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Note:
    """What a run tells those who come after it."""

    executor: str
    """here, local or slurm."""
    profile: str
    host: str
    launcher: str
    """Name of the process that hands blocks out; empty once it has left in order."""


def work_folder(out: Path) -> Path:
    """Return where a run's note, its orders, jobs and logs are."""
    return out.with_name(f".{out.name}.work")


@contextmanager
def at_work(out: Path, name: str, say: Say, profile: str = "") -> Iterator[None]:
    """Within it this process alone segments `out`, or has it segmented by jobs of its own.

    What dead workers left is cleared away, but for jobs of the executor of this `name`: whoever
    uses it waits for them. Raises StateError that names others at work, and the remedy.
    """
    folder = work_folder(out)
    note = _read(folder)
    if note is not None:
        _refuse_second(out, note, say)
        if note.executor != name:
            _refuse_orphans(out, note)
    if name == HERE or (note is not None and note.executor != name):
        shutil.rmtree(folder, ignore_errors=True)
    ours = _Note(executor=name, profile=profile, host=socket.gethostname(), launcher=process_name())
    try:
        write_json(folder / _NOTE, asdict(ours))
    except OSError as error:
        raise StateError(
            f"{folder} cannot be written: {error}; mend what is wrong and run again: blocks that "
            "are written are kept"
        ) from error
    try:
        yield
    finally:
        if name == HERE:
            shutil.rmtree(folder, ignore_errors=True)
        elif folder.is_dir():  # its jobs and logs stay
            with suppress(OSError):  # a full disk: what it did to the blocks is told
                write_json(folder / _NOTE, asdict(replace(ours, launcher="")))


def named(job: JobFile, handles: Sequence[str]) -> dict[TaskName, str]:
    """Return the handles of a job's tasks by their names."""
    return {TaskName(token=job.token, index=index): one for index, one in enumerate(handles)}


def _read(folder: Path) -> _Note | None:
    """Return the note of an earlier run; None where there is none that can be read."""
    try:
        values: Any = read_json(folder / _NOTE)
        return _Note(**values)
    except (FileNotFoundError, JSONDecodeError, TypeError):
        return None


def _refuse_second(out: Path, note: _Note, say: Say) -> None:
    """Raise StateError where the process that hands out the blocks is alive.

    One of another host cannot be seen from here: a job that was requeued must go on all the same.
    """
    if note.launcher and is_alive(note.launcher):
        number = _number(note.launcher)
        raise StateError(
            f"process {number} of this host is segmenting {out} (--executor {note.executor}); "
            f"wait for it, or end it: kill {number}"
        )
    if note.host != socket.gethostname() and (note.launcher or note.executor != SLURM):
        say(f"an earlier run on {note.host} was not seen to end; if it is at work there, end it")


def _refuse_orphans(out: Path, note: _Note) -> None:
    """Raise StateError where jobs outlive the process that started them, or may do so."""
    try:
        alive = _slurm_jobs(out, note) if note.executor == SLURM else _processes(out)
    except NoAnswerError as error:
        raise StateError(
            f"jobs of an earlier run (--executor {note.executor}) may be at work on {out}, and "
            f"nobody can tell: {error}; run where the cluster answers, or, if they are over, "
            f"remove {work_folder(out)}"
        ) from error
    if not alive:
        return
    if note.executor == SLURM:
        how = f"scancel {' '.join(sorted({one.partition('_')[0] for one in alive}))}"
    else:
        how = f"kill {' '.join(map(_number, alive))}"
    raise StateError(
        f"jobs of an earlier run (--executor {note.executor}) are at work on {out}: "
        f"{', '.join(alive)}; wait for them with --executor {note.executor}, or end them: {how}"
    )


def _processes(out: Path) -> list[str]:
    """Return the names of the processes of this host that are at work."""
    names = [path.read_text() for path in sorted(work_folder(out).glob("jobs/*/process-*"))]
    return [name for name in names if is_alive(name)]


def _slurm_jobs(out: Path, note: _Note) -> list[str]:
    """Return the handles of tasks that are not known to be over. Raises NoAnswerError."""
    folder = work_folder(out)
    cluster = SlurmExecutor(folder / "jobs", read_profile(note.profile))
    alive = []
    for path in sorted(folder.glob("jobs/*/job.json")):
        job = JobFile.read(path)
        tasks = named(job, cluster.find(job.token, len(job.tasks)) or ())
        reports = cluster.reports(tasks)
        alive += [tasks[task] for task in tasks if reports[task].state is not JobState.GONE]
    return alive


def _number(process: str) -> str:
    """Return the number of a process of that name."""
    return process.split("/")[1]
