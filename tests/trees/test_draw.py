"""Pictures of trees."""

import re
from xml.etree import ElementTree as ET

import pytest

from emsearch.trees.arithmetic import Limits, Target, describe
from emsearch.trees.baseline import baseline
from emsearch.trees.draw import COLOURS, to_svg, to_text
from emsearch.trees.families import FAMILIES
from emsearch.trees.kinds import KINDS
from emsearch.trees.labels import TITLES
from emsearch.trees.node import Tree
from emsearch.trees.presets import PRESETS
from emsearch.trees.sample import draw
from emsearch.trees.space import make_space

TARGET = Target(classes=5, patch_zyx=(1, 64, 64))
Rectangle = tuple[float, float, float, float]


def drawn(family: str, number: int) -> Tree:
    return draw(make_space([family], {}), 1, number, TARGET, Limits()).tree


def boxes(svg: str) -> list[Rectangle]:
    """Return (left, top, right, bottom) of the rounded boxes."""
    pattern = r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" rx'
    found = [tuple(map(float, numbers)) for numbers in re.findall(pattern, svg)]
    return [(x, y, x + width, y + height) for x, y, width, height in found]


def overlap(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def test_text_has_a_line_for_each_module() -> None:
    text = to_text(drawn("encoder_decoder_2d", 0)).splitlines()
    assert len(text) == 1 + len(list(drawn("encoder_decoder_2d", 0).walk()))
    assert text[0].startswith("encoder_decoder_2d ")
    assert any("convolution: " in line for line in text)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("number", range(4))
def test_no_two_boxes_overlap(family: str, number: int) -> None:
    tree = drawn(family, number)
    found = boxes(to_svg(tree, describe(tree, TARGET)))
    assert len(found) > 5
    for place, one in enumerate(found):
        assert not any(overlap(one, other) for other in found[place + 1 :])


def test_the_root_box_says_what_the_network_is() -> None:
    tree = baseline(TARGET, Limits())
    facts = describe(tree, TARGET)
    svg = to_svg(tree, facts)
    for text in (f"{facts.parameters:,} parameters", f"{facts.layers} layers", "input 1×64×64"):
        assert text in svg


@pytest.mark.parametrize(("name", "width"), [("guay-2021", 64), ("unet", 64), ("baseline", 32)])
def test_the_root_box_says_the_width_of_the_first_block(name: str, width: int) -> None:
    target = Target(classes=7, patch_zyx=PRESETS[name].patch_zyx)
    tree = PRESETS[name].make(target, Limits())
    assert f">width {width}<" in to_svg(tree, describe(tree, target))


def test_the_picture_is_well_formed_and_within_its_frame() -> None:
    svg = to_svg(baseline(TARGET, Limits()), None)
    root = ET.fromstring(svg)  # noqa: S314 - our own text
    right, bottom = float(root.attrib["width"]), float(root.attrib["height"])
    assert all(box[2] <= right and box[3] <= bottom for box in boxes(svg))


def test_every_kind_has_a_colour_and_a_title() -> None:
    assert set(COLOURS) == set(TITLES) == set(KINDS)
