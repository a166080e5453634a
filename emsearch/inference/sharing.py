"""Share the blocks of a volume over jobs: processes of this host, or an array on a cluster.

The work has a folder beside the output, laid out as a study's: orders, jobs, inbox, logs. The jobs
write blocks; whoever shares them out waits, tells how far it is, and finishes. Interrupted, it asks
the jobs to leave. Killed, it leaves them at work: run again with the same executor, it waits for
those that it finds, and shares out what is missing then; another executor is told of them.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from emsearch.errors import NoAnswerError, RefusedError, StateError
from emsearch.execution.executor import JobState, Request
from emsearch.inference.crew import Crew, Say, at_work, named, work_folder
from emsearch.inference.output import TRIES, Output, begin, name_block, sweep
from emsearch.records.event import EventKind
from emsearch.records.files import read_json, write_json
from emsearch.records.job import Entry, JobFile, TaskName
from emsearch.records.order import Order, SegmentOrder
from emsearch.records.trial import Cause
from emsearch.records.version import code_version

__all__ = ["share"]

Progress = Callable[[int, int], None]
Answer = TypeVar("Answer")
Share = tuple[str, Sequence[int] | None]
"""A device, and the blocks to write there; None: to verify what is written, and to finish it."""

_POLL_S = 1.0
_VERIFICATIONS = 5  # jobs that may be preempted, or run out of time, one after another
_LOOKING = 0.05  # of the time, at most: of very many blocks each look is thousands of questions
_LOOK_AGAIN_S = (1.0, 3.0, 6.0)
_AGAIN_S = 60.0  # until a cluster that refused a job is asked again


def share(task: SegmentOrder, crew: Crew, tell: Progress, say: Say = lambda _words: None) -> None:
    """Segment a volume with a job that has a task for each of the crew's devices.

    `tell` is told blocks done and blocks in all, `say` what a user should know meanwhile: a cluster
    that takes no job now is asked again. Raises as `segment` does, and StateError that names what
    the jobs could not do.
    """
    output = begin(task)
    with at_work(output.folder, crew.name, say, crew.profile):
        _Work(output=output, crew=crew, tell=tell, say=say).do(task)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """An output and those who write its blocks."""

    output: Output
    crew: Crew
    tell: Progress
    say: Say

    @property
    def folder(self) -> Path:
        """Where orders, jobs and logs are."""
        return work_folder(self.output.folder)

    def do(self, task: SegmentOrder) -> None:
        """Wait for jobs of an earlier run, have the rest written, and verified."""
        for job_file in sorted(self.folder.glob("jobs/*/job.json")):
            self.wait_for_old(JobFile.read(job_file))
        sweep(self.output.folder)
        for _ in range(TRIES):
            self.write_missing(task)
            damaged = self.verify(task)
            if not damaged:
                shutil.rmtree(self.folder, ignore_errors=True)
                return
            first = name_block(self.output.blocks[damaged[0]])
            self.say(f"damaged blocks: {len(damaged)}; first {first}")
        raise self.output.spoilt(damaged[0])

    def write_missing(self, task: SegmentOrder) -> None:
        """Have the missing blocks written, job after job while some are left.

        Raises StateError where a job wrote none, or a task failed.
        """
        missing = self.output.missing()
        self.tell(len(self.output.blocks) - len(missing), len(self.output.blocks))
        if missing:
            self.output.begin_anew()
        while missing:
            devices = self.crew.devices[: len(missing)]
            shares = [(one, missing[turn :: len(devices)]) for turn, one in enumerate(devices)]
            reports = self.carry_out(task, shares)
            left = self.left_of(missing)
            if left and self.is_at_fault(left, missing):
                raise StateError(self.failure(f"{len(left)} blocks are not written", reports))
            missing = left  # of a job that was killed: another goes on

    def left_of(self, missing: Sequence[int]) -> list[int]:
        """Return the blocks that are still missing.

        Where that is a job's fault they are looked for again: file servers let a host believe for
        seconds that a file is absent.
        """
        left = [n for n in missing if not self.output.has(self.output.blocks[n])]
        for pause_s in _LOOK_AGAIN_S:
            if not left or not self.is_at_fault(left, missing):
                break
            time.sleep(pause_s)
            left = [n for n in left if not self.output.has(self.output.blocks[n])]
        return left

    def is_at_fault(self, left: Sequence[int], missing: Sequence[int]) -> bool:
        """Return whether a task of the last job failed, or none wrote any of what was missing."""
        return bool(self.faults()) or len(left) == len(missing)

    def verify(self, task: SegmentOrder) -> list[int]:
        """Have all that is written read, and finished; return the numbers of damaged blocks.

        A job that had to leave, or was killed, is followed by another, a few times. Raises
        StateError where none verified it.
        """
        reports: list[str] = []
        for _ in range(_VERIFICATIONS):
            reports = self.carry_out(task, [("cpu", None)])  # no login node is to read it all
            if self.is_verified():
                return []
            if damaged := self.output.missing():
                return damaged
            if self.faults():
                break
            self.say("the job that verifies what is written did not come to its end")
        raise StateError(self.failure("what is written is not verified", reports))

    def carry_out(self, task: SegmentOrder, shares: Sequence[Share]) -> list[str]:
        """Submit a job with a task for each share and wait for its end; return how they ended."""
        for old in ("orders", "jobs", "inbox", "tasks"):  # of a job before
            shutil.rmtree(self.folder / old, ignore_errors=True)
        job = _write_job(self.folder, task, shares, self.crew.threads)
        needs_gpu = any(device != "cpu" for device, _ in shares)
        running: dict[TaskName, str] = {}
        try:
            path = self.folder / "jobs" / job.token / "job.json"
            request = Request(tasks=len(shares), needs_gpu=needs_gpu)
            running = named(job, self._submit(job.token, path, request))
            return self._wait(running)
        except BaseException:
            self._stop(job, running)
            raise

    def wait_for_old(self, job: JobFile) -> None:
        """Wait for a job whose launcher was killed, where any of it goes on."""
        handles = self._patiently(partial(self.crew.executor.find, job.token, len(job.tasks)))
        if handles is None:
            return
        running = named(job, handles)
        states = {report.state for report in self.crew.executor.reports(running).values()}
        if states == {JobState.GONE}:
            return
        self.say(f"job {job.token} of an earlier run goes on; waiting for it")
        try:
            self._wait(running)
        except BaseException:
            self._stop(job, running)
            raise

    def faults(self) -> list[str]:
        """Return the last line of what each task that failed said."""
        failed = [facts for facts in self._ended() if facts["cause"] not in _BLAMELESS]
        return [str(one.get("detail", one["cause"])).strip().splitlines()[-1] for one in failed]

    def is_verified(self) -> bool:
        """Return whether a task of the last job read all of the output and found it whole."""
        return any(facts.get("verified") for facts in self._ended())

    def failure(self, what: str, reports: Sequence[str]) -> str:
        """Return what to say of a job that did not do what it should."""
        said = [*self.faults(), *reports]
        why = said[0].partition("StateError: ")[2] or said[0] if said else "nothing was said"
        return f"{self.output.folder}: {what}: {why}; logs are in {self.folder}; run again to go on"

    def _ended(self) -> list[dict[str, Any]]:
        """Return what each task of the last job said at its end."""
        # Workers of an earlier run may speak late: what they say is of a job before.
        tokens = [path.parent.name for path in self.folder.glob("jobs/*/job.json")]
        paths = (path for one in tokens for path in (self.folder / "inbox").glob(f"{one}.*.json"))
        said = [read_json(path) for path in sorted(paths)]
        return [event["facts"] for event in said if event["kind"] == EventKind.ENDED]

    def _submit(self, token: str, path: Path, request: Request) -> tuple[str, ...]:
        """Submit a job, as often as it takes; return its tasks' handles."""
        is_doubtful = False

        def submit() -> tuple[str, ...]:
            nonlocal is_doubtful
            if is_doubtful and (found := self.crew.executor.find(token, request.tasks)) is not None:
                return found
            is_doubtful = True  # of what ends without an answer nobody knows
            return self.crew.executor.submit(token, path, request)

        return self._patiently(submit)

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        """Return what the cluster answers, asked again while it refuses or is silent."""
        last = ""
        while True:
            try:
                return ask()
            except (RefusedError, NoAnswerError) as error:
                if str(error) != last:
                    self.say(f"{error}; trying again every {_AGAIN_S:.0f} s")
                    last = str(error)
                time.sleep(_AGAIN_S)

    def _wait(self, running: Mapping[TaskName, str]) -> list[str]:
        """Tell how far the jobs are until all are over; return how each ended."""
        of = len(self.output.blocks)
        awaited = set(self.output.missing())
        due_s = -inf
        while True:
            reports = self.crew.executor.reports(running)
            over = all(report.state is JobState.GONE for report in reports.values())
            began_s = time.monotonic()
            if over or began_s >= due_s:
                awaited = {n for n in awaited if not self.output.has(self.output.blocks[n])}
                self.tell(of - len(awaited), of)
                due_s = _due(began_s, time.monotonic())
            if over:
                endings = (report.ending for report in reports.values())
                return [ending.detail for ending in endings if ending is not None and ending.detail]
            time.sleep(_POLL_S)  # the executor asks its cluster no more often than is polite

    def _stop(self, job: JobFile, running: dict[TaskName, str]) -> None:
        """Ask a job's tasks to leave, also where they were submitted and nobody knows them yet."""
        try:
            if not running:
                found = self.crew.executor.find(job.token, len(job.tasks))
                running = named(job, found or ())
            if running:
                self.crew.executor.stop(running)
                self.say("asked the jobs to leave; the blocks that are written are kept")
        except NoAnswerError as error:
            self.say(
                f"{error}; jobs named {job.token} may go on: cancel them, or run again to wait for "
                "them"
            )


def _due(began_s: float, ended_s: float) -> float:
    """Return when to look at all blocks again after a look that took so long."""
    return began_s + (ended_s - began_s) / _LOOKING


def _write_job(folder: Path, task: SegmentOrder, shares: Sequence[Share], threads: int) -> JobFile:
    """Write a job whose tasks each take a share."""
    for number, (device, blocks) in enumerate(shares):
        part = replace(task, device=device, blocks=None if blocks is None else tuple(blocks))
        _write_order(folder, number, part, threads)
    token = f"segment-{uuid4().hex[:12]}"
    entries = tuple((Entry(order=number, generation=1),) for number in range(len(shares)))
    job = JobFile(token=token, tasks=entries)
    job.write(folder / "jobs" / token / "job.json")
    return job


def _write_order(folder: Path, number: int, task: SegmentOrder, threads: int) -> None:
    order = Order(
        number=number,
        folder=f"tasks/share-{number:04d}",
        kind="segment",
        task=task,
        version=code_version(),
        threads=threads,
    )
    write_json(folder / "orders" / f"{number:08d}.json", order.to_dict())
    (folder / "inbox").mkdir(exist_ok=True)


_BLAMELESS = (Cause.COMPLETED, Cause.PREEMPTED, Cause.TIMEOUT)
