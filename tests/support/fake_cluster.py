"""A cluster in memory: jobs run when they are told to, trainings score what their seed says."""

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from emsearch.errors import ExecutionError, NoAnswerError, RefusedError
from emsearch.execution.executor import Ending, JobReport, JobState, Limits, Request
from emsearch.records.candidate import trial_seed
from emsearch.records.chance import seed_of
from emsearch.records.dataset import VolumeRecord
from emsearch.records.event import AttemptName, EventKind
from emsearch.records.files import read_json
from emsearch.records.job import JobFile, TaskName
from emsearch.records.order import (
    EnsembleOrder,
    ImportOrder,
    Order,
    TrainOrder,
    TuneOrder,
    tree_of,
)
from emsearch.records.score import Score, Split
from emsearch.records.trial import Cause


@dataclass
class Running:
    """A task that the cluster knows."""

    job_file: Path
    node: str
    memory_factor: float
    restarted: list[Ending] = field(default_factory=list)
    gone: Ending | None = None


class FakeCluster:
    """An executor whose tasks end, or are lost or put back, at `tick`."""

    poll_s = 0.0

    def __init__(
        self,
        study: Path,
        failing: frozenset[int] = frozenset(),
        *,
        limits: Limits | None = None,
        others: int = 0,
        nodes: int = 4,
    ) -> None:
        self._study = study
        self._failing = failing
        """Trials that end with an error, every time."""
        self._limits = limits or Limits()
        self.others = others
        """Tasks of other studies, which count against the same limit."""
        self._nodes = [f"cn{number + 1}" for number in range(nodes)]
        self.tasks: dict[TaskName, Running] = {}
        self.faults: dict[int, list[Cause]] = {}
        """What a trial's next attempts end with, before one succeeds."""
        self.bad_nodes: set[str] = set()
        """Nodes on which every training ends with an error."""
        self.is_silent = False
        """It does not answer."""
        self.refusal: ExecutionError | None = None
        """What it says of every job, instead of taking it."""
        self.submissions: list[Request] = []
        self.most_at_once = 0
        self.trained: list[tuple[int, int, int]] = []
        """Trial, first step and end of every training that was carried out."""
        self.micro_batches: dict[int, list[int | None]] = {}
        self.tunings: list[TuneOrder] = []
        """Orders to tune, as their jobs were given them."""
        self.dies_after: list[int] = []
        """Parts after which each of the next such jobs dies, in the midst of another."""
        self.asks_for_nothing = False
        """Such jobs end before they choose any recipe."""

    def limits(self) -> Limits:
        self._answer()
        return self._limits

    def submit(self, token: str, job_file: Path, request: Request) -> tuple[str, ...]:
        self._answer()
        if self.refusal is not None:
            raise self.refusal
        limits = self._limits
        if limits.max_array is not None and request.tasks > limits.max_array:
            raise RefusedError("Invalid job array specification")
        at_once = len(self._alive()) + request.tasks
        if limits.max_submitted is not None and at_once + self.others > limits.max_submitted:
            raise RefusedError("Job violates accounting/QOS policy (job submit limit)")
        allowed = [node for node in self._nodes if node not in request.exclude]
        if not allowed:
            raise ExecutionError("Requested node configuration is not available")
        self.most_at_once = max(self.most_at_once, at_once)
        self.submissions.append(request)
        names = [TaskName(token=token, index=index) for index in range(request.tasks)]
        for name in names:
            node = allowed[len(self.tasks) % len(allowed)]
            self.tasks[name] = Running(
                job_file=job_file, node=node, memory_factor=request.memory_factor
            )
        return tuple(f"handle of {name}" for name in names)

    def find(self, token: str, tasks: int) -> tuple[str, ...] | None:
        self._answer()
        names = [TaskName(token=token, index=index) for index in range(tasks)]
        return tuple(f"handle of {task}" for task in names) if names[0] in self.tasks else None

    def reports(self, handles: Mapping[TaskName, str]) -> dict[TaskName, JobReport]:
        return {name: self._report(name) for name in handles}

    def stop(self, handles: Mapping[TaskName, str]) -> None:
        self._answer()
        for name in handles:
            if name in self.tasks and self.tasks[name].gone is None:
                self.tasks[name].gone = Ending(cause=Cause.CANCELLED, detail="CANCELLED")

    def tick(self, rng: Random, loss: float = 0.0, preempt: float = 0.0) -> None:
        """Run each task to its end, or lose it, or put it back, before one of its orders."""
        for name in self._alive():
            task = self.tasks[name]
            if rng.random() < preempt:
                self.restart(name)
                continue
            task.gone = Ending(cause=Cause.COMPLETED, node=task.node, exit_code=0)
            for entry in JobFile.read(task.job_file).tasks[name.index]:
                if rng.random() < loss:
                    task.gone = Ending(cause=Cause.LOST, detail="pulled the plug")
                    break
                self._run(name, task, entry.order)

    def forget(self, alive: Collection[str]) -> None:
        """Forget the tasks of all jobs but those with these tokens."""
        self.tasks = {name: task for name, task in self.tasks.items() if name.token in alive}

    def restart(self, name: TaskName) -> None:
        """Preempt a task: it goes back into the queue."""
        task = self.tasks[name]
        task.restarted.append(Ending(cause=Cause.PREEMPTED, node=task.node))

    def _answer(self) -> None:
        if self.is_silent:
            raise NoAnswerError("slurmctld does not answer")

    def _alive(self) -> list[TaskName]:
        return [name for name, task in self.tasks.items() if task.gone is None]

    def _report(self, name: TaskName) -> JobReport:
        if self.is_silent or name not in self.tasks:
            return JobReport(state=JobState.UNKNOWN)
        task = self.tasks[name]
        if task.gone is not None:
            return JobReport(state=JobState.GONE, ending=task.gone, restarted=tuple(task.restarted))
        return JobReport(
            state=JobState.ALIVE, word="PENDING", reason="Priority", restarted=tuple(task.restarted)
        )

    def _run(self, name: TaskName, task: Running, number: int) -> None:
        order = Order.from_dict(read_json(self._study / "orders" / f"{number:08d}.json"))
        attempt = AttemptName(
            token=name.token, index=name.index, order=number, restart=len(task.restarted)
        )
        if isinstance(order.task, TuneOrder):
            self._tune(order.task, attempt, task)
            return
        said = self._fault(order, task)
        self._leave(attempt, task, said or self._said(order))

    def _leave(
        self, attempt: AttemptName, task: Running, said: list[tuple[EventKind, dict[str, Any]]]
    ) -> None:
        started = (EventKind.STARTED, {"node": task.node, "pid": 1})
        for i, (kind, facts) in enumerate([started, *said]):
            content = json.dumps({"kind": kind, "at_s": time.time(), "facts": facts})
            (self._study / "inbox" / f"{attempt}.{i:06d}.json").write_text(content)

    def _tune(self, order: TuneOrder, attempt: AttemptName, task: Running) -> None:
        """Carry parts out as a job of Ray's does, or lose the job after as many as it is told."""
        self.tunings.append(order)
        if self.asks_for_nothing:
            self._leave(attempt, task, [(EventKind.ENDED, {"cause": Cause.COMPLETED})])
            return
        most = self.dies_after.pop(0) if self.dies_after else len(order.parts)
        for place, part in enumerate(order.parts[: most + 1]):
            recipe = part.recipe or replace(order.training.recipe, dice_weight=part.order / 1000)
            seed = part.seed or trial_seed(order.study_seed, tree_of(order.training), recipe, 0)
            drawn = {"recipe": asdict(recipe), "digest": recipe.digest(), "seed": seed}
            said: list[tuple[EventKind, dict[str, Any]]] = []
            said += [(EventKind.DRAWN, drawn)] if part.recipe is None else []
            if place < most:
                training = replace(order.training, trial=part.trial, recipe=recipe, seed=seed)
                said += self._stopped(training) if part.order % 2 else self._trained(training)
            self._leave(replace(attempt, order=part.order), task, said)
        if most < len(order.parts):
            self._leave(attempt, task, [])
            task.gone = Ending(cause=Cause.LOST, detail="pulled the plug")
            return
        self._leave(attempt, task, [(EventKind.ENDED, {"cause": Cause.COMPLETED})])

    def _stopped(self, task: TrainOrder) -> list[tuple[EventKind, dict[str, Any]]]:
        """Return what is said of a training that falls behind at the first mark."""
        facts = {"step": task.evaluate_at[0], "score": asdict(score_of(task, task.evaluate_at[0]))}
        ended = {"cause": Cause.PAUSED, "stopped": True, **facts}
        return [(EventKind.EVALUATED, facts), (EventKind.ENDED, ended)]

    def _fault(self, order: Order, task: Running) -> list[tuple[EventKind, dict[str, Any]]]:
        if not isinstance(order.task, TrainOrder):
            return []
        trial = order.task.trial
        self.micro_batches.setdefault(trial, []).append(order.task.micro_batch)
        if task.node in self.bad_nodes:
            words = f"Traceback: CUDA error of {trial}"
            return [(EventKind.ENDED, {"cause": Cause.ERROR, "detail": words})]
        if not self.faults.get(trial):
            return []
        cause = self.faults[trial].pop(0)
        return [(EventKind.ENDED, {"cause": cause, "detail": f"{cause} of {trial}"})]

    def _said(self, order: Order) -> list[tuple[EventKind, dict[str, Any]]]:
        task = order.task
        if isinstance(task, TrainOrder):
            return self._trained(task)
        done: dict[str, Any] = {"cause": Cause.COMPLETED}
        if isinstance(task, ImportOrder):
            done["volume"] = asdict(
                VolumeRecord(
                    name=task.name,
                    zarr=f"volumes/{task.name}.zarr",
                    shape_zyx=(8, 64, 64),
                    voxel_nm=task.voxel_nm,
                    train=task.train,
                    validation=task.validation,
                    test=task.test,
                )
            )
        if isinstance(task, EnsembleOrder):
            members = [{"trial": one.trial, "weight": 0.5} for one in task.pool[:2]]
            best = {"name": "best", "kind": "ensemble", "method": "top_k", "members": members}
            done["entries"] = [best | {"validation": None, "test": None}]
        return [(EventKind.ENDED, done)]

    def _trained(self, task: TrainOrder) -> list[tuple[EventKind, dict[str, Any]]]:
        if task.trial in self._failing:
            return [(EventKind.ENDED, {"cause": Cause.ERROR, "detail": "Traceback: boom"})]
        first = max((end for trial, _, end in self.trained if trial == task.trial), default=0)
        self.trained.append((task.trial, first, task.until_step))
        steps = [step for step in task.evaluate_at if first < step <= task.until_step]
        said: list[tuple[EventKind, dict[str, Any]]] = [
            (EventKind.EVALUATED, {"step": step, "score": asdict(score_of(task, step))})
            for step in steps
        ]
        full = task.until_step == task.horizon
        ended: dict[str, Any] = {
            "cause": Cause.COMPLETED if full else Cause.PAUSED,
            "step": task.until_step,
            "first_step": first,
            "score": asdict(score_of(task, task.until_step)),
        }
        if full:
            ended["weights"] = f"trials/{task.trial:06d}/attempts/x/weights.pt"
        return [*said, (EventKind.ENDED, ended)]


def score_of(task: TrainOrder, step: int) -> Score:
    """Return what a training scores at a step: a function of its seed alone."""
    mean = (seed_of(task.seed) % 1000) / 2000 + 0.4 * step / task.horizon
    return Score(
        split=Split.VALIDATION,
        iou_K=(mean, mean),
        mean_iou=mean,
        mean_iou_foreground=mean,
        accuracy=mean,
        voxels=100,
    )
