"""What a voxel weighs in the cross-entropy.

Axes: B batch, K class, G group of classes, Z Y X voxels in array order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from emsearch.errors import SpecError
from emsearch.records.candidate import Recipe, Weighting

__all__ = ["VoxelWeights", "class_weights", "edge_weights"]

EDGE_ALPHA = 0.25
"""Height below which a border's weight is cut off: Guay et al. 2021."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VoxelWeights:
    """The weight of each voxel, a function of the labels alone."""

    weight_K: Tensor
    """Of each class; lies on the device of the labels."""
    edge_height: float = 0.0
    """Of the weight at borders between background, cell and organelles; 0 leaves it out."""
    edge_sigma_vx: float = 6.0

    @classmethod
    def of(
        cls, recipe: Recipe, fraction_K: Sequence[float], device: torch.device
    ) -> "VoxelWeights":
        """Return the weights that a recipe asks for, where classes take such parts of the labels.

        Raises SpecError for a class without a voxel.
        """
        if recipe.weighting == Weighting.CLASSES:
            return cls(weight_K=class_weights(fraction_K, recipe.class_balance).to(device))
        balance_K = class_weights(fraction_K, 1.0)
        weight_K = recipe.weight_floor + balance_K / balance_K.max()
        return cls(
            weight_K=weight_K.to(device),
            edge_height=recipe.edge_weight,
            edge_sigma_vx=recipe.edge_sigma_vx,
        )

    @torch.no_grad()
    def __call__(self, labels_BZYX: Tensor) -> Tensor:
        """Return weight_BZYX; 0 where the label is below 0."""
        padded = torch.cat([self.weight_K.new_zeros(1), self.weight_K])  # label -1 comes first
        weight_BZYX = padded[(labels_BZYX + 1).long()]
        if self.edge_height == 0:
            return weight_BZYX
        edges_BZYX = edge_weights(labels_BZYX, self.edge_height, self.edge_sigma_vx)
        return torch.where(labels_BZYX >= 0, weight_BZYX + edges_BZYX, 0.0)


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


def edge_weights(labels_BZYX: Tensor, height: float, sigma_vx: float) -> Tensor:
    """Return how much more voxels at a border weigh, weight_BZYX, from classes alone.

    Class 0 is background, 1 cell, all others lie in cells. At each border between background and
    cell, and between cell and the rest, voxels weigh what a Gaussian of the other side brings to
    them in their section, times `height`. Below `EDGE_ALPHA` that is cut off, and the rest is
    stretched so that the highest stays (Guay et al. 2021, "edge-preserving" weights).
    """
    group = labels_BZYX.clamp(-1, 2)
    is_in_GBZYX = torch.stack([group == number for number in range(3)]).float()
    near_GBZYX = _smooth(is_in_GBZYX, sigma_vx)
    outside, cell, inside = is_in_GBZYX
    weight_BZYX = cell * (near_GBZYX[0] + near_GBZYX[2]) + (outside + inside) * near_GBZYX[1]
    weight_BZYX = height * weight_BZYX
    top = weight_BZYX.max()
    stretched_BZYX = (weight_BZYX - EDGE_ALPHA).clamp_min(0) * (top / (top - EDGE_ALPHA))
    return torch.where(top > EDGE_ALPHA, stretched_BZYX, 0.0)


def _smooth(mask_GBZYX: Tensor, sigma_vx: float) -> Tensor:
    """Return a Gaussian mean over each section; beyond it there is nothing."""
    kernel = _kernel(sigma_vx).to(mask_GBZYX)
    planes = mask_GBZYX.reshape(-1, 1, *mask_GBZYX.shape[-2:])
    pad = len(kernel) // 2
    rows = functional.conv2d(planes, kernel.view(1, 1, 1, -1), padding=(0, pad))
    both = functional.conv2d(rows, kernel.view(1, 1, -1, 1), padding=(pad, 0))
    return both.reshape(mask_GBZYX.shape)


@cache
def _kernel(sigma_vx: float) -> Tensor:
    radius = max(round(3 * sigma_vx), 1)
    weight = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma_vx) ** 2)
    return weight / weight.sum()
