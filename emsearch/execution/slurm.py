"""Jobs as arrays of a Slurm cluster, asked about in one batch and never more often than polite."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

from emsearch.errors import NoAnswerError
from emsearch.execution.executor import UNHEARD, Ending, JobReport, JobState, Limits, Request
from emsearch.execution.slurm_command import (
    Command,
    ask_accounting,
    pause_s,
    run_command,
    user_name,
)
from emsearch.execution.slurm_limits import SlurmLimits
from emsearch.execution.slurm_refusal import is_too_late
from emsearch.execution.slurm_submit import submit_array, submitted_folder
from emsearch.execution.slurm_text import (
    SACCT_FORMAT,
    SQUEUE_FORMAT,
    Queued,
    Run,
    ending_of,
    read_queue,
    read_runs,
)
from emsearch.records.job import TaskName, log_path
from emsearch.records.logs import log_tail
from emsearch.records.profile import Profile
from emsearch.records.trial import Cause

__all__ = ["SlurmExecutor"]

_MOST_IDS = 500  # in the arguments of one command
_UNKNOWN = JobReport(state=JobState.UNKNOWN)


class SlurmExecutor:
    """Submits through submitit; the registry, the states and the questions are ours."""

    def __init__(
        self,
        folder: Path,
        profile: Profile,
        *,
        run: Command = run_command,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder.resolve()
        self._profile = profile
        self._run = run
        self._clock = clock
        self._reports: dict[TaskName, JobReport] = {}
        self._missing_s: dict[TaskName, float] = {}
        """Since when neither the queue nor accounting knows a task."""
        self._restarts: dict[TaskName, int] = {}
        """How often the queue has told that a task was restarted; those that never were left out.

        Accounting may hear of a run late, or never: by its runs alone a task that goes on would
        have ended with an earlier one."""
        self._unheard_s: dict[TaskName, float] = {}
        """Since when accounting owes the end of an earlier run of a task that goes on."""
        self._next_s = float("-inf")
        self._failures = 0
        self._submitted_s = float("-inf")
        self._limits = SlurmLimits(profile, run, clock)

    @property
    def poll_s(self) -> float:
        """Seconds between two questions to the cluster."""
        return self._profile.poll_s

    def limits(self) -> Limits:
        """Return MaxArraySize and the least limit on submitted jobs that applies to the profile's.

        Raises NoAnswerError where the cluster has not told them yet.
        """
        return self._limits.get()

    def submit(self, token: str, job_file: Path, request: Request) -> tuple[str, ...]:
        """Submit an array, after the pause that the profile asks for between two submissions."""
        pause_s = self._submitted_s + self._profile.submit_every_s - self._clock()
        if pause_s > 0:
            time.sleep(pause_s)
        self._submitted_s = self._clock()
        number = submit_array(token, job_file.resolve(), self._profile, request)
        return _handles(number, request.tasks)

    def find(self, token: str, tasks: int) -> tuple[str, ...] | None:
        """Return the handles of the array that bears the token as its name."""
        me = f"--user={user_name()}"
        queue = ["squeue", "--noheader", me, f"--name={token}", "--Format=ArrayJobID:40"]
        numbers = self._run(queue).split()
        if not numbers:
            accounting = ["sacct", "--noheader", "--parsable2", "--allocations", me]
            since = "--starttime=now-30days"
            words = [*accounting, f"--name={token}", "--format=JobID", since]
            text = ask_accounting(self._run, words)
            numbers = [line.partition("_")[0] for line in text.split()]
        return _handles(numbers[-1], tasks) if numbers else None

    def reports(self, handles: Mapping[TaskName, str]) -> dict[TaskName, JobReport]:
        """Return a report of each task: the last answer, until it is time to ask again."""
        asked = {task: handle for task, handle in handles.items() if not self._is_gone(task)}
        if asked and self._clock() >= self._next_s:
            self._poll(asked)
        self._reports = {task: self._reports.get(task, _SUBMITTED) for task in handles}
        return dict(self._reports)

    def stop(self, handles: Mapping[TaskName, str]) -> None:
        """Cancel tasks: those that run are sent SIGTERM, and SIGKILL after the site's KillWait.

        Raises NoAnswerError, after all were tried, where some may not have been cancelled.
        """
        ids = list(handles.values())
        unheard: NoAnswerError | None = None
        for start in range(0, len(ids), _MOST_IDS):
            try:
                # Not --quiet: with it, scancel is silent where the controller is, and ends with 0.
                self._run(["scancel", *ids[start : start + _MOST_IDS]])
            except NoAnswerError as error:
                if not is_too_late(str(error)):
                    unheard = error
        if unheard is not None:
            raise unheard

    def _is_gone(self, task: TaskName) -> bool:
        known = self._reports.get(task)
        return known is not None and known.state == JobState.GONE

    def _poll(self, handles: Mapping[TaskName, str]) -> None:
        try:
            found = self._ask(handles)
        except NoAnswerError:
            self._failures += 1
            self._missing_s.clear()  # nobody was missed while nobody could be seen
            found = dict.fromkeys(handles, _UNKNOWN)
        else:
            self._failures = 0
        self._reports |= found
        self._clear_away(handles)
        self._next_s = self._clock() + pause_s(self.poll_s, self._failures)

    def _clear_away(self, handles: Mapping[TaskName, str]) -> None:
        """Remove what only the starts of a job's tasks needed, once all of them are gone."""
        gone = {task.token for task in handles if self._is_gone(task)}
        for token in gone - {task.token for task in handles if not self._is_gone(task)}:
            shutil.rmtree(submitted_folder(self._folder / token), ignore_errors=True)

    def _ask(self, handles: Mapping[TaskName, str]) -> dict[TaskName, JobReport]:
        """Ask the queue about all tasks, and accounting about those that ended or restarted."""
        squeue = ["squeue", "--noheader", "--array", "--states=all", f"--user={user_name()}"]
        queue = read_queue(self._run([*squeue, f"--Format={SQUEUE_FORMAT}"]))
        alive = {handle for handle, one in queue.items() if not (one.is_over or one.restarts)}
        doubtful = {
            task: handle
            for task, handle in handles.items()
            if handle not in alive or task in self._restarts
        }
        runs = self._runs(doubtful) if doubtful else {}
        return {
            task: self._report(task, queue.get(handle), runs.get(handle, ()))
            for task, handle in handles.items()
        }

    def _runs(self, handles: Mapping[TaskName, str]) -> dict[str, tuple[Run, ...]]:
        # By their arrays: tasks that were cancelled together have no line of their own. And by
        # their names: a controller that lost its state gives the numbers of old jobs out anew.
        tokens = {handle.partition("_")[0]: task.token for task, handle in handles.items()}
        ids = sorted(tokens)
        runs: dict[str, tuple[Run, ...]] = {}
        for start in range(0, len(ids), _MOST_IDS):
            some = ids[start : start + _MOST_IDS]
            words = ["sacct", "--noheader", "--parsable2", "--duplicates"]
            which = [f"--jobs={','.join(some)}", f"--name={','.join(tokens[id_] for id_ in some)}"]
            runs |= read_runs(
                ask_accounting(self._run, [*words, f"--format={SACCT_FORMAT}", *which])
            )
        whole = {array: them for array, them in runs.items() if "_" not in array}
        return {
            handle: runs.get(handle, whole.get(handle.partition("_")[0], ()))
            for handle in handles.values()
        }

    def _report(self, task: TaskName, queued: Queued | None, runs: Sequence[Run]) -> JobReport:
        restarts = max(self._restarts.get(task, 0), queued.restarts if queued else 0)
        if restarts:
            self._restarts[task] = restarts
        if queued is not None and not queued.is_over:
            self._missing_s.pop(task, None)
            return JobReport(
                state=JobState.ALIVE,
                word=queued.word,
                reason=queued.reason,
                node=queued.node,
                restarted=self._earlier(task, runs[:restarts], restarts),
            )
        if len(runs) > restarts and runs[-1].is_over:
            return self._gone(task, runs[-1], runs[:-1], len(runs) - 1)
        return self._missing(task, queued, runs)

    def _earlier(self, task: TaskName, runs: Sequence[Run], restarts: int) -> tuple[Ending, ...]:
        """Return how earlier runs of a task ended, as far as accounting has heard.

        It may hear of a run's end long after the next has begun: for a while nothing is said of it.
        """
        heard = tuple(takewhile(lambda run: run.is_over, runs))
        if len(heard) == restarts:
            self._unheard_s.pop(task, None)
            return _endings(heard, restarts)
        since_s = self._unheard_s.setdefault(task, self._clock())
        if self._clock() - since_s < self._profile.grace_s:
            return _endings(heard, len(heard))
        return _endings(runs, restarts)

    def _missing(self, task: TaskName, queued: Queued | None, runs: Sequence[Run]) -> JobReport:
        """Return what to make of a task of whose end accounting has not heard.

        Where the controller still knows how it ended, accounting is given a few answers' time: it
        never hears of a task that was cancelled before it began.
        """
        since_s = self._missing_s.setdefault(task, self._clock())
        grace_s = self._profile.grace_s
        if queued is not None:
            grace_s = min(grace_s, 2 * self.poll_s)
        if self._clock() - since_s < grace_s:
            return _UNKNOWN
        restarts = max(self._restarts.get(task, 0), len(runs) - 1)
        earlier, last = runs[:restarts], None
        if earlier and earlier[-1].is_final:  # the records that are missing are older ones
            earlier, last = earlier[:-1], earlier[-1]
        if queued is not None:
            last = Run(state=queued.word, exit_code=0, signal=0, node=queued.node)
        return self._gone(task, last, earlier, restarts)

    def _gone(
        self, task: TaskName, last: Run | None, earlier: Sequence[Run], restarts: int
    ) -> JobReport:
        """Return the report of a task that is over; `last` is None where nobody knows how."""
        self._missing_s.pop(task, None)
        self._restarts.pop(task, None)
        self._unheard_s.pop(task, None)
        tail = log_tail(log_path(self._folder, task))
        words = f"neither squeue nor sacct knows how it ended, for {self._profile.grace_s:.0f} s"
        lost = Ending(cause=Cause.LOST, detail=f"{words}\n{tail}".strip())
        return JobReport(
            state=JobState.GONE,
            word=last.state if last else "",
            ending=ending_of(last, tail) if last else lost,
            restarted=_endings(earlier, restarts),
        )


_SUBMITTED = JobReport(state=JobState.ALIVE, word="SUBMITTED")


def _handles(number: str, tasks: int) -> tuple[str, ...]:
    return tuple(f"{number}_{index}" for index in range(tasks))


def _endings(runs: Sequence[Run], count: int) -> tuple[Ending, ...]:
    """Return how `count` runs ended; where accounting has not all, nobody knows how the rest."""
    known = tuple(ending_of(run, "") if run.is_over else UNHEARD for run in runs)
    return known + (UNHEARD,) * (count - len(known))
