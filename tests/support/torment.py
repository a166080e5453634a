"""Everything that can befall a study on a cluster, done to one that really trains.

Every torment waits for an attempt that is held (`tests.support.brakes`): it runs, has left a
checkpoint and has steps to go, whatever the machine's speed.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self, TypeVar

from emsearch.ledger.store import open_ledger
from tests.support.brakes import Brakes, is_stopped, is_there
from tests.support.devcluster import devcluster, slurm
from tests.support.real_study import start

_T = TypeVar("_T")
_ENOUGH_S = 150.0  # for any one thing to come about on a machine that is busy otherwise

STUDY = """
[study]
name = "tormented"
seed = 3
[dataset]
classes = ["background", "cytoplasm", "membrane", "mitochondrion", "granule", "dense_granule"]
voxel_nm = [40, 10, 10]
[[dataset.volumes]]
image = "image.tif"
labels = "labels.tif"
train = "0:6"
validation = "6:8"
test = "8:10"
[space]
max_parameters = 40_000
max_step_s = 0.02
gflops = 60
gbytes_s = 10
[training]
patch_zyx = [1, 64, 64]
batch_size = 4
learning_rate = 3e-3
checkpoint_every_s = 0.2
evaluations = 2
[search]
policy = "halving"
candidates = 2
repeats = 1
rungs = [STEPS]
[tune]
survivors = 0
[ensemble]
size = 1
[cluster]
executor = "EXECUTOR"
profile = "devcluster"
max_jobs = 3
min_job_s = 1.0
[cluster.sbatch]
partition = "quick"
exclusive = true
"""
"""Three trials, each on a node of its own: who loses a node loses one of them."""


@dataclass(frozen=True, kw_only=True)
class Victim:
    """An attempt at a training that was under way when something befell it."""

    attempt: str
    trial: int
    handle: str
    node: str
    pid: int
    checkpoint: int
    """Step of the checkpoint that it had left by then."""


@dataclass
class Torment:
    """A study under a coordinator that is killed at random and started again each time."""

    folder: Path
    file: Path
    steps: int
    """Of a whole training."""
    kills: int
    victims: dict[str, Victim] = field(default_factory=dict)
    heir: Victim | None = None
    """Who carried the trial on of the one that was cut off."""
    lost_meanwhile: int | None = None
    """How many were given up while the controller was away."""
    no_disk: str = ""
    """Why no small disk could be mounted."""
    killed: int = 0
    _brakes: Brakes = field(init=False)
    _coordinator: "subprocess.Popen[bytes]" = field(init=False)
    _killer: threading.Thread = field(init=False)
    _mounted: list[Path] = field(default_factory=list)
    _is_over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._coordinator = start("launch", self.file, "--folder", self.folder)
        self._brakes = Brakes(self.folder).__enter__()
        self._killer = threading.Thread(target=self._kill_at_random, daemon=True)
        self._killer.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._killer.join()
        self._brakes.lift()
        self._coordinator.kill()
        self._coordinator.wait()
        for folder in self._mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)  # noqa: S607

    def finish(self) -> int:
        """Wait for the study's end; return how its coordinator ended."""
        return self._coordinator.wait(timeout=_ENOUGH_S)

    def wait_for_kills(self) -> None:
        """Return when the coordinator has been killed as often as it was to be."""
        self._killer.join()

    def _kill_at_random(self) -> None:
        rng = Random(5)
        while self.killed < self.kills:
            if self._is_over.wait(rng.uniform(10.0, 40.0)) or self._coordinator.poll() is not None:
                return
            self._coordinator.kill()
            self._coordinator.wait()
            self.killed += 1
            self._coordinator = start("resume", self.folder)

    def victim(self, name: str, but: int | None = None) -> Victim:
        """Choose a training that runs, is held, and that nothing has befallen yet.

        It is none of trial `but`.
        """
        taken = {victim.attempt for victim in self.victims.values()}

        def is_free(one: Victim) -> bool:
            return one.attempt not in taken and one.trial != but and one.checkpoint > 0

        def found() -> Victim | None:
            return next((one for one in self.held() if is_free(one)), None)

        victim = wait_until(found, f"nothing runs that could be {name}")
        assert victim.checkpoint < 0.8 * self.steps, f"{victim} is nearly through: raise STEPS"
        self.victims[name] = victim
        return victim

    def held(self) -> list[Victim]:
        """Return the attempts that are held, as far as the ledger knows that they run."""
        held = self._brakes.held()
        return [
            Victim(
                attempt=row["name"],
                trial=row["trial_id"],
                handle=row["handle"],
                node=row["node"],
                pid=held[row["name"]],
                checkpoint=self._newest(row["trial_id"], row["name"]),
            )
            for row in self.rows(
                "SELECT a.name, a.node, j.handle, o.trial_id FROM attempts a "
                "JOIN jobs j ON j.id = a.job_id JOIN orders o ON o.id = a.order_id "
                "WHERE a.state = 'running' AND o.kind = 'train' AND j.handle IS NOT NULL "
                "ORDER BY a.id"
            )
            if row["name"] in held
        ]

    def _newest(self, trial: int, attempt: str) -> int:
        """Return the step of the newest checkpoint that lies in an attempt's folder; 0: none."""
        folder = self.folder / "trials" / f"{trial:06d}" / "attempts" / attempt
        paths = folder.glob("checkpoint-*.pt")
        return max((int(path.stem.split("-")[1]) for path in paths), default=0)

    def let_go(self, victim: Victim) -> None:
        """Let a victim train on."""
        self._brakes.let_go(victim.attempt)

    def release_all(self) -> None:
        """Hold nobody any more."""
        self._brakes.lift()

    def mount_small_disk(self, folder: Path, size: str) -> None:
        """Mount a disk of a size such as "64k" on a folder; `no_disk` says why where it cannot."""
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        self.no_disk = done.stderr.strip()
        if not self.no_disk:
            self._mounted.append(folder)

    def wait_for_end(self, victim: Victim) -> None:
        """Return when the ledger knows how the attempt ended."""
        wait_for(
            lambda: self.attempt(victim.attempt)["cause"] is not None,
            f"{victim.attempt} does not end",
        )

    def attempt(self, name: str) -> dict[str, Any]:
        """Return an attempt's row."""
        return self.rows("SELECT * FROM attempts WHERE name = ?", name)[0]

    def attempts(self, trial: int) -> list[dict[str, Any]]:
        """Return the rows of a trial's attempts that had begun, oldest first."""
        return self.rows(
            "SELECT a.* FROM attempts a JOIN orders o ON o.id = a.order_id "
            "WHERE o.trial_id = ? AND a.started_s IS NOT NULL ORDER BY a.started_s",
            trial,
        )

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Return what a query of the ledger gives."""
        if not (self.folder / "ledger.sqlite").is_file():
            return []
        ledger = open_ledger(self.folder / "ledger.sqlite")
        with ledger.reading() as connection:
            found = connection.exec_driver_sql(query, values).mappings().all()
        ledger.close()
        return [dict(row) for row in found]


def wait_until(look: Callable[[], _T | None], failure: str, seconds: float = _ENOUGH_S) -> _T:
    """Return what is looked for, once it is there."""
    deadline = time.monotonic() + seconds
    while (found := look()) is None:
        assert time.monotonic() < deadline, failure
        time.sleep(0.2)
    return found


def wait_for(condition: Callable[[], bool], failure: str, seconds: float = _ENOUGH_S) -> None:
    """Return when a condition holds."""
    wait_until(lambda: condition() or None, failure, seconds)


def fill_the_disk(study: Torment, trial: int) -> None:
    """Give a trial a disk without room for a checkpoint, until it has failed for that."""
    folder = study.folder / "trials" / f"{trial:06d}"
    wait_for(folder.parent.is_dir, "the study is not begun")
    study.mount_small_disk(folder, "64k")
    if not study.no_disk:  # as in a container that may not mount
        threading.Thread(target=_make_room, args=(study, trial, folder), daemon=True).start()


def _make_room(study: Torment, trial: int, folder: Path) -> None:
    failed = lambda: any(one["cause"] for one in study.attempts(trial))  # noqa: E731
    wait_for(failed, "nobody met the full disk")
    subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)  # noqa: S607


def run_out_of_time(study: Torment) -> Victim:
    """Cut a running job's time to a minute since its start."""
    victim = study.victim("timeout")
    slurm("scontrol", "update", f"JobId={victim.handle}", "TimeLimit=1")
    return victim


def lose_a_node(study: Torment) -> Victim:
    """Kill a node under a running trial, in the midst of a step."""
    victim = study.victim("node_failure")
    study.let_go(victim)
    assert devcluster("kill-node", victim.node).returncode == 0
    return victim


def preempt(study: Torment) -> None:
    """Take a node from partition quick."""
    victim = study.victim("preempted")
    assert devcluster("preempt", "--node", victim.node, "--seconds", "2").returncode == 0
    study.wait_for_end(victim)


def kill_the_worker(study: Torment) -> None:
    """Kill a worker as the kernel would, in the midst of a step."""
    victim = study.victim("lost")
    study.let_go(victim)
    os.kill(victim.pid, signal.SIGKILL)
    study.wait_for_end(victim)


def requeue(study: Torment) -> None:
    """Put a running job back into the queue by hand."""
    victim = study.victim("requeued")
    slurm("scontrol", "requeue", victim.handle)
    study.wait_for_end(victim)


def cancel_from_outside(study: Torment) -> None:
    """Cancel a running job behind the coordinator's back."""
    victim = study.victim("cancelled")
    slurm("scancel", victim.handle)
    study.wait_for_end(victim)


def cut_a_node_off(study: Torment, but: int) -> None:
    """Make Slurm believe that a node is gone whose worker lives on, and let it come back.

    Both attempts are alive until the elder has seen by itself that it counts no more.
    """
    victim = study.victim("cut_off", but)
    daemon = Path(f"/var/lib/emsearch-devcluster/slurmd.{victim.node}.pid")
    os.kill(int(daemon.read_text()), signal.SIGKILL)
    study.wait_for_end(victim)
    later = lambda: next((one for one in study.held() if one.trial == victim.trial), None)  # noqa: E731
    study.heir = wait_until(later, "nobody carries on for who was cut off")
    assert is_stopped(victim.pid)
    study.let_go(victim)
    wait_for(lambda: not is_there(victim.pid), "who was cut off does not see that it is over")
    assert is_stopped(study.heir.pid)
    assert devcluster("revive", victim.node).returncode == 0


def stop_the_controller(study: Torment, seconds: float = 60.0) -> None:
    """Take slurmctld away for a minute, in which the trainings run on.

    The study cannot end meanwhile, so that the coordinator is there to be killed.
    """
    lost = "SELECT count(*) AS n FROM attempts WHERE cause = 'lost'"
    before = study.rows(lost)[0]["n"]
    assert devcluster("stop-controller").returncode == 0
    study.release_all()
    time.sleep(seconds)
    study.wait_for_kills()
    study.lost_meanwhile = study.rows(lost)[0]["n"] - before
    assert devcluster("start-controller").returncode == 0
