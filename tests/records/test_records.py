"""Small records: seeds, names, orders, processes."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsearch.errors import SpecError
from emsearch.records.candidate import Recipe
from emsearch.records.chance import seed_of
from emsearch.records.dataset import Dataset, VolumeRecord
from emsearch.records.event import AttemptName, Event, EventKind
from emsearch.records.order import (
    EnsembleOrder,
    ImportOrder,
    Member,
    Order,
    ProbeOrder,
    Task,
    TrainOrder,
)
from emsearch.records.process import host_of, is_alive, process_name
from emsearch.records.score import Split
from emsearch.records.trial import MOVES, OVER, TrialState
from emsearch.records.version import code_version
from emsearch.trees.node import Tree

VOLUME = VolumeRecord(
    name="v0",
    zarr="volumes/v0.zarr",
    shape_zyx=(4, 8, 8),
    voxel_nm=(40.0, 10.0, 10.0),
    train=(0, 2),
    validation=(2, 3),
)
DATASET = Dataset(classes=("a", "b"), volumes=(VOLUME,))


def test_seeds_depend_on_every_part_and_on_its_kind() -> None:
    seeds = {seed_of(1, 2), seed_of(2, 1), seed_of(12), seed_of("1", 2), seed_of(1, "2")}
    assert len(seeds) == 5
    assert seed_of(1, "tree", 0) == 6851216097891482773


@given(st.lists(st.integers(0, 2**63) | st.text(max_size=5)))
def test_seeds_fit_where_seeds_go(parts: list[int | str]) -> None:
    assert 0 <= seed_of(*parts) < 2**63


def test_an_attempts_name_can_be_read_back() -> None:
    name = AttemptName(token="my-study-0ab1", index=3, order=12, restart=1)
    assert AttemptName.parse(str(name)) == name


@pytest.mark.parametrize("text", ["", "a.b.c.d", "A.0.1.2", "a.0.1", "a.0.1.2.3"])
def test_what_is_no_attempts_name_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="no attempt's name"):
        AttemptName.parse(text)


def test_events_of_an_attempt_sort_as_they_were_said() -> None:
    name = AttemptName(token="a", index=0, order=1, restart=0)
    events = [Event(attempt=name, number=n, kind=EventKind.STARTED, at_s=0.0) for n in range(12)]
    names = [event.file_name for event in events]
    assert names == sorted(names)


def orders(tree: Tree) -> list[Order]:
    train = TrainOrder(
        trial=1,
        tree=tree.to_dict(),
        recipe=Recipe(),
        seed=3,
        dataset=DATASET,
        horizon=10,
        until_step=5,
        evaluate_at=(5, 10),
    )
    member = Member(
        trial=1, candidate=1, tree=tree.to_dict(), weights="w.pt", patch_zyx=(1, 8, 8), score=0.5
    )
    volume = ImportOrder(
        name="v0", image="/i", labels="/l", classes=("a", "b"), voxel_nm=(1.0, 1.0, 1.0)
    )
    ensemble = EnsembleOrder(pool=(member,), baselines=(), size=2, dataset=DATASET)
    tasks: dict[str, Task] = {
        "train": train,
        "import": volume,
        "ensemble": ensemble,
        "probe": ProbeOrder(),
    }
    return [
        Order(number=1, folder="f", kind=kind, task=task, version="0")
        for kind, task in tasks.items()
    ]


def test_orders_can_be_read_back(any_tree: Tree) -> None:
    for order in orders(any_tree):
        assert Order.from_dict(order.to_dict()) == order


def test_recipes_differ_by_what_they_hold() -> None:
    assert Recipe().digest() == Recipe().digest()
    assert Recipe().digest() != replace(Recipe(), dice_weight=0.6).digest()


@pytest.mark.parametrize("fault", [{"dice_weight": 1.5}, {"learning_rate": 0.0}])
def test_a_recipe_that_makes_no_sense_is_refused(fault: dict[str, float]) -> None:
    with pytest.raises(SpecError, match=next(iter(fault))):
        Recipe(**fault)  # type: ignore[arg-type]


def test_volumes_of_one_name_are_refused() -> None:
    with pytest.raises(SpecError, match="same name"):
        Dataset(classes=("a", "b"), volumes=(VOLUME, VOLUME))


def test_a_volume_knows_its_splits() -> None:
    assert VOLUME.slices(Split.TRAIN) == (0, 2)
    assert VOLUME.slices(Split.TEST) is None


def test_every_state_has_its_moves_and_verdicts_can_be_reached() -> None:
    assert set(MOVES) == set(TrialState)
    reached = set().union(*MOVES.values())
    assert reached >= OVER
    assert MOVES[TrialState.COMPLETED] == frozenset()


def test_this_process_lives_and_an_ended_one_does_not() -> None:
    assert is_alive(process_name())
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = process_name(child.pid)
    assert is_alive(name)
    child.kill()
    psutil.wait_procs([psutil.Process(child.pid)], timeout=10)
    assert not is_alive(name)  # a zombie is not alive
    child.communicate()
    assert not is_alive(name)


def test_a_recycled_number_is_another_process() -> None:
    host, pid, started = process_name().split("/")
    assert not is_alive(f"{host}/{pid}/{float(started) - 1000:.2f}")
    assert not is_alive(f"elsewhere/{pid}/{started}")
    assert host_of(process_name()) == host


def test_the_version_is_the_packages() -> None:
    assert code_version().startswith("0.1.0")


def test_volumes_are_normalised_by_the_training_voxels_of_all_together() -> None:
    def volume(name: str, sections: int, mean: float, std: float, **split: Any) -> VolumeRecord:
        shape = (sections, 8, 8)
        return replace(VOLUME, name=name, shape_zyx=shape, mean=mean, std=std, **split)

    none = {"train": None, "validation": None, "test": None}
    dark = volume("dark", 4, 100.0, 10.0, **none | {"train": (0, 3)})
    light = volume("light", 4, 140.0, 20.0, **none | {"train": (0, 1)})
    tested = volume("tested", 9, 30.0, 5.0, **none | {"test": (0, 9)})
    alike = Dataset(classes=("a", "b"), volumes=(dark, light, tested)).normalised_alike()
    grey = np.array([90.0, 110.0] * 3 + [120.0, 160.0])  # with these moments
    assert {(one.mean, one.std) for one in alike.volumes} == {alike.moments}
    assert alike.moments == pytest.approx((grey.mean(), grey.std()))
