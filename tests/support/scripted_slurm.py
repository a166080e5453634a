"""Slurm's commands, scripted: as much of a cluster as an executor's promises need."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from emsearch.errors import NoAnswerError

_SBATCH = """#!/bin/sh
cd {folder}
if [ -f refusal ]; then cat refusal >&2; exit 1; fi
number=$(($(ls *.sh 2>/dev/null | wc -l) + 1))
cp "$1" $number.sh
echo "Submitted batch job $number"
"""


def squeue_row(handle: str, word: str, restarts: int, reason: str, node: str = "") -> str:
    """Return a line as squeue pads it."""
    return f"{handle:40}{word:20}{restarts:<8}{reason:80}{node:200}"


@dataclass(kw_only=True, slots=True)
class Task:
    """A task of an array: it runs until it is cancelled."""

    name: str
    """Of its job."""
    restarts: int = 0
    runs: list[str] = field(default_factory=list)
    """Lines of accounting about the runs that ended; a test may take some away."""
    is_over: bool = False


class ScriptedSlurm:
    """Answers the commands of one cluster. `sbatch` is a program on the path, as submitit wants."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder / "slurm"
        (self._folder / "bin").mkdir(parents=True)
        sbatch = self._folder / "bin" / "sbatch"
        sbatch.write_text(_SBATCH.format(folder=self._folder))
        sbatch.chmod(0o755)
        monkeypatch.setenv("PATH", f"{sbatch.parent}:{os.environ['PATH']}")
        self.is_silent = False
        self._tasks: dict[str, Task] = {}

    @property
    def tasks(self) -> dict[str, Task]:
        """Tasks by their handles, those that `sbatch` has taken since among them."""
        for script in sorted(self._folder.glob("*.sh")):
            text = script.read_text()
            name = re.findall(r"--job-name=(\S+)", text)[-1]
            last = int(re.findall(r"--array=0-(\d+)", text)[-1])
            for index in range(last + 1):
                self._tasks.setdefault(f"{script.stem}_{index}", Task(name=name))
        return self._tasks

    def refuse(self, words: str) -> None:
        """Let `sbatch` say that it takes no job; nothing is said where there are no words."""
        refusal = self._folder / "refusal"
        refusal.write_text(words) if words else refusal.unlink(missing_ok=True)

    def restart(self, handle: str) -> None:
        """Preempt a task: it goes back into the queue."""
        task = self.tasks[handle]
        task.restarts += 1
        task.runs.append(f"{handle}|PREEMPTED|0:0|cn1")

    def run(self, words: Sequence[str]) -> str:
        """Do what a command would; raises NoAnswerError where it would fail."""
        if self.is_silent:
            raise NoAnswerError(f"{words[0]}: Unable to contact slurm controller (connect failure)")
        answers: dict[str, Callable[[Sequence[str]], str]] = {
            "squeue": self._squeue,
            "sacct": self._sacct,
            "scancel": self._scancel,
            "scontrol": lambda words: "MaxArraySize = 1001\n" if "config" in words else "",
            "sacctmgr": lambda _words: "",
        }
        return answers[words[0]](words)

    def _squeue(self, words: Sequence[str]) -> str:
        alive = {handle: task for handle, task in self.tasks.items() if not task.is_over}
        names = [word.partition("=")[2] for word in words if word.startswith("--name=")]
        if names:
            found = [handle for handle, task in alive.items() if task.name in names]
            return "\n".join(handle.partition("_")[0] for handle in found)
        return "\n".join(
            squeue_row(handle, "RUNNING", task.restarts, "None", "cn1")
            for handle, task in alive.items()
        )

    def _sacct(self, words: Sequence[str]) -> str:
        if "--format=JobID" in words:
            names = [word.partition("=")[2] for word in words if word.startswith("--name=")]
            return "\n".join(handle for handle, task in self.tasks.items() if task.name in names)
        return "\n".join(line for task in self.tasks.values() for line in task.runs)

    def _scancel(self, words: Sequence[str]) -> str:
        for handle in words[1:]:
            task = self.tasks[handle]
            if task.is_over:
                raise NoAnswerError(
                    f"scancel: error: Kill job error on job id {handle}: "
                    "Job/step already completing or completed"
                )
            task.is_over = True
            task.runs.append(f"{handle}|CANCELLED by 1000|0:15|cn1")
        return ""
