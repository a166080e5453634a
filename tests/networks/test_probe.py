"""The receptive field that arithmetic predicts is the one that gradients find."""

from typing import Any

import pytest
import torch

from emsearch.networks.build import build
from emsearch.networks.probe import probe_receptive_field
from emsearch.trees.arithmetic import Facts, Limits, Target, describe
from emsearch.trees.families import FAMILIES
from emsearch.trees.grow import Sketch, grown
from emsearch.trees.node import Tree
from emsearch.trees.sample import draw
from emsearch.trees.space import make_space

TARGET = Target(classes=3, patch_zyx=(8, 32, 32), voxel_nm=(20, 10, 10))
NARROW: dict[str, Any] = {"width": [1, 2], "levels": [1, 2], "convolutions": 1, "paths": [1, 2]}


def room(facts: Facts) -> tuple[int, int, int]:
    """Return a size that holds the receptive field of a voxel near its middle."""
    pairs = zip(facts.halo_zyx, facts.divisor_zyx, strict=True)
    z, y, x = ((2 * halo + 2 * step) // step * step + step for halo, step in pairs)
    return z, y, x


def assert_agrees(tree: Tree) -> None:
    facts = describe(tree, TARGET)
    network = build(tree, 1, 3, seed=0)
    found = probe_receptive_field(network, 1, room(facts), facts.divisor_zyx)
    assert found == (facts.receptive_field_zyx, facts.halo_zyx)


@pytest.mark.parametrize("family", FAMILIES)
def test_drawn_trees_see_what_arithmetic_says(family: str) -> None:
    limit = {"crf_iterations": 1, "crf_radius": 1} if family.endswith("crf") else {}
    space = make_space([family], {**NARROW, "kernel": 3, "upsample": ["transposed"], **limit})
    checked = 0
    for number in range(12):
        tree = draw(space, 1, number, TARGET, Limits()).tree
        facts = describe(tree, TARGET)
        if torch.tensor(room(facts)).prod() < 40_000 and checked < 3:
            assert_agrees(tree)
            checked += 1
    assert checked == 3


@pytest.mark.parametrize(
    "values",
    [
        {"upsample": "interpolated", "levels": 2},
        {"pool": "strided", "skip": "residual", "kernel": 5, "levels": 1},
        {"form": "dense", "mixed": 1, "dimensions": 3, "pool_z": "never", "levels": 1},
        {"body": "atrous_pyramid", "paths": 3},
        {"body": "pyramid", "paths": 3, "dimensions": 3, "pool_z": "never"},
        {"body": "block", "crf": "yes", "crf_iterations": 2, "crf_radius": 2, "aspect": 2.0},
    ],
    ids=str,
)
def test_every_sort_of_module_sees_what_arithmetic_says(values: dict[str, Any]) -> None:
    values = {"width": 2, "convolutions": 1, **values}
    assert_agrees(Tree("test", grown(Sketch(kind="network", values=values))))


def test_a_probe_leaves_the_network_as_it_is() -> None:
    tree = Tree("test", grown(Sketch(kind="network", values={"width": 2, "levels": 1})))
    network = build(tree, 1, 3, seed=0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    probe_receptive_field(network, 1, (1, 32, 32), (1, 2, 2))
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("name", ["instance", "group"])
def test_statistics_of_the_tile_are_said_to_be_seen(name: str) -> None:
    sketch = Sketch(kind="network", values={"width": 4, "levels": 1, "normalisation": name})
    tree = Tree("test", grown(sketch))
    assert describe(tree, TARGET).sees_whole_tile
    network = build(tree, 1, 3, seed=0).eval()
    image = torch.rand(1, 1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    changed = image.clone()
    changed[..., 63, 63] += 5
    assert not torch.equal(network(image)[..., 0, 0], network(changed)[..., 0, 0])
