"""Coordinators that outlive the shell."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from emsearch.coordinator.detach import coordinator_script, detach, run_command
from emsearch.coordinator.folder import create_study
from emsearch.errors import ExecutionError, StateError
from emsearch.records.profile import Profile, read_profile
from emsearch.records.under import Under
from tests.support.studies import spec_of, write_study_file

ON_SLURM = spec_of(
    cluster={
        "executor": "slurm",
        "profile": "biowulf",
        "sbatch_coordinator": {"qos": "long"},
    }
)


def test_a_coordinators_job_is_small_and_is_put_back() -> None:
    script = coordinator_script(read_profile("biowulf"), "vnc", Path("/data/runs/vnc"))
    assert script.startswith("#!/bin/bash\n")
    options = [line for line in script.splitlines() if line.startswith("#SBATCH")]
    for wanted in ("--partition=norm", "--mem=1G", "--cpus-per-task=1", "--requeue"):
        assert f"#SBATCH {wanted}" in options
    assert "#SBATCH --signal=B:USR2@120" in options
    assert "#SBATCH --output=/data/runs/vnc/coordinator.log" in options
    assert "-m emsearch.cli resume /data/runs/vnc --unattended &" in script
    assert "scontrol requeue $SLURM_JOB_ID" in script


@pytest.mark.parametrize(
    ("ends_with", "restarts", "is_put_back"),
    [
        ("kill -KILL $$", 0, True),
        ("exit 70", 0, True),
        ("exit 127", 19, True),
        ("exit 70", 20, False),
        ("exit 0", 0, False),
        ("exit 1", 0, False),
        ("exit 2", 0, False),
        ("kill -INT $$", 0, False),
    ],
)
def test_a_coordinator_that_fails_is_put_back_and_one_that_ends_is_not(
    ends_with: str, restarts: int, is_put_back: bool, tmp_path: Path
) -> None:
    done = run_script(tmp_path, f"sh -c '{ends_with}'", restarts)
    assert (done.stdout.strip() == "requeue 7") is is_put_back


def test_a_coordinator_that_ran_well_for_long_is_always_put_back(tmp_path: Path) -> None:
    done = run_script(tmp_path, "SECONDS=3601; sh -c 'exit 70'", restarts=30)
    assert done.stdout.strip() == "requeue 7"
    assert done.returncode == 70


def run_script(folder: Path, coordinator: str, restarts: int) -> "subprocess.CompletedProcess[str]":
    """Run a coordinator's batch script with something else in its place."""
    script = coordinator_script(Profile(), "vnc", folder).splitlines()
    begins = next(number for number, line in enumerate(script) if line.endswith("&"))
    script[begins] = f"{coordinator} &"
    return subprocess.run(
        ["/bin/bash"],
        input="scontrol() { echo $*; }\n" + "\n".join(script),
        text=True,
        capture_output=True,
        check=False,
        env={"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": str(restarts)},
    )


def test_a_profile_has_the_last_word_on_its_coordinators_job() -> None:
    profile = Profile(
        sbatch={"gres": "gpu:1", "mem": "40G"},
        sbatch_cpu={"gres": False},
        sbatch_coordinator={"mem": "2G", "time": "3-00:00:00"},
        setup=("module load python",),
    )
    script = coordinator_script(profile, "vnc", Path("/runs/vnc"))
    assert "gres" not in script
    assert "#SBATCH --mem=2G\n" in script
    assert "#SBATCH --time=3-00:00:00\n" in script
    assert "\nmodule load python\n" in script


def test_the_script_is_one_that_bash_can_read() -> None:
    script = coordinator_script(read_profile("generic"), "vnc", Path("/a folder/vnc"))
    done = subprocess.run(
        ["/bin/bash", "-n"], input=script, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "'/a folder/vnc'" in script


def test_on_slurm_the_coordinator_is_a_job_of_its_own(tmp_path: Path) -> None:
    ledger = create_study(tmp_path / "s", ON_SLURM, write_study_file(tmp_path))
    ran: list[tuple[Sequence[str], str]] = []

    def run(words: Sequence[str], text: str) -> str:
        ran.append((words, text))
        return "4711;biowulf"

    said = detach(ledger, ON_SLURM, tmp_path / "s", None, run)
    assert "Slurm's job 4711" in said
    assert ran[0][0] == ["sbatch", "--parsable"]
    assert "#SBATCH --qos=long\n" in ran[0][1]
    assert [path.name.split("-")[1] for path in (tmp_path / "s" / "commands").iterdir()] == [
        "resume"
    ]


def test_a_refused_coordinator_leaves_nothing_behind(tmp_path: Path) -> None:
    ledger = create_study(tmp_path / "s", ON_SLURM, write_study_file(tmp_path))

    def run(words: Sequence[str], _text: str) -> str:
        raise ExecutionError(f"{words[0]} failed: invalid account")

    with pytest.raises(ExecutionError, match="invalid account"):
        detach(ledger, ON_SLURM, tmp_path / "s", None, run)
    assert list((tmp_path / "s" / "commands").iterdir()) == []


def test_a_local_study_is_no_slurm_job(tmp_path: Path) -> None:
    spec = spec_of()
    ledger = create_study(tmp_path / "s", spec, write_study_file(tmp_path))
    with pytest.raises(StateError, match="--under nohup"):
        detach(ledger, spec, tmp_path / "s", Under.SLURM)


def test_a_command_that_is_not_there_or_fails_is_named() -> None:
    with pytest.raises(ExecutionError, match="there is no sbatch-nowhere on this host"):
        run_command(["sbatch-nowhere"])
    with pytest.raises(ExecutionError, match="false failed"):
        run_command(["false"])
    assert run_command(["cat"], "said") == "said"


def test_a_command_knows_nothing_of_the_job_that_it_is_run_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    lines = run_command(["env"]).splitlines()
    assert "SLURM_CONF=/etc/slurm.conf" in lines
    assert not any(line.startswith("SLURM_JOB_ID") for line in lines)
