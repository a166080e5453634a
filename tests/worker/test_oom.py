"""What the cgroup says of processes that were killed for want of memory."""

from pathlib import Path

import pytest

from emsearch.worker.oom import oom_kills


@pytest.mark.parametrize(
    ("own", "file"),
    [
        ("0::/slurm/job_7\n", "slurm/job_7/memory.events"),
        ("4:memory:/slurm/job_7\n0::/\n", "memory/slurm/job_7/memory.oom_control"),
    ],
)
def test_kills_are_counted_in_both_versions(own: str, file: str, tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text(f"9:cpu:/\n{own}")
    counts = tmp_path / "fs" / file
    counts.parent.mkdir(parents=True)
    counts.write_text("oom 4\noom_kill 3\n")
    assert oom_kills(tmp_path / "cgroup", tmp_path / "fs") == 3


def test_where_nothing_is_told_none_are_known(tmp_path: Path) -> None:
    assert oom_kills(tmp_path / "none", tmp_path) == 0
    (tmp_path / "cgroup").write_text("")
    assert oom_kills(tmp_path / "cgroup", tmp_path) == 0
    (tmp_path / "cgroup").write_text("0::/gone\n")
    assert oom_kills(tmp_path / "cgroup", tmp_path) == 0
    assert oom_kills() >= 0
