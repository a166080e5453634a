"""What an output voxel of a built network really depends on, found by gradients.

Axes: B batch, C channel, K class, Z Y X voxels in array order.
"""

import copy
from itertools import product

import torch
from torch import Tensor, nn

from emsearch.networks.hybrid import Hybrid, StagedLogits

__all__ = ["probe_receptive_field"]

Zyx = tuple[int, int, int]


def probe_receptive_field(
    network: nn.Module, channels: int, size_zyx: Zyx, period_zyx: Zyx
) -> tuple[Zyx, Zyx]:
    """Return (extent_zyx, halo_zyx) of the input that one output voxel depends on.

    The largest over all places within `period_zyx`, around the middle of an image of `size_zyx`,
    which must be larger than the receptive field. Weights and pooling are made such that no
    dependence can cancel or be missed; the network given is left as it is.
    """
    positive = _made_positive(copy.deepcopy(network))
    extents, halos = [], []
    for place in product(*(range(period) for period in period_zyx)):
        grid = zip(size_zyx, period_zyx, place, strict=True)
        voxel = tuple(size // 2 // period * period + step for size, period, step in grid)
        image_BCZYX = torch.ones(1, channels, *size_zyx, dtype=torch.float64, requires_grad=True)
        found = positive(image_BCZYX)
        logits_BKZYX = found.logits_BKZYX if isinstance(found, StagedLogits) else found
        logits_BKZYX[0, 0, *voxel].backward()
        assert image_BCZYX.grad is not None  # noqa: S101 - it is a leaf
        reached = image_BCZYX.grad.abs().sum((0, 1)).nonzero()
        first, last = reached.amin(0).tolist(), reached.amax(0).tolist()
        ends = list(zip(first, last, voxel, strict=True))
        extents.append([b - a + 1 for a, b, _ in ends])
        halos.append([max(v - a, b - v) for a, b, v in ends])
    return _largest(extents), _largest(halos)


def _largest(sizes: list[list[int]]) -> Zyx:
    z, y, x = (max(axis) for axis in zip(*sizes, strict=True))
    return z, y, x


def _made_positive(network: nn.Module) -> nn.Module:
    """Return the network in float64 with positive weights and with pools that pass on all."""
    network = network.double().eval()
    generator = torch.Generator().manual_seed(0)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(child.kernel_size))
            elif isinstance(child, nn.MaxPool3d):
                setattr(module, name, nn.AvgPool3d(child.kernel_size))
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            _fill(module.weight, generator)
        if isinstance(module, Hybrid):
            module.is_cascade = False  # what it depends on, not what it learns from
    return network


def _fill(weight: Tensor, generator: torch.Generator) -> None:
    """Draw positive weights: classes must differ, or softmax would hide what they depend on."""
    with torch.no_grad():
        weight.uniform_(0.5, 1.5, generator=generator).div_(weight[0].numel())
