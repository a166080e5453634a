"""The devcluster's own commands."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.devcluster import CANNOT_INSTALL, DEVCLUSTER, devcluster, slurm


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, to look at what it refuses."""
    monkeypatch.syspath_prepend(str(DEVCLUSTER.parent))
    return importlib.import_module("devcluster")


def daemons() -> dict[str, str]:
    lines = devcluster("status").stdout.splitlines()
    return {words[0]: words[1] for words in (line.split() for line in lines[:8])}


@pytest.mark.usefixtures("cluster")
def test_up_leaves_what_runs_as_it_is() -> None:
    before = daemons()
    assert len(before) == 8
    assert "down" not in before.values()
    assert devcluster("up").returncode == 0
    assert daemons() == before


@pytest.mark.usefixtures("cluster")
def test_a_node_loses_power_and_comes_back() -> None:
    assert devcluster("kill-node", "cn4").returncode == 0
    assert daemons()["slurmd.cn4"] == "down"
    assert devcluster("revive", "cn4").returncode == 0
    assert daemons()["slurmd.cn4"] != "down"


@pytest.mark.usefixtures("cluster")
def test_the_controller_goes_away_and_comes_back() -> None:
    assert devcluster("stop-controller").returncode == 0
    assert daemons()["slurmctld"] == "down"
    assert devcluster("start-controller").returncode == 0
    assert "UP" in slurm("scontrol", "ping")


def test_a_node_that_is_none_is_refused() -> None:
    done = devcluster("kill-node", "cn9")
    assert done.returncode == 2
    assert "cn1" in done.stderr


def test_another_clusters_configuration_is_left_alone(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slurm.conf").write_text("ClusterName=biowulf\n")
    monkeypatch.setattr(script.setup, "CONFIG", tmp_path)
    with pytest.raises(script.CannotInstallError, match="another cluster's"):
        script.setup.refuse_another_slurm()
    assert not script.setup.is_ours(tmp_path / "slurm.conf")  # so that `down` leaves it, too


def test_who_is_not_root_is_told_that_it_takes_root(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script.os, "getuid", lambda: 1000)
    monkeypatch.setattr(script.sys, "argv", ["devcluster", "up"])
    assert script.main() == CANNOT_INSTALL
    assert "by root" in capsys.readouterr().err


def test_torment_needs_a_cluster_that_is_up(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(script, "PLACE", tmp_path / "nowhere")
    monkeypatch.setattr(script.sys, "argv", ["devcluster", "preempt"])
    assert script.main() == 1
    assert "devcluster up" in capsys.readouterr().err
