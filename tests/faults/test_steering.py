"""A study that really runs, steered and watched from another shell."""

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from emsearch.ledger.store import LEASE_S
from tests.support.real_study import listed, results, run, start, write_study

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def unbroken(finished: Path) -> dict[str, Any]:
    return results(finished)


def field(folder: Path, name: str) -> Any:
    return listed("status", folder)[name]


def wait_until_trained(folder: Path) -> None:
    deadline = time.monotonic() + 120
    while not (folder / "ledger.sqlite").is_file() or not field(folder, "done_steps"):
        assert time.monotonic() < deadline
        time.sleep(0.3)


def test_a_detached_study_is_paused_resumed_and_watched_to_the_same_end(
    tmp_path: Path, unbroken: dict[str, Any]
) -> None:
    folder = tmp_path / "study"
    began = time.monotonic()
    done = run("launch", write_study(tmp_path), "--folder", folder, "--detach")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 60  # the shell is given back
    assert "Its coordinator is process" in done.stdout
    wait_until_trained(folder)
    assert "process" in field(folder, "coordinator")
    paused = run("pause", folder)
    assert paused.stdout.strip() == "pause: done", paused.stderr
    watched = run("watch", folder)  # until nothing of it runs
    assert watched.returncode == 1
    assert "asked by" in watched.stdout
    assert f"emsearch resume {folder}" in watched.stdout
    assert field(folder, "coordinator") == ""
    assert field(folder, "attempts").keys() == {"ended"}
    resumed = run("resume", folder, "--under", "nohup")
    assert resumed.returncode == 0, resumed.stderr
    watched = run("watch", folder)
    assert watched.returncode == 0, watched.stdout + watched.stderr
    assert "finished" in watched.stdout
    assert results(folder) == unbroken


@pytest.mark.skipif(not shutil.which("tmux"), reason="there is no tmux on this host")
def test_a_coordinator_under_tmux_is_there_to_be_looked_at_and_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMUX_TMPDIR", str(tmp_path))  # a server of its own
    folder = tmp_path / "study"
    done = run("launch", write_study(tmp_path), "--folder", folder, "--under", "tmux")
    assert done.returncode == 0, done.stderr
    assert "tmux attach -t emsearch-small" in done.stdout
    assert _tmux("list-sessions", "-F", "#S") == "emsearch-small"
    wait_until_trained(folder)
    assert "small" in _tmux("capture-pane", "-p", "-t", "emsearch-small")  # its progress
    assert run("cancel", folder).stdout.strip() == "cancel: done"
    run("watch", folder)
    assert field(folder, "stage") == "cancelled"
    deadline = time.monotonic() + 60
    while "emsearch-small" in _tmux("list-sessions"):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _tmux(*words: str) -> str:
    done = subprocess.run(["tmux", *words], capture_output=True, text=True, check=False)  # noqa: S607
    return done.stdout.strip()


def test_a_slow_coordinator_is_overtaken_and_stops_without_harm(
    tmp_path: Path, unbroken: dict[str, Any]
) -> None:
    folder = tmp_path / "study"
    slow = start("launch", write_study(tmp_path), "--folder", folder)
    wait_until_trained(folder)
    _between_writes(slow.pid, folder)
    with sqlite3.connect(folder / "ledger.sqlite", timeout=30) as ledger:
        ledger.execute("update studies set renewed_s = renewed_s - ?", (2 * LEASE_S,))
    fresh = start("resume", folder)
    deadline = time.monotonic() + 60
    while f"process {fresh.pid}" not in field(folder, "coordinator"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.kill(slow.pid, signal.SIGCONT)
    assert slow.wait(timeout=60) == 1  # fenced
    assert fresh.wait(timeout=300) == 0
    assert results(folder) == unbroken


def _between_writes(pid: int, folder: Path) -> None:
    """Stop a process at a moment at which it holds no lock on the ledger."""
    for _ in range(50):
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)  # until it stands still
        try:
            with sqlite3.connect(folder / "ledger.sqlite", timeout=0.5) as ledger:
                ledger.execute("begin immediate")
        except sqlite3.OperationalError:
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.2)
        else:
            return
    raise AssertionError("it always writes")
