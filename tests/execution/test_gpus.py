from pathlib import Path

import pytest

from emsearch.execution.gpus import gpus_here, visible_gpus


@pytest.mark.parametrize(
    ("listed", "ids"),
    [
        (None, ["0", "1", "2", "3", "4", "5", "6", "7"]),
        ("2,5", ["2", "5"]),
        (" 5 , 2", ["5", "2"]),
        ("", []),
        ("-1", []),
        ("2,9,5", ["2"]),
        ("GPU-8932f937,MIG-aa", ["GPU-8932f937", "MIG-aa"]),
    ],
)
def test_the_users_list_is_read_as_cuda_reads_it(listed: str | None, ids: list[str]) -> None:
    assert visible_gpus(8, listed) == ids


def test_without_gpus_a_list_shows_none() -> None:
    assert visible_gpus(0, "0,1") == []


def test_the_gpus_of_a_host_are_its_devices(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert gpus_here({}, tmp_path) == ["0", "1"]
    assert gpus_here({"CUDA_VISIBLE_DEVICES": "1"}, tmp_path) == ["1"]
