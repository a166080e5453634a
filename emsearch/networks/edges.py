"""Edges: they join modules, lower the resolution or raise it."""

import torch
from torch import Tensor, nn

from emsearch.networks.convolution import ONES, Conv3d, activation, normalisation, same_convolution
from emsearch.networks.parts import Made, Shop, axes
from emsearch.trees.plan import Plan

__all__ = ["Add", "Merge", "add", "down", "forward", "merge", "up"]

_TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_STRIDED = {2: nn.Conv2d, 3: Conv3d}
_POOLS = {
    ("max", 2): nn.MaxPool2d,
    ("max", 3): nn.MaxPool3d,
    ("average", 2): nn.AvgPool2d,
    ("average", 3): nn.AvgPool3d,
}
_DROPOUTS = {2: nn.Dropout2d, 3: nn.Dropout3d}


class Merge(nn.Module):
    """Concatenates channels."""

    def forward(self, here: Tensor, other: Tensor) -> Tensor:
        """Return both, one after the other along the channels."""
        return torch.cat([other, here], 1)


class Add(nn.Module):
    """Adds, after a projection where the channels differ, and activates."""

    def __init__(self, project: nn.Module, activate: nn.Module) -> None:
        super().__init__()
        self.project = project
        self.activate = activate

    def forward(self, here: Tensor, other: Tensor) -> Tensor:
        """Return the sum of what a chain of modules gave and what went around it."""
        total: Tensor = self.activate(here + self.project(other))
        return total


def forward(plan: Plan, channels: int, shop: Shop) -> Made:
    """Return an edge that hands on, perhaps without some of the channels while training."""
    dropout = dict(plan.settings).get("dropout", 0.0)
    return (_DROPOUTS[shop.dimensions](dropout) if dropout else nn.Identity()), channels


def merge(here: int, other: int) -> Made:
    """Return an edge that concatenates `here` and `other` channels."""
    return Merge(), here + other


def add(plan: Plan, here: int, other: int, shop: Shop) -> Made:
    """Return an edge that adds `other` channels to `here` channels."""
    project: nn.Module = nn.Identity()
    if here != other:
        name = plan.get("normalisation")
        bias = name == "none"
        project = nn.Sequential(
            same_convolution(other, here, ONES, shop=shop, bias=bias),
            *normalisation(name, here, shop),
        )
    return Add(project, nn.Sequential(*activation(plan.get("activation")))), here


def down(plan: Plan, channels: int, shop: Shop) -> Made:
    """Return an edge that divides the resolution."""
    factor = axes(plan.get("factor_zyx"), shop.dimensions)
    if plan.get("pool") == "strided":
        return _STRIDED[shop.dimensions](channels, channels, factor, stride=factor), channels  # type: ignore[arg-type]
    return _POOLS[plan.get("pool"), shop.dimensions](factor), channels  # type: ignore[arg-type]


def up(plan: Plan, channels: int, shop: Shop) -> Made:
    """Return an edge that multiplies the resolution, to the width that it says."""
    layers = []
    for reduction in plan.children:
        layer, channels = shop.make(reduction, channels, shop)
        layers.append(layer)
    return nn.Sequential(*layers, _raise(plan, channels, shop)), plan.get("width")


def _raise(plan: Plan, channels: int, shop: Shop) -> nn.Module:
    width, factor_zyx = plan.get("width"), plan.get("factor_zyx")
    factor = axes(factor_zyx, shop.dimensions)
    if plan.get("upsample") == "transposed":
        return _TRANSPOSED[shop.dimensions](channels, width, factor, stride=factor)  # type: ignore[arg-type]
    kernel_zyx = tuple(3 if step > 1 else 1 for step in factor_zyx)
    return nn.Sequential(
        nn.Upsample(scale_factor=tuple(float(step) for step in factor), mode="nearest"),
        same_convolution(channels, width, kernel_zyx, shop=shop, bias=True),  # type: ignore[arg-type]
    )
