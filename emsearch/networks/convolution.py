"""Convolutions, normalisation and activation: the leaves of a network.

Padding keeps the size. A bias stands only where no normalisation follows.
"""

from math import gcd

from torch import nn

from emsearch.networks.parts import Made, Shop, axes
from emsearch.trees.plan import Plan

__all__ = ["activation", "convolution", "normalisation", "predictor", "same_convolution"]

Zyx = tuple[int, int, int]
ONES = (1, 1, 1)
GROUPS = 8
"""Most groups of a group normalisation."""

_CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
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
