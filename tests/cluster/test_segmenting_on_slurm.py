"""Blocks of a volume shared over an array of jobs of a real Slurm."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from emsearch.inference.ensemble import load_ensemble
from tests.support.ensembles import make_ensemble
from tests.support.real_study import run
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
