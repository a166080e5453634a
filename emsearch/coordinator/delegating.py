"""Tuning by Ray: what one order delegates, and what its next attempt is given of the ledger."""

from collections import defaultdict
from collections.abc import Iterable

from pydantic import TypeAdapter
from sqlalchemy import Connection

from emsearch.coordinator.draw import Drawing
from emsearch.coordinator.view import Plan
from emsearch.ledger import changes, delegations, queries
from emsearch.ledger.rows import AnyRow
from emsearch.records.candidate import Recipe
from emsearch.records.chance import seed_of
from emsearch.records.order import KnownRecipe, Part, TrainOrder, TuneOrder
from emsearch.records.spec import StudySpec
from emsearch.records.trial import OVER, OrderState, TrialState
from emsearch.trees.node import Tree

__all__ = ["delegate", "tune_order", "waive"]

_RECIPE = TypeAdapter(Recipe)
_SCORED = frozenset({TrialState.COMPLETED, TrialState.STOPPED})


def delegate(
    connection: Connection, study_id: int, spec: StudySpec, survivor: int, count: int
) -> None:
    """Order a survivor to be tuned with `count` trials, in one job that chooses their recipes."""
    drawing = Drawing(study_id, spec)
    row = queries.candidates(connection, study_id, survivor)[0]
    base = _RECIPE.validate_python(row.recipe)
    each_s = spec.training.seconds(spec.search.rungs[-1], row.step_s)
    facts = {"survivor": survivor, "shapes": drawing.shapes(Tree.from_dict(row.structure), base)}
    order = changes.add_order(
        connection,
        study_id,
        "tune",
        {
            "task": facts,
            "expected_s": count * each_s / (_at_once(spec) or 1),
            "memory_gb": Plan.of(spec).gpu_memory_gb or 0.0,  # Ray shares the device out itself
        },
    )
    first = drawing.next_tuned(connection, survivor)
    reserved = drawing.add_tuned(connection, row, first, [base] * count)
    delegations.reserve(connection, order, reserved, {"survivor": survivor})


def waive(connection: Connection, study_id: int, survivor: int) -> None:
    """Give up the trials of a survivor that its order, which is over, chose no recipe for."""
    left = [
        row.id
        for row in queries.orders_of_kind(connection, study_id, queries.RESERVED)
        if row.task["survivor"] == survivor and row.state == OrderState.WAITING
    ]
    delegations.waive(connection, left, "the tuning ended before it asked for a recipe")


def tune_order(
    connection: Connection,
    spec: StudySpec,
    row: AnyRow,
    training: TrainOrder,
    parts: Iterable[tuple[AnyRow, int]],
) -> TuneOrder:
    """Return an order to tune as it stands now: what is known, and the parts that are left.

    `training` is the survivor's own; `parts` are orders with the attempts at them.
    """
    survivor = row.task["survivor"]
    own = queries.candidates(connection, row.study_id, survivor)[0]
    return TuneOrder(
        survivor=survivor,
        training=training,
        parts=tuple(_part(one, attempt) for one, attempt in parts),
        known=tuple(_known(connection, row.study_id, survivor, training.recipe)),
        shapes=tuple(tuple(shape) for shape in row.task["shapes"]),
        rungs=spec.search.rungs,
        keep=spec.search.keep,
        seed=seed_of(spec.study.seed, own.digest, "tune"),
        study_seed=spec.study.seed,
        at_once=_at_once(spec),
        at_once_a_gpu=Plan.of(spec).orders_at_once,
    )


def _part(row: AnyRow, attempt: int) -> Part:
    is_chosen = row.kind != queries.RESERVED
    return Part(
        order=row.id,
        generation=attempt,
        trial=row.trial_id,
        recipe=_RECIPE.validate_python(row.recipe) if is_chosen else None,
        seed=row.seed if is_chosen else 0,
        micro_batch=row.micro_batch,
    )


def _known(
    connection: Connection, study_id: int, survivor: int, base: Recipe
) -> Iterable[KnownRecipe]:
    scores = [
        trial.score
        for trial in queries.trials_of(connection, study_id, TrialState.COMPLETED)
        if trial.candidate == survivor
    ]
    yield KnownRecipe(recipe=base, score=sum(scores) / len(scores) if scores else None)
    over = [row for row in queries.tuned(connection, study_id, survivor) if row.state in OVER]
    curves: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for row in delegations.curves_of(connection, [row.id for row in over]):
        curves[row.trial_id].append((row.step, row.mean_iou))
    for row in over:
        is_scored = row.state in _SCORED
        if is_scored and row.score is None:
            continue  # it never began
        yield KnownRecipe(
            recipe=_RECIPE.validate_python(row.recipe),
            score=row.score if is_scored else None,
            curve=tuple(curves[row.id]),
        )


def _at_once(spec: StudySpec) -> int | None:
    """Return how many trainings a job runs at most: on one host the jobs share its slots."""
    if spec.tune.at_once or spec.cluster.executor != "local":
        return spec.tune.at_once
    return max(spec.cluster.max_jobs // spec.tune.survivors, 1)
