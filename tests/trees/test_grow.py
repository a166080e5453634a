"""Inheritance of settings, and changes to trees."""

from typing import Any

import pytest

from emsearch.errors import SpecError
from emsearch.trees.grow import Sketch, grown, match, set_value
from emsearch.trees.node import Node, Tree
from emsearch.trees.plan import Plan
from emsearch.trees.settings import SETTINGS, Inherited


def unet(**values: Any) -> Tree:
    return Tree("test", grown(Sketch(kind="network", values=values)))


def convolutions(plan: Plan) -> list[Plan]:
    own = [plan] if plan.kind == "convolution" else []
    return own + [found for child in plan.children for found in convolutions(child)]


def widths(tree: Tree) -> list[int]:
    return [plan.get("width") for plan in convolutions(tree.plan())]


def test_a_delta_at_the_root_changes_all_that_is_below() -> None:
    assert widths(unet(levels=1, convolutions=1, width=10)) == [10, 20, 10]
    assert widths(unet(levels=1, convolutions=1, width=11)) == [11, 22, 11]


def test_a_delta_at_a_block_changes_that_block_alone() -> None:
    tree = set_value(unet(levels=1, convolutions=1, width=10), (0, 1, 0), "width", 13)
    assert widths(tree) == [10, 26, 10]


def test_a_later_delta_at_the_root_adds_to_the_one_below() -> None:
    tree = set_value(unet(levels=1, convolutions=1, width=10), (0, 1, 0), "width", 13)
    assert widths(set_value(tree, (), "width", 20)) == [20, 46, 20]


def test_values_are_clipped_and_deltas_are_not() -> None:
    here = Inherited.defaults().below([("width", 10_000)])
    assert here.values["width"] == SETTINGS["width"].highest
    assert here.below([("width", -9_990)]).values["width"] == SETTINGS["width"].default + 10


def test_a_choice_adds_to_its_index() -> None:
    here = Inherited.defaults().below([("activation", 1)])
    assert here.values["activation"] == "leaky_relu"
    assert here.below([("activation", 1)]).values["activation"] == "elu"


def test_growth_multiplies_the_width_up_to_the_widest() -> None:
    tree = unet(levels=3, convolutions=1, width=10, growth=1.5, widest=30)
    assert widths(tree) == [10, 15, 22, 30, 22, 15, 10]


def test_a_new_number_of_levels_keeps_the_deltas_of_what_stays() -> None:
    tree = set_value(unet(levels=1, convolutions=1, width=10), (0, 0, 0), "width", 12)
    deeper = set_value(tree, (), "levels", 2)
    assert widths(deeper) == [12, 20, 40, 20, 10]
    assert set_value(deeper, (), "levels", 1) == tree


def test_children_keep_their_deltas_by_kind() -> None:
    old = [Node("block", (("width", 1),)), Node("down"), Node("block", (("width", 2),))]
    assert match(old, ["block", "block", "down", "down"]) == [old[0], old[2], old[1], Node("down")]


@pytest.mark.parametrize(
    ("path", "name", "value", "message"),
    [
        ((), "width", 0, "width = 0: it is a whole number from 1 to 2048"),
        ((), "width", 1.5, "width = 1.5: it is a whole number"),
        ((), "growth", 9, "growth = 9: it is a number from 1.0 to 3.0"),
        ((), "activation", "relus", "activation = 'relus': it is one of"),
        ((), "colour", 1, "a network has no setting 'colour'"),
        ((1,), "width", 4, "a predictor has no setting 'width'"),
        ((7,), "width", 4, "a network with 2 children has no child 7"),
    ],
)
def test_what_cannot_be_set_is_refused(
    path: tuple[int, ...], name: str, value: Any, message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        set_value(unet(), path, name, value)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_every_setting_finds_its_numbers_again(name: str) -> None:
    setting = SETTINGS[name]
    for number in (setting.lowest, setting.default, setting.highest):
        assert setting.number(setting.meaning(number)) == number
