"""A coordinator that is a Slurm job itself, steered from another login node."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from emsearch.ledger.place import HOLDER
from tests.support.brakes import Brakes
from tests.support.devcluster import slurm
from tests.support.real_study import command, environment, run, write_study
from tests.support.torment import STUDY, wait_for, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster")]


def on_slurm(folder: Path) -> Path:
    return write_study(folder, STUDY.replace("STEPS", "300").replace("EXECUTOR", "slurm"))


def elsewhere(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command of emsearch as on another host, which has another name."""
    words = ["unshare", "--uts", "sh", "-c", 'hostname login2 && exec "$@"', "sh"]
    return subprocess.run(
        [*words, *command(*arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )


def status(folder: Path) -> dict[str, Any]:
    done = elsewhere("status", folder, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def job_in(said: str) -> str:
    found = re.search(r"Its coordinator is Slurm's job (\d+)", said)
    assert found, said
    return found.group(1)


def state_of(job: str) -> str:
    return slurm("scontrol", "show", "job", job, "--oneliner").split("JobState=")[1].split()[0]


def holder(folder: Path) -> int | None:
    """Return the process of the study's coordinator, None while there is none."""
    if not (folder / HOLDER).is_file():
        return None
    return int(json.loads((folder / HOLDER).read_text())["holder"].split("/")[1])


def wait_for_holder(folder: Path, but: int | None = None) -> int:
    def found() -> int | None:
        pid = holder(folder)
        return None if pid == but else pid

    return wait_until(found, f"no coordinator comes: {log(folder)}")


def log(folder: Path) -> str:
    path = folder / "coordinator.log"
    return path.read_text()[-2000:] if path.is_file() else "it has not begun"


def test_a_coordinator_that_is_a_job_is_steered_from_elsewhere_and_outlives_its_kills(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "study"
    with Brakes(folder) as brakes:  # it does not end before everything has befallen it
        done = run("launch", on_slurm(tmp_path), "--folder", folder, "--detach")
        assert done.returncode == 0, done.stderr
        first = job_in(done.stdout)
        wait_for_holder(folder)
        paused = elsewhere("pause", folder)
        assert paused.stdout.strip() == "pause: taken in by the coordinator", paused.stderr
        wait_for(lambda: status(folder)["paused_why"] != "", "it does not pause")
        assert status(folder)["paused_why"].endswith("@login2")
        wait_for(lambda: holder(folder) is None, "its coordinator does not leave")
        wait_for(lambda: state_of(first) == "FAILED", "its job does not end")  # with exit code 1

        again = elsewhere("resume", folder, "--detach")
        assert again.returncode == 0, again.stderr
        job = job_in(again.stdout)
        pid = wait_for_holder(folder)
        os.kill(pid, signal.SIGKILL)  # as the kernel would where memory runs out
        pid = wait_for_holder(folder, but=pid)
        slurm("scontrol", "requeue", job)
        wait_for_holder(folder, but=pid)
        wait_for(lambda: status(folder)["paused_why"] == "", "its snapshot is not renewed")
        second = elsewhere("resume", folder)
        assert second.returncode == 1
        assert "is held" in second.stderr
        brakes.lift()
    watched = elsewhere("watch", folder)
    assert watched.returncode == 0, watched.stdout + watched.stderr + log(folder)
    assert "finished" in watched.stdout
    wait_for(lambda: state_of(job) == "COMPLETED", "its job does not end")
    assert "Restarts=2" in slurm("scontrol", "show", "job", job, "--oneliner")


def test_a_study_is_cancelled_from_elsewhere_with_all_its_jobs(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    job = job_in(run("launch", on_slurm(tmp_path), "--folder", folder, "--detach").stdout)
    wait_for_holder(folder)
    wait_for((folder / "snapshot.sqlite").is_file, "there is no snapshot")
    cancelled = elsewhere("cancel", folder)
    assert cancelled.stdout.strip() == "cancel: taken in by the coordinator", cancelled.stderr
    assert elsewhere("watch", folder).returncode == 1
    assert status(folder)["stage"] == "cancelled"
    wait_for(lambda: state_of(job) == "FAILED", "its job does not end")
    wait_for(lambda: slurm("squeue", "--noheader") == "", "something of it still runs")
