from pathlib import Path

import pytest

from emsearch.errors import NotFoundError, SpecError
from emsearch.records.profile import Profile, profile_path, read_profile


@pytest.mark.parametrize("name", ["biowulf", "generic", "devcluster"])
def test_profiles_that_come_along_can_be_read(name: str) -> None:
    profile = read_profile(name)
    assert "gres" in profile.sbatch
    assert "time" in profile.sbatch


def test_a_study_sets_and_drops_options_of_its_profile() -> None:
    profile = read_profile(
        "biowulf", {"partition": "quick", "mem": False}, {"qos": "low"}, {"time": "2-0"}
    )
    assert profile.sbatch["partition"] == "quick"
    assert profile.sbatch["mem"] is False
    assert profile.sbatch["cpus-per-task"] == read_profile("biowulf").sbatch["cpus-per-task"]
    assert profile.sbatch_cpu["qos"] == "low"
    assert profile.sbatch_coordinator == {"time": "2-0"}


def test_a_profile_of_ones_own_is_named_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('poll_s = 5\n[sbatch]\npartition = "fat"\n')
    profile = read_profile(str(path))
    assert (profile.poll_s, profile.sbatch) == (5, {"partition": "fat"})


def test_an_unknown_profile_is_answered_with_the_known() -> None:
    with pytest.raises(NotFoundError, match=r"known are biowulf, devcluster, generic"):
        profile_path("nowhere")
    with pytest.raises(NotFoundError, match="no profile at"):
        profile_path("nowhere.toml")


def test_orders_that_share_a_gpu_need_to_know_its_memory() -> None:
    assert Profile(orders_at_once=2, gpu_memory_gb=14).gpu_memory_gb == 14
    assert Profile().gpu_memory_gb is None
    assert Profile(orders_at_once=1, gpu_memory_gb=None).gpu_memory_gb is None
    with pytest.raises(ValueError, match="orders_at_once = 3 needs the memory"):
        Profile(orders_at_once=3)
    biowulf = read_profile("biowulf")
    assert (biowulf.orders_at_once, biowulf.gpu_memory_gb) == (2, 14)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("poll_s = 0", "poll_s = 0"),
        ("pool_s = 1", "pool_s"),
        ("poll_s = ", "is not TOML"),
        ("orders_at_once = 2", "gpu_memory_gb = None: .*write gpu_memory_gb = 14"),
    ],
)
def test_a_wrong_profile_is_named_with_what_is_wrong(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(SpecError, match=words) as caught:
        read_profile(str(path))
    assert str(path) in str(caught.value)
