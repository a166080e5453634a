"""Blocks shared over processes, and killed with all of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import zarr

from emsearch.errors import StateError
from emsearch.execution.local import LocalExecutor
from emsearch.inference.crew import Crew, work_folder
from emsearch.inference.output import begin
from emsearch.inference.sharing import share
from emsearch.inference.stream import segment
from emsearch.records.order import SegmentOrder
from tests.support.fake_cluster import FakeCluster
from tests.support.trials import picture

Silent = Callable[[int, int], None]

_PROGRAM = """
import sys
from pathlib import Path
from emsearch.execution.local import LocalExecutor
from emsearch.inference.crew import Crew, work_folder
from emsearch.inference.sharing import share
from emsearch.inference.stream import segment
from emsearch.records.order import SegmentOrder

ensemble, volume, out, shares = sys.argv[1:5]
task = SegmentOrder(ensemble=ensemble, volume=volume, out=out, device="cpu", voxel_nm=(40, 4, 4))
if shares == "0":
    segment(task, lambda done, of: None)
else:
    local = LocalExecutor(work_folder(Path(out)) / "jobs", threads=1)
    crew = Crew(executor=local, name="local", devices=["cpu"] * int(shares))
    share(task, crew, lambda done, of: None)
"""


def _tree(task: SegmentOrder) -> dict[str, bytes]:
    folder = Path(task.out)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def wide(task: SegmentOrder, tmp_path: Path) -> SegmentOrder:
    """A volume of eight blocks."""
    image, _ = picture((128, 180, 220))
    zarr.create_group(tmp_path / "wide.zarr").create_array("0", data=image, chunks=(16, 64, 64))
    return replace(task, volume=str(tmp_path / "wide.zarr" / "0"))


def _local(task: SegmentOrder) -> Crew:
    executor = LocalExecutor(work_folder(Path(task.out)) / "jobs", threads=1)
    return Crew(executor=executor, name="local", devices=["cpu", "cpu"])


@pytest.mark.slow
def test_blocks_shared_over_processes_are_those_of_one(
    wide: SegmentOrder, silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    told: list[int] = []
    share(wide, _local(wide), lambda done, _of: told.append(done))
    alone = replace(wide, out=wide.out.replace("out", "alone"))
    segment(alone, silent)
    assert _tree(wide) == _tree(alone)
    assert told[0] == 0
    assert told[-1] == len(begin(wide).blocks) == 8
    assert not work_folder(Path(wide.out)).exists()


@pytest.mark.slow
def test_a_share_that_fails_says_which_block_and_why(wide: SegmentOrder, silent: Silent) -> None:
    (Path(wide.volume) / "c" / "5" / "1" / "1").write_bytes(b"scribble")
    message = r"are not written: block z, y, x \((64|80), 0, 0\)"
    with pytest.raises(StateError, match=message) as caught:
        share(wide, _local(wide), silent)
    assert "logs are in" in str(caught.value)
    logs = list(work_folder(Path(wide.out)).glob("jobs/*/log-*.txt"))
    assert len(logs) == 2


@pytest.mark.slow
@pytest.mark.parametrize("shares", [0, 2])
def test_a_run_killed_five_times_at_random_ends_with_the_bytes_of_an_unbroken_one(
    shares: int, wide: SegmentOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    whole = replace(wide, out=wide.out.replace("out", "whole"))
    began = time.monotonic()
    _run(whole, 0).communicate(timeout=200)
    takes_s = time.monotonic() - began
    rng = np.random.default_rng(shares)
    left = []
    for _ in range(5):
        process = _run(wide, shares)
        time.sleep(float(rng.uniform(0.3, 1.0)) * takes_s)
        _kill_all(process)
        left.append(len(begin(wide).missing()))
    finished = _run(wide, shares)
    finished.communicate(timeout=200)
    assert finished.returncode == 0
    assert left == sorted(left, reverse=True)
    assert _tree(wide) == _tree(whole)


def test_whoever_interrupts_while_the_cluster_is_away_is_told_which_jobs_may_go_on(
    task: SegmentOrder, silent: Silent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = FakeCluster(tmp_path)
    said: list[str] = []

    def interrupt(_seconds: float) -> None:
        cluster.is_silent = True
        raise KeyboardInterrupt

    monkeypatch.setattr("emsearch.inference.sharing.time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        share(task, Crew(executor=cluster, name="local", devices=["cuda"]), silent, said.append)
    (job,) = work_folder(Path(task.out)).glob("jobs/*")
    assert f"jobs named {job.name} may go on: cancel them, or run again" in said[-1]
    assert not any("asked the jobs to leave" in words for words in said)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_an_interrupted_launcher_leaves_no_worker_behind(
    number: signal.Signals, wide: SegmentOrder
) -> None:
    process = _launch(wide)
    workers = _workers_of(process)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode not in {0, -number}
    assert "asked the jobs to leave; the blocks that are written are kept" in said
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert alive == []


@pytest.mark.slow
def test_workers_of_a_killed_launcher_are_found_again(wide: SegmentOrder) -> None:
    process = _launch(wide)
    workers = _workers_of(process)
    process.kill()
    process.communicate(timeout=60)
    assert all(worker.is_running() for worker in workers)
    again = _launch(wide)
    _, said = again.communicate(timeout=300)
    assert again.returncode == 0
    assert "of an earlier run goes on; waiting for it" in said
    assert begin(replace(wide, flips=True)).missing() == []


_LAUNCHER = """
import signal
from emsearch.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests ignores
main()
"""


def _launch(task: SegmentOrder) -> "subprocess.Popen[str]":
    words = ["segment", task.ensemble, task.volume, task.out, "--voxel", "40,4,4"]
    options = ["--flips", "--device", "cpu", "--executor", "local", "--jobs", "2"]
    return subprocess.Popen(
        [sys.executable, "-c", _LAUNCHER, *words, *options],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _workers_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Return a launcher's workers, once both carry out their orders."""
    launcher = psutil.Process(process.pid)
    while True:
        time.sleep(0.2)
        assert process.poll() is None, "it ended before its workers were seen"
        workers = [one for one in launcher.children() if "emsearch.worker" in one.cmdline()]
        if len(workers) == 2 and all(one.num_threads() > 1 for one in workers):
            return workers


def _run(task: SegmentOrder, shares: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", _PROGRAM, task.ensemble, task.volume, task.out, str(shares)]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


def _kill_all(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and those that it started, as a node that fails does."""
    family = [*psutil.Process(process.pid).children(recursive=True)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    for child in family:
        child.kill()
    psutil.wait_procs(family)
