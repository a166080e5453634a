"""Overhead of an order on Slurm: no-op orders, beside a raw array and submitit's.

    python experiments/benchmarks/slurm_overhead.py --orders 200 --rounds 2

It measures on slurm/devcluster, whose MaxArraySize and submit limit it raises for the time. A round
runs each system once, one after another (A B C, A B C, ...), with the same resources a task:

- `sbatch --wait --array` of `python -c pass`, from submission until Slurm says that it is over;
- submitit's `map_array` of a function that does nothing, until all results are there;
- emsearch: orders that do nothing, through ledger, jobs, workers, inbox and ledger again, packed
  into as many tasks as the cluster has cores.

The table gives medians over the rounds, and emsearch's time as a part of the others'.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import submitit

from emsearch.coordinator.folder import create_study
from emsearch.coordinator.serve import Coordinator
from emsearch.execution.slurm import SlurmExecutor
from emsearch.ledger import changes, listings, queries
from emsearch.records.profile import read_profile
from emsearch.records.spec import parse_spec
from emsearch.records.trial import OrderState, Stage

DEVCLUSTER = Path(__file__).parents[2] / "slurm" / "devcluster"
CORES = 8  # of the devcluster's four nodes
OPTIONS: dict[str, str | int | float | bool] = {
    "partition": "gpu",
    "cpus-per-task": 1,
    "mem": "500M",
    "time": "0:30:00",
}
SPEC = {
    "study": {"name": "overhead"},
    "dataset": {
        "classes": ["a", "b"],
        "voxel_nm": [1, 1, 1],
        "volumes": [{"image": "none", "labels": "none"}],
    },
    "cluster": {"executor": "slurm", "profile": "devcluster", "max_jobs": CORES},
}


def raw_array(orders: int, folder: Path) -> None:
    """Run the array that a user would write by hand."""
    options = [f"--{name}={value}" for name, value in OPTIONS.items()]
    array = [f"--array=0-{orders - 1}", f"--output={folder}/log-%a.txt"]
    words = ["sbatch", "--wait", *options, *array, f"--wrap={sys.executable} -c pass"]
    subprocess.run(words, check=True, capture_output=True)


def submitit_array(orders: int, folder: Path) -> None:
    """Run a function that does nothing through submitit, and read every result."""
    executor = submitit.SlurmExecutor(folder=folder)
    executor.update_parameters(
        partition=OPTIONS["partition"], cpus_per_task=1, mem="500M", time=30, array_parallelism=256
    )
    jobs = executor.map_array(_nothing, range(orders))
    assert [job.result() for job in jobs] == [None] * orders


def _nothing(_number: int) -> None:
    """Do nothing."""


def emsearch(orders: int, folder: Path) -> None:
    """Run orders that do nothing, each recorded in the ledger."""
    spec = parse_spec(SPEC)
    study_file = folder / "study.toml"
    study_file.write_text("")
    place = folder / "study"
    ledger = create_study(place, spec, study_file)
    lease = ledger.acquire(1)
    with ledger.writing(lease) as connection:
        changes.advance(connection, 1, {"stage": Stage.FINISHED})  # nothing to do but the orders
        for _ in range(orders):
            changes.add_order(connection, 1, "probe", {"task": {"seconds": 0.0}})
    profile = read_profile("devcluster", {**OPTIONS, "gres": False})
    executor = SlurmExecutor(place / "jobs", profile)
    coordinator = Coordinator(ledger, lease, executor, place, spec)
    while True:
        _, happened = coordinator.cycle()
        with ledger.reading() as connection:
            states = [row.state for row in queries.orders_of_kind(connection, 1, "probe")]
        if all(state == OrderState.DONE for state in states):
            break
        if not happened:
            time.sleep(0.1)
    with ledger.reading() as connection:
        assert listings.counts(connection, 1)["causes"] == {"completed": orders}
    ledger.release(lease)


SYSTEMS: dict[str, Callable[[int, Path], None]] = {
    "sbatch --wait --array": raw_array,
    "submitit map_array": submitit_array,
    "emsearch": emsearch,
}


def main() -> None:
    """Measure, print a table and JSON."""
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print JSON only")
    options = parser.parse_args()
    devcluster("up", "--max-array-size", "1001", "--max-submit", "1000")
    seconds: dict[str, list[float]] = {name: [] for name in SYSTEMS}
    try:
        for _ in range(options.rounds):
            for name, system in SYSTEMS.items():
                with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
                    started = time.perf_counter()
                    system(options.orders, Path(folder))
                    seconds[name].append(time.perf_counter() - started)
                    _wait_until_idle()
    finally:
        devcluster("up")
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    if not options.json:
        print(f"{'system':24}{'seconds':>9}{'emsearch is':>13}")
        for name, median in medians.items():
            print(f"{name:24}{median:9.1f}{medians['emsearch'] / median:11.2f} x")
    rounds = {name: [round(one, 2) for one in taken] for name, taken in seconds.items()}
    print(json.dumps({"orders": options.orders, "seconds": rounds}))


def devcluster(*words: str) -> None:
    """Run a command of the devcluster."""
    subprocess.run([str(DEVCLUSTER), *words], check=True)


def _wait_until_idle() -> None:
    """Return when the queue is empty: what one system left must not slow the next."""
    while subprocess.run(["squeue", "--noheader"], capture_output=True, check=True).stdout:
        time.sleep(0.5)


if __name__ == "__main__":
    main()
