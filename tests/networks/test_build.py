"""Networks are what their trees say."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from emsearch.errors import SpecError
from emsearch.networks.build import build
from emsearch.networks.hybrid import StagedLogits
from emsearch.trees.arithmetic import Limits, Target, describe
from emsearch.trees.families import FAMILIES
from emsearch.trees.grow import Sketch, grown
from emsearch.trees.node import Tree
from emsearch.trees.sample import draw
from emsearch.trees.space import make_space

TARGET = Target(classes=3, patch_zyx=(4, 32, 32), voxel_nm=(40, 10, 10))
TINY = replace(TARGET, patch_zyx=(2, 16, 16))
SMALL = Limits(max_parameters=100_000)


def drawn(family: str, number: int) -> Tree:
    return draw(make_space([family], {"width": [2, 12]}), 1, number, TARGET, SMALL).tree


def network_of(**values: Any) -> Tree:
    return Tree("test", grown(Sketch(kind="network", values={"width": 4, **values})))


def image(batch: int = 1) -> Tensor:
    return torch.rand(batch, 1, *TARGET.patch_zyx, generator=torch.Generator().manual_seed(0))


VARIANTS = [
    {"dimensions": 2},
    {"dimensions": 3},
    {"dimensions": 3, "thin": 1, "mixed": 1},
    {"dimensions": 3, "pool_z": "never", "kernel_z": 3},
    {"form": "residual", "pool": "strided"},
    {"form": "residual", "mixed": 2, "dimensions": 3},
    {"form": "dense", "convolutions": 3, "skip": "residual"},
    {"form": "dense", "mixed": 1},
    {"upsample": "interpolated", "pool": "average", "dimensions": 3},
    {"bottom": "atrous_pyramid", "combine": "merge"},
    {"bottom": "dilated_block", "kernel": 5},
    {"normalisation": "none", "activation": "gelu"},
    {"normalisation": "group", "activation": "silu"},
    {"normalisation": "instance", "activation": "elu", "dimensions": 3},
    {"body": "pyramid", "dimensions": 3, "combine": "merge"},
    {"body": "pyramid", "upsample": "interpolated"},
    {"body": "atrous_pyramid", "share": "yes", "normalisation": "none"},
    {"body": "atrous_pyramid", "share": "yes", "form": "residual"},
    {"body": "dilated_block", "form": "residual"},
    {"body": "block", "convolutions": 1, "kernel": 1},
    {"dropout": 0.5},
    {"dimensions": 3, "kernel": 1, "kernel_x": 5, "kernel_z": 3},
]


def assert_agrees(tree: Tree) -> None:
    """Build, compare with the arithmetic, run forward and backward over a volume."""
    network = build(tree, 1, 3, seed=0)
    facts = describe(tree, TARGET)
    assert sum(p.numel() for p in network.parameters()) == facts.parameters
    with FlopCounterMode(display=False) as counter:
        network(image())
    assert counter.get_total_flops() == facts.flops
    assert_trains(network, facts.output_zyx)


def assert_trains(network: nn.Module, size_zyx: tuple[int, int, int]) -> None:
    """Run forward and backward: all that comes out is finite, and every parameter learns."""
    found = network(torch.rand(2, 1, *size_zyx, generator=torch.Generator().manual_seed(0)))
    stages = list(found[:2]) if isinstance(found, StagedLogits) else [found]
    assert all(logits.shape == (2, 3, *size_zyx) for logits in stages)
    assert all(torch.isfinite(logits).all() for logits in stages)
    network.zero_grad(set_to_none=True)
    torch.stack(stages).square().mean().backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("values", VARIANTS, ids=str)
def test_every_variant_agrees_with_the_arithmetic_and_trains(values: dict[str, Any]) -> None:
    assert_agrees(network_of(**values))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("number", range(8))
def test_every_drawn_tree_agrees_with_the_arithmetic_and_trains(family: str, number: int) -> None:
    assert_agrees(drawn(family, number))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_many_drawn_trees_train_over_sections_and_volumes(family: str) -> None:
    window = {"crf_radius": 1, "crf_iterations": [1, 2]} if family.endswith("crf") else {}
    space = make_space([family], {"width": [1, 4], **window})
    for number in range(200):
        tree = draw(space, 1, number, TINY, Limits()).tree
        facts = describe(tree, TINY)
        network = build(tree, 1, 3, seed=0)
        assert sum(p.numel() for p in network.parameters()) == facts.parameters
        assert_trains(network, TINY.patch_zyx)
        if facts.divisor_zyx[0] == 1:
            assert_trains(network, (1, *TINY.patch_zyx[1:]))


def test_the_group_s_unet_has_exactly_its_parameters() -> None:
    tree = network_of(width=64, levels=4, normalisation="none")
    assert describe(tree, Target(classes=7, patch_zyx=(1, 512, 512))).parameters == 31_030_983


def test_a_pyramid_module_has_exactly_its_parameters() -> None:
    values = {"body": "pyramid", "paths": 1, "convolutions": 1, "normalisation": "none"}
    tree = network_of(dimensions=3, **{**values, "width": 19})
    target = Target(channels=8, classes=7, patch_zyx=(6, 64, 64))
    assert describe(tree, target).parameters == 4_263


def test_initial_weights_depend_on_the_seed_alone() -> None:
    tree = drawn("encoder_decoder_2d", 0)
    torch.manual_seed(5)
    first = build(tree, 1, 3, seed=1).state_dict()
    torch.manual_seed(6)
    before = torch.random.get_rng_state()
    second = build(tree, 1, 3, seed=1).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = build(tree, 1, 3, seed=2).state_dict()
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_two_dimensional_network_sees_each_section_alone() -> None:
    network = build(drawn("encoder_decoder_2d", 1), 1, 3, seed=0).eval()
    changed = image()
    changed[:, :, 2] += 1
    difference = (network(changed) - network(image())).abs().amax((0, 1, 3, 4))
    assert (difference > 0).tolist() == [False, False, True, False]


def test_logits_take_both_signs() -> None:
    logits = build(drawn("encoder_decoder_2d", 2), 1, 3, seed=0)(image())
    assert logits.min() < 0 < logits.max()


def test_paths_share_weights_only_when_asked() -> None:
    def convolutions(share: str) -> list[nn.Module]:
        tree = network_of(body="atrous_pyramid", share=share, convolutions=1)
        network = build(tree, 1, 3, seed=0)
        return [m for m in network.body.modules() if isinstance(m, nn.Conv2d)]  # type: ignore[union-attr]

    assert len({id(c.weight) for c in convolutions("no")}) == 3
    assert len({id(c.weight) for c in convolutions("yes")}) == 1


def test_a_size_that_cannot_be_is_refused() -> None:
    network = build(network_of(levels=2), 1, 3, seed=0)
    with pytest.raises(SpecError, match=r"\(4, 30, 32\) is no multiple of \(1, 4, 4\)"):
        network(torch.rand(1, 1, 4, 30, 32))


def test_a_network_is_rebuilt_from_json_and_state_alone() -> None:
    tree = drawn("encoder_decoder_2d", 3)
    network = build(tree, 1, 3, seed=0).eval()
    again = build(Tree.from_dict(tree.to_dict()), 1, 3, seed=9).eval()
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(image()), network(image()))
