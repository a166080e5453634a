"""Recipes from Optuna within Ray Tune: many short trainings on the devices of one job.

Ray is used to pack and to stop early, for nothing else: what was tried comes from outside, and what
comes of a training is told outside, so nothing of Ray's own state is kept or restored. Everything
that is handed to Ray can be pickled.
"""

import logging
import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ray
from ray import tune
from ray.tune import Callback, RunConfig
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from emsearch.errors import StateError
from emsearch.records.chance import seed_of
from emsearch.records.order import TuneOrder
from emsearch.tuning.optuna_tuner import Tried, known_study, quietly, sampler_of
from emsearch.tuning.ray_setting import SCORE, STEP, Machine, Train, Watch
from emsearch.tuning.space import params_of, recipe_of, space_near
from emsearch.tuning.thin_storage import SharedSpace, ThinStorage

__all__ = ["run_with_ray"]

_LONGEST_PATH = 43
"""Letters of Ray's folder: below it lie sockets, whose paths may have 107."""
_PATIENT = frozenset({signal.SIGTERM, signal.SIGUSR2})
"""Signals that are for the worker alone: it has the trainings leave their checkpoints."""


def run_with_ray(order: TuneOrder, train: Train, watch: Watch, machine: Machine) -> None:
    """Train the order's parts, those whose recipes are chosen already first; return when all ended.

    A part that dies harms no other. Raises StateError where Ray does not start.
    """
    with _running(machine) as (folder, gpus):
        slots, share = machine.share(order, gpus)
        tuner = tune.Tuner(
            tune.with_resources(_trainable(order, train), share),
            tune_config=tune.TuneConfig(
                search_alg=_Search(order, watch),
                scheduler=_scheduler(order),
                num_samples=len(order.parts),
                max_concurrent_trials=slots,
                reuse_actors=True,  # a process is warm: torch is imported once
                trial_dirname_creator=_name,
            ),
            run_config=RunConfig(
                name="tune", storage_path=str(folder), verbose=0, callbacks=[_Endings(watch)]
            ),
        )
        logging.getLogger("ray.tune").setLevel(logging.ERROR)  # it misses results of its own
        with quietly():
            tuner.fit()


def _name(trial: Any) -> str:
    """Return a short name: Ray's own holds every parameter."""
    return str(trial.trial_id)


def _trainable(order: TuneOrder, train: Train) -> Callable[[dict[str, Any]], None]:
    def trainable(config: dict[str, Any]) -> None:
        place = config["place"]
        own = order.parts[place].recipe
        recipe = own or recipe_of(order.training.recipe, config["params"])
        train(place, recipe, tune.report)

    return trainable


class _Search(OptunaSearch):
    """Optuna that begins with all that is known, and numbers what it suggests by its place."""

    def __init__(self, order: TuneOrder, watch: Watch) -> None:
        space = SharedSpace(space_near(order.training.recipe, order.shapes))
        tried = [Tried(recipe=one.recipe, score=one.score) for one in order.known]
        storage = ThinStorage()
        study = known_study(space, tried, storage)
        for part in order.parts:
            if part.recipe is not None:  # suggested first, in this order
                study.enqueue_trial(params_of(part.recipe, space) or {})
        with quietly():
            sampler = sampler_of(seed_of(order.seed, len(tried)))
        super().__init__(dict(space), metric=SCORE, mode="max", sampler=sampler, storage=storage)
        self._watch = watch
        self._places = 0

    def suggest(self, trial_id: str) -> Any:
        if self._watch.is_leaving():
            return Searcher.FINISHED
        config = {"place": self._places, "params": super().suggest(trial_id)}
        self._places += 1
        return config

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep nothing of what a training scores on its way: the schedule compares that."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        error = error or not result or result.get(SCORE) is None
        super().on_trial_complete(trial_id, None if error else result, error)

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()  # Tune asks for a file; nothing is ever restored from it


def _scheduler(order: TuneOrder) -> TrialScheduler:
    """Return what stops trainings that fall behind, told of those that were at rungs before."""
    first, horizon = order.rungs[0], order.rungs[-1]
    if first == horizon or order.keep == 1:
        return FIFOScheduler()  # type: ignore[no-untyped-call]
    scheduler = ASHAScheduler(
        time_attr=STEP,
        metric=SCORE,
        mode="max",
        grace_period=first,
        max_t=horizon,
        reduction_factor=1 / order.keep,
        stop_last_trials=False,  # who comes to the horizon says so itself
    )
    for number, one in enumerate(order.known):
        before: Any = SimpleNamespace(trial_id=f"known-{number}")
        nobody: Any = None
        scheduler.on_trial_add(nobody, before)
        for step, score in one.curve:
            scheduler.on_trial_result(nobody, before, {STEP: step, SCORE: score})
    return scheduler


class _Endings(Callback):
    """Tells of each training that runs no more."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def on_trial_complete(
        self,
        iteration: int,  # noqa: ARG002 - Tune's own signature
        trials: list[Any],  # noqa: ARG002 - the same
        trial: Any,
        **_: Any,
    ) -> None:
        self._watch.ended(trial.config["place"], trial.last_result or {}, has_died=False)

    def on_trial_error(
        self,
        iteration: int,  # noqa: ARG002 - the same
        trials: list[Any],  # noqa: ARG002 - the same
        trial: Any,
        **_: Any,
    ) -> None:
        self._watch.ended(trial.config["place"], trial.last_result or {}, has_died=True)


@contextmanager
def _running(machine: Machine) -> Iterator[tuple[Path, float]]:
    """Run Ray on this node alone; yield a folder that ends with it, and how many GPUs there are."""
    _sweep(machine.scratch)
    folder = Path(tempfile.mkdtemp(prefix=f"ray{os.getpid()}-", dir=machine.scratch))
    if len(str(folder)) > _LONGEST_PATH:
        folder.rmdir()
        raise StateError(
            f"{folder} is too long a path for Ray's sockets; set EMSEARCH_SCRATCH to a shorter one"
        )
    handlers = {number: signal.getsignal(number) for number in _PATIENT}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            signal.pthread_sigmask(signal.SIG_BLOCK, _PATIENT)  # Ray's processes inherit that
            ray.init(
                address="local",
                num_cpus=machine.cores,
                num_gpus=None if machine.uses_gpus else 0,
                include_dashboard=False,
                logging_level=logging.WARNING,
                object_store_memory=100_000_000,
                _node_ip_address="127.0.0.1",
                _temp_dir=str(folder),
            )
        for number, handler in handlers.items():
            signal.signal(number, handler)  # Ray has its own for SIGTERM
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PATIENT)
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        yield folder, float(resources.get("GPU", 0.0))
    finally:
        ray.shutdown()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PATIENT)
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(scratch: Path) -> None:
    """Remove what jobs of ours left on this node that were killed."""
    for path in scratch.glob("ray*-*"):
        pid = path.name.removeprefix("ray").partition("-")[0]
        is_ours = path.is_dir() and path.stat().st_uid == os.getuid()
        if is_ours and pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(path, ignore_errors=True)
