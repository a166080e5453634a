"""Convolutions, normalisation and activation: the leaves of a network.

Padding keeps the size. A bias stands only where no normalisation follows.
"""

from math import gcd, prod

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from torch import Tensor, nn

from emsearch.networks.parts import Made, Shop, axes
from emsearch.trees.plan import Plan

__all__ = ["Conv3d", "activation", "convolution", "normalisation", "predictor", "same_convolution"]

Zyx = tuple[int, int, int]
ONES = (1, 1, 1)
GROUPS = 8
"""Most groups of a group normalisation."""

UNROLLED = 20_480
"""Channels times the first two axes up to which torch unrolls a lone image on a CPU (ATen)."""


class Conv3d(nn.Conv3d):
    """A 3-D convolution that is as fast for a lone image on a CPU as for several.

    Torch unrolls a lone image whose channels times its first two axes are few: a kernel of 3x3x3
    then takes 27 times the memory of its input, and 2 to 4 times as long. With the shortest axis
    last, as here, these are many, and the result is the same.
    """

    def _conv_forward(self, given: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        order = self._order(given)
        if order == (0, 1, 2):
            own: Tensor = super()._conv_forward(given, weight, bias)
            return own
        axes = (0, 1, *(2 + axis for axis in order))
        sizes = (self.stride, self.padding, self.dilation)
        stride, padding, dilation = ([int(size[axis]) for axis in order] for size in sizes)
        turned: Tensor = F.conv3d(
            given.permute(axes), weight.permute(axes), bias, stride, padding, dilation, self.groups
        )
        return turned.permute(0, 1, *(2 + order.index(axis) for axis in range(3)))

    def _order(self, given: Tensor) -> Zyx:
        """Return the order of the axes in which torch does not unroll; as they are, if any."""
        is_lone = given.device.type == "cpu" and given.shape[0] == 1 and prod(self.kernel_size) > 1
        if not is_lone or torch.compiler.is_compiling():
            return 0, 1, 2
        channels, *size = given.shape[1:]
        if channels * size[0] * size[1] > UNROLLED:
            return 0, 1, 2
        order = {0: (1, 2, 0), 1: (0, 2, 1), 2: (0, 1, 2)}[size.index(min(size))]
        return order if channels * size[order[0]] * size[order[1]] > UNROLLED else (0, 1, 2)


_CONVOLUTIONS = {2: nn.Conv2d, 3: Conv3d}
_BATCH_NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INSTANCE_NORMS = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


def same_convolution(
    channels: int, width: int, kernel_zyx: Zyx, dilation_zyx: Zyx = ONES, *, shop: Shop, bias: bool
) -> nn.Module:
    """Return a convolution that keeps the size of what it is given."""
    kernel, dilation = axes(kernel_zyx, shop.dimensions), axes(dilation_zyx, shop.dimensions)
    padding = tuple(step * (size // 2) for size, step in zip(kernel, dilation, strict=True))
    kind = _CONVOLUTIONS[shop.dimensions]
    return kind(channels, width, kernel, padding=padding, dilation=dilation, bias=bias)  # type: ignore[arg-type]


def normalisation(name: str, width: int, shop: Shop) -> list[nn.Module]:
    """Return the layer that normalises `width` channels, or none."""
    if name == "batch":
        return [_BATCH_NORMS[shop.dimensions](width)]
    if name == "instance":
        return [_INSTANCE_NORMS[shop.dimensions](width, affine=True)]
    if name == "group":
        return [nn.GroupNorm(gcd(GROUPS, width), width)]
    return []


def activation(name: str) -> list[nn.Module]:
    """Return the layer that activates, or none for the identity."""
    layers: dict[str, list[nn.Module]] = {
        "relu": [nn.ReLU(inplace=True)],
        "leaky_relu": [nn.LeakyReLU(0.01, inplace=True)],
        "elu": [nn.ELU(inplace=True)],
        "silu": [nn.SiLU()],
        "gelu": [nn.GELU()],
        "identity": [],
    }
    return layers[name]


def convolution(plan: Plan, channels: int, shop: Shop) -> Made:
    """Return a convolution, normalised and activated."""
    width, norm = plan.get("width"), plan.get("normalisation")
    kernel, dilation = plan.get("kernel_zyx"), plan.get("dilation_zyx")
    bias = norm == "none"
    unit = nn.Sequential(
        same_convolution(channels, width, kernel, dilation, shop=shop, bias=bias),
        *normalisation(norm, width, shop),
        *activation(plan.get("activation")),
    )
    return unit, width


def predictor(_plan: Plan, channels: int, shop: Shop) -> Made:
    """Return the convolution that gives a logit for each class; nothing activates it."""
    return same_convolution(channels, shop.classes, ONES, shop=shop, bias=True), shop.classes
