"""Blocks of a volume shared over an array of jobs of a real Slurm."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from emsearch.inference.crew import work_folder
from emsearch.inference.ensemble import load_ensemble
from tests.support.devcluster import environment_of, slurm
from tests.support.ensembles import make_ensemble
from tests.support.real_study import run, start
from tests.support.torment import wait_for
from tests.support.trials import picture


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_an_array_of_jobs_segments_a_volume(tmp_path: Path) -> None:
    ensemble = make_ensemble(tmp_path / "study")
    image, _ = picture((40, 150, 90), seed=3)
    tifffile.imwrite(tmp_path / "image.tif", image)
    out = tmp_path / "out.zarr"
    options = ("--executor", "slurm", "--profile", "devcluster", "--jobs", "3", "--device", "cpu")
    arguments = (ensemble, tmp_path / "image.tif", out, "--voxel", "40,4,4", *options)
    done = run("segment", *arguments)
    assert done.returncode == 0, done.stderr
    group: Any = zarr.open_group(out, mode="r")
    assert group.attrs["emsearch"]["complete"]
    expected = load_ensemble(ensemble, "cpu").segment(image)
    assert (np.asarray(group["0"][:]) == expected).mean() > 0.999
    assert not out.with_name(".out.zarr.work").exists()


ON_SLURM = ("--executor", "slurm", "--profile", "devcluster", "--jobs", "2")


def _tree(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file()
    }


def _written(out: Path) -> int:
    return len(list(out.glob("0/c/*/*/*")))


@pytest.fixture
def arguments(tmp_path: Path) -> tuple[Path, Path]:
    """An ensemble, and a volume of eight blocks of four chunks."""
    image, _ = picture((128, 180, 220), seed=3)
    zarr.create_group(tmp_path / "image.zarr").create_array("0", data=image, chunks=(16, 64, 64))
    return make_ensemble(tmp_path / "study"), tmp_path / "image.zarr" / "0"


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("how", ["killed", "cancelled"])
def test_a_second_run_completes_what_a_task_left_and_a_launcher_that_was_killed(
    how: str, arguments: tuple[Path, Path], tmp_path: Path
) -> None:
    manner = ("--voxel", "40,4,4", "--device", "cpu", "--flips")
    out, whole = tmp_path / "out.zarr", tmp_path / "whole.zarr"
    assert run("segment", *arguments, whole, *manner).returncode == 0
    launcher = start("segment", *arguments, out, *manner, *ON_SLURM)
    wait_for(lambda: _written(out) > 0, "no block is written", 120)
    launcher.kill()
    launcher.wait()
    (name,) = work_folder(out).glob("jobs/*/process-0")
    pid = int(name.read_text().split("/")[1])
    environment = environment_of(pid)
    if how == "killed":
        os.kill(pid, signal.SIGKILL)
    else:
        array, index = environment["SLURM_ARRAY_JOB_ID"], environment["SLURM_ARRAY_TASK_ID"]
        slurm("scancel", f"{array}_{index}")
    there = _written(out)
    assert 0 < there < _written(whole)
    other = run("segment", *arguments, out, *manner)
    done = run("segment", *arguments, out, *manner, *ON_SLURM)
    assert done.returncode == 0, done.stderr
    assert _tree(out) == _tree(whole)
    if other.returncode:  # the other task was seen at work, unless it was over by then
        assert "(--executor slurm) are at work on" in other.stderr
    assert not work_folder(out).exists()
