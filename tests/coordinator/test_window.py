"""When a cluster that refused a job is asked again."""

from pathlib import Path

import pytest

from emsearch.coordinator.window import SubmitWindow
from emsearch.execution.executor import Limits
from tests.support.fake_cluster import FakeCluster


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cluster(tmp_path: Path) -> FakeCluster:
    return FakeCluster(tmp_path, limits=Limits(max_array=50, max_submitted=100))


def test_a_cluster_takes_what_its_limits_allow(cluster: FakeCluster, clock: Clock) -> None:
    window = SubmitWindow(cluster, clock).look()
    assert window.limits == Limits(max_array=50, max_submitted=100)
    assert window.is_open
    assert window.refused == ""


def test_after_each_refusal_it_is_left_alone_for_longer(cluster: FakeCluster, clock: Clock) -> None:
    submitting = SubmitWindow(cluster, clock)
    waits = []
    for _ in range(9):
        submitting.refuse("QOSMaxSubmitJobPerUserLimit")
        assert submitting.look().refused == "QOSMaxSubmitJobPerUserLimit"
        before = clock.now_s
        while not submitting.look().is_open:
            clock.now_s += 5.0
        waits.append(clock.now_s - before)
    assert waits == [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0, 600.0, 600.0]


def test_once_it_takes_a_job_all_is_forgiven(cluster: FakeCluster, clock: Clock) -> None:
    submitting = SubmitWindow(cluster, clock)
    for _ in range(5):
        submitting.refuse("no")
    submitting.accept()
    assert submitting.look().is_open
    assert submitting.look().refused == ""
    submitting.refuse("no")
    clock.now_s += 10.0
    assert submitting.look().is_open


def test_a_job_that_was_too_large_is_followed_by_smaller_ones(
    cluster: FakeCluster, clock: Clock
) -> None:
    submitting = SubmitWindow(cluster, clock)
    sizes = [50]
    for _ in range(3):
        submitting.refuse("QOSMaxSubmitJobPerUserLimit", sizes[-1])
        sizes.append(submitting.look().limits.max_array or 0)
    assert sizes == [50, 25, 12, 6]
    for _ in range(4):
        submitting.accept()
        sizes.append(submitting.look().limits.max_array or 0)
    assert sizes[4:] == [12, 24, 48, 50]
    submitting.refuse("no", 1)
    assert submitting.look().limits.max_array == 1


def test_a_cluster_that_does_not_answer_is_given_nothing(
    cluster: FakeCluster, clock: Clock
) -> None:
    submitting = SubmitWindow(cluster, clock)
    submitting.look()
    cluster.is_silent = True
    window = submitting.look()
    assert not window.is_open
    assert window.limits.max_submitted == 100  # as last known
    assert "does not answer" in window.refused
    cluster.is_silent = False
    assert submitting.look().is_open


def test_a_cluster_that_never_answered_is_given_no_array(
    cluster: FakeCluster, clock: Clock
) -> None:
    cluster.is_silent = True
    assert SubmitWindow(cluster, clock).look().limits.max_array == 1
