"""Block diagrams and sheets of pictures."""

import re
from xml.etree import ElementTree as ET

import pytest

from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.diagram import to_diagram
from emsearch.trees.draw import to_svg
from emsearch.trees.families import FAMILIES
from emsearch.trees.grow import Sketch, grown
from emsearch.trees.node import Tree
from emsearch.trees.presets import PRESETS
from emsearch.trees.sample import draw
from emsearch.trees.space import make_space
from emsearch.trees.svg import room, sheet

TARGET = Target(classes=7, patch_zyx=(4, 64, 64), voxel_nm=(40, 10, 10))
Rectangle = tuple[float, float, float, float]


def preset(name: str) -> str:
    made = PRESETS[name]
    target = Target(channels=made.channels, classes=7, patch_zyx=made.patch_zyx)
    return to_diagram(made.make(target, Limits()), target)


def planes(svg: str) -> list[Rectangle]:
    pattern = r'<rect x="([-\d.]+)" y="([-\d.]+)" width="([\d.]+)" height="([\d.]+)" rx'
    found = [tuple(map(float, numbers)) for numbers in re.findall(pattern, svg)]
    return [(x, y, x + width, y + height) for x, y, width, height in found]


def numbers_above(svg: str) -> list[Rectangle]:
    pattern = r'<text x="([-\d.]+)" y="([-\d.]+)" text-anchor="middle" fill="#222">(\d+)<'
    return [
        (float(x) - half, float(y) - 9, float(x) + half, float(y))
        for x, y, words in re.findall(pattern, svg)
        for half in [room(words) / 2]
    ]


def overlap(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def assert_readable(svg: str) -> None:
    things = planes(svg) + numbers_above(svg)
    for place, one in enumerate(things):
        clashes = [other for other in things[place + 1 :] if overlap(one, other)]
        assert clashes == []
    root = ET.fromstring(svg)  # noqa: S314 - our own text
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    for thing in things:
        assert left <= thing[0]
        assert top <= thing[1]
        assert thing[2] <= left + width
        assert thing[3] <= top + height


@pytest.mark.parametrize("name", PRESETS)
def test_no_planes_or_numbers_overlap(name: str) -> None:
    assert_readable(preset(name))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("number", range(3))
def test_drawn_networks_can_be_read(family: str, number: int) -> None:
    tree = draw(make_space([family], {}), 2, number, TARGET, Limits()).tree
    assert_readable(to_diagram(tree, TARGET))


def test_the_group_s_unet_looks_as_on_the_poster() -> None:
    svg = preset("unet")
    shown = re.findall(r'text-anchor="middle" fill="#222">(\d+)<', svg)
    falling = ["1", "64", "64", "64", "128", "128", "128", "256", "256", "256", "512", "512", "512"]
    assert shown[: len(falling)] == falling
    assert shown[len(falling) :][:2] == ["1024", "1024"]
    assert shown[-1] == "7"
    assert svg.count('marker-end="url(#skip)"') == 4
    assert ">1×32×32<" in svg


def test_taller_planes_have_a_higher_resolution() -> None:
    heights = [bottom - top for _, top, _, bottom in planes(preset("unet"))[:24]]
    assert heights[1] > heights[4] > heights[7] > heights[10]
    assert heights[1] == max(heights)


def test_the_image_reaches_the_crf() -> None:
    svg = preset("poster-2019")
    assert "refined by CRF-RNN" in svg
    # Four skips of the U-Net, the image to the 3-D stage; then the image to the CRF.
    assert svg.count('marker-end="url(#skip)"') == 5
    assert svg.count('marker-end="url(#guide)"') == 1


def test_braces_say_how_many_sections_go_one_by_one() -> None:
    svg = preset("poster-2019")
    assert svg.count(">×6<") == 1
    assert {">6×512×512<", ">1×32×32<", ">6×128×128<"} <= set(re.findall(r">[\d×]+<", svg))
    assert ">6×32×32<" not in svg
    assert ">×" not in preset("unet")


def test_added_and_concatenated_paths_have_their_lines() -> None:
    assert ">added<" in preset("guay-2021")
    tree = Tree("t", grown(Sketch(kind="network", values={"body": "pyramid", "combine": "merge"})))
    assert ">concatenated<" in to_diagram(tree, TARGET)
    assert ">added<" not in to_diagram(tree, TARGET)


def test_a_sheet_shows_pictures_below_each_other() -> None:
    tree = draw(make_space(["dense_2d"], {}), 2, 0, TARGET, Limits()).tree
    pictures = [to_svg(tree, None), to_diagram(tree, TARGET)]
    root = ET.fromstring(sheet(pictures))  # noqa: S314 - our own text
    first, second = root.findall("{http://www.w3.org/2000/svg}svg")
    assert float(second.attrib["y"]) >= float(first.attrib["height"])
    total = float(second.attrib["y"]) + float(second.attrib["height"])
    assert total == float(root.attrib["height"])
