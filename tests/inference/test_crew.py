"""Who is at work on a segmentation, and what a second run makes of them."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from emsearch.errors import StateError
from emsearch.execution.slurm_text import _WIDTHS
from emsearch.inference import crew
from emsearch.inference.crew import HERE, at_work, work_folder
from emsearch.inference.output import begin
from emsearch.inference.stream import segment
from emsearch.records.files import read_json, write_json
from emsearch.records.job import Entry, JobFile
from emsearch.records.order import SegmentOrder
from emsearch.records.process import process_name

pytestmark = pytest.mark.usefixtures("small_blocks")
Silent = Callable[[int, int], None]


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that lives until it is killed."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


def _leave(task: SegmentOrder, executor: str, **changes: str) -> Path:
    """Leave what a killed run leaves, with a job of one task; return the job's folder."""
    folder = work_folder(Path(task.out))
    dead = f"{os.uname().nodename}/4194305/0.00"
    note = {"executor": executor, "profile": "generic", "host": os.uname().nodename}
    write_json(folder / "run.json", {**note, "launcher": dead, **changes})
    entries = ((Entry(order=0, generation=1),),)
    JobFile(token="segment-a", tasks=entries).write(folder / "jobs" / "segment-a" / "job.json")
    return folder / "jobs" / "segment-a"


def _segment(task: SegmentOrder) -> list[str]:
    said: list[str] = []
    segment(task, lambda _done, _of: None, said.append)
    assert begin(task).is_finished()
    assert not work_folder(Path(task.out)).exists()
    return said


def test_processes_that_outlive_their_launcher_are_noticed_and_taken_over_once_dead(
    task: SegmentOrder, sleeper: "subprocess.Popen[bytes]"
) -> None:
    folder = _leave(task, "local")
    (folder / "process-0").write_text(process_name(sleeper.pid))
    message = rf"\(--executor local\) are at work on .*out.zarr: .*/{sleeper.pid}/.*; wait for them"
    with pytest.raises(StateError, match=f"{message}.* end them: kill {sleeper.pid}$"):
        _segment(task)
    assert (folder / "job.json").is_file()
    sleeper.kill()
    sleeper.wait()
    assert _segment(task) == []


def test_a_launcher_that_is_alive_is_noticed(
    task: SegmentOrder, sleeper: "subprocess.Popen[bytes]"
) -> None:
    _leave(task, "slurm", launcher=process_name(sleeper.pid))
    with pytest.raises(StateError, match=rf"process {sleeper.pid} of this host is segmenting"):
        _segment(task)
    with pytest.raises(StateError, match="process"), at_work(Path(task.out), "slurm", print):
        pass


def test_two_runs_in_one_process_notice_each_other(task: SegmentOrder, silent: Silent) -> None:
    def again(_done: int, _of: int) -> None:
        with pytest.raises(StateError, match=rf"process {os.getpid()} .* \(--executor here\)"):
            segment(task, silent)

    segment(task, again)
    assert begin(task).is_finished()


def test_who_leaves_in_order_is_no_longer_at_work(task: SegmentOrder) -> None:
    out = Path(task.out)
    with pytest.raises(KeyboardInterrupt), at_work(out, "local", print):
        raise KeyboardInterrupt
    assert read_json(work_folder(out) / "run.json")["launcher"] == ""
    with at_work(out, HERE, print):
        pass
    assert not work_folder(out).exists()


@pytest.mark.parametrize("executor", [HERE, "local"])
def test_a_run_that_was_killed_on_another_host_is_taken_over_and_that_is_said(
    executor: str, task: SegmentOrder
) -> None:
    _leave(task, executor, host="cn0017", launcher="cn0017/12/0.00")
    message = "an earlier run on cn0017 was not seen to end; if it is at work there, end it"
    assert _segment(task) == [message]


def _slurm(folder: Path, queue: str) -> None:
    """Put a Slurm into a folder whose queue holds `queue`, and that accounts for nothing."""
    folder.mkdir()
    number = queue.partition("_")[0]
    row = dict.fromkeys(_WIDTHS, "") | {"JobArrayID": queue, "State": "RUNNING", "RestartCnt": "0"}
    line = "".join(row[name].ljust(width) for name, width in _WIDTHS.items()) if queue else ""
    for name, text in (
        ("squeue", f'case "$*" in *--array*) echo "{line}";; *) echo {number};; esac'),
        ("sacct", "true"),
    ):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)


def test_jobs_on_slurm_are_noticed_from_elsewhere(
    task: SegmentOrder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _leave(task, "slurm", host="login2", launcher="")
    _slurm(tmp_path / "bin", "77_0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(StateError, match=r"at work on .*: 77_0; .* end them: scancel 77$"):
        _segment(task)


def test_jobs_that_slurm_does_not_know_are_over(
    task: SegmentOrder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _leave(task, "slurm", launcher="")
    _slurm(tmp_path / "bin", "")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert _segment(task) == []


def test_a_cluster_that_does_not_answer_may_have_jobs(
    task: SegmentOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    _leave(task, "slurm")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(StateError, match=r"can tell: squeue does not answer.* remove .*work$"):
        _segment(task)


def test_a_full_disk_is_told_of_and_hides_nothing(
    task: SegmentOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_up(_path: Path, _values: object) -> None:
        raise OSError(28, "No space left on device")

    def fail() -> None:
        with at_work(Path(task.out), "local", print):
            monkeypatch.setattr(crew, "write_json", fill_up)
            raise StateError("block 7 failed")

    with pytest.raises(StateError, match="block 7"):
        fail()
    other = replace(task, out=task.out.replace("out", "other"))
    with pytest.raises(StateError, match=r"work cannot be written: .*No space left .* run again"):
        _segment(other)


def test_a_note_that_cannot_be_read_is_none(task: SegmentOrder) -> None:
    _leave(task, "local")
    (work_folder(Path(task.out)) / "run.json").write_text("{")
    assert crew._read(work_folder(Path(task.out))) is None
    assert _segment(task) == []
