"""What a training makes smaller: cross-entropy and overlap, over the voxels that have a label.

Axes: B batch, K class, Z Y X voxels in array order.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from emsearch.records.candidate import Recipe
from emsearch.training.weights import VoxelWeights

__all__ = ["SegmentationLoss", "at_scale"]

_SMOOTH = 1.0  # voxels; keeps the overlap of a class with a handful of voxels from jumping
_LEAST = 1e-6  # of a doubt, whose power has no slope at 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentationLoss:
    """Weighted cross-entropy, plain or focal, plus Dice or Tversky; a label below 0 is ignored."""

    weights: VoxelWeights
    dice_weight: float
    """Share of the overlap term, 0 to 1."""
    focal: float = 0.0
    """Power of the doubt that a voxel's cross-entropy is multiplied by."""
    miss_weight: float = 0.5
    """Weight of misses against false alarms in the overlap: 0.5 is Dice."""

    @classmethod
    def of(cls, recipe: Recipe, weights: VoxelWeights) -> "SegmentationLoss":
        """Return the loss that a recipe asks for."""
        return cls(
            weights=weights,
            dice_weight=recipe.dice_weight,
            focal=recipe.focal,
            miss_weight=recipe.miss_weight,
        )

    def __call__(
        self, logits_BKZYX: Tensor, labels_BZYX: Tensor, weight_BZYX: Tensor | None = None
    ) -> Tensor:
        """Return the loss, a scalar in float32; 0 where no voxel has a label.

        `weight_BZYX` is that of `weights`, where it is known. Classes are told apart by comparison,
        not by index, so that the gradient is the same bits in every run, on a GPU too.
        """
        log_BKZYX = torch.log_softmax(logits_BKZYX.float(), dim=1)
        class_K = torch.arange(logits_BKZYX.shape[1], device=logits_BKZYX.device)
        true_BKZYX = (labels_BZYX.unsqueeze(1) == class_K.view(1, -1, 1, 1, 1)).float()
        if weight_BZYX is None:
            weight_BZYX = self.weights(labels_BZYX)
        entropy = self._cross_entropy(log_BKZYX, true_BKZYX, weight_BZYX)
        if self.dice_weight == 0:
            return entropy
        overlap = self._overlap_loss(log_BKZYX.exp(), true_BKZYX)
        return (1 - self.dice_weight) * entropy + self.dice_weight * overlap

    def _cross_entropy(self, log_BKZYX: Tensor, true_BKZYX: Tensor, weight_BZYX: Tensor) -> Tensor:
        surprise_BZYX = -(log_BKZYX * true_BKZYX).sum(1)
        if self.focal:
            doubt_BZYX = -torch.expm1(-surprise_BZYX)
            surprise_BZYX = surprise_BZYX * doubt_BZYX.clamp_min(_LEAST) ** self.focal
        return (surprise_BZYX * weight_BZYX).sum() / weight_BZYX.sum().clamp_min(1e-6)

    def _overlap_loss(self, probability_BKZYX: Tensor, true_BKZYX: Tensor) -> Tensor:
        """Return 1 - overlap, the mean of the classes that the batch holds.

        A class that the batch lacks is left to the cross-entropy: its overlap would be 0 whatever
        the network does.
        """
        axes = (0, 2, 3, 4)
        labelled_BKZYX = true_BKZYX.sum(1, keepdim=True)
        shared_K = (probability_BKZYX * true_BKZYX).sum(axes)
        predicted_K = (probability_BKZYX * labelled_BKZYX).sum(axes)
        true_K = true_BKZYX.sum(axes)
        either_K = (1 - self.miss_weight) * predicted_K + self.miss_weight * true_K
        overlap_K = (shared_K + _SMOOTH / 2) / (either_K + _SMOOTH / 2)
        present_K = (true_K > 0).float()
        return ((1 - overlap_K) * present_K).sum() / present_K.sum().clamp_min(1)


def at_scale(voxels_BZYX: Tensor, logits_BKZYX: Tensor) -> Tensor:
    """Return the voxels that the logits, at an equal or lower resolution, lie on."""
    steps = [
        size // small
        for size, small in zip(voxels_BZYX.shape[1:], logits_BKZYX.shape[2:], strict=True)
    ]
    z, y, x = (slice(step // 2, None, step) for step in steps)
    return voxels_BZYX[:, z, y, x]
