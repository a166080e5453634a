"""Blocks: convolutions joined by edges, one after another or in parallel."""

import torch
from torch import Tensor, nn

from emsearch.networks.edges import add
from emsearch.networks.parts import Made, Shop
from emsearch.trees.plan import Plan

__all__ = ["Dense", "Parallel", "Residual", "atrous_pyramid", "block", "chain"]


class Residual(nn.Module):
    """Adds what it is given to what its modules make of it."""

    def __init__(self, inside: nn.Module, edge: nn.Module) -> None:
        super().__init__()
        self.inside = inside
        self.edge = edge

    def forward(self, given: Tensor) -> Tensor:
        """Return the activated sum."""
        total: Tensor = self.edge(self.inside(given), given)
        return total


class Dense(nn.Module):
    """Gives each module what it was given itself and all that the modules before made."""

    def __init__(self, modules: list[nn.Module]) -> None:
        super().__init__()
        self.inside = nn.ModuleList(modules)

    def forward(self, given: Tensor) -> Tensor:
        """Return all that the modules made, concatenated."""
        parts = [given]
        for module in self.inside:
            parts.append(module(torch.cat(parts, 1) if len(parts) > 1 else given))
        return torch.cat(parts[1:], 1)


class Parallel(nn.Module):
    """Adds or concatenates what its paths make of the same input."""

    def __init__(self, paths: list[nn.Module], combine: str) -> None:
        super().__init__()
        self.paths = nn.ModuleList(paths)
        self.combine = combine

    def forward(self, given: Tensor) -> Tensor:
        """Return the combination."""
        results = [path(given) for path in self.paths]
        return torch.cat(results, 1) if self.combine == "merge" else sum(results[1:], results[0])


def chain(plan: Plan, channels: int, shop: Shop) -> Made:
    """Return the children of `plan`, one after another."""
    layers = []
    for child in plan.children:
        layer, channels = shop.make(child, channels, shop)
        layers.append(layer)
    return nn.Sequential(*layers), channels


def block(plan: Plan, channels: int, shop: Shop) -> Made:
    """Return a plain, residual or dense block, as its edges say."""
    last = plan.children[-1]
    if last.kind == "merge":
        return _dense(plan, channels, shop)
    if last.kind != "residual":
        return chain(plan, channels, shop)
    inside, width = chain(plan._replace(children=plan.children[:-1]), channels, shop)
    edge, width = add(last, width, channels, shop)
    return Residual(inside, edge), width


def _dense(plan: Plan, channels: int, shop: Shop) -> Made:
    layers, total = [], 0
    for child in plan.children[::2]:
        layer, width = shop.make(child, channels + total, shop)
        layers.append(layer)
        total += width
    return Dense(layers), total


def atrous_pyramid(plan: Plan, channels: int, shop: Shop) -> Made:
    """Return parallel blocks with different dilations, added or concatenated."""
    made = [shop.make(child, channels, shop) for child in plan.children]
    if len(made) == 1:
        return made[0]
    paths, widths = [path for path, _ in made], [width for _, width in made]
    if plan.get("share") == "yes":
        _share(paths)
    combine = plan.get("combine")
    if combine == "merge":
        return Parallel(paths, combine), sum(widths)
    return Parallel(paths, combine), widths[0]


def _share(paths: list[nn.Module]) -> None:
    """Give all paths the convolutions of the first; each keeps its own normalisation."""
    first, *others = ([m for m in path.modules() if hasattr(m, "dilation")] for path in paths)
    for convolutions in others:
        for kept, dropped in zip(first, convolutions, strict=True):
            dropped.weight, dropped.bias = kept.weight, kept.bias
