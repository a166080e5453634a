"""What `emsearch doctor` finds and says."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from emsearch.coordinator import doctor
from emsearch.coordinator.doctor import Finding, Health, Host, examine
from emsearch.errors import ExecutionError
from emsearch.ledger import mounts

SINFO = """gpu|up|10-00:00:00|gpu:v100x:4(S:0-1),lscratch:1600
quick|up|4:00:00|gpu:v100x:4(S:0-1),lscratch:1600
norm|down|10-00:00:00|lscratch:800
"""


def cluster(sinfo: str = SINFO, accounts: str = "lcimb\n", *, accounting: bool = True) -> Host:
    """Return a host that answers as a login node of a cluster does."""

    def run(words: Sequence[str], _text: str) -> str:
        if words[0] == "sacct" and not accounting:
            raise ExecutionError("sacct failed: Connection refused")
        said = {"sinfo": sinfo, "sacctmgr": accounts, "sacct": ""}[words[0]]
        return "slurm 23.11.10" if "--version" in words else said

    return Host(run=run, which=lambda name: f"/usr/bin/{name}")


def profile(folder: Path, text: str) -> str:
    """Write a profile and return its path."""
    path = folder / "own.toml"
    path.write_text(text)
    return str(path)


def found(folder: Path, profile: str, host: Host) -> dict[str, Finding]:
    return {one.what: one for one in examine(folder, profile, host)}


def test_this_host_is_well_enough_for_a_study(tmp_path: Path) -> None:
    findings = {one.what: one for one in examine(tmp_path / "not" / "yet", None)}
    assert findings["python"].health == Health.WELL
    assert findings["torch"].health == Health.WELL
    assert findings["folder"].health == Health.WELL
    assert str(tmp_path) in findings["folder"].found
    assert "Slurm" not in findings
    assert list(tmp_path.iterdir()) == []


def test_every_finding_that_is_not_well_has_a_remedy(tmp_path: Path) -> None:
    findings = examine(tmp_path, "biowulf", cluster("", "", accounting=False))
    unwell = [one for one in findings if one.health != Health.WELL]
    assert len(unwell) >= 3
    assert all(one.remedy for one in unwell)
    assert all(not one.remedy for one in findings if one.health == Health.WELL)


def test_a_folder_that_cannot_be_written_is_named() -> None:
    findings = {one.what: one for one in examine(Path("/proc"), None)}
    assert findings["folder"].health == Health.ILL
    assert "--folder" in findings["folder"].remedy


def test_partitions_are_looked_up(tmp_path: Path) -> None:
    findings = found(tmp_path, "biowulf", cluster())
    assert findings["Slurm"].found == "slurm 23.11.10"
    assert findings["partition gpu"].health == Health.WELL
    assert findings["partition norm"].health == Health.ILL
    assert "down" in findings["partition norm"].found


def test_a_partition_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    own = profile(tmp_path, '[sbatch]\npartition = "gpus"\n')
    finding = found(tmp_path, own, cluster())["partition gpus"]
    assert finding.health == Health.ILL
    assert "one of gpu, norm, quick" in finding.remedy


def test_a_job_longer_than_its_partition_allows_is_named(tmp_path: Path) -> None:
    own = profile(tmp_path, '[sbatch]\npartition = "quick"\ntime = "8:00:00"\n')
    finding = found(tmp_path, own, cluster())["partition quick"]
    assert finding.health == Health.ILL
    assert "time to 4:00:00 or less" in finding.remedy


def test_accounts_are_those_of_the_user(tmp_path: Path) -> None:
    own = profile(tmp_path, '[sbatch]\naccount = "other"\n')
    assert found(tmp_path, own, cluster())["account"].health == Health.ILL
    assert found(tmp_path, "generic", cluster())["account"].found == "lcimb"
    assert found(tmp_path, "generic", cluster(accounts=""))["account"].health == Health.DOUBTFUL


def test_a_cluster_without_accounting_is_doubtful(tmp_path: Path) -> None:
    findings = found(tmp_path, "generic", cluster(accounting=False))
    assert findings["accounting"].health == Health.DOUBTFUL


def test_node_local_disk_has_to_be_asked_for(tmp_path: Path) -> None:
    assert found(tmp_path, "biowulf", cluster())["scratch"].health == Health.WELL
    own = profile(tmp_path, 'scratch = "/lscratch/$SLURM_JOB_ID"\n[sbatch]\ngres = "gpu:1"\n')
    assert found(tmp_path, own, cluster())["scratch"].health == Health.ILL
    assert found(tmp_path, "generic", cluster())["scratch"].health == Health.DOUBTFUL


def test_an_image_that_was_not_built_is_named(tmp_path: Path) -> None:
    own = profile(tmp_path, 'python = "apptainer exec --nv /images/emsearch.sif python"\n')
    finding = found(tmp_path, own, cluster())["jobs' Python"]
    assert finding.health == Health.ILL
    assert "/images/emsearch.sif" in finding.found


def test_a_host_without_slurm_says_so_and_looks_no_further(tmp_path: Path) -> None:
    findings = examine(tmp_path, "generic", Host(which=lambda _name: None))
    assert findings[-1].what == "Slurm"
    assert "no sbatch, squeue" in findings[-1].found


def test_a_profile_that_is_not_there_is_named(tmp_path: Path) -> None:
    finding = examine(tmp_path, "nowhere", cluster())[-1]
    assert finding.what == "profile"
    assert "known are biowulf" in finding.found


def test_a_ledger_on_a_network_file_system_is_doubtful(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EMSEARCH_DATABASE", raising=False)
    assert ledger_at(tmp_path).health == Health.WELL
    monkeypatch.setattr(mounts, "_own_table", lambda: "server:/export / nfs4 rw 0 0\n")
    finding = ledger_at(tmp_path)
    assert finding.health == Health.DOUBTFUL
    assert "network file system (nfs4 at /)" in finding.found
    assert "EMSEARCH_DATABASE" in finding.remedy


def test_a_database_of_the_environment_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMSEARCH_DATABASE", "postgresql://ann:s3cret@db.example/studies")
    assert "ann@db.example/studies" in ledger_at(tmp_path).found
    assert "s3cret" not in ledger_at(tmp_path).found
    monkeypatch.setenv("EMSEARCH_DATABASE", "oracle://db.example/studies")
    assert ledger_at(tmp_path).health == Health.ILL


def ledger_at(folder: Path) -> Finding:
    return doctor._ledger(folder)  # alone: the whole examination imports torch
