"""Boxes of voxels.

Axes: Z Y X voxels in array order.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emsearch.errors import SpecError
from emsearch.volumes.dataset import Region

__all__ = ["Box", "Reader", "Shape", "even_parts", "split_box"]

Shape = tuple[int, int, int]
"""Voxels along z, y, x."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """Voxels from `start_zyx` up to, not including, `stop_zyx`; may reach beyond a volume."""

    start_zyx: Shape
    stop_zyx: Shape

    def __post_init__(self) -> None:
        if any(start >= stop for start, stop in zip(self.start_zyx, self.stop_zyx, strict=True)):
            raise SpecError(f"a box from {self.start_zyx} to {self.stop_zyx} holds no voxel")

    @classmethod
    def whole(cls, shape_zyx: Shape) -> "Box":
        """Return the box of all voxels of a volume of that shape."""
        return cls(start_zyx=(0, 0, 0), stop_zyx=shape_zyx)

    @property
    def shape_zyx(self) -> Shape:
        """Voxels along each axis."""
        z, y, x = (stop - start for start, stop in zip(self.start_zyx, self.stop_zyx, strict=True))
        return z, y, x

    @property
    def ranges(self) -> Region:
        """First voxel and the one after the last along each axis."""
        z, y, x = zip(self.start_zyx, self.stop_zyx, strict=True)
        return z, y, x

    def slices(self, origin_zyx: Shape = (0, 0, 0)) -> tuple[slice, slice, slice]:
        """Return the slices of the box in an array whose first voxel is at `origin_zyx`."""
        z, y, x = (
            slice(start - origin, stop - origin)
            for start, stop, origin in zip(self.start_zyx, self.stop_zyx, origin_zyx, strict=True)
        )
        return z, y, x

    def meets(self, other: "Box") -> bool:
        """Return whether the two share a voxel."""
        return all(
            max(start, first) < min(stop, end)
            for start, stop, first, end in zip(
                self.start_zyx, self.stop_zyx, other.start_zyx, other.stop_zyx, strict=True
            )
        )

    def within(self, other: "Box") -> "Box":
        """Return the voxels that both hold. Raises SpecError where there are none."""
        z, y, x = map(max, self.start_zyx, other.start_zyx)
        end_z, end_y, end_x = map(min, self.stop_zyx, other.stop_zyx)
        return Box(start_zyx=(z, y, x), stop_zyx=(end_z, end_y, end_x))

    def grown(self, margin_zyx: Shape) -> "Box":
        """Return the box with `margin_zyx` more voxels on either side of each axis."""
        z, y, x = (start - more for start, more in zip(self.start_zyx, margin_zyx, strict=True))
        end_z, end_y, end_x = (
            stop + more for stop, more in zip(self.stop_zyx, margin_zyx, strict=True)
        )
        return Box(start_zyx=(z, y, x), stop_zyx=(end_z, end_y, end_x))


Reader = Callable[[Box], NDArray[np.float32]]
"""Gives the normalised image_ZYX of a box that may reach beyond the volume, mirrored there."""


def split_box(box: Box, size_zyx: Shape) -> Iterator[Box]:
    """Yield boxes of at most `size_zyx` that cover `box` once, in array order.

    They lie on the lattice of multiples of `size_zyx`, so that those of two neighbours agree.
    """
    cuts = [
        [*range(start - start % size, stop, size), stop]
        for start, stop, size in zip(box.start_zyx, box.stop_zyx, size_zyx, strict=True)
    ]
    for z, y, x in product(*(range(len(cut) - 1) for cut in cuts)):
        cell = Box(
            start_zyx=(cuts[0][z], cuts[1][y], cuts[2][x]),
            stop_zyx=(cuts[0][z + 1], cuts[1][y + 1], cuts[2][x + 1]),
        )
        yield cell.within(box)


def even_parts(box: Box, most_zyx: Shape) -> Iterator[Box]:
    """Yield boxes of about equal shape, none larger than `most_zyx`, that cover `box` once."""
    cuts = [
        np.linspace(start, stop, ceil((stop - start) / most) + 1).astype(int).tolist()
        for start, stop, most in zip(box.start_zyx, box.stop_zyx, most_zyx, strict=True)
    ]
    pairs: list[list[Any]] = [list(pairwise(cut)) for cut in cuts]
    for (z, end_z), (y, end_y), (x, end_x) in product(*pairs):
        yield Box(start_zyx=(z, y, x), stop_zyx=(end_z, end_y, end_x))
