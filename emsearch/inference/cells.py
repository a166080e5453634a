"""The cells of a split: what intervals are drawn from, and what folds are made of.

A network is right or wrong in neighbouring voxels alike, in the next section as in the next column,
and neighbouring sections show the same objects. So a cell is as deep as it is wide, in nanometres.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil

from emsearch.inference.box import Box, Shape
from emsearch.inference.part import Part

__all__ = ["Cell", "Cells", "cells_of"]

Cell = tuple[int, int, int, int]
"""Number of a part, and a cell's place in it along z, y, x."""

_WIDTH_VX = 128
_NARROWEST_VX = 16
_FEWEST = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Cells:
    """How the parts of a split are cut into cells of about equal size."""

    parts: tuple[Part, ...]
    width_vx: int
    """About how wide a cell is."""

    def __len__(self) -> int:
        """Return how many cells there are."""
        counts = (self._counts(part) for part in self.parts)
        return sum(z * y * x for z, y, x in counts)

    def cut(self, part: Part, box: Box) -> Iterator[tuple[Cell, Box]]:
        """Yield the cells that meet a box of a part, each with what of it lies in the box."""
        number = next(place for place, one in enumerate(self.parts) if one is part)
        sizes = [
            ceil(length / count)
            for length, count in zip(part.region.shape_zyx, self._counts(part), strict=True)
        ]
        cuts = [
            [
                (at, (max(origin + at * size, start), min(origin + (at + 1) * size, stop)))
                for at in range((start - origin) // size, (stop - 1 - origin) // size + 1)
            ]
            for start, stop, origin, size in zip(
                box.start_zyx, box.stop_zyx, part.region.start_zyx, sizes, strict=True
            )
        ]
        for (z, zs), (y, ys), (x, xs) in product(*cuts):
            inside = Box(start_zyx=(zs[0], ys[0], xs[0]), stop_zyx=(zs[1], ys[1], xs[1]))
            yield (number, z, y, x), inside

    def _counts(self, part: Part) -> Shape:
        deep_nm, high_nm, wide_nm = part.volume.record.voxel_nm
        edge_nm = self.width_vx * min(high_nm, wide_nm)
        z, y, x = (
            max(round(length * size_nm / edge_nm), 1)
            for length, size_nm in zip(
                part.region.shape_zyx, (deep_nm, high_nm, wide_nm), strict=True
            )
        )
        return z, y, x


def cells_of(parts: Sequence[Part]) -> Cells:
    """Return the cells of a split, narrower ones where it is too small for sixteen."""
    width_vx = _WIDTH_VX
    cells = Cells(parts=tuple(parts), width_vx=width_vx)
    while len(cells) < _FEWEST and width_vx > _NARROWEST_VX:
        width_vx //= 2
        cells = Cells(parts=tuple(parts), width_vx=width_vx)
    return cells
