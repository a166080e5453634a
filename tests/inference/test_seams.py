"""Tiles of real networks against the prediction of the whole volume at once.

Axes: B batch, C channel, K class, Z Y X voxels in array order.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from emsearch.inference.box import Box, Shape, split_box
from emsearch.inference.predict import Predictor
from emsearch.inference.tiles import plan_tiling
from emsearch.networks.build import build
from emsearch.trees.arithmetic import Limits, Target, describe
from emsearch.trees.sample import draw
from emsearch.trees.space import make_space
from emsearch.volumes.dataset import mirrored

CPU = torch.device("cpu")
LIMITS = Limits(max_parameters=60_000)
FLAT = Target(classes=3, patch_zyx=(1, 64, 64), voxel_nm=(50, 5, 5))
DEEP = Target(classes=3, patch_zyx=(8, 32, 32), voxel_nm=(20, 10, 10))
CASES = [
    *(("encoder_decoder_2d", FLAT, (3, 210, 250), number) for number in range(3)),
    ("dilated_2d", FLAT, (2, 210, 180), 1),
    *(("encoder_decoder_3d", DEEP, (17, 50, 70), number) for number in range(2)),
    ("hybrid_2d3d", DEEP, (9, 40, 70), 0),
]


@pytest.mark.parametrize(("family", "target", "volume", "number"), CASES)
def test_tiles_of_a_drawn_network_have_no_seams(
    family: str, target: Target, volume: Shape, number: int
) -> None:
    tree = draw(make_space([family], {}), 5, number, target, LIMITS).tree
    facts = describe(tree, target)
    if facts.sees_whole_tile:
        pytest.skip("its normalisation sees the whole window: tiles are blended")
    network = _lively(build(tree, 1, 3, seed=number), target.patch_zyx)
    image_ZYX = np.random.default_rng(number).standard_normal(volume).astype(np.float32)
    small = plan_tiling(facts, target.patch_zyx, budget_bytes=1)
    whole = replace(small, step_zyx=(1 << 10, 1 << 10, 1 << 10))
    one, many = (
        _probability(Predictor(network=network, tiling=tiling, classes=3, device=CPU), image_ZYX)
        for tiling in (whole, small)
    )
    assert np.abs(one - many).max() < 1e-5


def _probability(predictor: Predictor, image_ZYX: NDArray[np.float32]) -> NDArray[np.float32]:
    shape_zyx: Shape = (image_ZYX.shape[0], image_ZYX.shape[1], image_ZYX.shape[2])
    return predictor.probability(
        lambda box: mirrored(image_ZYX, box.ranges), shape_zyx, Box.whole(shape_zyx)
    )


def _lively(network: nn.Module, patch_zyx: Shape) -> nn.Module:
    """Return the network with statistics as after some training, not those of its birth."""
    with torch.no_grad():
        for _ in range(3):
            network.train()(torch.randn(2, 1, *patch_zyx))
    return network.eval()


@pytest.mark.parametrize("block", [(1, 64, 64), (2, 100, 77), (3, 210, 40)])
@pytest.mark.parametrize("case", [CASES[0], CASES[3], CASES[4], CASES[-1]])
def test_blocks_of_any_size_equal_the_whole_volume(
    block: Shape, case: tuple[str, Target, Shape, int]
) -> None:
    family, target, volume, number = case
    predictor, image_ZYX = _drawn(family, target, volume, number)
    whole = _probability(predictor, image_ZYX)
    found = np.empty_like(whole)
    for box in split_box(Box.whole(volume), block):
        found[:, *box.slices()] = predictor.probability(
            lambda read: mirrored(image_ZYX, read.ranges), volume, box
        )
    assert np.abs(whole - found).max() < 1e-5


@pytest.mark.parametrize("normalisation", ["instance", "group"])
@pytest.mark.parametrize(
    ("family", "target", "volume"),
    [("encoder_decoder_2d", FLAT, (2, 150, 170)), ("encoder_decoder_3d", DEEP, (17, 50, 70))],
)
def test_a_network_that_sees_its_window_is_given_windows_of_its_patch(
    normalisation: str, family: str, target: Target, volume: Shape
) -> None:
    """What that costs is measured by `experiments/benchmarks/segmentation.py seams`."""
    predictor, image_ZYX = _drawn(family, target, volume, 0, normalisation)
    window = predictor.tiling.window_zyx
    assert window is not None
    assert all(n >= patch for n, patch in zip(window, target.patch_zyx, strict=True))
    wider = replace(predictor.tiling, window_zyx=_doubled(window), step_zyx=window)
    patchwise = _probability(predictor, image_ZYX)
    widely = _probability(replace(predictor, tiling=wider), image_ZYX)
    difference = np.abs(patchwise - widely).max()
    assert difference > 1e-4  # they do depend on the window: tiles cannot be exact


def _doubled(shape: Shape) -> Shape:
    return shape[0], 2 * shape[1], 2 * shape[2]


def _drawn(
    family: str, target: Target, volume: Shape, number: int, normalisation: str = ""
) -> tuple[Predictor, NDArray[np.float32]]:
    """Return a drawn network with its smallest tiles, and an image for it."""
    ranges = {"normalisation": [normalisation]} if normalisation else {}
    tree = draw(make_space([family], ranges), 5, number, target, LIMITS).tree
    tiling = plan_tiling(describe(tree, target), target.patch_zyx, budget_bytes=1)
    network = _lively(build(tree, 1, 3, seed=number), target.patch_zyx)
    image_ZYX = np.random.default_rng(number).standard_normal(volume).astype(np.float32)
    return Predictor(network=network, tiling=tiling, classes=3, device=CPU), image_ZYX
