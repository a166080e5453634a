"""Overhead of a trial: no-op trials a second, beside Ray Tune and Optuna on SQLite.

    pip install -e ".[benchmarks]" -c constraints.txt
    python experiments/benchmarks/local_overhead.py --trials 100 --workers 2 --rounds 3

Every system runs the same number of trials that do nothing, with the same number of worker
processes, each trial recorded in the system's own store. A round starts each system anew, its
workers included, one after another (A B C, A B C, ...); the table gives medians over the rounds.
"""

import argparse
import json
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from emsearch.coordinator.folder import create_study
from emsearch.coordinator.serve import Coordinator
from emsearch.execution.local import LocalExecutor
from emsearch.ledger import changes, listings, queries
from emsearch.records.spec import parse_spec
from emsearch.records.trial import OrderState, Stage

SPEC = {
    "study": {"name": "overhead"},
    "dataset": {
        "classes": ["a", "b"],
        "voxel_nm": [1, 1, 1],
        "volumes": [{"image": "none", "labels": "none"}],
    },
}


def emsearch(trials: int, workers: int, folder: Path) -> None:
    """Run no-op orders through ledger, jobs, workers, inbox and ledger again."""
    spec = parse_spec({**SPEC, "cluster": {"max_jobs": workers}})
    study_file = folder / "study.toml"
    study_file.write_text("")
    place = folder / "study"
    ledger = create_study(place, spec, study_file)
    lease = ledger.acquire(1)
    with ledger.writing(lease) as connection:
        changes.advance(connection, 1, {"stage": Stage.FINISHED})  # nothing to do but the orders
        for _ in range(trials):
            changes.add_order(connection, 1, "probe", {"task": {"seconds": 0.0}})
    executor = LocalExecutor(place / "jobs", threads=1)
    coordinator = Coordinator(ledger, lease, executor, place, spec)
    while True:
        _, happened = coordinator.cycle()
        with ledger.reading() as connection:
            states = [row.state for row in queries.orders_of_kind(connection, 1, "probe")]
        if all(state == OrderState.DONE for state in states):
            break
        if not happened:
            time.sleep(0.02)
    with ledger.reading() as connection:
        assert listings.counts(connection, 1)["causes"] == {"completed": trials}
    ledger.release(lease)


def optuna_pool(trials: int, workers: int, folder: Path) -> None:
    """Run no-op trials by ask and tell on one SQLite file, from a pool of processes."""
    import optuna

    url = f"sqlite:///{folder / 'optuna.sqlite'}"
    optuna.create_study(storage=url, study_name="overhead")
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(_optuna_trial, [url] * trials))
    study = optuna.load_study(storage=url, study_name="overhead")
    assert len(study.trials) == trials


def _optuna_trial(url: str) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(
        storage=url, study_name="overhead", sampler=optuna.samplers.RandomSampler()
    )
    study.tell(study.ask(), 0.0)


def ray_tune(trials: int, workers: int, folder: Path) -> None:
    """Run no-op trials with Ray Tune, as many at a time as there are workers."""
    import ray
    from ray import tune

    ray.init(
        num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
    try:
        tuner = tune.Tuner(
            _ray_trial,
            tune_config=tune.TuneConfig(num_samples=trials),
            run_config=tune.RunConfig(storage_path=str(folder / "ray"), verbose=0),
        )
        assert len(tuner.fit()) == trials
    finally:
        ray.shutdown()


def _ray_trial(_config: dict[str, object]) -> dict[str, float]:
    return {"score": 0.0}


SYSTEMS: dict[str, Callable[[int, int, Path], None]] = {
    "emsearch": emsearch,
    "optuna, SQLite, process pool": optuna_pool,
    "ray tune": ray_tune,
}


def main() -> None:
    """Measure, print a table and JSON."""
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without", nargs="*", default=[], choices=list(SYSTEMS))
    options = parser.parse_args()
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    names = [name for name in SYSTEMS if name not in options.without]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in names:
            with tempfile.TemporaryDirectory() as folder:
                started = time.perf_counter()
                SYSTEMS[name](options.trials, options.workers, Path(folder))
                seconds[name].append(time.perf_counter() - started)
    rows = [
        {
            "system": name,
            "trials_per_s": round(options.trials / statistics.median(taken), 1),
            "seconds": [round(one, 2) for one in taken],
        }
        for name, taken in seconds.items()
    ]
    print(f"{'system':32}{'trials/s':>10}  seconds")
    for row in rows:
        print(f"{row['system']:32}{row['trials_per_s']:>10}  {row['seconds']}")
    print(json.dumps({"trials": options.trials, "workers": options.workers, "rows": rows}))


if __name__ == "__main__":
    main()
