"""What Slurm's commands print, read by pure functions. Tests hold real output of a real cluster."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from emsearch.execution.executor import Ending
from emsearch.records.trial import Cause

__all__ = [
    "SACCT_FORMAT",
    "SQUEUE_FORMAT",
    "Queued",
    "Run",
    "ending_of",
    "read_config_limit",
    "read_least",
    "read_queue",
    "read_runs",
    "seconds_of",
]

_WIDTHS = {"JobArrayID": 40, "State": 20, "RestartCnt": 8, "Reason": 80, "NodeList": 200}
SQUEUE_FORMAT = ",".join(f"{name}:{width}" for name, width in _WIDTHS.items())
"""For `squeue --noheader --array --Format`: columns of fixed widths, which all versions print."""
SACCT_FORMAT = "JobID,State,ExitCode,NodeList"
"""For `sacct --noheader --parsable2 --duplicates --format`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Queued:
    """A task that the controller knows: it waits, runs, or ended a short while ago."""

    word: str
    restarts: int
    reason: str
    node: str

    @property
    def is_over(self) -> bool:
        """Return whether it ended, by the controller's own word."""
        return self.word in _OVER


def read_queue(text: str) -> dict[str, Queued]:
    """Map handles to what `squeue` says of them; reason and node are empty where there is none."""
    rows = (_columns(line) for line in text.splitlines() if line.strip())
    return {
        row["JobArrayID"]: Queued(
            word=row["State"],
            restarts=int(row["RestartCnt"]),
            reason="" if row["Reason"] == "None" else row["Reason"],
            node=row["NodeList"],
        )
        for row in rows
    }


def _columns(line: str) -> dict[str, str]:
    columns, start = {}, 0
    for name, width in _WIDTHS.items():
        columns[name] = line[start : start + width].strip()
        start += width
    return columns


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run of a task by accounting. A task that the cluster restarted has several."""

    state: str
    exit_code: int
    signal: int
    node: str

    @property
    def is_over(self) -> bool:
        """Return whether it ended, as far as accounting has heard."""
        return self.state in _OVER or self.state == "REQUEUED"

    @property
    def is_final(self) -> bool:
        """Return whether it ended in a way after which the cluster starts no other run."""
        return self.state in _OVER - _RESTARTED


def read_runs(text: str) -> dict[str, tuple[Run, ...]]:
    """Map handles to their runs by `sacct`, oldest first.

    "CANCELLED by 1000" is CANCELLED. A run's signal is that of its step where the step has one:
    Slurm tells the batch script's, which is the shell's. Tasks that were cancelled together before
    they began are one line, "7_[2-5,9]"; an array that was cancelled as a whole is "7".
    """
    runs: dict[str, list[Run]] = {}
    for line in text.splitlines():
        name, state, code, node = line.split("|")
        handle, _, step = name.partition(".")
        exit_code, signal = (int(part) for part in (code or "0:0").split(":"))
        word = state.split()[0] if state else ""
        if not step:
            run = Run(state=word, exit_code=exit_code, signal=signal, node=_node(node))
            for one in _expand(handle):
                runs.setdefault(one, []).append(run)
        elif step.isdigit() and signal and runs.get(handle):
            last = runs[handle][-1]
            runs[handle][-1] = Run(
                state=last.state, exit_code=last.exit_code, signal=signal, node=last.node
            )
    return {handle: tuple(them) for handle, them in runs.items()}


def _expand(handle: str) -> list[str]:
    """Return the handles of "7_[2-3,9%4]": 7_2, 7_3 and 7_9."""
    array, bracket, rest = handle.partition("_[")
    if not bracket:
        return [handle]
    handles: list[str] = []
    for part in rest.rstrip("]").partition("%")[0].split(","):
        first, _, last = part.partition("-")
        handles += [f"{array}_{index}" for index in range(int(first), int(last or first) + 1)]
    return handles


def _node(text: str) -> str:
    return "" if text == "None assigned" else text


_CAUSES = {
    "COMPLETED": Cause.COMPLETED,
    "PREEMPTED": Cause.PREEMPTED,
    "REQUEUED": Cause.PREEMPTED,
    "TIMEOUT": Cause.TIMEOUT,
    "DEADLINE": Cause.TIMEOUT,
    "NODE_FAIL": Cause.NODE_FAILURE,
    "BOOT_FAIL": Cause.NODE_FAILURE,
    "OUT_OF_MEMORY": Cause.HOST_OUT_OF_MEMORY,
    "CANCELLED": Cause.CANCELLED,
    "REVOKED": Cause.CANCELLED,
}
_OVER = {*_CAUSES, "FAILED"} - {"REQUEUED"}  # in the queue, that is one that will run again
_RESTARTED = {"PREEMPTED", "NODE_FAIL", "BOOT_FAIL"}
_OUT_OF_MEMORY = re.compile(
    r"exceeded (job )?memory limit|oom[-_ ]kill|out of memory handler", re.IGNORECASE
)


def ending_of(run: Run, log: str) -> Ending:
    """Return how a run ended; `log` is the end of its log.

    Without cgroups Slurm kills a task that takes too much memory as if it had failed, and only the
    log tells. A worker that was killed by a signal of which Slurm knows nothing is lost.
    """
    cause = _CAUSES.get(run.state)
    if cause is None:
        cause = Cause.LOST if run.signal else Cause.ERROR
        if _OUT_OF_MEMORY.search(log):
            cause = Cause.HOST_OUT_OF_MEMORY
    told = f"Slurm says {run.state}, exit code {run.exit_code}"
    if run.signal:
        told += f", signal {run.signal}"
    if run.node:
        told += f", on {run.node}"
    return Ending(
        cause=cause,
        node=run.node,
        exit_code=None if run.signal else run.exit_code,
        signal=run.signal or None,
        detail=f"{told}\n{log}".strip(),
    )


def read_config_limit(text: str, name: str) -> int | None:
    """Return a number of `scontrol show config`, None where it has none."""
    found = re.search(rf"^{name}\s*=\s*(\d+)", text, re.MULTILINE)
    return int(found.group(1)) if found else None


def read_least(numbers: Iterable[str]) -> int | None:
    """Return the smallest number of those that are some; empty ones mean no limit."""
    return min((int(one) for one in numbers if one.strip().isdigit()), default=None)


_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<rest>\d+(?::\d+){0,2})")


def seconds_of(time: str) -> float | None:
    """Return the seconds that sbatch's --time means, None where it is no limit.

    It takes minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]].
    """
    found = _TIME.fullmatch(time.strip())
    if found is None:
        return None
    parts = [int(part) for part in found["rest"].split(":")]
    if found["days"] is not None:
        hours, minutes, seconds = [*parts, 0, 0][:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, (minutes, seconds) = 0, [*parts, 0][:2]
    return ((int(found["days"] or 0) * 24 + hours) * 60 + minutes) * 60.0 + seconds
