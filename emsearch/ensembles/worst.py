"""Where a segmentation is at its worst, so that a report shows that place too.

Axes: Z Y X voxels in array order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from emsearch.inference.box import Box
from emsearch.inference.part import Part

__all__ = ["WORST_SIDE", "Place", "Worst", "worst_place"]

WORST_SIDE = 160
"""Pixels along the side of the place that is shown."""

Place = tuple[float, tuple[slice, slice]]
"""The part of its labelled pixels that are wrong, and where it is."""


@dataclass(kw_only=True, slots=True)
class Worst:
    """The worst place of all that it is shown, block by block."""

    part: float = -1.0
    """The part of its labelled voxels that are wrong; below 0 while nothing was labelled."""
    where: tuple[Part, Box] | None = None
    """The volume, and the square of a section."""

    def look(
        self, volume: Part, block: Box, true_ZYX: NDArray[np.int16], labels_ZYX: NDArray[np.uint8]
    ) -> None:
        """Look at a block, section by section: a square does not reach beyond it."""
        z, y, x = block.start_zyx
        for depth, (true_YX, labels_YX) in enumerate(zip(true_ZYX, labels_ZYX, strict=True)):
            found = worst_place(true_YX, labels_YX)
            if found is None or found[0] <= self.part:
                continue
            self.part, (rows, columns) = found
            start_zyx = (z + depth, y + rows.start, x + columns.start)
            stop_zyx = (z + depth + 1, y + rows.stop, x + columns.stop)
            self.where = volume, Box(start_zyx=start_zyx, stop_zyx=stop_zyx)

    def to_dict(self, volumes: Sequence[Part]) -> dict[str, Any]:
        """Return it as JSON values; a volume by its place among `volumes`."""
        if self.where is None:
            return {"part": self.part, "where": None}
        volume, box = self.where
        number = next(place for place, one in enumerate(volumes) if one is volume)
        return {"part": self.part, "where": [number, list(box.start_zyx), list(box.stop_zyx)]}

    @classmethod
    def from_dict(cls, values: dict[str, Any], volumes: Sequence[Part]) -> "Worst":
        """Return what `to_dict` gave."""
        if values["where"] is None:
            return cls(part=values["part"])
        number, (z, y, x), (end_z, end_y, end_x) = values["where"]
        box = Box(start_zyx=(z, y, x), stop_zyx=(end_z, end_y, end_x))
        return cls(part=values["part"], where=(volumes[number], box))


def worst_place(
    true_YX: NDArray[np.integer], labels_YX: NDArray[np.integer], side: int = WORST_SIDE
) -> Place | None:
    """Return the square in which most pixels are wrong, of those at least half labelled.

    Pixels whose truth is below 0 are not labelled. None where no square is.
    """
    height, width = (min(side, size) for size in true_YX.shape)
    labelled_YX = true_YX >= 0
    wrong_YX = labelled_YX & (true_YX != labels_YX)
    share_YX = _means(labelled_YX, height, width)
    worst_YX = np.where(share_YX >= 0.5, _means(wrong_YX, height, width), -1.0)
    y, x = (int(at) for at in np.unravel_index(int(worst_YX.argmax()), worst_YX.shape))
    if worst_YX[y, x] < 0:
        return None
    part = float(worst_YX[y, x] / share_YX[y, x])
    return part, (slice(y, y + height), slice(x, x + width))


def _means(mask_YX: NDArray[np.bool_], height: int, width: int) -> NDArray[np.float64]:
    """Return the mean over the square that begins at each pixel, where one fits."""
    mean_YX: NDArray[np.float64] = uniform_filter(
        mask_YX.astype(np.float64), (height, width), origin=(-(height // 2), -(width // 2))
    )
    rows, columns = mask_YX.shape
    return mean_YX[: rows - height + 1, : columns - width + 1]
