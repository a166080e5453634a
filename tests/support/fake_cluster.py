"""A cluster in memory: jobs run when they are told to, trainings score what their seed says."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

from emsearch.execution.executor import Ending, JobReport, JobState, Limits, Request
from emsearch.records.chance import seed_of
from emsearch.records.dataset import VolumeRecord
from emsearch.records.event import AttemptName, EventKind
from emsearch.records.files import read_json, write_json
from emsearch.records.job import JobFile, TaskName
from emsearch.records.order import EnsembleOrder, ImportOrder, Order, TrainOrder
from emsearch.records.score import Score, Split
from emsearch.records.trial import Cause

LOSS = JobReport(state=JobState.GONE, ending=Ending(cause=Cause.LOST, detail="pulled the plug"))


class FakeCluster:
    """An executor whose jobs end, or are lost, at `tick`."""

    poll_s = 0.0

    def __init__(self, study: Path, failing: frozenset[int] = frozenset()) -> None:
        self._study = study
        self._failing = failing
        """Trials that end with an error, every time."""
        self.known: dict[TaskName, Path] = {}
        self.over: set[TaskName] = set()
        self.trained: list[tuple[int, int, int]] = []
        """Trial, first step and end of every training that was carried out."""

    def limits(self) -> Limits:
        return Limits()

    def submit(self, token: str, job_file: Path, request: Request) -> tuple[str, ...]:
        tasks = [TaskName(token=token, index=index) for index in range(request.tasks)]
        self.known |= dict.fromkeys(tasks, job_file)
        return tuple(f"handle of {task}" for task in tasks)

    def find(self, token: str, tasks: int) -> tuple[str, ...] | None:
        names = [TaskName(token=token, index=index) for index in range(tasks)]
        return tuple(f"handle of {task}" for task in names) if names[0] in self.known else None

    def reports(self, handles: Mapping[TaskName, str]) -> dict[TaskName, JobReport]:
        alive = JobReport(state=JobState.ALIVE)
        return {task: LOSS if task in self.over else alive for task in handles}

    def stop(self, handles: Mapping[TaskName, str]) -> None:
        self.over.update(handles)

    def tick(self, rng: Random, loss: float = 0.0) -> None:
        """Run each job to its end, or lose it with probability `loss` before one of its orders."""
        for task in sorted(set(self.known) - self.over):
            for entry in JobFile.read(self.known[task]).tasks[task.index]:
                if rng.random() < loss:
                    break
                self._run(task, entry.order)
            self.over.add(task)

    def _run(self, task: TaskName, number: int) -> None:
        order = Order.from_dict(read_json(self._study / "orders" / f"{number:08d}.json"))
        name = AttemptName(token=task.token, index=task.index, order=number, restart=0)
        says = [(EventKind.STARTED, {"node": "cn1", "pid": 1}), *self._said(order)]
        for i, (kind, facts) in enumerate(says):
            content = {"kind": kind, "at_s": time.time(), "facts": facts}
            write_json(self._study / "inbox" / f"{name}.{i:06d}.json", content)

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
