import os
import shutil
from pathlib import Path

import pytest

from emsearch.volumes.cache import near


@pytest.fixture
def study(tmp_path: Path) -> Path:
    volume = tmp_path / "study" / "volumes" / "v0.zarr"
    volume.mkdir(parents=True)
    (volume / "zarr.json").write_text("{}")
    return tmp_path / "study"


def test_without_a_disk_of_its_own_a_job_reads_the_shared_one(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EMSEARCH_SCRATCH", raising=False)
    assert near(study, "volumes/v0.zarr") == study / "volumes/v0.zarr"


def test_a_volume_is_copied_once(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMSEARCH_SCRATCH", str(tmp_path / "lscratch"))
    copy = near(study, "volumes/v0.zarr")
    assert copy.is_relative_to(tmp_path / "lscratch")
    assert (copy / "zarr.json").read_text() == "{}"
    (copy / "mark").touch()
    assert (near(study, "volumes/v0.zarr") / "mark").exists()
    assert len(list(copy.parent.iterdir())) == 1


def test_a_volume_that_was_imported_again_is_copied_again(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMSEARCH_SCRATCH", str(tmp_path / "lscratch"))
    first = near(study, "volumes/v0.zarr")
    os.utime(study / "volumes/v0.zarr", (1, 1))
    assert near(study, "volumes/v0.zarr") != first


def test_a_disk_that_is_full_costs_speed_only(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_source: Path, target: Path) -> None:
        target.mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    monkeypatch.setenv("EMSEARCH_SCRATCH", str(tmp_path / "lscratch"))
    assert near(study, "volumes/v0.zarr") == study / "volumes/v0.zarr"
    assert list((tmp_path / "lscratch" / "emsearch-volumes").iterdir()) == []
