"""Mutation and crossover."""

import pytest

from emsearch.errors import SpecError
from emsearch.trees.arithmetic import Limits, Target, describe
from emsearch.trees.baseline import baseline
from emsearch.trees.families import FAMILIES
from emsearch.trees.grow import Sketch, grown
from emsearch.trees.mutate import cross, graft, mutate
from emsearch.trees.node import Node, Tree
from emsearch.trees.plan import Plan
from emsearch.trees.sample import draw
from emsearch.trees.settings import Inherited
from emsearch.trees.space import Space, make_space

TARGET = Target(classes=5, patch_zyx=(8, 64, 64), voxel_nm=(40, 10, 10))
LIMITS = Limits(max_parameters=2_000_000)


def drawn(space: Space, number: int) -> Tree:
    return draw(space, 1, number, TARGET, LIMITS).tree


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mutant_is_another_tree_that_fits_the_space(family: str) -> None:
    space = make_space([family], {})
    ranges = {range_.name: range_.root for range_ in space.of_family(family)}
    tree = drawn(space, 0)
    for seed in range(10):
        mutant = mutate(space, tree, seed, TARGET, LIMITS)
        assert mutant.digest != tree.digest()
        assert Tree.from_dict(mutant.tree.to_dict()) == mutant.tree
        assert describe(mutant.tree, TARGET).parameters <= 2_000_000
        assert ranges["width"][0] <= widest_sum(mutant.tree.root) <= ranges["width"][-1]


def widest_sum(node: Node, inherited: Inherited | None = None) -> float:
    here = (inherited or Inherited.defaults()).below(node.deltas)
    own = [here.sums["width"]] if node.kind == "convolution" else []
    return max([*own, *(widest_sum(child, here) for child in node.children)], default=0)


def test_mutation_depends_on_tree_and_seed_alone() -> None:
    space = make_space(["residual_2d"], {})
    tree = drawn(space, 0)
    assert mutate(space, tree, 5, TARGET, LIMITS) == mutate(space, tree, 5, TARGET, LIMITS)
    digests = {mutate(space, tree, seed, TARGET, LIMITS).digest for seed in range(10)}
    assert len(digests) > 5


def test_a_mutant_stays_nearer_than_a_stranger() -> None:
    space = make_space(["encoder_decoder_2d"], {"width": [8, 64]})
    tree = drawn(space, 3)
    old = root_width(tree)
    mutants = [root_width(mutate(space, tree, seed, TARGET, LIMITS).tree) for seed in range(20)]
    strangers = [root_width(drawn(space, number)) for number in range(20)]
    assert sum(abs(width - old) for width in mutants) < sum(abs(w - old) for w in strangers)


def root_width(tree: Tree) -> int:
    return int(Inherited.defaults().below(tree.root.deltas).values["width"])


def test_a_graft_keeps_its_effective_values() -> None:
    receiver = Tree("a", grown(Sketch(kind="network", values={"width": 50, "levels": 1})))
    giver_root = grown(
        Sketch(
            kind="network",
            values={"width": 10, "levels": 1, "activation": "elu", "convolutions": 3},
        )
    )
    above = Inherited.defaults().below(giver_root.deltas)
    child = graft(receiver, (0, 1), giver_root.children[0].children[1], above)
    plan = child.plan().children[0]
    assert [block_widths(block) for block in plan.children[0].children[::2]] == [[50, 50]]
    blocks = (plan.children[1].children[0], plan.children[1].children[3])
    assert [block_widths(block) for block in blocks] == [[20, 20, 20], [10, 10, 10]]
    assert blocks[0].children[0].get("activation") == "elu"


def block_widths(block: Plan) -> list[int]:
    return [child.get("width") for child in block.children if child.kind == "convolution"]


def test_a_graft_of_another_kind_is_refused() -> None:
    tree = Tree("a", grown(Sketch(kind="network")))
    with pytest.raises(SpecError, match="a predictor cannot stand where a encoder_decoder was"):
        graft(tree, (0,), Node("predictor"), Inherited.defaults())
    with pytest.raises(SpecError, match="has no 9"):
        graft(tree, (9,), Node("predictor"), Inherited.defaults())


@pytest.mark.parametrize("pair", [("encoder_decoder_2d", "residual_2d"), ("dense_2d", "thin_3d")])
def test_a_cross_fits_and_can_be_built_again(pair: tuple[str, str]) -> None:
    space = make_space(pair, {})
    trees = (
        draw(make_space([pair[0]], {}), 1, 0, TARGET, LIMITS).tree,
        draw(make_space([pair[1]], {}), 1, 1, TARGET, LIMITS).tree,
    )
    crosses = [cross(space, trees, seed, TARGET, LIMITS) for seed in range(8)]
    assert len({found.digest for found in crosses}) > 3
    for found in crosses:
        assert found.tree.family == pair[0]
        assert Tree.from_dict(found.tree.to_dict()) == found.tree
    assert cross(space, trees, 3, TARGET, LIMITS) == crosses[3]


def test_a_tree_from_outside_the_space_is_refused() -> None:
    space = make_space(["dense_2d"], {})
    with pytest.raises(SpecError, match="family 'baseline' is not of this space: dense_2d"):
        mutate(space, baseline(TARGET, LIMITS), 0, TARGET, LIMITS)
