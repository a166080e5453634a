"""Submitting arrays through submitit, which writes the batch script and runs the callable.

The job itself gives its pickle the name that submitit looks for. submitit would do so only after
`sbatch` has answered: a coordinator killed in between would leave an array that can never start.
"""

import importlib
import os
import shlex
from collections.abc import Iterable, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import submitit
from submitit.core import core, utils

from emsearch.errors import ExecutionError, NoAnswerError, RefusedError
from emsearch.execution.executor import Request
from emsearch.execution.slurm_refusal import explain_refusal
from emsearch.execution.slurm_text import seconds_of
from emsearch.records.process import SHORTAGES
from emsearch.records.profile import Profile

__all__ = [
    "RunTask",
    "clean_environment",
    "job_variables",
    "options_of",
    "setup_of",
    "submit_array",
    "submitted_folder",
]

_PICKLE = "task.pkl"
_SBATCH = ("timeout", "40", "sbatch")  # below what a coordinator may be silent
_HUNG = 124  # the exit code of `timeout`
_KILLED = 128  # a shell's exit code for a signal is above
_MEMORY = frozenset({"mem", "mem-per-cpu", "mem-per-gpu"})
_KEPT = frozenset({"SLURM_CONF", "SLURM_CLUSTERS"})


@dataclass(frozen=True, kw_only=True, slots=True)
class RunTask:
    """The callable of every task: the worker, which is imported where it runs."""

    job_file: str

    def __call__(self) -> None:
        """Run the task of this place in the array."""
        run_task = importlib.import_module("emsearch.worker").run_task
        run_task(Path(self.job_file), int(os.environ["SLURM_ARRAY_TASK_ID"]))


def submit_array(token: str, job_file: Path, profile: Profile, request: Request) -> str:
    """Submit a job's tasks as one array and return Slurm's number of it.

    Raises RefusedError, NoAnswerError and ExecutionError as `Executor.submit` does.
    """
    folder = submitted_folder(job_file.parent)
    executor = _Submitter(folder=folder, python=profile.python or None)
    options = options_of(token, job_file, profile, request)
    executor.update_parameters(
        job_name=token,
        wckey=None,
        signal_delay_s=profile.warn_s,
        stderr_to_stdout=True,
        setup=setup_of(folder, profile, options),
        # srun's own pattern would scatter the log over files of submitit's.
        srun_args=["--output", str(options["output"]), "--open-mode=append"],
        additional_parameters=options,
    )
    executor.parameters["time"] = None  # submitit's default; a profile's is among the options
    try:
        with redirect_stderr(StringIO()):  # submitit would print what the error says anyway
            return executor.submit(RunTask(job_file=str(job_file))).job_id
    except utils.FailedJobError as error:
        raise _failure_of(error) from error
    except utils.FailedSubmissionError as error:
        raise NoAnswerError(f"sbatch's answer is not understood: {error}") from error
    except OSError as error:
        # A file that could not be opened has a name: that may have been after sbatch has answered.
        if error.errno not in SHORTAGES or error.filename:
            raise
        raise RefusedError(f"this host cannot start sbatch now: {error.strerror}") from error


def _failure_of(error: utils.FailedJobError) -> ExecutionError:
    """Return what follows from an `sbatch` that failed; one that was killed may have submitted."""
    cause = error.__cause__
    code = cause.returncode if isinstance(cause, CalledProcessError) else 0
    if code == _HUNG:
        return NoAnswerError("sbatch said nothing for 40 s")
    if code < 0 or code > _KILLED:
        return NoAnswerError(f"sbatch was killed, exit code {code}: {error}".rstrip(": "))
    return explain_refusal(str(error))


def submitted_folder(job: Path) -> Path:
    """Return the folder, in a job's own, of what its tasks are started from: script and pickles."""
    return job / "submitit"


def options_of(
    token: str, job_file: Path, profile: Profile, request: Request
) -> dict[str, str | int | float | bool]:
    """Return sbatch's options: the profile's, those that the request asks for, and our own.

    Tasks are put back by Slurm itself where a node is lost, unless a profile says otherwise.
    """
    wanted = profile.sbatch if request.needs_gpu else profile.sbatch | profile.sbatch_cpu
    options = {name: value for name, value in wanted.items() if value is not False}
    if request.memory_factor != 1.0:
        for name in _MEMORY & options.keys():
            options[name] = _more_memory(str(options[name]), request.memory_factor)
    if request.exclude:
        nodes = [*str(options.get("exclude", "")).split(","), *request.exclude]
        options["exclude"] = ",".join(node for node in nodes if node)
    requeues = wanted.get("requeue", True) and not options.get("no-requeue")
    return options | {
        "array": f"0-{request.tasks - 1}",
        "job-name": token,
        "output": str(job_file.with_name("log-%a.txt")),
        "requeue" if requeues else "no-requeue": True,
    }


def setup_of(folder: Path, profile: Profile, options: Mapping[str, Any]) -> list[str]:
    """Return the lines of shell that run in a job before the worker."""
    pickle = shlex.quote(str(folder / _PICKLE))
    name = "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}_submitted.pkl"
    lines = [*profile.setup, f"ln -sf {pickle} {shlex.quote(str(folder))}/{name}"]
    if seconds := seconds_of(str(options.get("time", ""))):
        lines.append(f"export EMSEARCH_TIME_S={seconds:.0f} EMSEARCH_WARN_S={profile.warn_s}")
        lines.append("export SLURM_JOB_START_TIME=${SLURM_JOB_START_TIME:-$(date +%s)}")
    if profile.scratch:
        lines.append(f'export EMSEARCH_SCRATCH="{profile.scratch}" TMPDIR="{profile.scratch}"')
    return lines


def clean_environment(environment: Iterable[str]) -> list[str]:
    """Return the words before a command that hide from it the job which it is started in.

    A job inherits the environment of who submits it. A coordinator that is a job itself would hand
    its own restart count on, and memory that srun then asks for.
    """
    return ["env", *(f"--unset={name}" for name in job_variables(environment))]


def job_variables(environment: Iterable[str]) -> list[str]:
    """Return the variables by which Slurm tells a process of the job that it runs in."""
    return sorted(name for name in environment if name.startswith("SLURM") and name not in _KEPT)


def _more_memory(memory: str, factor: float) -> str:
    """Return one of sbatch's memories times a factor; a number without a unit is in megabytes."""
    number, unit = memory.rstrip("KMGTkmgtB"), memory.lstrip("0123456789.")
    return f"{round(float(number) * factor)}{unit}"


class _Submitter(submitit.SlurmExecutor):
    """submitit's executor, with one pickle for all tasks that is there before the job is."""

    def _internal_process_submissions(
        self, delayed_submissions: list[utils.DelayedSubmission]
    ) -> list[core.Job[Any]]:
        (delayed,) = delayed_submissions
        self.folder.mkdir(parents=True, exist_ok=True)
        delayed.dump(self.folder / _PICKLE)
        return [self._submit_command(self._submitit_command_str)]

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        return [*clean_environment(os.environ), *_SBATCH, str(submission_file_path)]

    @classmethod
    def affinity(cls) -> int:
        return 2  # whether there is a Slurm shows when sbatch is run
