"""Running Slurm's commands, none of which may hang a coordinator."""

import os
import pwd
import subprocess
from collections.abc import Callable, Sequence

from emsearch.errors import NoAnswerError

__all__ = ["Command", "ask_accounting", "pause_s", "run_command", "user_name"]

Command = Callable[[Sequence[str]], str]
"""Runs a command and returns what it prints; raises NoAnswerError with what it says instead."""

_NO_ACCOUNTS = ("accounting storage is disabled", "not running a supported accounting_storage")
"""How `sacct` and `sacctmgr` say so."""
_LONGEST_BACKOFF = 8  # polling intervals between two questions
_HANGS_S = 30.0  # below what a coordinator may be silent before another takes its study over


def run_command(words: Sequence[str]) -> str:
    """Run one of Slurm's commands. Raises NoAnswerError where it fails, hangs or is missing."""
    try:
        done = subprocess.run(  # noqa: S603 - Slurm's own commands
            words, capture_output=True, text=True, check=False, timeout=_HANGS_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoAnswerError(f"{words[0]} does not answer: {error}") from error
    if done.returncode:
        raise NoAnswerError(f"{words[0]}: {done.stderr.strip()}")
    return done.stdout


def ask_accounting(run: Command, words: Sequence[str]) -> str:
    """Return what `sacct` or `sacctmgr` prints; nothing at a site that keeps no accounts."""
    try:
        return run(words)
    except NoAnswerError as error:
        if any(words in str(error) for words in _NO_ACCOUNTS):
            return ""  # there is none: only the queue can be asked
        raise


def pause_s(poll_s: float, failures: int) -> float:
    """Return the seconds until a cluster is asked again that gave no answer so many times."""
    return poll_s * min(1 << failures, _LONGEST_BACKOFF)


def user_name() -> str:
    """Return the name of this process's user; not what an environment carried along says."""
    return pwd.getpwuid(os.getuid()).pw_name
