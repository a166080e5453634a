"""Axes: B batch, C channel, K class, Z Y X voxels in array order."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from emsearch.errors import SpecError
from emsearch.inference.box import Box, Shape
from emsearch.inference.committee import Committee, block_shape, tempered, vote_of
from emsearch.inference.predict import Predictor
from emsearch.inference.tiles import Tiling
from emsearch.inference.views import Manner
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


def test_votes_are_for_the_most_probable_class_and_ties_go_to_the_surer() -> None:
    said = [[[0.6, 0.4, 0.0], [0.5, 0.5, 0.0]], [[0.1, 0.9, 0.0], [0.2, 0.8, 0.0]]]
    sum_KN = sum(0.5 * vote_of(torch.tensor(one).T[:, None, None]) for one in said)
    assert isinstance(sum_KN, torch.Tensor)
    np.testing.assert_allclose(sum_KN.sum(0), 1, atol=1e-6)
    assert sum_KN[:, 0, 0].argmax(0).tolist() == [1, 1]


def test_temperature_softens_and_keeps_the_order() -> None:
    probability_KZYX = torch.tensor([0.7, 0.2, 0.1])[:, None, None, None]
    soft = tempered(probability_KZYX, 2.0).flatten()
    assert soft.sum() == pytest.approx(1)
    assert 0.7 > soft[0] > soft[1] > soft[2] > 0.1
    assert tempered(probability_KZYX, 1.0) is probability_KZYX


class Leaning(nn.Module):
    """Compares each voxel with the one to its right: what it says depends on direction."""

    def forward(self, image_BCZYX: Tensor) -> Tensor:
        return torch.cat([image_BCZYX, image_BCZYX.roll(-1, -1)], dim=1)


def test_flips_are_averaged() -> None:
    image_ZYX = np.random.default_rng(0).standard_normal((2, 9, 11)).astype(np.float32)
    tiling = Tiling(
        step_zyx=(2, 64, 64), margin_zyx=(0, 0, 0), border_zyx=(0, 0, 0), divisor_zyx=(1, 1, 1)
    )
    member = Predictor(network=Leaning(), tiling=tiling, classes=2, device=torch.device("cpu"))
    whole = Box.whole((2, 9, 11))

    def say(image: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]", *, flips: bool) -> Tensor:
        committee = Committee(members=(member,), weights=(1.0,), manner=Manner(flips=flips))
        return committee.predict(lambda box: mirrored(image, box.ranges), (2, 9, 11), whole)

    each = [
        say(np.flip(image_ZYX, axes).copy(), flips=False).flip([axis + 1 for axis in axes])
        for axes in ((), (1,), (2,), (1, 2))
    ]
    np.testing.assert_allclose(say(image_ZYX, flips=True), torch.stack(each).mean(0), atol=1e-6)
    assert not np.allclose(each[0], each[2])


@pytest.mark.parametrize("is_majority", [False, True])
def test_sections_are_seen_along_three_axes(is_majority: bool) -> None:
    image_ZYX = np.random.default_rng(0).standard_normal((7, 9, 11)).astype(np.float32)
    committee = Committee(
        members=(_predictor(1.0), _predictor(-2.0)),
        weights=(0.4, 0.6),
        manner=Manner(axes="zyx"),
        is_majority=is_majority,
    )
    plain = Committee(members=committee.members, weights=(0.4, 0.6), is_majority=is_majority)
    whole = Box.whole((7, 9, 11))
    one, three = (
        who.predict(lambda box: mirrored(image_ZYX, box.ranges), (7, 9, 11), whole)
        for who in (plain, committee)
    )
    np.testing.assert_allclose(one, three, atol=1e-6)  # voxel by voxel, directions do not matter
    assert committee.block_zyx((500, 600, 700)) == (128, 128, 128)
