"""Share the blocks of a volume over jobs: processes of this host, or an array on a cluster.

The work has a folder beside the output, laid out as a study's: orders, jobs, inbox, logs. The jobs
write blocks; whoever shares them out waits, tells how far it is, and finishes. Killed, it is run
again and shares out what is missing.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from emsearch.errors import StateError
from emsearch.execution.executor import Executor, JobState, Request
from emsearch.inference.output import Output, begin, sweep
from emsearch.records.event import EventKind
from emsearch.records.files import read_json, write_json
from emsearch.records.job import Entry, JobFile, TaskName
from emsearch.records.order import Order, SegmentOrder
from emsearch.records.trial import Cause
from emsearch.records.version import code_version

__all__ = ["share", "work_folder"]

Progress = Callable[[int, int], None]

_POLL_S = 1.0


def work_folder(out: Path) -> Path:
    """Return where orders, jobs and logs of a shared segmentation are."""
    return out.with_name(f".{out.name}.work")


def share(
    task: SegmentOrder,
    executor: Executor,
    devices: Sequence[str],
    tell: Progress,
    threads: int = 1,
) -> None:
    """Segment a volume with a job of `len(devices)` tasks, each on a device such as "cpu".

    `tell` is told blocks done and blocks in all. The executor's jobs lie in `work_folder`. Raises
    as `segment` does, and StateError that names what the jobs could not do.
    """
    output = begin(task)
    sweep(output.folder)
    missing = output.missing()
    tell(len(output.blocks) - len(missing), len(output.blocks))
    folder = work_folder(output.folder)
    while missing:
        shutil.rmtree(folder, ignore_errors=True)  # of a run before
        reports = _work(task, output, missing, (executor, devices, threads, tell))
        left = output.missing()
        faults = _faults(folder)
        if left and (faults or len(left) == len(missing)):
            raise StateError(_failure(output.folder, len(left), [*faults, *reports]))
        missing = left  # of a job that was killed: another goes on
    output.finish()
    shutil.rmtree(folder, ignore_errors=True)


def _work(
    task: SegmentOrder,
    output: Output,
    missing: Sequence[int],
    means: tuple[Executor, Sequence[str], int, Progress],
) -> list[str]:
    """Have a job write the blocks that are missing, and wait; return how its tasks ended."""
    executor, devices, threads, tell = means
    folder = work_folder(output.folder)
    token = f"segment-{uuid4().hex[:12]}"
    shares = [(device, missing[turn :: len(devices)]) for turn, device in enumerate(devices)]
    shares = [(device, blocks) for device, blocks in shares if blocks]
    for number, (device, blocks) in enumerate(shares):
        part = replace(task, device=device, blocks=tuple(blocks))
        _write_order(folder, number, part, threads)
    entries = tuple((Entry(order=number, generation=1),) for number in range(len(shares)))
    job_file = folder / "jobs" / token / "job.json"
    JobFile(token=token, tasks=entries).write(job_file)
    request = Request(tasks=len(shares), needs_gpu=any(name != "cpu" for name, _ in shares))
    handles = executor.submit(token, job_file, request)
    running = {TaskName(token=token, index=index): handle for index, handle in enumerate(handles)}
    try:
        return _wait(output, set(missing), running, executor, tell)
    except BaseException:
        executor.stop(running)
        raise


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


def _wait(
    output: Output,
    awaited: set[int],
    running: Mapping[TaskName, str],
    executor: Executor,
    tell: Progress,
) -> list[str]:
    """Tell how far the jobs are until all are over; return how each ended."""
    of = len(output.blocks)
    while True:
        reports = executor.reports(running)
        over = all(report.state is JobState.GONE for report in reports.values())
        awaited = {number for number in awaited if not output.has(output.blocks[number])}
        tell(of - len(awaited), of)
        if over:
            endings = (report.ending for report in reports.values())
            return [ending.detail for ending in endings if ending is not None and ending.detail]
        time.sleep(_POLL_S)  # the executor asks its cluster no more often than is polite


def _faults(folder: Path) -> list[str]:
    """Return the last line of what each share that failed said."""
    said = [read_json(path) for path in sorted((folder / "inbox").glob("*.json"))]
    ended = [event["facts"] for event in said if event["kind"] == EventKind.ENDED]
    failed = [facts for facts in ended if facts["cause"] not in _BLAMELESS]
    return [str(facts.get("detail", facts["cause"])).strip().splitlines()[-1] for facts in failed]


def _failure(out: Path, left: int, said: Sequence[str]) -> str:
    why = said[0].partition("StateError: ")[2] or said[0] if said else "nothing was said"
    return (
        f"{left} blocks of {out} are not written: {why}; logs are in {work_folder(out)}; run again "
        "to go on"
    )


_BLAMELESS = (Cause.COMPLETED, Cause.PREEMPTED, Cause.TIMEOUT)
