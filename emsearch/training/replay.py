"""Train a finished trial again, elsewhere, and tell whether the same came of it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emsearch.errors import NotFoundError, StateError
from emsearch.records.files import read_json
from emsearch.records.order import Order, TrainOrder, trial_folder
from emsearch.records.trial import Cause
from emsearch.training.provenance import differences
from emsearch.training.run import run_trial

__all__ = ["Replay", "replay"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """What came of a trial that was trained again."""

    trial: int
    is_equal: bool
    """Whether all weights are the same bits, and the score the same number."""
    largest_difference: float
    """Of a weight."""
    score: float
    """Mean IoU on validation, then."""
    score_again: float
    made_otherwise: dict[str, str]
    """What differs in code, libraries, device or data: then and now."""


def replay(study: Path, trial: int, scratch: Path) -> Replay:
    """Train a completed trial of a study again below `scratch` and compare weights and score.

    Raises NotFoundError where there is no such trial, StateError where it was not completed.
    """
    order = _order_of(study, trial)
    folder, told = _result_in(study / order.folder, trial)
    task = _task_of(order)
    post = _Alone(study, scratch / "attempts" / "again")
    outcome = run_trial(replace(task, keep_plateau=False), post)
    before = torch.load(study / told["facts"]["weights"], weights_only=True, map_location="cpu")
    after = torch.load(post.folder / "weights.pt", weights_only=True, map_location="cpu")
    then, now = (read_json(one / "provenance.json") for one in (folder, post.folder))
    score, again = (facts["score"]["mean_iou"] for facts in (told["facts"], outcome.facts))
    difference = _largest(before, after)
    return Replay(
        trial=trial,
        is_equal=difference == 0 and score == again,
        largest_difference=difference,
        score=score,
        score_again=again,
        made_otherwise={
            key: f"{json.dumps(one)} then, {json.dumps(other)} now"
            for key, (one, other) in differences(then, now).items()
        },
    )


class _Alone:
    """The post of a training that nobody waits for."""

    def __init__(self, study: Path, folder: Path) -> None:
        self.study, self.folder = study, folder
        folder.mkdir(parents=True)

    def evaluated(self, facts: Mapping[str, Any]) -> None:
        """Say nothing."""

    def progress(self, done: int, of: int) -> None:
        """Say nothing."""

    def stop_cause(self) -> Cause | None:
        return None

    def holds_claim(self) -> bool:
        return True


def _order_of(study: Path, trial: int) -> Order:
    """Return the order that carried a trial farthest."""
    orders = [order for order in _training_orders(study, trial) if _task_of(order).trial == trial]
    if not orders:
        raise NotFoundError(f"no order of {study} trained trial {trial}; see emsearch leaderboard")
    return max(orders, key=lambda order: (_task_of(order).until_step, order.number))


def _training_orders(study: Path, trial: int) -> Iterator[Order]:
    # A job that chose the trial's recipe by itself wrote its order, too.
    own = (study / trial_folder(trial)).glob("attempts/*/order.json")
    for path in [*sorted((study / "orders").glob("*.json")), *sorted(own)]:
        values = read_json(path)
        if values["kind"] == "train":
            yield Order.from_dict(values)


def _task_of(order: Order) -> TrainOrder:
    assert isinstance(order.task, TrainOrder)  # noqa: S101 - only such orders are read
    return order.task


def _result_in(folder: Path, trial: int) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the attempt that completed a trial, and the result that it left."""
    for path in sorted(folder.glob("attempts/*/result.json"), reverse=True):
        told: dict[str, Any] = read_json(path)
        return path.parent, told
    raise StateError(
        f"trial {trial} left no weights to compare with; only a completed one can be trained again"
    )


def _largest(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float:
    """Return the largest difference between two states of one network."""
    pairs = ((before[name].double(), after[name].double()) for name in before)
    return max(float((one - other).abs().max()) for one, other in pairs)
