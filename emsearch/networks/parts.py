"""What every builder is given and gives back."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from emsearch.trees.plan import Plan

__all__ = ["Builder", "Made", "Shop", "axes"]

Made = tuple[nn.Module, int]
"""A module and the number of channels that it gives."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shop:
    """What a builder needs beside the plan and the channels that come in."""

    dimensions: int
    """2 where sections are taken one by one, else 3."""
    classes: int
    make: "Callable[[Plan, int, Shop], Made]"
    """Builds a part of any kind."""


Builder = Callable[[Plan, int, Shop], Made]


def axes(size_zyx: tuple[int, int, int], dimensions: int) -> tuple[int, ...]:
    """Return the sizes along the axes that a module with these dimensions has."""
    return size_zyx[3 - dimensions :]
