"""Deep supervision on real networks. Axes: B batch, K class, Z Y X voxels in array order."""

import pytest
import torch
from torch import nn

from emsearch.networks.build import build
from emsearch.records.candidate import Recipe
from emsearch.training.deep import DeepHeads
from emsearch.training.loss import SegmentationLoss
from emsearch.training.pace import Pace
from emsearch.training.training import Training
from emsearch.training.weights import VoxelWeights
from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.sample import draw
from emsearch.trees.space import make_space

PATCHES = {
    "encoder_decoder_2d": (2, 32, 32),
    "encoder_decoder_3d": (8, 32, 32),
    "hybrid_2d3d": (4, 32, 32),
    "dilated_2d": (1, 32, 32),
}


def _training(family: str, deep_supervision: float) -> Training:
    patch_zyx = PATCHES[family]
    target = Target(classes=3, patch_zyx=patch_zyx, voxel_nm=(40.0, 10.0, 10.0))
    ranges = {} if family == "dilated_2d" else {"levels": [2, 3], "width": [8, 12]}
    tree = draw(make_space([family], ranges), 0, 0, target, Limits(max_parameters=400_000)).tree
    recipe = Recipe(deep_supervision=deep_supervision, patch_zyx=patch_zyx, batch_size=2)
    loss = SegmentationLoss.of(recipe, VoxelWeights(weight_K=torch.ones(3)))
    return Training(build(tree, 1, 3, seed=0), loss, recipe, Pace.of(10, recipe), seed=1)


def _batch(training: Training) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(0)
    image_BCZYX = torch.randn(2, 1, *training.recipe.patch_zyx, generator=chance)
    return image_BCZYX, torch.randint(-1, 3, image_BCZYX[:, 0].shape, generator=chance)


@pytest.mark.parametrize("family", ["encoder_decoder_2d", "encoder_decoder_3d", "hybrid_2d3d"])
def test_every_lower_resolution_has_a_head_that_learns(family: str) -> None:
    training = _training(family, 0.5)
    assert len(training.heads) > 0
    before = [weight.detach().clone() for weight in training.heads.parameters()]
    training.advance(*_batch(training))
    moved = zip(before, training.heads.parameters(), strict=True)
    assert all(not torch.equal(old, new) for old, new in moved)


def test_the_loss_is_that_of_all_resolutions_halved_at_each() -> None:
    training = _training("encoder_decoder_2d", 0.5)
    image_BCZYX, labels_BZYX = _batch(training)
    output = training._output(image_BCZYX)
    sizes = [logits.shape[-1] for logits in output.logits]
    assert sizes[0] == 32
    assert sorted(sizes[1:]) == [32 >> level for level in range(len(sizes) - 1, 0, -1)]
    assert output.shares == pytest.approx([1.0, *(size / 32 for size in sizes[1:])])
    plain = [
        training.loss(
            logits, labels_BZYX[:, :, 32 // size // 2 :: 32 // size, 32 // size // 2 :: 32 // size]
        )
        for logits, size in zip(output.logits, sizes, strict=True)
    ]
    expected = sum(share * one.item() for share, one in zip(output.shares, plain, strict=True))
    assert training._loss(output, labels_BZYX).item() == pytest.approx(expected, rel=1e-5)


def test_what_is_scored_and_left_has_no_heads() -> None:
    training, plain = _training("encoder_decoder_2d", 0.5), _training("encoder_decoder_2d", 0.0)
    assert training.average.network.state_dict().keys() == plain.network.state_dict().keys()
    assert len(plain.heads) == 0
    training.average.network(_batch(training)[0])
    assert not training.heads._features


def test_a_network_without_a_decoder_trains_without_heads() -> None:
    training = _training("dilated_2d", 1.0)
    training.advance(*_batch(training))
    assert len(training.heads) == 0


def test_a_smaller_micro_batch_gives_the_same_step_with_heads() -> None:
    whole, parts = _training("encoder_decoder_2d", 1.0), _training("encoder_decoder_2d", 1.0)
    parts.micro_batch = 1
    for one in (whole, parts):
        for part in one.network.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eval()
        one.advance(*_batch(one))
    assert parts.mean_loss() == pytest.approx(whole.mean_loss(), abs=1e-5)
    pairs = zip(
        [*whole.network.parameters(), *whole.heads.parameters()],
        [*parts.network.parameters(), *parts.heads.parameters()],
        strict=True,
    )
    for first, second in pairs:
        torch.testing.assert_close(first.grad, second.grad, atol=1e-5, rtol=1e-4)


def test_making_heads_leaves_the_network_as_it_was() -> None:
    training = _training("encoder_decoder_2d", 0.0)
    before = {name: value.clone() for name, value in training.network.state_dict().items()}
    DeepHeads.of(training.network, 3, (2, 32, 32))
    after = training.network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert training.network.training
