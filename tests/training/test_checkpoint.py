from pathlib import Path
from typing import IO

import pytest
import torch

from emsearch.training.checkpoint import (
    drop_checkpoints,
    load_newest,
    save_checkpoint,
    write_state,
)

CPU = torch.device("cpu")


def _save(attempts: Path, attempt: str, step: int) -> Path:
    folder = attempts / attempt
    folder.mkdir(exist_ok=True)
    return save_checkpoint(folder, step, {"step": step, "weights": torch.full((50,), float(step))})


def test_a_folder_keeps_one_checkpoint(tmp_path: Path) -> None:
    for step in (1, 20, 3):
        path = _save(tmp_path, "a", step)
        assert list((tmp_path / "a").iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_told_as_such() -> None:
    with pytest.raises(OSError, match="No space left on device"):
        write_state({"weights": torch.zeros(100_000)}, Path("/dev/full"))


def test_the_highest_step_of_any_attempt_is_loaded(tmp_path: Path) -> None:
    for attempt, step in (("a", 7), ("b", 120), ("c", 13)):
        _save(tmp_path, attempt, step)
    state = load_newest(tmp_path, CPU)
    assert state is not None
    assert state["step"] == 120
    assert torch.equal(state["weights"], torch.full((50,), 120.0))


@pytest.mark.parametrize("size", [0, 1, 300, -1])
def test_a_torn_checkpoint_is_passed_over(tmp_path: Path, size: int) -> None:
    _save(tmp_path, "a", 7)
    torn = _save(tmp_path, "b", 8)
    torn.write_bytes(torn.read_bytes()[:size])
    state = load_newest(tmp_path, CPU)
    assert state is not None
    assert state["step"] == 7


def test_nothing_is_loaded_where_there_is_nothing(tmp_path: Path) -> None:
    assert load_newest(tmp_path, CPU) is None
    assert load_newest(tmp_path / "absent", CPU) is None


def test_a_write_that_fails_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = _save(tmp_path, "a", 7)

    def fill_the_disk(_state: object, file: IO[bytes]) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        _save(tmp_path, "a", 8)
    assert list((tmp_path / "a").iterdir()) == [old]


def test_dropping_removes_scratch_files_too(tmp_path: Path) -> None:
    _save(tmp_path, "a", 7)
    (tmp_path / "a" / ".checkpoint-000000008.pt.0123").write_text("half")
    (tmp_path / "a" / "weights.pt").write_text("stays")
    drop_checkpoints(tmp_path / "a")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["weights.pt"]
