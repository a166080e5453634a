"""Axes: B batch, K class, Z Y X voxels in array order."""

import pytest
import torch
from torch.nn import functional

from emsearch.errors import SpecError
from emsearch.training.loss import SegmentationLoss, at_scale
from emsearch.training.weights import VoxelWeights, class_weights


def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(0)
    logits_BKZYX = torch.randn(2, 3, 2, 5, 5, generator=chance)
    labels_BZYX = torch.randint(-1, 3, (2, 2, 5, 5), generator=chance)
    return logits_BKZYX, labels_BZYX


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_cross_entropy_agrees_with_torch(balance: float) -> None:
    logits_BKZYX, labels_BZYX = _batch()
    weight_K = class_weights([70, 20, 10], balance)
    expected = functional.cross_entropy(logits_BKZYX, labels_BZYX, weight_K, ignore_index=-1)
    found = SegmentationLoss(weights=VoxelWeights(weight_K=weight_K), dice_weight=0)(
        logits_BKZYX, labels_BZYX
    )
    assert found == pytest.approx(expected)


def test_a_perfect_prediction_loses_nothing_and_a_wrong_one_all() -> None:
    _, labels_BZYX = _batch()
    true_BKZYX = functional.one_hot(labels_BZYX.clamp_min(0), 3).movedim(-1, 1)
    loss = SegmentationLoss(weights=VoxelWeights(weight_K=torch.ones(3)), dice_weight=1)
    assert loss(40.0 * true_BKZYX, labels_BZYX) == pytest.approx(0, abs=1e-6)
    assert loss(-40.0 * true_BKZYX, labels_BZYX) > 0.9


@pytest.mark.parametrize("dice_weight", [0.0, 0.5, 1.0])
def test_ignored_voxels_have_no_loss_and_no_gradient(dice_weight: float) -> None:
    logits_BKZYX, labels_BZYX = _batch()
    loss = SegmentationLoss(weights=VoxelWeights(weight_K=torch.ones(3)), dice_weight=dice_weight)
    ignored_BKZYX = (labels_BZYX < 0).unsqueeze(1).expand_as(logits_BKZYX)
    other_BKZYX = torch.where(ignored_BKZYX, logits_BKZYX + 7, logits_BKZYX).requires_grad_()
    found = loss(other_BKZYX, labels_BZYX)
    torch.testing.assert_close(found, loss(logits_BKZYX, labels_BZYX))
    (gradient_BKZYX,) = torch.autograd.grad(found, other_BKZYX)
    assert gradient_BKZYX[ignored_BKZYX].abs().max() == 0
    assert gradient_BKZYX[~ignored_BKZYX].abs().min() > 0


def test_a_batch_without_a_label_has_loss_zero() -> None:
    logits_BKZYX, labels_BZYX = _batch()
    loss = SegmentationLoss(weights=VoxelWeights(weight_K=torch.ones(3)), dice_weight=0.5)
    assert loss(logits_BKZYX, torch.full_like(labels_BZYX, -1)) == 0


def test_dice_is_the_mean_of_the_classes_that_the_batch_holds() -> None:
    labels_BZYX = torch.tensor([0, 0, 1, 1]).view(1, 1, 1, 4)
    predicted = torch.tensor([0, 0, 0, 1])  # class 0: 2*2/(3+2); class 1: 2*1/(1+2)
    logits_BKZYX = 60.0 * functional.one_hot(predicted, 3).T.reshape(1, 3, 1, 1, 4)
    loss = SegmentationLoss(weights=VoxelWeights(weight_K=torch.ones(3)), dice_weight=1)(
        logits_BKZYX, labels_BZYX
    )
    smooth = [(4 + 1) / (5 + 1), (2 + 1) / (3 + 1)]
    assert loss == pytest.approx(1 - sum(smooth) / 2, abs=1e-6)


def test_balance_goes_from_every_voxel_alike_to_every_class_alike() -> None:
    counts = [900, 100]
    assert class_weights(counts, 0).tolist() == [1, 1]
    weight_K = class_weights(counts, 1)
    assert weight_K[1] / weight_K[0] == pytest.approx(9)
    assert (weight_K * torch.tensor([0.9, 0.1])).sum() == pytest.approx(1)


def test_a_class_without_a_voxel_is_named() -> None:
    with pytest.raises(SpecError, match=r"classes \[1\] have no voxel"):
        class_weights([5, 0, 3], 0.5)


PLAIN = VoxelWeights(weight_K=torch.ones(3))


@pytest.mark.parametrize("focal", [0.5, 2.0])
def test_a_focal_loss_leaves_sure_voxels_alone(focal: float) -> None:
    logits_BKZYX, labels_BZYX = _batch()
    surprise = functional.cross_entropy(
        logits_BKZYX, labels_BZYX, ignore_index=-1, reduction="none"
    )
    known = labels_BZYX >= 0
    expected = (surprise * (1 - torch.exp(-surprise)) ** focal)[known].mean()
    loss = SegmentationLoss(weights=PLAIN, dice_weight=0, focal=focal)
    assert loss(logits_BKZYX, labels_BZYX) == pytest.approx(expected.item(), rel=1e-5)


def test_the_slope_of_a_focal_loss_is_finite_where_the_network_is_certain() -> None:
    labels_BZYX = torch.zeros(1, 1, 1, 4, dtype=torch.int64)
    logits_BKZYX = torch.zeros(1, 3, 1, 1, 4)
    logits_BKZYX[:, 0] = 500.0
    logits_BKZYX.requires_grad_()
    loss = SegmentationLoss(weights=PLAIN, dice_weight=0, focal=0.5)
    (slope,) = torch.autograd.grad(loss(logits_BKZYX, labels_BZYX), logits_BKZYX)
    assert slope.isfinite().all()


@pytest.mark.parametrize("miss_weight", [0.3, 0.5, 0.8])
def test_tversky_weighs_misses_against_false_alarms(miss_weight: float) -> None:
    labels_BZYX = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1]).view(1, 1, 1, 8)
    predicted = torch.tensor([0, 1, 1, 1, 1, 0, 1, 1])
    logits_BKZYX = 60.0 * functional.one_hot(predicted, 3).T.reshape(1, 3, 1, 1, 8)
    loss = SegmentationLoss(weights=PLAIN, dice_weight=1, miss_weight=miss_weight)
    half = 0.5  # what smooths
    hits, alarms, misses = [1, 4], [1, 2], [2, 1]
    overlaps = [
        (hit + half) / (hit + (1 - miss_weight) * alarm + miss_weight * miss + half)
        for hit, alarm, miss in zip(hits, alarms, misses, strict=True)
    ]
    found = loss(logits_BKZYX, labels_BZYX)
    assert found == pytest.approx(1 - sum(overlaps) / 2, abs=1e-6)


def test_labels_at_a_lower_resolution_are_those_in_the_middle() -> None:
    labels_BZYX = torch.arange(2 * 8 * 4).view(1, 2, 8, 4)
    assert torch.equal(at_scale(labels_BZYX, torch.zeros(1, 3, 2, 8, 4)), labels_BZYX)
    small = at_scale(labels_BZYX, torch.zeros(1, 3, 2, 2, 2))
    assert small[0, 0].tolist() == [[9, 11], [25, 27]]
