"""Volumes whose voxels are of another size than those that an ensemble was trained on.

Linear interpolation where voxels get smaller; where they get larger, an average over what they
cover. Voxel i of n reaches from i to i + 1 of the axis, so that both grids cover the same space.

Axes: K class, Z Y X voxels in array order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from emsearch.inference.box import Box, Shape, even_parts

__all__ = ["Regrid", "Resampled", "step_between"]

_READ_VX = 1 << 22
_ALIKE = 0.01  # relative difference of voxel sizes that is no difference


@dataclass(frozen=True, kw_only=True, slots=True)
class Regrid:
    """From one grid of voxels to another over the same space."""

    shape: Shape
    """Of the volume in the grid that is read."""
    step: tuple[float, float, float]
    """Voxels of the grid that is read to a voxel of the one that is wanted, along each axis."""

    @property
    def wanted_shape(self) -> Shape:
        """Shape of the volume in the grid that is wanted."""
        z, y, x = (
            max(round(length / step), 1) for length, step in zip(self.shape, self.step, strict=True)
        )
        return z, y, x

    def inverse(self) -> "Regrid":
        """Return the way back."""
        z, y, x = (1 / step for step in self.step)
        return Regrid(shape=self.wanted_shape, step=(z, y, x))

    def needs(self, box: Box) -> Box:
        """Return the box to read for a box that is wanted."""
        ranges = [self._line(box, axis)[0] for axis in range(3)]
        (z, end_z), (y, end_y), (x, end_x) = ranges
        return Box(start_zyx=(z, y, x), stop_zyx=(end_z, end_y, end_x))

    def apply(self, values: NDArray[Any], box: Box) -> NDArray[np.float32]:
        """Return the values of a wanted box from those of the box that it needs.

        The last three axes of `values` are Z Y X.
        """
        with np.errstate(over="ignore"):  # marks of voxels without an image become infinite
            result = values.astype(np.float32, copy=False)
        for axis in np.argsort(self.step)[::-1]:  # those that get shorter first: it takes less room
            if self.step[axis] != 1:
                result = _along(self._line(box, axis)[1], result, result.ndim - 3 + axis)
        return result

    def bounded(self, shape_zyx: Shape, most_vx: int) -> Shape:
        """Return a shape that is wanted, cut until it and what it needs are of so many voxels.

        A single voxel may need more than that.
        """
        shape = list(shape_zyx)
        while True:
            needed = [self._needed(length, axis) for axis, length in enumerate(shape)]
            grid = max(shape, needed, key=prod)
            axes = [axis for axis in range(3) if shape[axis] > 1]
            if prod(grid) <= most_vx or not axes:
                z, y, x = shape
                return z, y, x
            longest = max(axes, key=grid.__getitem__)
            shape[longest] = ceil(shape[longest] / 2)

    def _needed(self, length: int, axis: int) -> int:
        """Return how many voxels so many along an axis need, at most."""
        step = self.step[axis]
        if step == 1:
            return length
        return min(ceil((length - 1) * step + 2 * max(step, 1)) + 1, self.shape[axis])

    def _line(self, box: Box, axis: int) -> tuple[tuple[int, int], csr_array]:
        return _line((box.start_zyx[axis], box.stop_zyx[axis]), self.step[axis], self.shape[axis])


class Resampled:
    """A volume in the wanted grid: looks like an array to whoever slices it along z, y, x.

    No more than a few million voxels are read at once, however many there are to a wanted one.
    """

    def __init__(self, source: Any, regrid: Regrid) -> None:
        self.shape = regrid.wanted_shape
        self._source = source
        self._regrid = regrid

    def __getitem__(self, slices: tuple[slice, slice, slice]) -> NDArray[np.float32]:
        (z, y, x), (end_z, end_y, end_x) = zip(
            *((part.start, part.stop) for part in slices), strict=True
        )
        box = Box(start_zyx=(z, y, x), stop_zyx=(end_z, end_y, end_x))
        values_ZYX = np.empty(box.shape_zyx, np.float32)
        for part in even_parts(box, self._regrid.bounded(box.shape_zyx, _READ_VX)):
            read = self._source[self._regrid.needs(part).slices()]
            values_ZYX[part.slices(box.start_zyx)] = self._regrid.apply(read, part)
        return values_ZYX


def step_between(
    found_nm: Sequence[float], wanted_nm: Sequence[float]
) -> tuple[float, float, float]:
    """Return wanted over found voxel size along each axis; 1 where they differ by under 1 %."""
    z, y, x = (
        1.0 if abs(wanted / found - 1) < _ALIKE else wanted / found
        for found, wanted in zip(found_nm, wanted_nm, strict=True)
    )
    return z, y, x


def _line(wanted: tuple[int, int], step: float, length: int) -> tuple[tuple[int, int], csr_array]:
    """Return which voxels of an axis are needed, and the matrix (wanted, needed) of weights."""
    first, end = wanted
    if step == 1:
        return wanted, csr_array((0, 0))
    middle = (np.arange(first, end) + 0.5) * step - 0.5
    reach = max(1.0, step)
    spread = np.arange(-int(np.ceil(reach)), int(np.ceil(reach)) + 2)
    taken = np.floor(middle).astype(np.int64)[:, None] + spread
    weight = np.maximum(1 - np.abs(taken - middle[:, None]) / reach, 0)
    weight /= weight.sum(1, keepdims=True)
    taken = taken.clip(0, length - 1)
    used = taken[weight > 0]
    low, high = int(used.min()), int(used.max()) + 1
    rows = np.broadcast_to(np.arange(end - first)[:, None], taken.shape)
    kept = weight > 0
    entries = (weight[kept].astype(np.float32), (rows[kept], taken[kept] - low))
    return (low, high), csr_array(entries, shape=(end - first, high - low))


def _along(matrix: csr_array, values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    moved = np.moveaxis(values, axis, 0)
    result = matrix @ moved.reshape(len(moved), -1)
    shaped: NDArray[np.float32] = np.moveaxis(result.reshape(-1, *moved.shape[1:]), 0, axis)
    return shaped
