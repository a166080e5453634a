"""A real Slurm to test on: slurm/devcluster, brought up once and left as it was found."""

import os
from collections.abc import Iterator

import pytest

from tests.support.devcluster import CANNOT_INSTALL, devcluster, slurm, user


@pytest.fixture(scope="session")
def the_cluster() -> Iterator[None]:
    """Bring the cluster up, or skip with the reason why there cannot be one here.

    With EMSEARCH_CLUSTER=required, as in CI, that is a failure.
    """
    was_up = "slurmctld    down" not in devcluster("status").stdout
    done = devcluster("up")
    if done.returncode == CANNOT_INSTALL and os.environ.get("EMSEARCH_CLUSTER") != "required":
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    yield
    if not was_up:
        devcluster("down")


@pytest.fixture
def cluster(the_cluster: None) -> Iterator[None]:
    """Give a test the cluster, and clear away its jobs afterwards."""
    assert the_cluster is None
    yield
    slurm("scancel", "--quiet", f"--user={user()}")
