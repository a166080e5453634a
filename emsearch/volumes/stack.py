"""A volume on disk, opened but not read: what every reader of a format gives.

Axes: Z Y X voxels, C colours.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emsearch.errors import SpecError

__all__ = ["CHUNK", "Box", "Stack", "Voxel", "boxes_of", "stack_of"]

Voxel = tuple[float, float, float]
"""Size of a voxel along z, y, x in nm."""
Box = tuple[slice, slice, slice]
"""Ranges of sections, rows and columns."""

CHUNK = 64
"""Voxels along each edge of a chunk that we write."""
_BOX_VX = 4 << 20  # voxels read at a time: bounds memory for any volume


@dataclass(frozen=True, kw_only=True, slots=True)
class Stack:
    """Voxels that can be read a box at a time."""

    shape_zyx: tuple[int, int, int]
    dtype: np.dtype[Any]
    voxel_nm: Voxel | None
    """From the file's own metadata; None where it says nothing that can be trusted."""
    colours: int
    """0 for grey values or class numbers, 3 or 4 for colours along a last axis."""
    is_paged: bool
    """Whether a whole section is the smallest thing that is cheap to read."""
    read_box: Callable[[Box], NDArray[Any]]
    """Returns the voxels of a box: ZYX, or ZYXC."""
    is_divided: bool = False
    """Whether a part of a section, such as a tile or a strip, can be decoded without the rest."""
    array: Any = None
    """The library's own array, of which a Zarr one can be asked for its chunks."""

    def read(self, first: int, end: int) -> NDArray[Any]:
        """Return sections `first` to `end` - 1: ZYX, or ZYXC."""
        return self.read_box((slice(first, end), slice(None), slice(None)))

    @property
    def nbytes(self) -> int:
        """Bytes of the whole volume, uncompressed."""
        return int(np.prod(self.shape_zyx)) * max(self.colours, 1) * self.dtype.itemsize


def stack_of(
    array: Any,
    voxel_nm: Voxel | None,
    *,
    colours: int = 0,
    is_paged: bool = False,
    is_divided: bool = False,
) -> Stack:
    """Return a stack over anything with shape, dtype and slices; 2-D becomes one section.

    Raises SpecError where it is neither (z, y, x) nor (y, x), apart from axes of length one.
    """
    shape = tuple(int(n) for n in (array.shape[:-1] if colours else array.shape))
    spare = len(shape) - 3
    if len(shape) < 2 or 0 in shape or (spare > 0 and shape[:spare] != (1,) * spare):
        raise SpecError(f"an array of shape {tuple(array.shape)} is no volume; give z, y, x")

    def read_box(box: Box) -> NDArray[Any]:
        if spare < 0:
            return np.asarray(array[box[1:]])[None][box[0]]
        return np.asarray(array[(0,) * spare + box])

    depth, height, width = (1, *shape) if spare < 0 else shape[-3:]
    return Stack(
        shape_zyx=(depth, height, width),
        dtype=np.dtype(array.dtype),
        voxel_nm=voxel_nm,
        colours=colours,
        is_paged=is_paged,
        is_divided=is_divided,
        read_box=read_box,
        array=array,
    )


def boxes_of(stack: Stack, first: int, end: int) -> Iterator[Box]:
    """Yield boxes that cover sections `first` to `end` - 1, each small enough for memory."""
    _, height, width = stack.shape_zyx
    if stack.is_paged:
        size = (1, max(_BOX_VX // width, 1), width)
    else:
        columns = CHUNK * max(min(width, 4096) // CHUNK, 1)
        size = (CHUNK, CHUNK * max(_BOX_VX // (CHUNK * CHUNK * columns), 1), columns)
    starts = (range(first, end, size[0]), range(0, height, size[1]), range(0, width, size[2]))
    for z, y, x in product(*starts):
        yield (
            slice(z, min(z + size[0], end)),
            slice(y, min(y + size[1], height)),
            slice(x, min(x + size[2], width)),
        )
