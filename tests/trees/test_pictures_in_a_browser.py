"""Pictures as a browser shows them: no two texts overlap, and each lies within its box."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from emsearch.trees.arithmetic import Limits, Target, describe
from emsearch.trees.diagram import to_diagram
from emsearch.trees.draw import to_svg
from emsearch.trees.families import FAMILIES
from emsearch.trees.node import Tree
from emsearch.trees.presets import PRESETS
from emsearch.trees.sample import draw
from emsearch.trees.space import make_space
from tests.support.chromium import CHROMIUM, FLAGS

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")

TARGET = Target(classes=7, patch_zyx=(8, 128, 128), voxel_nm=(40, 10, 10))
LARGE = Limits(max_parameters=80_000_000, max_memory_gb=100)

_CLASHES = """() => {
  const boxes = [...document.querySelectorAll('text')].map(t => [t, t.getBoundingClientRect()]);
  const hit = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 0.5
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;  // lines have room above
  return boxes.flatMap(([t, a], i) => boxes.slice(i + 1)
    .filter(([, b]) => hit(a, b)).map(([u]) => t.textContent + ' / ' + u.textContent));
}"""

_STRAYS = """() => {
  const boxes = [...document.querySelectorAll('rect[rx]')].map(r => r.getBoundingClientRect());
  const holds = (r, t) => r.left <= t.left && t.right <= r.right
    && r.top - 1 <= t.top && t.bottom <= r.bottom + 1;
  return [...document.querySelectorAll('text')]
    .filter(t => !boxes.some(r => holds(r, t.getBoundingClientRect())))
    .map(t => t.textContent);
}"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser.new_page()
        browser.close()


def preset(name: str) -> tuple[Tree, Target]:
    made = PRESETS[name]
    target = Target(channels=made.channels, classes=7, patch_zyx=made.patch_zyx)
    return made.make(target, Limits()), target


def large() -> Tree:
    """Return a drawn tree of more than 60 million parameters."""
    space = make_space(["dense_2d"], {"width": [90, 110], "levels": 4})
    draws = (draw(space, 1, number, TARGET, LARGE).tree for number in range(100))
    return next(tree for tree in draws if describe(tree, TARGET).parameters > 60_000_000)


def assert_clear(page: Page, tree: Tree, target: Target) -> None:
    page.set_content(to_svg(tree, describe(tree, target)))
    assert page.evaluate(_CLASHES) == []
    assert page.evaluate(_STRAYS) == []
    page.set_content(to_diagram(tree, target))
    assert page.evaluate(_CLASHES) == []


@pytest.mark.parametrize("name", PRESETS)
def test_presets_can_be_read(page: Page, name: str) -> None:
    assert_clear(page, *preset(name))


@pytest.mark.parametrize("family", FAMILIES)
def test_drawn_trees_can_be_read(page: Page, family: str) -> None:
    for number in range(3):
        tree = draw(make_space([family], {}), 3, number, TARGET, Limits()).tree
        assert_clear(page, tree, TARGET)


def test_a_tree_of_sixty_million_parameters_can_be_read(page: Page) -> None:
    assert_clear(page, large(), TARGET)
