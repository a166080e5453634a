"""The same voxels seen another way: mirrored, or with another axis taken for the sections'.

Axes: K class, Z Y X voxels in array order of the volume; in a view they are its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from emsearch.inference.box import Box, Reader, Shape

__all__ = ["Manner", "View", "views_of"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Manner:
    """How a volume is looked at."""

    flips: bool = False
    """Average over mirror images as well: 4 of a section, 8 of a volume for a 3-D network."""
    axes: str = "z"
    """Along which axes 2-D networks see sections: "z", or "zyx" for all three."""


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """Volume axes in another order, then mirrored."""

    order: Shape = (0, 1, 2)
    """Which axis of the volume each axis of the view is."""
    flips: tuple[bool, bool, bool] = (False, False, False)
    """Which axes of the view are mirrored."""

    @property
    def is_plain(self) -> bool:
        """Whether it shows the volume as it is."""
        return self.order == (0, 1, 2) and not any(self.flips)

    def shape(self, volume_zyx: Shape) -> Shape:
        """Return the shape of the view of such a volume."""
        z, y, x = (volume_zyx[axis] for axis in self.order)
        return z, y, x

    def box(self, box: Box, volume_zyx: Shape) -> Box:
        """Return where the view shows a box of the volume."""
        ranges = [(box.start_zyx[axis], box.stop_zyx[axis]) for axis in self.order]
        return _box(self._mirrored(ranges, self.shape(volume_zyx)))

    def back(self, box: Box, volume_zyx: Shape) -> Box:
        """Return the box of the volume that a box of the view shows: the inverse of `box`."""
        ranges = self._mirrored(list(box.ranges), self.shape(volume_zyx))
        return _box([ranges[self.order.index(axis)] for axis in range(3)])

    def reader(self, read: Reader, volume_zyx: Shape) -> Reader:
        """Return what reads boxes of the view."""
        mirrored = tuple(axis for axis, flip in enumerate(self.flips) if flip)

        def read_view(box: Box) -> Any:
            seen = read(self.back(box, volume_zyx)).transpose(self.order)
            return np.ascontiguousarray(np.flip(seen, mirrored))

        return read if self.is_plain else read_view

    def restore(self, seen_KZYX: Any) -> Any:
        """Return a tensor of the view's classes and voxels in the volume's order."""
        mirrored = [axis + 1 for axis, flip in enumerate(self.flips) if flip]
        turned_KZYX = seen_KZYX.flip(mirrored) if mirrored else seen_KZYX
        return turned_KZYX.permute(0, *(1 + self.order.index(axis) for axis in range(3)))

    def _mirrored(self, ranges: list[tuple[int, int]], shape: Shape) -> list[tuple[int, int]]:
        return [
            (length - end, length - first) if flip else (first, end)
            for (first, end), flip, length in zip(ranges, self.flips, shape, strict=True)
        ]


def views_of(manner: Manner, *, is_flat: bool) -> Iterator[View]:
    """Yield the views that a network is shown; `is_flat` where it sees sections one by one."""
    orders = ((0, 1, 2), (1, 0, 2), (2, 0, 1)) if manner.axes == "zyx" and is_flat else ((0, 1, 2),)
    both = (False, True) if manner.flips else (False,)
    for order, z, y, x in product(orders, (False,) if is_flat else both, both, both):
        yield View(order=order, flips=(z, y, x))


def _box(ranges: list[tuple[int, int]]) -> Box:
    (z, end_z), (y, end_y), (x, end_x) = ranges
    return Box(start_zyx=(z, y, x), stop_zyx=(end_z, end_y, end_x))
