"""Small studies that really run: a phantom, the command line, processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import tifffile

from emsearch.ledger import leaders, listings, queries
from emsearch.ledger.store import Ledger, open_ledger
from emsearch.volumes.phantom import phantom

STUDY = """
[study]
name = "small"
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
patch_zyx = [1, 48, 48]
batch_size = 2
learning_rate = 3e-3
checkpoint_every_s = 0.05
[search]
policy = "halving"
candidates = 3
repeats = 1
rungs = [8, 24]
[tune]
survivors = 1
trials = 2
batch = 2
[ensemble]
size = 2
[cluster]
max_jobs = 2
min_job_s = 3.0
"""


def write_study(folder: Path, text: str = STUDY) -> Path:
    """Write a phantom and a study file into `folder`; return the file."""
    image_ZYX, labels_ZYX = phantom((10, 96, 96), seed=5)
    tifffile.imwrite(folder / "image.tif", image_ZYX)
    tifffile.imwrite(folder / "labels.tif", labels_ZYX)
    path = folder / "study.toml"
    path.write_text(text)
    return path


def command(*arguments: str | Path) -> list[str]:
    """Return the words that run emsearch's command line with this very Python."""
    code = "from emsearch.cli import main; main()"
    return [sys.executable, "-c", code, *map(str, arguments)]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, env=environment()
    )


def start(*arguments: str | Path) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own."""
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
        start_new_session=True,
    )


def listed(*arguments: str | Path) -> Any:
    """Return what a command prints with --json."""
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def results(folder: Path) -> dict[str, Any]:
    """Return what a study came to, without what depends on the course of events."""
    return results_of(open_ledger(folder / "ledger.sqlite"))


def results_of(ledger: Ledger) -> dict[str, Any]:
    """Return the same of a ledger."""
    with ledger.reading() as connection:
        trials = queries.trials_of(connection, 1)
        curves = listings.curves(connection, 1)
        ranked = leaders.ranked(connection, 1)
        ensembles = listings.ensembles(connection, 1)
        return {
            "trials": [(t.candidate, t.repeat, t.seed, t.state, t.step, t.score) for t in trials],
            "curves": sorted((c.candidate, c.trial, c.step, c.mean_iou) for c in curves),
            "ranked": [(r.rank, r.candidate, r.tree, r.score, r.recipe) for r in ranked],
            "ensembles": [(e.name, e.method, e.validation, e.test) for e in ensembles],
        }


def checkpoints(folder: Path) -> dict[int, int]:
    """Return the step of the newest checkpoint of each trial that has one."""
    newest: dict[int, int] = {}
    for path in folder.glob("trials/*/attempts/*/checkpoint-*.pt"):
        trial, step = int(path.parents[2].name), int(path.stem.split("-")[1])
        newest[trial] = max(newest.get(trial, 0), step)
    return newest


def first_steps(folder: Path, since_s: float) -> dict[int, int]:
    """Return the step that each trial went on from, in its first attempt after `since_s`."""
    with open_ledger(folder / "ledger.sqlite").reading() as connection:
        attempts = listings.attempts_of_trials(connection, 1)
    began: dict[int, int] = {}
    for attempt in attempts:
        after = (attempt.started_s or 0.0) > since_s
        if attempt.kind == "train" and attempt.first_step is not None and after:
            began.setdefault(attempt.trial_id, attempt.first_step)
    return began


def environment() -> dict[str, str]:
    """Return the environment of commands: one thread, and lines of one length."""
    return os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "120"}
