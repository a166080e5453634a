from random import Random

import pytest

from emsearch.reports.influence import features, shares
from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.node import Node, Tree
from emsearch.trees.sample import draw
from emsearch.trees.space import make_space

TARGET = Target(classes=3, patch_zyx=(1, 128, 128), batch_size=2, voxel_nm=(40, 4, 4))
LIMITS = Limits(max_parameters=2_000_000, max_memory_gb=4, max_step_s=None, gflops=50, gbytes_s=10)


@pytest.fixture(scope="module")
def trees() -> list[Tree]:
    space = make_space(["encoder_decoder_2d"], {})
    return [draw(space, 5, number, TARGET, LIMITS).tree for number in range(60)]


def test_the_setting_that_scores_rest_on_comes_first(trees: list[Tree]) -> None:
    known = [features(tree) for tree in trees]
    rng = Random(1)
    skips = [one["whole network", "skip"] for one in known]
    scores = [0.6 + 0.1 * (skip == "residual") + rng.gauss(0, 0.02) for skip in skips]
    found = shares(known, scores, step=100)
    assert (found.lines[0].module, found.lines[0].setting) == ("whole network", "skip")
    assert found.lines[0].best == "residual"
    assert found.lines[0].part == 100
    assert found.lines[0].share > found.chance
    assert found.candidates == 60


def test_a_single_module_can_matter(trees: list[Tree]) -> None:
    known = [features(tree) for tree in trees]
    name = ("encode path, block 1", "width")
    assert all(name in one for one in known)
    scores = [float(one[name]) for one in known]
    found = shares(known, scores, step=100)
    assert any((line.module, line.setting) == name for line in found.lines)


def test_scores_that_rest_on_nothing_are_told_from_chance(trees: list[Tree]) -> None:
    known = [features(tree) for tree in trees]
    heard = 0
    for seed in range(20):
        rng = Random(seed)
        heard += bool(shares(known, [rng.random() for _ in known], step=100).lines)
    assert heard <= 4  # one in twenty is expected


def test_settings_that_never_differ_are_left_out() -> None:
    tree = Tree("plain", Node("network", (), (Node("encoder_decoder"),)))
    known = [features_of_root(tree)] * 12
    assert shares(known, [float(number) for number in range(12)], step=10).lines == ()


def features_of_root(tree: Tree) -> dict[tuple[str, str], float | int | str]:
    return {name: value for name, value in features(tree).items() if name[0] == "whole network"}
