"""The real Slurm of slurm/devcluster, for tests to bring up and torment."""

import os
import subprocess
import sys
from pathlib import Path

DEVCLUSTER = Path(__file__).parents[2] / "slurm" / "devcluster.py"
CANNOT_INSTALL = 3


def devcluster(*words: str) -> subprocess.CompletedProcess[str]:
    """Run one of the devcluster's commands to its end."""
    return subprocess.run(
        [sys.executable, str(DEVCLUSTER), *words], capture_output=True, text=True, check=False
    )


def slurm(*words: str) -> str:
    """Run one of Slurm's own commands and return what it prints."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def environment_of(pid: int) -> dict[str, str]:
    """Return a process's environment as it was when it began."""
    text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    return dict(pair.split("=", 1) for pair in text.split("\0") if "=" in pair)


def user() -> str:
    """Return the number of the user whose jobs the tests are."""
    return str(os.getuid())
