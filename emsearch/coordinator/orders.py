"""Writing orders from the ledger's rows, and clearing away what orders left on disk."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection

from emsearch.coordinator.delegating import tune_order
from emsearch.coordinator.view import Plan
from emsearch.ledger import listings, queries
from emsearch.ledger.rows import AnyRow
from emsearch.records.candidate import Origin, Recipe
from emsearch.records.dataset import Dataset, VolumeRecord
from emsearch.records.job import Entry, JobFile
from emsearch.records.order import (
    EnsembleOrder,
    ImportOrder,
    Member,
    Order,
    Task,
    TrainOrder,
    read_task,
    trial_folder,
)
from emsearch.records.spec import StudySpec
from emsearch.records.trial import Cause
from emsearch.records.version import code_version

__all__ = ["OrderWriter", "evaluation_steps"]

_DATASET = TypeAdapter(Dataset)
_RECIPE = TypeAdapter(Recipe)
_VOLUME = TypeAdapter(VolumeRecord)


def evaluation_steps(spec: StudySpec) -> tuple[int, ...]:
    """Return the steps after which a trial is scored: the rungs, and evenly over the horizon."""
    horizon = spec.search.rungs[-1]
    count = min(spec.training.evaluations, horizon)
    evenly = {round(horizon * (i + 1) / count) for i in range(count)}
    return tuple(sorted(evenly | set(spec.search.rungs)))


class OrderWriter:
    """Turns rows into orders for workers."""

    def __init__(self, folder: Path, spec: StudySpec) -> None:
        self._folder = folder
        self._spec = spec
        self._plan = Plan.of(spec)
        self._evaluate_at = evaluation_steps(spec)

    def job(
        self, connection: Connection, token: str, attempts: Sequence[Mapping[int, int]]
    ) -> tuple[list[Order], JobFile]:
        """Return a job's orders, complete, and its file; `attempts` are their rows, by task."""
        rows = {
            row.id: row
            for row in queries.orders_with_facts(connection, [n for task in attempts for n in task])
        }
        dataset = None
        if any(row.kind in {"train", "tune"} for row in rows.values()):
            dataset = self._dataset(connection)
        parts: dict[int, list[tuple[AnyRow, int]]] = defaultdict(list)
        tasks: list[tuple[Entry, ...]] = []
        for task in attempts:
            carried = {order for order in task if rows[order].part_of in task}
            for order in sorted(carried):
                parts[rows[order].part_of].append((rows[order], task[order]))
            own = [order for order in task if order not in carried]
            tasks.append(tuple(_entry(rows[order], task[order]) for order in own))
        orders = [
            self._tuning(connection, rows[order], dataset, parts[order])
            if rows[order].kind == "tune" and dataset is not None
            else self._order(rows[order], dataset)
            for task_entries in tasks
            for order in (entry.order for entry in task_entries)
        ]
        file = JobFile(
            token=token,
            tasks=tuple(tasks),
            at_once=self._plan.orders_at_once,
            memory_gb=self._plan.gpu_memory_gb,
        )
        return orders, file

    def _order(self, row: AnyRow, dataset: Dataset | None) -> Order:
        if row.kind == "train" and dataset is not None:
            task = self._training(row, dataset)
            return self._numbered(row, task, trial_folder(row.trial_id))
        return self._numbered(row, read_task(row.kind, row.task), _task_folder(row))

    def _tuning(
        self,
        connection: Connection,
        row: AnyRow,
        dataset: Dataset,
        parts: Sequence[tuple[AnyRow, int]],
    ) -> Order:
        survivor = queries.candidates(connection, row.study_id, row.task["survivor"])[0]
        training = self._trained(
            dataset,
            tree=survivor.structure,
            recipe=_RECIPE.validate_python(survivor.recipe),
            until_step=self._spec.search.rungs[-1],
        )
        task = tune_order(connection, self._spec, row, training, parts)
        return self._numbered(row, task, _task_folder(row))

    def _numbered(self, row: AnyRow, task: Task, folder: str) -> Order:
        return Order(
            number=row.id,
            folder=folder,
            kind=row.kind,
            task=task,
            version=code_version(),
            threads=self._spec.cluster.threads,
        )

    def imports(self) -> list[ImportOrder]:
        """Return what is to be imported."""
        section = self._spec.dataset
        return [ImportOrder.of(section, volume) for volume in section.volumes]

    def dataset(self, connection: Connection, study_id: int) -> dict[str, Any]:
        """Return the dataset that the finished imports make, normalised alike, as JSON values."""
        imported = {
            row.result["volume"]["name"]: _VOLUME.validate_python(row.result["volume"])
            for row in listings.attempts_of_trials(connection, study_id)
            if row.kind == "import" and row.cause == Cause.COMPLETED
        }
        dataset = Dataset(
            classes=self._spec.dataset.classes,
            volumes=tuple(imported[volume.name] for volume in self._spec.dataset.volumes),
            ignore_label=self._spec.dataset.ignore_label,
        )
        return asdict(dataset.normalised_alike())

    def combination(self, connection: Connection, study_id: int) -> EnsembleOrder:
        """Return the order that selects the ensemble from the study's trained trials."""
        section = self._spec.ensemble
        trained = [_member(row) for row in queries.member_trials(connection, study_id)]
        baselines = [member for member in trained if member.is_baseline]
        others = [member for member in trained if not member.is_baseline]
        pool = sorted(others[: section.pool] + baselines, key=lambda member: -member.score)
        return EnsembleOrder(
            pool=tuple(pool),
            baselines=tuple(sorted(baselines, key=lambda member: member.trial))[: section.size],
            size=section.size,
            methods=section.methods,
            combine=section.combine,
            dataset=self._dataset(connection),
            study=self._spec.study.name,
            device=self._spec.training.device,
        )

    def prune(self, trial: int, *, keep_newest: bool) -> None:
        """Remove a trial's checkpoints, but for the newest where that is asked."""
        attempts = self._folder / trial_folder(trial) / "attempts"
        checkpoints = sorted(attempts.glob("*/checkpoint-*.pt"), key=lambda path: path.name)
        for path in _all_but_newest(checkpoints) if keep_newest else checkpoints:
            path.unlink(missing_ok=True)

    def _dataset(self, connection: Connection) -> Dataset:
        return _DATASET.validate_python(queries.study(connection).dataset)

    def _training(self, row: AnyRow, dataset: Dataset) -> TrainOrder:
        training = self._trained(
            dataset,
            tree=row.structure,
            recipe=_RECIPE.validate_python(row.recipe),
            until_step=row.until_step,
        )
        return replace(training, trial=row.trial_id, seed=row.seed, micro_batch=row.micro_batch)

    def _trained(
        self, dataset: Dataset, *, tree: dict[str, Any], recipe: Recipe, until_step: int
    ) -> TrainOrder:
        """Return how a tree is trained with a recipe, whatever the trial."""
        training = self._spec.training
        return TrainOrder(
            trial=0,
            tree=tree,
            recipe=recipe,
            seed=0,
            dataset=dataset,
            horizon=self._spec.search.rungs[-1],
            until_step=until_step,
            evaluate_at=self._evaluate_at,
            budget=training.budget,
            checkpoint_every_s=training.checkpoint_every_s,
            keep_plateau=training.keep_plateau,
            compile=training.compile,
            device=training.device,
        )


def _task_folder(row: AnyRow) -> str:
    return f"tasks/{row.kind}-{row.id:06d}"


def _entry(row: AnyRow, attempt: int) -> Entry:
    return Entry(
        order=row.id,
        generation=attempt,
        expected_s=row.expected_s,
        memory_gb=row.memory_gb,
    )


def _member(row: AnyRow) -> Member:
    return Member(
        trial=row.id,
        candidate=row.candidate,
        tree=row.structure,
        weights=row.weights,
        patch_zyx=_RECIPE.validate_python(row.recipe).patch_zyx,
        score=row.score,
        is_baseline=row.origin == Origin.BASELINE,
        seed=row.seed,
    )


def _all_but_newest(checkpoints: Sequence[Path]) -> Sequence[Path]:
    """Return those with fewer steps than the newest: equal ones may belong to a live attempt."""
    return [path for path in checkpoints if path.name < checkpoints[-1].name]
