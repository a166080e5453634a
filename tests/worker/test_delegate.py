"""Carrying out an order to tune, without Ray: what is said for parts, and what a job has."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emsearch.records.candidate import Recipe
from emsearch.records.dataset import Dataset
from emsearch.records.event import AttemptName
from emsearch.records.files import write_json
from emsearch.records.order import Order, Part, TrainOrder, TuneOrder, trial_folder
from emsearch.records.trial import Cause
from emsearch.records.version import code_version
from emsearch.trees.node import Tree
from emsearch.tuning.ray_setting import IS_OVER, Machine
from emsearch.worker.attempt import Attempt
from emsearch.worker.delegate import Desk, _chosen_first, cores_of, run_tune, scratch_of
from emsearch.worker.signals import Signals

SYSTEM = Path("/tmp")  # noqa: S108 - what Ray is given where a job has no folder of its own
NAME = AttemptName(token="job", index=0, order=7, restart=0)


@pytest.fixture
def desk(tmp_path: Path, any_tree: Tree) -> Desk:
    """The desk of an order with two parts, of which one has its recipe."""
    (tmp_path / "inbox").mkdir()
    training = TrainOrder(
        trial=0,
        tree=any_tree.to_dict(),
        recipe=Recipe(),
        seed=0,
        dataset=Dataset(classes=("a", "b"), volumes=()),
        horizon=40,
        until_step=40,
        evaluate_at=(10, 40),
    )
    parts = (
        Part(order=8, generation=21, trial=3, recipe=None),
        Part(order=9, generation=22, trial=4, recipe=Recipe(focal=1.0), seed=5),
    )
    task = TuneOrder(
        survivor=2,
        training=training,
        parts=parts,
        known=(),
        shapes=(),
        rungs=(10, 40),
        keep=0.5,
        seed=1,
        study_seed=7,
    )
    return Desk(study=tmp_path, task=task, name=NAME, leave=tmp_path / "leave", threads=1)


def begin(desk: Desk, place: int) -> None:
    folder = desk.folder_of(desk.task.parts[place])
    write_json(folder / "order.json", {})


def said(desk: Desk) -> list[tuple[str, Mapping[str, Any]]]:
    paths = sorted((desk.study / "inbox").glob("*.json"))
    events = [(path.name, json.loads(path.read_text())) for path in paths]
    return [(name, event["facts"]) for name, event in events]


def test_a_part_that_was_stopped_at_a_rung_is_spoken_for(desk: Desk) -> None:
    begin(desk, 0)
    told = {"step": 10, "score": {"mean_iou": 0.4}, "train_s": 2.0, "loss": 0.3}
    desk.ended(0, {"step": 10, "mean_iou": 0.4, "told": json.dumps(told)}, has_died=False)
    ((name, facts),) = said(desk)
    assert name == "job.0.8.0.999999.json"
    assert (facts["cause"], facts["stopped"], facts["step"]) == (Cause.PAUSED, True, 10)
    assert facts["score"] == {"mean_iou": 0.4}


def test_a_part_whose_process_died_is_lost(desk: Desk) -> None:
    begin(desk, 1)
    desk.ended(1, {}, has_died=True)
    ((name, facts),) = said(desk)
    assert name.startswith("job.0.9.0.")
    assert facts["cause"] == Cause.LOST


def test_one_that_spoke_for_itself_or_never_began_is_not_spoken_for(desk: Desk) -> None:
    begin(desk, 0)
    desk.ended(0, {IS_OVER: True}, has_died=False)
    desk.ended(1, {}, has_died=True)
    assert said(desk) == []


def test_when_it_is_time_to_leave_nothing_is_begun(desk: Desk) -> None:
    desk.leave.write_text(Cause.TIMEOUT)
    reported: list[Mapping[str, Any]] = []
    desk.train(0, Recipe(), reported.append)
    assert reported == [{IS_OVER: True}]
    assert not desk.folder_of(desk.task.parts[0]).exists()


def test_recipes_that_are_chosen_come_first_and_so_do_those_left_behind(desk: Desk) -> None:
    parts = desk.task.parts
    assert [part.order for part in _chosen_first(parts, desk.study)] == [9, 8]
    task = replace(desk.task.training, trial=3, recipe=Recipe(focal=2.0))
    order = Order(number=8, folder=trial_folder(3), kind="train", task=task, version=code_version())
    left = desk.study / trial_folder(3) / "attempts" / "an-earlier-one" / "order.json"
    write_json(left, order.to_dict())
    first = _chosen_first(parts, desk.study)[0]
    assert (first.order, first.recipe) == (8, Recipe(focal=2.0))
    assert first.seed == 0  # the ledger has not heard of it: it is to be said again


def test_a_job_that_the_cluster_put_back_leaves_what_is_left_to_a_new_one(desk: Desk) -> None:
    with Signals() as signals:
        attempt = Attempt(
            study=desk.study,
            name=replace(NAME, restart=1),
            folder=desk.study / "attempt",
            generation=1,
            signals=signals,
        )
        outcome = run_tune(desk.task, attempt)
    assert outcome.cause == Cause.PREEMPTED
    assert said(desk) == []


def test_cores_are_the_jobs_not_the_nodes() -> None:
    assert cores_of({"SLURM_CPUS_PER_TASK": "1"}) == 1
    assert cores_of({}) >= 1
    assert cores_of({"SLURM_CPUS_ON_NODE": "100000"}) == cores_of({})


def test_scratch_is_the_jobs_own_where_its_path_leaves_room_for_sockets(tmp_path: Path) -> None:
    assert scratch_of({"EMSEARCH_SCRATCH": str(SYSTEM)}) == SYSTEM
    long = tmp_path / ("long" * 10)
    long.mkdir()
    assert scratch_of({"EMSEARCH_SCRATCH": str(long)}) == SYSTEM
    assert scratch_of({"TMPDIR": "/absent"}) == SYSTEM


@pytest.mark.parametrize(
    ("cores", "gpus", "limits", "share"),
    [
        (4, 0, (None, 1), (2, {"cpu": 1.0})),  # two parts are all there are
        (1, 0, (None, 1), (1, {"cpu": 1.0})),
        (4, 0, (1, 1), (1, {"cpu": 1.0})),
        (8, 1, (None, 2), (2, {"gpu": 0.5, "cpu": 1.0})),
        (1, 1, (None, 4), (2, {"gpu": 0.5, "cpu": 0.5})),
        (8, 2, (None, 1), (2, {"gpu": 1.0, "cpu": 1.0})),
    ],
)
def test_trainings_share_what_the_job_has(
    cores: int,
    gpus: float,
    limits: tuple[int | None, int],
    share: tuple[int, dict[str, float]],
    desk: Desk,
) -> None:
    machine = Machine(cores=cores, threads=1, uses_gpus=True, scratch=SYSTEM)
    order = replace(desk.task, at_once=limits[0], at_once_a_gpu=limits[1])
    assert machine.share(order, gpus) == share
