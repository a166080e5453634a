"""What a training makes smaller: cross-entropy and Dice, over the voxels that have a label.

Axes: B batch, K class, Z Y X voxels in array order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from emsearch.errors import SpecError

__all__ = ["SegmentationLoss", "class_weights"]

_SMOOTH = 1.0  # voxels; keeps the Dice of a class with a handful of voxels from jumping


def class_weights(fraction_K: Sequence[float], balance: float) -> Tensor:
    """Return the weight of each class in the cross-entropy, shape (K,), 1 on the mean voxel.

    `fraction_K` says how much of the training voxels each class takes. `balance` 0 weighs every
    voxel alike, 1 every class alike, between them in proportion to frequency ** -balance. Raises
    SpecError for a class without a voxel.
    """
    frequency_K = torch.as_tensor(fraction_K, dtype=torch.float64)
    frequency_K = frequency_K / frequency_K.sum()
    if bool((frequency_K <= 0).any()):
        absent = [number for number, part in enumerate(fraction_K) if part <= 0]
        raise SpecError(
            f"classes {absent} have no voxel in the training slices; label some, or take them "
            "out of dataset.classes"
        )
    weight_K = frequency_K**-balance
    return (weight_K / (weight_K * frequency_K).sum()).float()


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentationLoss:
    """Weighted cross-entropy plus Dice; a label below 0 is ignored."""

    weight_K: Tensor
    """Of each class in the cross-entropy; lies on the device of the logits."""
    dice_weight: float
    """Share of the Dice term, 0 to 1."""

    def __call__(self, logits_BKZYX: Tensor, labels_BZYX: Tensor) -> Tensor:
        """Return the loss, a scalar in float32; 0 where no voxel has a label.

        Classes are told apart by comparison, not by index, so that the gradient is the same bits
        in every run, on a GPU too.
        """
        log_BKZYX = torch.log_softmax(logits_BKZYX.float(), dim=1)
        class_K = torch.arange(len(self.weight_K), device=logits_BKZYX.device)
        true_BKZYX = (labels_BZYX.unsqueeze(1) == class_K.view(1, -1, 1, 1, 1)).float()
        entropy = self._cross_entropy(log_BKZYX, true_BKZYX)
        if self.dice_weight == 0:
            return entropy
        dice = _dice_loss(log_BKZYX.exp(), true_BKZYX)
        return (1 - self.dice_weight) * entropy + self.dice_weight * dice

    def _cross_entropy(self, log_BKZYX: Tensor, true_BKZYX: Tensor) -> Tensor:
        voxels_K = true_BKZYX.sum((0, 2, 3, 4))
        surprise_K = -(log_BKZYX * true_BKZYX).sum((0, 2, 3, 4))
        total = (voxels_K * self.weight_K).sum()
        return (surprise_K * self.weight_K).sum() / total.clamp_min(1e-6)


def _dice_loss(probability_BKZYX: Tensor, true_BKZYX: Tensor) -> Tensor:
    """Return 1 - Dice, the mean of the classes that the batch holds.

    A class that the batch lacks is left to the cross-entropy: its Dice would be 0 whatever the
    network does.
    """
    axes = (0, 2, 3, 4)
    labelled_BKZYX = true_BKZYX.sum(1, keepdim=True)
    shared_K = (probability_BKZYX * true_BKZYX).sum(axes)
    predicted_K = (probability_BKZYX * labelled_BKZYX).sum(axes)
    true_K = true_BKZYX.sum(axes)
    dice_K = (2 * shared_K + _SMOOTH) / (predicted_K + true_K + _SMOOTH)
    present_K = (true_K > 0).float()
    return ((1 - dice_K) * present_K).sum() / present_K.sum().clamp_min(1)
