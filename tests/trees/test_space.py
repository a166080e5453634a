"""Spaces that users give."""

from typing import Any

import pytest

from emsearch.errors import SpecError
from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.families import FAMILIES
from emsearch.trees.sample import draw
from emsearch.trees.settings import SETTINGS, Inherited
from emsearch.trees.space import make_space

TARGET = Target(classes=3, patch_zyx=(1, 64, 64))


def roots(ranges: dict[str, Any], name: str) -> set[Any]:
    space = make_space(["encoder_decoder_2d"], ranges)
    drawn = (draw(space, 0, number, TARGET, Limits()).tree for number in range(40))
    return {Inherited.defaults().below(tree.root.deltas).values[name] for tree in drawn}


def test_a_range_of_amounts_bounds_what_is_drawn() -> None:
    assert roots({"width": [5, 7]}, "width") == {5, 6, 7}


def test_a_single_amount_is_always_taken() -> None:
    assert roots({"levels": 2}, "levels") == {2}


def test_a_range_may_be_wider_than_the_family_s() -> None:
    assert roots({"convolutions": [5, 6]}, "convolutions") == {5, 6}


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_any_setting_may_be_opened_as_far_as_it_goes(name: str) -> None:
    setting = SETTINGS[name]
    whole = list(setting.options) or [setting.lowest, setting.highest]
    ((_, ranges),) = make_space(["encoder_decoder_2d"], {name: whole}).ranges
    opened = next(range_ for range_ in ranges if range_.name == name)
    assert (opened.root[0], opened.root[-1], opened.rate(0)) == (
        setting.lowest,
        setting.highest,
        1.0,
    )


def test_options_bound_what_is_drawn() -> None:
    assert roots({"activation": ["silu", "gelu"]}, "activation") == {"silu", "gelu"}


def test_a_setting_that_the_family_leaves_alone_can_be_opened() -> None:
    assert roots({"normalisation": ["none", "instance"]}, "normalisation") == {"none", "instance"}
    assert roots({"dropout": [0.0, 0.2]}, "dropout") == {0.0, 0.2}


def test_a_table_sets_deltas_and_rates() -> None:
    ranges = {"width": {"root": [8, 9], "below": [[0, 0], [-1, 1]], "rates": [1, 0.0, 0.5]}}
    (space,) = make_space(["encoder_decoder_2d"], ranges).ranges
    width = next(range_ for range_ in space[1] if range_.name == "width")
    assert (width.root, width.deltas(1), width.deltas(9)) == ((8, 9), (0, 0), (-1, 1))
    assert (width.rate(0), width.rate(1), width.rate(9)) == (1.0, 0.0, 0.5)


def test_a_family_may_have_ranges_of_its_own() -> None:
    space = make_space(["encoder_decoder_2d"], {"encoder_decoder_2d": {"width": [3, 4]}})
    assert next(r for r in space.of_family("encoder_decoder_2d") if r.name == "width").root == (
        3,
        4,
    )


def test_mixed_stands_for_all_families() -> None:
    assert make_space(["mixed"], {}).families == tuple(FAMILIES)


@pytest.mark.parametrize(
    ("families", "ranges", "message"),
    [
        (["unets"], {}, "no family 'unets'; known: .*'encoder_decoder_2d'.*'mixed'"),
        ([], {}, "name at least one"),
        (["encoder_decoder_2d"], {"widht": [1, 2]}, r"ranges.widht = \[1, 2\]: no such setting"),
        (["encoder_decoder_2d"], {"width": [0, 9]}, "width = 0: it is a whole number from 1"),
        (["encoder_decoder_2d"], {"width": [9, 8]}, "the smallest comes first"),
        (["encoder_decoder_2d"], {"width": [1, 2, 3]}, "smallest, largest"),
        (["encoder_decoder_2d"], {"width": ["a", 3]}, "width = 'a'"),
        (["encoder_decoder_2d"], {"pool": ["maximum"]}, "one of .*'max', 'average', 'strided'"),
        (["encoder_decoder_2d"], {"pool": []}, "allow at least one"),
        (["encoder_decoder_2d"], {"width": {"root": [1, 2], "rate": 1}}, "width.rate = 1: known"),
        (["encoder_decoder_2d"], {"width": {"rates": [2]}}, "a chance from 0 to 1"),
        (["encoder_decoder_2d"], {"width": {"rates": 0.5}}, "a list, one entry a level"),
        (["encoder_decoder_2d"], {"width": {"below": [[3]]}}, r"\[smallest, largest\] delta"),
        (["encoder_decoder_2d"], {"encoder_decoder_2d": 3}, "it is a table of settings"),
        (["thin_3d"], {"dense_2d": {"width": 3}}, r"dense_2d = .*'width': 3.* has \['thin_3d'\]"),
    ],
)
def test_a_wrong_space_is_refused(
    families: list[str], ranges: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        make_space(families, ranges)
