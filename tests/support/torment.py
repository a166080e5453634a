"""Everything that can befall a study on a cluster, done to one that really trains."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from emsearch.ledger.store import open_ledger
from emsearch.records.event import AttemptName
from emsearch.records.job import TaskName, process_path
from tests.support.devcluster import devcluster, slurm
from tests.support.real_study import checkpoints, start

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
checkpoint_every_s = 0.5
evaluations = 2
[search]
policy = "halving"
candidates = 3
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
"""


@dataclass(frozen=True, kw_only=True)
class Victim:
    """An attempt at a training that was under way when something befell it."""

    attempt: str
    trial: int
    handle: str
    node: str
    pid: int
    checkpoint: int
    """Step of the newest checkpoint that it had by then."""


@dataclass
class Torment:
    """A study under a coordinator that is started again whenever it is killed."""

    folder: Path
    file: Path
    victims: dict[str, Victim] = field(default_factory=dict)
    kills: int = 0
    failure: str = ""
    no_disk: str = ""
    """Why no small disk could be mounted."""
    _coordinator: "subprocess.Popen[bytes] | None" = None
    _is_over: threading.Event = field(default_factory=threading.Event)

    def run(self, *torments: Callable[["Torment"], None], kills: int) -> int:
        """Launch the study, torment it and return how its last coordinator ended."""
        self._coordinator = start("launch", self.file, "--folder", self.folder)
        killer = threading.Thread(target=self._kill_at_random, args=(kills,), daemon=True)
        killer.start()
        try:
            for torment in torments:
                torment(self)
        finally:
            killer.join(timeout=_ENOUGH_S)
        self._is_over.set()
        return self._coordinator.wait(timeout=300)

    def _kill_at_random(self, count: int) -> None:
        rng = Random(5)
        while self.kills < count and not self._is_over.is_set():
            time.sleep(rng.uniform(6.0, 18.0))
            assert self._coordinator is not None
            if self._coordinator.poll() is not None:
                return
            os.kill(self._coordinator.pid, signal.SIGKILL)
            self._coordinator.wait()
            self.kills += 1
            self._coordinator = start("resume", self.folder)

    def victim(self, name: str) -> Victim:
        """Choose a training that is under way and has left a checkpoint of its own."""
        taken = {victim.attempt for victim in self.victims.values()}
        found: list[Victim] = []

        def look() -> bool:
            found.extend(one for one in self._running() if one.attempt not in taken)
            return bool(found)

        wait_for(look, f"nothing runs that could be {name}")
        self.victims[name] = found[0]
        return found[0]

    def wait_for_end(self, victim: Victim) -> None:
        """Return when the ledger knows how the attempt ended."""
        wait_for(
            lambda: self.attempt(victim.attempt)["cause"] is not None,
            f"{victim.attempt} does not end",
        )

    def attempt(self, name: str) -> dict[str, Any]:
        """Return an attempt's row."""
        return self.rows("SELECT * FROM attempts WHERE name = ?", name)[0]

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Return what a query of the ledger gives."""
        if not (self.folder / "ledger.sqlite").is_file():
            return []
        ledger = open_ledger(self.folder / "ledger.sqlite")
        with ledger.reading() as connection:
            found = connection.exec_driver_sql(query, values).mappings().all()
        ledger.close()
        return [dict(row) for row in found]

    def _running(self) -> list[Victim]:
        saved = checkpoints(self.folder)
        found = []
        for row in self.rows(
            "SELECT a.name, a.node, j.handle, o.trial_id FROM attempts a "
            "JOIN jobs j ON j.id = a.job_id JOIN orders o ON o.id = a.order_id "
            "WHERE a.state = 'running' AND o.kind = 'train' AND j.handle IS NOT NULL"
        ):
            attempt = AttemptName.parse(row["name"])
            folder = self.folder / "trials" / f"{row['trial_id']:06d}" / "attempts" / row["name"]
            if not list(folder.glob("checkpoint-*.pt")):
                continue
            task = TaskName(token=attempt.token, index=attempt.index)
            process = process_path(self.folder / "jobs", task).read_text()
            found.append(
                Victim(
                    attempt=row["name"],
                    trial=row["trial_id"],
                    handle=row["handle"],
                    node=row["node"],
                    pid=int(process.split("/")[1]),
                    checkpoint=saved.get(row["trial_id"], 0),
                )
            )
        return found


def wait_for(condition: Callable[[], bool], failure: str, seconds: float = _ENOUGH_S) -> None:
    """Return when a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, failure
        time.sleep(0.2)


def lose_a_node(study: Torment) -> None:
    """Kill a node under a running trial, and bring it back when its job runs elsewhere."""
    victim = study.victim("node_failure")
    assert devcluster("kill-node", victim.node).returncode == 0
    study.wait_for_end(victim)
    assert devcluster("revive", victim.node).returncode == 0


def preempt(study: Torment) -> None:
    """Take a node from partition quick."""
    victim = study.victim("preempted")
    assert devcluster("preempt", "--node", victim.node, "--seconds", "2").returncode == 0
    study.wait_for_end(victim)


def run_out_of_time(study: Torment) -> None:
    """Cut a running job's time to a minute since its start."""
    victim = study.victim("timeout")
    slurm("scontrol", "update", f"JobId={victim.handle}", "TimeLimit=1")
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


def kill_the_worker(study: Torment) -> None:
    """Kill a worker as the kernel would."""
    victim = study.victim("lost")
    os.kill(victim.pid, signal.SIGKILL)
    study.wait_for_end(victim)


def cut_a_node_off(study: Torment) -> None:
    """Make Slurm believe that a node is gone whose worker lives on: two attempts are alive."""
    victim = study.victim("cut_off")
    daemon = Path(f"/var/lib/emsearch-devcluster/slurmd.{victim.node}.pid")
    os.kill(int(daemon.read_text()), signal.SIGKILL)
    study.wait_for_end(victim)
    assert devcluster("revive", victim.node).returncode == 0


def stop_the_controller(study: Torment, seconds: float = 60.0) -> None:
    """Take slurmctld away for a minute."""
    ended = "SELECT count(*) AS n FROM attempts WHERE cause = 'lost'"
    before = study.rows(ended)[0]["n"]
    assert devcluster("stop-controller").returncode == 0
    time.sleep(seconds)
    study.failure = "" if study.rows(ended)[0]["n"] == before else "somebody was given up"
    assert devcluster("start-controller").returncode == 0


def full_disk(trial: int) -> Callable[[Torment], None]:
    """Give a trial a disk without room for a checkpoint, until it has failed for that."""

    def torment(study: Torment) -> None:
        folder = study.folder / "trials" / f"{trial:06d}"
        wait_for(folder.parent.is_dir, "the study is not begun")
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        study.no_disk = done.stderr.strip()
        if study.no_disk:  # in a container that may not mount
            return
        threading.Thread(target=_make_room, args=(study, trial, folder), daemon=True).start()

    return torment


def _make_room(study: Torment, trial: int, folder: Path) -> None:
    failed = (
        "SELECT a.id FROM attempts a JOIN orders o ON o.id = a.order_id "
        "WHERE o.trial_id = ? AND a.cause IS NOT NULL"
    )
    try:
        wait_for(lambda: bool(study.rows(failed, trial)), "nobody met the full disk")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607
