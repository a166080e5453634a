"""Axes: B batch, C channel, K class, Z Y X voxels in array order."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from emsearch.errors import SpecError
from emsearch.inference.box import Box, Shape
from emsearch.inference.committee import Committee, block_shape
from emsearch.inference.predict import Predictor
from emsearch.inference.tiles import Tiling
from emsearch.volumes.dataset import mirrored


class Slope(nn.Module):
    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, image_BCZYX: Tensor) -> Tensor:
        return torch.cat([self.slope * image_BCZYX, -image_BCZYX], dim=1)


def _predictor(slope: float, step_zyx: Shape = (2, 8, 8)) -> Predictor:
    tiling = Tiling(
        step_zyx=step_zyx, margin_zyx=(0, 0, 0), border_zyx=(0, 0, 0), divisor_zyx=(1, 1, 1)
    )
    return Predictor(network=Slope(slope), tiling=tiling, classes=2, device=torch.device("cpu"))


def test_a_committee_gives_the_weighted_mean_of_its_members() -> None:
    image_ZYX = np.random.default_rng(0).standard_normal((3, 9, 11)).astype(np.float32)
    members = (_predictor(1.0), _predictor(-2.0, (1, 4, 20)))
    region = Box(start_zyx=(1, 0, 2), stop_zyx=(3, 9, 11))

    def read(box: Box) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
        return mirrored(image_ZYX, box.ranges)

    first, second = (member.probability(read, (3, 9, 11), region) for member in members)
    committee = Committee(members=members, weights=(0.25, 0.75))
    np.testing.assert_allclose(
        committee.probability(read, (3, 9, 11), region), 0.25 * first + 0.75 * second, atol=1e-6
    )


@pytest.mark.parametrize("weights", [(), (1.0, 0.0), (0.9,), (-1.0, 2.0)])
def test_weights_that_do_not_fit_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(SpecError, match=r"weight"):
        Committee(
            members=(_predictor(1.0),) * (2 if min(weights, default=0) < 0 else 1), weights=weights
        )


@pytest.mark.parametrize("volume_zyx", [(4, 5, 6), (20, 1024, 1024), (500, 90, 3000)])
def test_blocks_hold_tiles_and_stay_within_volume_and_memory(volume_zyx: Shape) -> None:
    tilings = [_predictor(1.0, step).tiling for step in ((1, 512, 512), (16, 64, 64))]
    block_zyx = block_shape(tilings, volume_zyx)
    tile_zyx = (16, 512, 512)
    for block, tile, length in zip(block_zyx, tile_zyx, volume_zyx, strict=True):
        assert min(tile, length) <= block <= length
    assert math.prod(block_zyx) <= max(1 << 21, math.prod(tile_zyx))
