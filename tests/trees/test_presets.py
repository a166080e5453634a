"""Networks with a name."""

import pytest

from emsearch.errors import SpecError
from emsearch.trees.arithmetic import Facts, Limits, Target, describe
from emsearch.trees.node import Tree
from emsearch.trees.plan import Plan
from emsearch.trees.presets import PRESETS, find_preset


def made(name: str) -> tuple[Tree, Facts]:
    preset = find_preset(name)
    target = Target(channels=preset.channels, classes=7, patch_zyx=preset.patch_zyx)
    tree = preset.make(target, Limits())
    return tree, describe(tree, target)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("unet", 31_030_983),
        ("guay-2021", 8_102_567 + 3_269_703),
        ("guay-2020", 10_487_278),
        ("pyramid-3d-small", 4_263),
    ],
)
def test_published_networks_have_exactly_their_parameters(name: str, parameters: int) -> None:
    assert made(name)[1].parameters == parameters


def widths(plan: Plan) -> list[int]:
    own = [plan.get("width")] if plan.kind == "convolution" else []
    return own + [width for child in plan.children for width in widths(child)]


def test_the_poster_s_pyramid_has_the_poster_s_paths() -> None:
    pyramid = made("poster-2019")[0].plan().children[2].children[0]
    assert [widths(pyramid.children[place]) for place in (0, 2, 5)] == [
        [24, 24],
        [48, 48, 48, 48],
        [72, 72, 72, 72, 72, 72],
    ]
    assert made("poster-2019")[0].plan().children[2].children[2].kind == "crf"


def test_the_poster_s_first_stage_is_the_group_s_unet() -> None:
    assert made("poster-2019")[0].plan().children[0] == made("unet")[0].plan()


def test_the_published_network_never_pools_z() -> None:
    assert made("guay-2021")[1].divisor_zyx == (1, 8, 8)


def test_the_published_stages_have_their_dimensions() -> None:
    plan = made("guay-2021")[0].plan()
    assert [plan.children[place].get("dimensions") for place in (0, 2)] == [3, 3]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_written_and_read(name: str) -> None:
    tree, facts = made(name)
    assert Tree.from_dict(tree.to_dict()) == tree
    assert facts.output_zyx == find_preset(name).patch_zyx
    assert not facts.sees_whole_tile


def test_an_unknown_preset_is_refused_with_those_there_are() -> None:
    with pytest.raises(SpecError, match="no preset 'u-net'; known presets: baseline, unet"):
        find_preset("u-net")
