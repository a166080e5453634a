"""The same trials through both engines of tuning, and through plain Ray Tune: what packing saves.

    python experiments/benchmarks/engines.py --trials 40 --seconds 2 --slots 2 --json

Every trial of emsearch's is a real one: a tiny network on a phantom, trained for `--seconds` by
`training.budget = "seconds"`, with its checkpoints, events and ledger. Plain Ray Tune sleeps as
long. Timed is from the first order to tune until every trial has its verdict; importing the
volume and searching come before. Rounds go through the three in turn; medians, and each beside
the least that the trials alone could take in so many slots.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import tifffile

from emsearch.ledger import queries
from emsearch.ledger.store import open_ledger
from emsearch.records.candidate import Origin
from emsearch.records.trial import OVER
from emsearch.volumes.phantom import phantom

STUDY = """
[study]
name = "engines"
[dataset]
classes = ["background", "cytoplasm", "membrane", "mitochondrion", "granule", "dense_granule"]
voxel_nm = [40, 10, 10]
[[dataset.volumes]]
image = "image.tif"
labels = "labels.tif"
train = "0:4"
validation = "4:5"
test = "5:6"
[space]
max_parameters = 40_000
max_step_s = 0.02
gflops = 60
gbytes_s = 10
[training]
patch_zyx = [1, 48, 48]
batch_size = 2
budget = "seconds"
evaluations = 1
[search]
policy = "halving"
candidates = 1
repeats = 1
rungs = [{seconds}]
[tune]
survivors = 1
trials = {trials}
batch = {slots}
engine = "{engine}"
[ensemble]
size = 1
[cluster]
max_jobs = {slots}
min_job_s = 0.0
"""

PLAIN = """
import sys, time
from ray import init, tune
from ray.tune import RunConfig
trials, seconds, slots, folder = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
def trial(config):
    time.sleep(seconds)
    tune.report({"score": config["x"]})
began = time.time()
init(num_cpus=slots, include_dashboard=False, logging_level="ERROR")
tune.Tuner(
    trial,
    param_space={"x": tune.uniform(0, 1)},
    tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=True),
    run_config=RunConfig(storage_path=folder, verbose=0),
).fit()
print("TOOK", time.time() - began)
"""


def main() -> None:
    """Print a row for each engine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    took: dict[str, list[float]] = {"optuna": [], "ray": [], "plain Ray Tune": []}
    for _ in range(asked.rounds):
        for engine, times in took.items():
            times.append(timed(engine, asked.trials, asked.seconds, asked.slots))
    least_s = asked.trials * asked.seconds / asked.slots
    rows = [
        {
            "engine": engine,
            "took_s": median(times),
            "trials_per_s": asked.trials / median(times),
            "overhead": median(times) / least_s,
            "rounds": times,
        }
        for engine, times in took.items()
    ]
    if asked.json:
        print(json.dumps({"least_s": least_s, "rows": rows}, indent=1))
        return
    print(f"{asked.trials} trials of {asked.seconds} s in {asked.slots} slots: {least_s:.0f} s\n")
    print("| engine | took s | of the least |\n| --- | ---: | ---: |")
    for row in rows:
        print(f"| {row['engine']} | {row['took_s']:.1f} | {row['overhead']:.2f} |")


def timed(engine: str, trials: int, seconds: int, slots: int) -> float:
    """Return the seconds that an engine takes for the trials."""
    with tempfile.TemporaryDirectory() as place:
        if engine == "plain Ray Tune":
            return plain(Path(place), trials, seconds, slots)
        return through(Path(place), engine, trials, seconds, slots)


def plain(place: Path, trials: int, seconds: int, slots: int) -> float:
    """Return what plain Ray Tune takes, with the start of Ray as emsearch's engine has it."""
    words = [sys.executable, "-c", PLAIN, trials, seconds, slots, place]
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=True, env=os.environ | quiet
    )
    return float(done.stdout.rsplit("TOOK", 1)[1])


def through(place: Path, engine: str, trials: int, seconds: int, slots: int) -> float:
    """Return what emsearch takes from the first order to tune to the last verdict."""
    image_ZYX, labels_ZYX = phantom((6, 64, 64), seed=5)
    tifffile.imwrite(place / "image.tif", image_ZYX)
    tifffile.imwrite(place / "labels.tif", labels_ZYX)
    file = place / "study.toml"
    file.write_text(STUDY.format(engine=engine, trials=trials, seconds=seconds, slots=slots))
    command = "from emsearch.cli import main; main()"
    words = [sys.executable, "-c", command, "launch", file, "--folder", place / "study"]
    launched = subprocess.Popen(
        list(map(str, words)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    began = ended = 0.0
    while launched.poll() is None:
        asked, over = progress(place / "study")
        began = began or (time.time() if asked else 0.0)
        if asked and over == trials:
            ended = time.time()
            break
        time.sleep(0.1)
    launched.wait()
    assert launched.returncode == 0
    assert ended, "the study ended before its trials did"
    return ended - began


def progress(folder: Path) -> tuple[bool, int]:
    """Return whether tuning has begun, and how many of its trials have a verdict."""
    if not (folder / "ledger.sqlite").is_file():
        return False, 0
    ledger = open_ledger(folder / "ledger.sqlite")
    with ledger.reading() as connection:
        trials = queries.trials_of(connection, 1)
    ledger.close()
    tuned = [trial.state for trial in trials if trial.origin == Origin.TUNED]
    return bool(tuned), sum(state in OVER for state in tuned)


if __name__ == "__main__":
    main()
