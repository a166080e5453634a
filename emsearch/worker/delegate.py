"""Carrying out an order to tune: Ray Tune runs many short trainings on the devices of this job.

Each training is an attempt at an order of its own, with its claim, its events and its checkpoint in
its trial's folder, as in a job of its own. A training whose recipe was chosen here says that first.
A job that was killed is not gone on with by Ray: the order's next attempt is given what the ledger
knows by then, and the trials that are left.
"""

import importlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from emsearch.errors import StateError
from emsearch.records.candidate import Recipe, trial_seed
from emsearch.records.event import AttemptName, EventKind, Outcome
from emsearch.records.files import read_json, write_json
from emsearch.records.order import Order, Part, TrainOrder, TuneOrder, tree_of, trial_folder
from emsearch.records.trial import Cause
from emsearch.records.version import code_version
from emsearch.tuning.ray_setting import (
    IS_OVER,
    SCORE,
    STEP,
    Machine,
    Report,
    prepare_environment,
)
from emsearch.worker.attempt import Attempt
from emsearch.worker.orders import run_order

__all__ = ["Desk", "cores_of", "run_tune", "scratch_of"]

_LEAVE = "leave"
"""File in the order's attempt folder that has its parts leave; it says why."""
_ORDER = "order.json"
"""File in a part's attempt folder: what it carries out, once its recipe is chosen."""
_LONGEST_SCRATCH = 22
_LAST = 999_999  # number of the event that is said in a part's place
_LOOK_EVERY_S = 0.2
_TOLD = "told"  # key under which Ray is handed what a part said of its last evaluation


def run_tune(task: TuneOrder, attempt: Attempt) -> Outcome:
    """Train the parts of an order to tune, and return how that ended.

    Raises StateError where Ray does not start, or ends before all parts have begun.
    """
    if attempt.name.restart:
        detail = "put back by the cluster: a new job goes on with what the ledger knows by now"
        return Outcome(cause=Cause.PREEMPTED, facts={"detail": detail})
    task = replace(task, parts=_chosen_first(task.parts, attempt.study))
    desk = Desk(
        study=attempt.study,
        task=task,
        name=attempt.name,
        leave=attempt.folder / _LEAVE,
        threads=int(os.environ.get("OMP_NUM_THREADS", "1")),
    )
    machine = Machine(
        cores=cores_of(os.environ),
        threads=desk.threads,
        uses_gpus=task.training.device != "cpu",
        scratch=scratch_of(os.environ),
    )
    prepare_environment()
    run_with_ray = importlib.import_module("emsearch.tuning.ray_tuner").run_with_ray
    with _passing_on(attempt, desk.leave):
        run_with_ray(task, desk.train, desk, machine)
    begun = sum((desk.folder_of(part) / _ORDER).is_file() for part in task.parts)
    if (cause := attempt.stop_cause()) is None and begun < len(task.parts):
        raise StateError(f"Ray ended when {begun} of {len(task.parts)} trainings had begun")
    known = sum(part.recipe is not None for part in task.parts)
    facts = {"first_step": known, "step": begun, "trainings": len(task.parts)}
    return Outcome(cause=cause or Cause.COMPLETED, facts=facts)


def cores_of(environment: Mapping[str, str]) -> int:
    """Return how many cores this job has: the node may have more."""
    own = len(os.sched_getaffinity(0))
    asked = environment.get("SLURM_CPUS_PER_TASK") or environment.get("SLURM_CPUS_ON_NODE")
    return min(int(asked), own) if asked else own


def scratch_of(environment: Mapping[str, str]) -> Path:
    """Return the job's node-local folder; the system's where there is none, or its path is long.

    Ray's sockets lie in it, whose paths may have 107 letters.
    """
    for name in ("EMSEARCH_SCRATCH", "TMPDIR"):
        own = environment.get(name, "")
        if own and len(own) <= _LONGEST_SCRATCH and Path(own).is_dir():
            return Path(own)
    return Path("/tmp")  # noqa: S108 - Ray's folder in it has a name of its own


@dataclass(frozen=True, kw_only=True, slots=True)
class Desk:
    """Hands parts out, and speaks for those that cannot. It is the same in each process."""

    study: Path
    task: TuneOrder
    name: AttemptName
    """Of the order to tune."""
    leave: Path
    threads: int

    def train(self, place: int, recipe: Recipe, report: Report) -> None:
        """Train the part at a place with a recipe, in a process of Ray's."""
        part = self.task.parts[place]
        attempt = self._attempt(part, report)
        if self.is_leaving():
            report({IS_OVER: True})
            return
        attempt.folder.mkdir(parents=True, exist_ok=True)
        order = self._order(part, recipe)
        write_json(attempt.folder / _ORDER, order.to_dict())
        if part.recipe is None or part.seed == 0:
            assert isinstance(order.task, TrainOrder)  # noqa: S101 - for ourselves
            drawn = {"recipe": asdict(recipe), "digest": recipe.digest(), "seed": order.task.seed}
            attempt.say(EventKind.DRAWN, drawn)
        run_order(order, attempt)
        report({IS_OVER: True, **attempt.result})

    def is_leaving(self) -> bool:
        """Return whether the job has been asked to leave."""
        return self.leave.exists()

    def ended(self, place: int, last: Mapping[str, Any], *, has_died: bool) -> None:
        """Say in a part's place how it ended, where it could not: stopped at a rung, or dead."""
        attempt = self._attempt(self.task.parts[place], _nobody)
        if last.get(IS_OVER) or not (attempt.folder / _ORDER).is_file():
            return
        attempt.resume_saying_at(_LAST)
        if has_died or _TOLD not in last:
            detail = "the process of this training died; others of the job went on"
            attempt.say(EventKind.ENDED, {"cause": Cause.LOST, "detail": detail})
            return
        told = json.loads(last[_TOLD])
        facts = {name: told[name] for name in ("step", "score", "train_s")}
        attempt.say(EventKind.ENDED, {"cause": Cause.PAUSED, "stopped": True, **facts})

    def folder_of(self, part: Part) -> Path:
        """Return the folder of this job's attempt at a part."""
        name = replace(self.name, order=part.order)
        return self.study / trial_folder(part.trial) / "attempts" / str(name)

    def _attempt(self, part: Part, report: Report) -> "_PartAttempt":
        return _PartAttempt(
            study=self.study,
            name=replace(self.name, order=part.order),
            folder=self.folder_of(part),
            generation=part.generation,
            signals=_Asked(self.leave),
            report=report,
            horizon=self.task.training.horizon,
        )

    def _order(self, part: Part, recipe: Recipe) -> Order:
        training = self.task.training
        seed = part.seed or trial_seed(self.task.study_seed, tree_of(training), recipe, 0)
        return Order(
            number=part.order,
            folder=trial_folder(part.trial),
            kind="train",
            task=replace(
                training,
                trial=part.trial,
                recipe=recipe,
                seed=seed,
                micro_batch=part.micro_batch,
            ),
            version=code_version(),
            threads=self.threads,
        )


class _Asked:
    """What asks a part to leave: a file that the job's own process writes."""

    def __init__(self, leave: Path) -> None:
        self._leave = leave
        self._look_s = 0.0
        self._cause: Cause | None = None
        self.last_words: Callable[[Cause], None] = lambda _cause: None
        self.number: int | None = None

    @property
    def told(self) -> str:
        """How it was asked to leave: its own process heard no signal."""
        return f"asked to leave by its job's own process: {self._cause}"

    def corrected(self, cause: Cause) -> Cause:
        """Return the cause: its job's own process had it corrected, or nobody has."""
        return cause

    @property
    def cause(self) -> Cause | None:
        """Why to leave now: looked up seldom, since a training asks at every step."""
        now_s = time.monotonic()
        if now_s - self._look_s > _LOOK_EVERY_S:
            self._look_s = now_s
            self._cause = Cause(self._leave.read_text()) if self._leave.exists() else None
        return self._cause


@dataclass(kw_only=True, slots=True)
class _PartAttempt(Attempt):
    """An attempt at a part: it says what every attempt says, and tells Ray of it."""

    report: Report
    horizon: int
    result: dict[str, Any] = field(default_factory=dict)
    """What Ray is told at the end."""

    def say(self, kind: EventKind, facts: Mapping[str, Any]) -> None:
        """Leave an event, and keep of the end what Ray is to know."""
        Attempt.say(self, kind, facts)
        if kind == EventKind.ENDED and facts["cause"] == Cause.COMPLETED:
            self.result = {STEP: facts["step"], SCORE: facts["score"]["mean_iou"]}

    def evaluated(self, facts: Mapping[str, Any]) -> None:
        """Leave an event of kind EVALUATED; where Ray stops the training, this does not return.

        At the horizon nothing is compared any more: Ray is told when the weights are written.
        """
        self.say(EventKind.EVALUATED, facts)
        if facts["step"] < self.horizon:
            score = facts["score"]["mean_iou"]
            self.report({STEP: facts["step"], SCORE: score, _TOLD: json.dumps(facts)})


class _passing_on:  # noqa: N801 - a context, used as one
    """Passes on to an order's parts that it is time to leave."""

    def __init__(self, attempt: Attempt, leave: Path) -> None:
        self._attempt, self._leave = attempt, leave
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="passing on", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        told: Cause | None = None
        while not self._is_over.wait(_LOOK_EVERY_S):
            if (cause := self._attempt.stop_cause()) != told and cause is not None:
                scratch = self._leave.with_name(f".{_LEAVE}")
                scratch.write_text(cause)
                scratch.replace(self._leave)
                told = cause  # a guess: it is told again where the cluster says otherwise


def _chosen_first(parts: Sequence[Part], study: Path) -> tuple[Part, ...]:
    """Return the parts, those first whose recipes are chosen: Ray is given them in that order.

    A recipe that an earlier job chose, and had no time to say, is taken from what it left.
    """
    found = [part if part.recipe else _left_behind(part, study) for part in parts]
    return tuple(sorted(found, key=lambda part: part.recipe is None))


def _left_behind(part: Part, study: Path) -> Part:
    folder = study / trial_folder(part.trial) / "attempts"
    for path in sorted(folder.glob(f"*/{_ORDER}")):
        task = Order.from_dict(read_json(path)).task
        assert isinstance(task, TrainOrder)  # noqa: S101 - parts are trainings
        return replace(part, recipe=task.recipe)
    return part


def _nobody(_metrics: Mapping[str, Any]) -> None:
    """Report to nobody."""
